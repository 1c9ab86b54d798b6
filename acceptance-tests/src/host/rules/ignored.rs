//! What `ignore_changes` makes of a configuration before the provider sees it.

use serde_json::{Map, Value as Json};

use crate::host::schema::{Attribute, Nesting, Shape, Type, is_unknown};

/// `ignore_changes` of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Ignored {
    /// It has none.
    #[default]
    Nothing,
    /// Attributes, and keys of maps.
    Parts(Vec<Part>),
    /// `all`
    All,
}

/// One entry of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The attribute, as `storage.size`.
    pub path: String,
    /// Of a map, one key.
    pub key: Option<String>,
}

impl Ignored {
    /// The configuration that the provider gets. Nothing is ignored of what doesn't exist yet.
    #[must_use]
    pub fn over(&self, attributes: &[Attribute], prior: &Json, config: &Json) -> Json {
        if prior.is_null() || config.is_null() {
            return config.clone();
        }
        match self {
            Self::Nothing => config.clone(),
            Self::All => without_outputs(attributes, prior),
            Self::Parts(parts) => {
                let mut config = config.clone();
                for part in parts {
                    let names: Vec<&str> = part.path.split('.').collect();
                    keep(attributes, &names, part.key.as_deref(), prior, &mut config);
                }
                config
            }
        }
    }
}

/// A state as if it had been written: what only the provider sets is not.
fn without_outputs(attributes: &[Attribute], state: &Json) -> Json {
    let Json::Object(entries) = state else { return state.clone() };
    let written = attributes.iter().map(|attribute| {
        let value = entries.get(&attribute.name).unwrap_or(&Json::Null);
        (attribute.name.clone(), written(attribute, value))
    });
    Json::Object(written.collect::<Map<_, _>>())
}

fn written(attribute: &Attribute, value: &Json) -> Json {
    let inner = attribute.attributes();
    match (&attribute.shape, value) {
        _ if attribute.is_output() => Json::Null,
        (Shape::Nested(Nesting::Single, _), _) => without_outputs(inner, value),
        (Shape::Nested(_, _), Json::Array(items)) => {
            items.iter().map(|item| without_outputs(inner, item)).collect()
        }
        (Shape::Nested(_, _), Json::Object(entries)) => {
            let entries = entries.iter().map(|(key, item)| (key.clone(), without_outputs(inner, item)));
            Json::Object(entries.collect())
        }
        _ => value.clone(),
    }
}

/// Puts the prior value of one entry back. What lies inside of nothing, or of something unknown, can't be ignored.
fn keep(attributes: &[Attribute], names: &[&str], key: Option<&str>, prior: &Json, config: &mut Json) {
    let Some((name, rest)) = names.split_first() else { return };
    let (Some(prior), Some(config)) = (prior.get(name), config.get_mut(name)) else { return };
    let Some(attribute) = attributes.iter().find(|one| one.name == *name) else { return };
    if !rest.is_empty() {
        return keep(attribute.attributes(), rest, key, prior, config);
    }
    let is_map = matches!(attribute.shape, Shape::Leaf(Type::Map(_)) | Shape::Nested(Nesting::Map, _));
    match key {
        // Hosts take maps key by key, and of an unknown one they know no key.
        _ if is_map && is_unknown(config) => {}
        Some(key) => keep_key(key, prior, config),
        None => *config = prior.clone(),
    }
}

fn keep_key(key: &str, prior: &Json, config: &mut Json) {
    match (prior.get(key), config) {
        (Some(value), Json::Object(entries)) => drop(entries.insert(key.to_owned(), value.clone())),
        (Some(value), config) => *config = Json::from_iter([(key, value.clone())]),
        (None, Json::Object(entries)) => drop(entries.remove(key)),
        (None, _) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::rules::samples::{leaf, schema};
    use crate::host::schema::complete;
    use crate::proto_client::values::UNKNOWN;
    use serde_json::json;

    fn over(parts: &[(&str, Option<&str>)], prior: &Json, config: &Json) -> Json {
        let mut schema = schema();
        schema.push(leaf("labels", Type::Map(Box::new(Type::String))));
        let part = |(path, key): &(&str, Option<&str>)| Part {
            path: (*path).to_owned(),
            key: key.map(str::to_owned),
        };
        let ignored = Ignored::Parts(parts.iter().map(part).collect());
        let full = |json: &Json| complete(&schema, json);
        let kept = ignored.over(&schema, &full(prior), &full(config));
        let set = kept.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        Json::Object(set.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    #[test]
    fn a_named_attribute_is_configured_as_it_was() {
        let prior = json!({ "name": "a", "size": "1" });
        assert_eq!(
            over(&[("size", None)], &prior, &json!({ "name": "b", "size": UNKNOWN })),
            json!({ "name": "b", "size": "1" })
        );
        assert_eq!(
            over(&[("size", None)], &prior, &json!({ "name": "b" })),
            json!({ "name": "b", "size": "1" })
        );
        let inside = json!({ "name": "a", "box": { "inner": "i" } });
        for (wanted, expected) in [
            (json!({ "box": { "inner": "j" } }), json!({ "box": { "inner": "i", "level": null } })),
            (json!({ "box": null }), json!({})),
            (json!({ "box": UNKNOWN }), json!({ "box": UNKNOWN })),
        ] {
            assert_eq!(over(&[("box.inner", None)], &inside, &wanted), expected);
        }
    }

    #[test]
    fn a_key_of_a_map_is_put_back_or_taken_away() {
        let prior = json!({ "labels": { "a": "1" } });
        let one = |key| over(&[("labels", Some(key))], &prior, &json!({ "labels": { "a": "2", "b": "3" } }));
        assert_eq!(one("a"), json!({ "labels": { "a": "1", "b": "3" } }));
        assert_eq!(one("b"), json!({ "labels": { "a": "2" } }));
        assert_eq!(over(&[("labels", Some("a"))], &prior, &json!({})), prior);
        let unknown = json!({ "labels": UNKNOWN });
        assert_eq!(over(&[("labels", Some("a"))], &prior, &unknown), unknown);
    }

    #[test]
    fn all_is_the_state_without_what_the_provider_sets() {
        let schema = schema();
        let prior = complete(&schema, &json!({ "name": "a", "uri": "u", "box": { "level": 1 } }));
        let written = Ignored::All.over(&schema, &prior, &complete(&schema, &json!({ "name": "b" })));
        assert_eq!(written, complete(&schema, &json!({ "name": "a", "box": { "level": 1 } })));
        assert_eq!(Ignored::All.over(&schema, &Json::Null, &prior), prior);
    }
}
