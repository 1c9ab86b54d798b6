//! Which part of an object is ours: the fields that we applied, at the grain at which server-side apply tells owners apart.
//!
//! Maps are ours key by key, lists with keys element by element, every other list and a few maps as a whole (P12).

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value as Json};

/// A step to a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// A field or a key of a map.
    Field(String),
    /// The element of a keyed list with these key fields.
    Element(BTreeMap<String, Json>),
}

/// A way to a field. Prints as server-side apply does: `.spec.template.spec.containers[name="postgres"].image`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldPath(pub Vec<Segment>);

impl FieldPath {
    /// The field that these names lead to, through no list.
    pub fn of_fields(names: &[&str]) -> Self {
        Self(names.iter().map(|name| Segment::Field((*name).to_owned())).collect())
    }

    fn then(&self, segment: Segment) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment);
        Self(segments)
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.0 {
            match segment {
                Segment::Field(name) => write!(f, ".{name}")?,
                Segment::Element(keys) => {
                    let keys: Vec<_> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
                    write!(f, "[{}]", keys.join(","))?;
                }
            }
        }
        Ok(())
    }
}

/// Maps that belong to one owner as a whole (`x-kubernetes-map-type: atomic`), by the name of their field.
fn is_atomic_map(field: &str) -> bool {
    matches!(field, "selector" | "labelSelector" | "podSelector" | "nodeSelector" | "fieldRef" | "roleRef")
}

/// The key fields of a list that is merged element by element; none for a list that is one value.
fn list_keys(field: &str, element: &Json) -> &'static [&'static str] {
    match field {
        "containers" | "initContainers" | "env" | "volumes" | "imagePullSecrets" => &["name"],
        "volumeMounts" => &["mountPath"],
        "ports" if element.get("containerPort").is_some() => &["containerPort", "protocol"],
        "ports" => &["port", "protocol"],
        "topologySpreadConstraints" => &["topologyKey", "whenUnsatisfiable"],
        "ownerReferences" => &["uid"],
        _ => &[],
    }
}

fn key_of(element: &Json, keys: &[&str]) -> BTreeMap<String, Json> {
    keys.iter().filter_map(|key| Some(((*key).to_owned(), element.get(*key)?.clone()))).collect()
}

fn keys_of_list(field: &str, items: &[Json]) -> &'static [&'static str] {
    items.first().map_or(&[], |first| list_keys(field, first))
}

/// The part of `live` that is at the fields of `owned`. What `live` lacks is left out.
pub fn project(owned: &Json, live: &Json) -> Json {
    project_field("", owned, live)
}

fn project_field(field: &str, owned: &Json, live: &Json) -> Json {
    match (owned, live) {
        (Json::Object(owned), Json::Object(live)) if !is_atomic_map(field) => {
            let both = owned.iter().filter_map(|(name, value)| {
                live.get(name).map(|there| (name.clone(), project_field(name, value, there)))
            });
            Json::Object(both.collect::<Map<_, _>>())
        }
        (Json::Array(owned), Json::Array(live)) => {
            let keys = keys_of_list(field, owned);
            if keys.is_empty() {
                return Json::Array(live.clone());
            }
            let both = owned.iter().filter_map(|element| {
                let key = key_of(element, keys);
                let there = live.iter().find(|other| key_of(other, keys) == key)?;
                Some(project_field("", element, there))
            });
            Json::Array(both.collect())
        }
        (_, live) => live.clone(),
    }
}

/// One field that is not as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Which.
    pub path: FieldPath,
    /// As it was; `None`: it was not set.
    pub was: Option<Json>,
    /// As it is; `None`: it is gone.
    pub is: Option<Json>,
}

/// The fields in which two projections differ, in a stable order, at the grain of ownership.
pub fn differences(was: &Json, is: &Json) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", &FieldPath::default(), Some(was), Some(is), &mut found);
    found
}

fn compare(
    field: &str,
    path: &FieldPath,
    was: Option<&Json>,
    is: Option<&Json>,
    found: &mut Vec<Difference>,
) {
    if was == is {
        return;
    }
    match (was, is) {
        (Some(Json::Object(was)), Some(Json::Object(is))) if !is_atomic_map(field) => {
            let mut names: Vec<&String> = was.keys().chain(is.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let path = path.then(Segment::Field(name.clone()));
                compare(name, &path, was.get(name), is.get(name), found);
            }
        }
        (Some(Json::Array(was)), Some(Json::Array(is)))
            if !keys_of_list(field, was).is_empty() || !keys_of_list(field, is).is_empty() =>
        {
            compare_elements(field, path, was, is, found);
        }
        (was, is) => {
            found.push(Difference { path: path.clone(), was: was.cloned(), is: is.cloned() });
        }
    }
}

fn compare_elements(field: &str, path: &FieldPath, was: &[Json], is: &[Json], found: &mut Vec<Difference>) {
    let keys = if was.is_empty() { keys_of_list(field, is) } else { keys_of_list(field, was) };
    let mut seen = Vec::new();
    for element in was.iter().chain(is) {
        let key = key_of(element, keys);
        if seen.contains(&key) {
            continue;
        }
        let find = |items: &'_ [Json]| items.iter().position(|other| key_of(other, keys) == key);
        let path = path.then(Segment::Element(key.clone()));
        compare("", &path, find(was).map(|at| &was[at]), find(is).map(|at| &is[at]), found);
        seen.push(key);
    }
}

/// Who owns a field by an object's `managedFields`, other than `us`: the manager and when it wrote last.
pub fn owner<'a>(object: &'a Json, path: &FieldPath, us: &str) -> Option<(&'a str, &'a str)> {
    let entries = object.pointer("/metadata/managedFields")?.as_array()?;
    let owners = entries.iter().filter_map(|entry| {
        let manager = entry.get("manager")?.as_str()?;
        let time = entry.get("time").and_then(Json::as_str).unwrap_or_default();
        (manager != us && owns(entry.get("fieldsV1")?, &path.0)).then_some((manager, time))
    });
    owners.max_by_key(|(_, time)| *time)
}

fn owns(fields: &Json, path: &[Segment]) -> bool {
    let Some((first, rest)) = path.split_first() else { return true };
    let Some(fields) = fields.as_object() else { return false };
    let next = match first {
        Segment::Field(name) => fields.get(&format!("f:{name}")),
        Segment::Element(key) => fields.iter().find_map(|(name, inner)| {
            let found: BTreeMap<String, Json> = serde_json::from_str(name.strip_prefix("k:")?).ok()?;
            (found == *key).then_some(inner)
        }),
    };
    next.is_some_and(|next| owns(next, rest))
}

/// Whether a server-side apply of `applied` takes a field out of `live`: one that `us` applied before, by its `managedFields`, and that
/// `applied` has no more.
pub fn takes_out(live: &Json, applied: &Json, us: &str) -> bool {
    let entries = live.pointer("/metadata/managedFields").and_then(Json::as_array);
    let ours =
        entries.into_iter().flatten().filter(|entry| entry["manager"] == us && entry["operation"] == "Apply");
    ours.filter_map(|entry| entry.get("fieldsV1")).any(|fields| lacks(applied, fields))
}

/// Whether one of these fields is not in `value`.
fn lacks(value: &Json, fields: &Json) -> bool {
    fields.as_object().into_iter().flatten().any(|(name, inner)| {
        let there = match name.split_once(':') {
            Some(("f", field)) => value.get(field),
            Some(("k", keys)) => element(value, keys),
            // Elements of a set, and the thing itself.
            _ => return false,
        };
        there.is_none_or(|there| lacks(there, inner))
    })
}

/// The element of a keyed list with these key fields.
fn element<'a>(list: &'a Json, keys: &str) -> Option<&'a Json> {
    let keys: BTreeMap<String, Json> = serde_json::from_str(keys).ok()?;
    let mut elements = list.as_array()?.iter();
    elements.find(|element| keys.iter().all(|(name, value)| element.get(name) == Some(value)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(image: &str, sidecar: bool) -> Json {
        let mut containers =
            vec![json!({"name": "postgres", "image": image, "terminationMessagePath": "/dev/x"})];
        if sidecar {
            containers.insert(0, json!({"name": "injected", "image": "mesh"}));
        }
        json!({"spec": {"containers": containers, "dnsPolicy": "ClusterFirst"}})
    }

    #[test]
    fn what_others_add_beside_our_fields_is_not_ours() {
        let owned = json!({"spec": {"containers": [{"name": "postgres", "image": "a"}]}});
        assert_eq!(project(&owned, &pod("a", true)), owned);
    }

    #[test]
    fn a_changed_field_is_named_as_server_side_apply_names_it() {
        let owned = json!({"spec": {"containers": [{"name": "postgres", "image": "a"}]}});
        let found = differences(&owned, &project(&owned, &pod("b", true)));
        let shown: Vec<_> = found.iter().map(|one| one.path.to_string()).collect();
        assert_eq!(shown, [".spec.containers[name=\"postgres\"].image"]);
    }

    #[test]
    fn an_atomic_map_is_compared_as_a_whole_and_a_removed_field_shows() {
        let owned =
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"selector": {"role": "primary"}}});
        let live = json!({"metadata": {"labels": {"b": "2", "c": "3"}}, "spec": {"selector": {"role": "primary", "x": "y"}}});
        let found = differences(&owned, &project(&owned, &live));
        let shown: Vec<_> = found.iter().map(|one| (one.path.to_string(), one.is.clone())).collect();
        assert_eq!(
            shown,
            [
                (".metadata.labels.a".to_owned(), None),
                (".spec.selector".to_owned(), Some(json!({"role": "primary", "x": "y"}))),
            ]
        );
    }

    #[test]
    fn what_we_apply_no_more_is_taken_out() {
        let fields = json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}}, "f:rules": {},
            "f:spec": {"f:ports": {"k:{\"port\":1,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}}});
        let live = |manager: &str, operation: &str| {
            json!({"metadata": {"managedFields": [
                {"manager": manager, "operation": operation, "fieldsV1": fields}]}})
        };
        let all = json!({"metadata": {"labels": {"a": "2", "b": "1"}}, "rules": [],
            "spec": {"ports": [{"port": 1, "protocol": "TCP"}]}});
        assert!(!takes_out(&live("us", "Apply"), &all, "us"));
        for path in ["/metadata/labels", "/spec/ports"] {
            let mut fewer = all.clone();
            *fewer.pointer_mut(path).unwrap() = if path == "/spec/ports" { json!([]) } else { json!({}) };
            assert!(takes_out(&live("us", "Apply"), &fewer, "us"), "{path}");
            assert!(!takes_out(&live("us", "Update"), &fewer, "us"), "{path}");
            assert!(!takes_out(&live("them", "Apply"), &fewer, "us"), "{path}");
        }
    }

    #[test]
    fn managed_fields_tell_who_changed_a_field() {
        let object = json!({"metadata": {"managedFields": [
            {"manager": "us", "time": "2026-01-03T00:00:00Z", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
            {"manager": "kubectl", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
            {"manager": "hpa", "time": "2026-01-02T00:00:00Z", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
            {"manager": "other", "time": "2026-01-04T00:00:00Z", "fieldsV1": {"f:spec": {
                "f:containers": {"k:{\"name\":\"postgres\"}": {"f:image": {}}}}}},
        ]}});
        let replicas = FieldPath(vec![Segment::Field("spec".into()), Segment::Field("replicas".into())]);
        assert_eq!(owner(&object, &replicas, "us"), Some(("hpa", "2026-01-02T00:00:00Z")));
        let image = FieldPath(vec![
            Segment::Field("spec".into()),
            Segment::Field("containers".into()),
            Segment::Element([("name".to_owned(), json!("postgres"))].into()),
            Segment::Field("image".into()),
        ]);
        assert_eq!(owner(&object, &image, "us").map(|(who, _)| who), Some("other"));
    }
}
