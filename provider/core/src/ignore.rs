//! What is left to others (decision 0051): keys of labels and annotations, and fields of Services, that are written when the
//! object is made, and from then on are neither drift nor touched.

use pgha_schema::ignored::Ignored;
use pgha_schema::names::{Names, is_own_key};
use regex_lite::Regex;
use serde_json::{Map, Value as Json};

use crate::drift::POSTGRESQL;
use crate::object::{Kind, ObjectKey};
use crate::value::Value;

/// Where a load balancer's networks stand in a Service.
const SOURCE_RANGES: &str = "loadBalancerSourceRanges";

/// What is left to others, by the provider's configuration and by one resource.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    annotations: Vec<Regex>,
    labels: Vec<Regex>,
    entries: Vec<Ignored>,
}

/// The two maps of an object's metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Metadata {
    Labels,
    Annotations,
}

impl Metadata {
    const ALL: [Self; 2] = [Self::Labels, Self::Annotations];

    fn name(self) -> &'static str {
        match self {
            Self::Labels => "labels",
            Self::Annotations => "annotations",
        }
    }

    /// The map of an object; null when it has none.
    fn of(self, object: &Json) -> &Json {
        &object["metadata"][self.name()]
    }
}

impl Ignore {
    /// By the provider block. What its validators refused is not there.
    pub fn of_provider(config: &Value) -> Self {
        let regexes = |name: &str| {
            let items = config.get(name).as_items().unwrap_or_default();
            items.iter().filter_map(|item| Regex::new(item.as_str()?).ok()).collect()
        };
        Self {
            annotations: regexes("ignore_annotations"),
            labels: regexes("ignore_labels"),
            entries: Vec::new(),
        }
    }

    /// And by one resource: the entries of its `ignore`.
    pub fn and<'a>(&self, entries: impl IntoIterator<Item = &'a str>) -> Self {
        let entries = entries.into_iter().filter_map(|entry| entry.parse().ok()).collect();
        Self { entries, ..self.clone() }
    }

    fn key(&self, names: &Names, object: &ObjectKey, map: Metadata, key: &str) -> bool {
        let regexes = match map {
            Metadata::Labels => &self.labels,
            Metadata::Annotations => &self.annotations,
        };
        let by_entry = |entry: &Ignored| match entry {
            Ignored::Label(pattern) => map == Metadata::Labels && pattern.matches(key),
            Ignored::Annotation(pattern) => map == Metadata::Annotations && pattern.matches(key),
            Ignored::ServiceAnnotation(service, pattern) => {
                map == Metadata::Annotations
                    && *object == ObjectKey::new(Kind::Service, service.name(names))
                    && pattern.matches(key)
            }
            Ignored::SourceRanges(_) | Ignored::Parameter(_) => false,
        };
        !is_own_key(key)
            && (regexes.iter().any(|regex| regex.is_match(key)) || self.entries.iter().any(by_entry))
    }

    fn source_ranges(&self, names: &Names, object: &ObjectKey) -> bool {
        let of = |entry: &Ignored| match entry {
            Ignored::SourceRanges(service) => *object == ObjectKey::new(Kind::Service, service.name(names)),
            Ignored::Label(_)
            | Ignored::Annotation(_)
            | Ignored::ServiceAnnotation(..)
            | Ignored::Parameter(_) => false,
        };
        self.entries.iter().any(of)
    }

    /// Whether others may give this setting inside PostgreSQL.
    pub fn parameter(&self, name: &str) -> bool {
        let by_entry = |entry: &Ignored| match entry {
            Ignored::Parameter(pattern) => pattern.matches(name),
            Ignored::Label(_)
            | Ignored::Annotation(_)
            | Ignored::ServiceAnnotation(..)
            | Ignored::SourceRanges(_) => false,
        };
        self.entries.iter().any(by_entry)
    }

    /// Whether what an entry of a state's `drift` shows is left to others: its object as `Service/orders-rw`, its field without the
    /// leading dot.
    pub fn covers(&self, names: &Names, object: &str, field: &str) -> bool {
        if object.split_once('/').is_some_and(|(kind, _)| kind == POSTGRESQL) {
            return self.parameter(field);
        }
        let Some(key) = ObjectKey::parse(&object.replacen('/', " ", 1)) else { return false };
        let of_map = |map: Metadata| {
            let own = field.strip_prefix("metadata.")?.strip_prefix(map.name())?.strip_prefix('.')?;
            Some(self.key(names, &key, map, own))
        };
        let ranges = field.strip_prefix("spec.").is_some_and(|field| field.starts_with(SOURCE_RANGES));
        Metadata::ALL.into_iter().find_map(of_map).unwrap_or(ranges && self.source_ranges(names, &key))
    }

    /// The fields of an object that are left to others, as server-side apply prints them.
    pub fn fields(&self, names: &Names, object: &Json) -> Vec<String> {
        let Some(key) = ObjectKey::of(object) else { return Vec::new() };
        let mut fields = Vec::new();
        for map in Metadata::ALL {
            let keys = map.of(object).as_object().into_iter().flat_map(Map::keys);
            let ignored = keys.filter(|one| self.key(names, &key, map, one));
            fields.extend(ignored.map(|one| format!(".metadata.{}.{one}", map.name())));
        }
        if self.source_ranges(names, &key) {
            fields.push(format!(".spec.{SOURCE_RANGES}"));
        }
        fields
    }

    /// What we remember of an object, without what is left to others: they can't differ in that.
    pub fn without(&self, names: &Names, object: &ObjectKey, recorded: &Json) -> Json {
        let mut recorded = recorded.clone();
        for map in Metadata::ALL {
            let Some(metadata) = recorded.get_mut("metadata").and_then(Json::as_object_mut) else { continue };
            let Some(keys) = metadata.get_mut(map.name()).and_then(Json::as_object_mut) else { continue };
            keys.retain(|key, _| !self.key(names, object, map, key));
            if keys.is_empty() {
                metadata.remove(map.name());
            }
        }
        if self.source_ranges(names, object)
            && let Some(spec) = recorded.get_mut("spec").and_then(Json::as_object_mut)
        {
            spec.remove(SOURCE_RANGES);
        }
        recorded
    }

    /// The object to apply, with what is left to others as it is: as `live` has it, so that applying it changes nothing and
    /// takes nothing away. `recorded` is what we remember of it. An object that is not there yet stays as it was rendered.
    pub fn leave(&self, names: &Names, object: &mut Json, live: Option<&Json>, recorded: Option<&Json>) {
        let (Some(live), Some(key)) = (live, ObjectKey::of(object)) else { return };
        for map in Metadata::ALL {
            let ours = [Some(map.of(object)), recorded.map(|recorded| map.of(recorded))];
            let keys = ours.into_iter().flatten().filter_map(Json::as_object).flat_map(Map::keys);
            let ignored: Vec<String> = keys.filter(|one| self.key(names, &key, map, one)).cloned().collect();
            for one in ignored {
                as_live(&mut object["metadata"], map.name(), &one, map.of(live).get(&one));
            }
        }
        if self.source_ranges(names, &key) {
            as_live(object, "spec", SOURCE_RANGES, live["spec"].get(SOURCE_RANGES));
        }
    }
}

/// Sets a field of `parent.map` to what is live; takes it away where nothing is.
fn as_live(parent: &mut Json, map: &str, field: &str, live: Option<&Json>) {
    if let Some(live) = live {
        parent[map][field] = live.clone();
    } else if let Some(fields) = parent.get_mut(map).and_then(Json::as_object_mut) {
        fields.remove(field);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ignore() -> Ignore {
        let list = |texts: &[&str]| Value::List(texts.iter().map(|text| Value::from(*text)).collect());
        let provider = Value::object([
            ("ignore_annotations", list(&["^mesh/"])),
            // Also matches what the cluster needs.
            ("ignore_labels", list(&["."])),
        ]);
        Ignore::of_provider(&provider).and([
            "services.rw.annotations.lb/*",
            "services.rw.load_balancer_source_ranges",
            "annotations.all",
        ])
    }

    fn service(name: &str) -> Json {
        json!({"kind": "Service", "metadata": {"name": name,
            "labels": {"app.kubernetes.io/name": "postgres-ha", "team": "a"},
            "annotations": {"mesh/on": "1", "lb/id": "1", "all": "1", "kept": "1"}},
            "spec": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8"]}})
    }

    #[test]
    fn what_is_left_to_others_can_not_differ() {
        let names = Names::new("orders");
        for (name, annotations, spec) in [
            ("orders-rw", json!({"kept": "1"}), json!({"type": "LoadBalancer"})),
            (
                "orders-ro",
                json!({"lb/id": "1", "kept": "1"}),
                json!({"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8"]}),
            ),
        ] {
            let key = ObjectKey::new(Kind::Service, name);
            let left = ignore().without(&names, &key, &service(name));
            assert_eq!(left["metadata"]["labels"], json!({"app.kubernetes.io/name": "postgres-ha"}));
            assert_eq!((&left["metadata"]["annotations"], &left["spec"]), (&annotations, &spec), "{name}");
        }
        let only = json!({"metadata": {"labels": {"team": "a"}}});
        let key = ObjectKey::new(Kind::Role, "orders");
        assert_eq!(ignore().without(&names, &key, &only), json!({"metadata": {}}), "no empty map is left");
    }

    #[test]
    fn the_fields_are_named_as_server_side_apply_names_them() {
        let names = Names::new("orders");
        assert_eq!(
            ignore().fields(&names, &service("orders-rw")),
            [
                ".metadata.labels.team",
                ".metadata.annotations.all",
                ".metadata.annotations.lb/id",
                ".metadata.annotations.mesh/on",
                ".spec.loadBalancerSourceRanges"
            ]
        );
    }

    #[test]
    fn an_entry_of_drift_is_left_to_others_when_its_field_is() {
        let names = Names::new("orders");
        let covers = |object: &str, field: &str| {
            ignore().and(["parameters.work_*", "services.rw.annotations.lb/*"]).covers(&names, object, field)
        };
        assert!(
            covers("PostgreSQL/orders-0", "work_mem") && !covers("PostgreSQL/orders-0", "shared_buffers")
        );
        assert!(covers("Service/orders-rw", "metadata.annotations.lb/id"));
        assert!(!covers("Service/orders-ro", "metadata.annotations.lb/id"));
        assert!(!covers("Service/orders-rw", "spec.selector") && !covers("Service/orders-rw", ""));
        let ranges = "spec.loadBalancerSourceRanges";
        assert!(ignore().covers(&names, "Service/orders-rw", ranges) && !covers("Service/orders-rw", ranges));
    }

    #[test]
    fn an_apply_sends_what_is_there_and_takes_nothing_away() {
        let names = Names::new("orders");
        let mut new = service("orders-rw");
        ignore().leave(&names, &mut new, None, None);
        assert_eq!(new, service("orders-rw"), "a new object is as the configuration says");

        let live = json!({"metadata": {"labels": {"app.kubernetes.io/name": "edited"},
            "annotations": {"mesh/on": "2", "lb/id": "2", "kept": "2", "old": "2", "lb/old": "2"}},
            "spec": {"loadBalancerSourceRanges": ["192.0.2.0/24"]}});
        let recorded = json!({"metadata": {"annotations": {"lb/old": "1", "old": "1"}}});
        let mut wanted = service("orders-rw");
        ignore().leave(&names, &mut wanted, Some(&live), Some(&recorded));
        assert_eq!(wanted["metadata"]["labels"], json!({"app.kubernetes.io/name": "postgres-ha"}));
        assert_eq!(
            wanted["metadata"]["annotations"],
            json!({"mesh/on": "2", "lb/id": "2", "kept": "1", "lb/old": "2"}),
            "others' values, what they took away, what the configuration has no more, and ours"
        );
        assert_eq!(wanted["spec"]["loadBalancerSourceRanges"], json!(["192.0.2.0/24"]));
    }
}
