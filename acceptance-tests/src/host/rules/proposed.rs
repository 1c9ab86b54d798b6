//! The host's own merge of configuration and prior state, which it sends beside both.

use serde_json::{Map, Value as Json};

use crate::host::schema::{Attribute, Nesting, Shape, is_unknown};

/// What is configured; where configuration says nothing about a computed attribute, what was there before.
#[must_use]
pub fn proposed(attributes: &[Attribute], prior: &Json, config: &Json) -> Json {
    let all = attributes.iter().map(|attribute| {
        let (before, wanted) = (&prior[&attribute.name], &config[&attribute.name]);
        (attribute.name.clone(), one(attribute, before, wanted))
    });
    Json::Object(all.collect::<Map<_, _>>())
}

fn one(attribute: &Attribute, prior: &Json, config: &Json) -> Json {
    if attribute.computed && config.is_null() {
        // A value that the user once wrote can't have come from the provider: it was removed.
        let users = attribute.optional && holds_input(attribute.attributes(), prior);
        return if users { Json::Null } else { prior.clone() };
    }
    match &attribute.shape {
        Shape::Nested(nesting, inner) if !config.is_null() && !is_unknown(config) => {
            nested(*nesting, inner, prior, config)
        }
        _ => config.clone(),
    }
}

/// Something inside is set that only a user can set.
fn holds_input(inner: &[Attribute], value: &Json) -> bool {
    match value {
        Json::Array(items) => items.iter().any(|item| holds_input(inner, item)),
        Json::Object(entries) => inner.iter().any(|attribute| {
            let value = entries.get(&attribute.name).unwrap_or(&Json::Null);
            let set = !value.is_null() && !is_unknown(value);
            set && (!attribute.computed || holds_input(attribute.attributes(), value))
        }),
        _ => false,
    }
}

fn nested(nesting: Nesting, inner: &[Attribute], prior: &Json, config: &Json) -> Json {
    let none = Vec::new();
    match (nesting, config) {
        (Nesting::Single, _) => proposed(inner, prior, config),
        (Nesting::List, Json::Array(items)) => {
            let before = prior.as_array().unwrap_or(&none);
            let at = |index: usize| before.get(index).unwrap_or(&Json::Null);
            items.iter().enumerate().map(|(index, item)| element(inner, at(index), item)).collect()
        }
        (Nesting::Map, Json::Object(entries)) => {
            let entries = entries.iter().map(|(key, item)| (key.clone(), element(inner, &prior[key], item)));
            Json::Object(entries.collect())
        }
        (Nesting::Set, Json::Array(items)) => {
            let mut before = prior.as_array().unwrap_or(&none).clone();
            let matched = items.iter().map(|item| {
                let at = before.iter().position(|one| same_input(inner, one, item));
                let prior = at.map_or(Json::Null, |at| before.swap_remove(at));
                element(inner, &prior, item)
            });
            matched.collect()
        }
        (_, other) => other.clone(),
    }
}

fn element(inner: &[Attribute], prior: &Json, config: &Json) -> Json {
    if is_unknown(config) { config.clone() } else { proposed(inner, prior, config) }
}

/// Elements of a set are the same when their configured parts are.
fn same_input(inner: &[Attribute], prior: &Json, config: &Json) -> bool {
    inner.iter().all(|attribute| {
        let wanted = &config[&attribute.name];
        (attribute.computed && wanted.is_null()) || prior[&attribute.name] == *wanted
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::rules::samples::schema;
    use crate::host::schema::complete;
    use serde_json::json;

    #[test]
    fn config_wins_and_the_prior_fills_what_is_computed() {
        let schema = schema();
        let full = |json| complete(&schema, &json);
        let prior = full(json!({ "name": "a", "size": "1", "mode": "x", "uri": "u", "box": { "level": 3 },
            "items": [{ "inner": "i", "level": 1 }] }));
        let config = full(json!({ "name": "b", "box": {}, "items": [{ "inner": "j" }, { "inner": "k" }] }));
        let expected = full(json!({ "name": "b", "mode": "x", "uri": "u", "box": { "level": 3 },
            "items": [{ "inner": "j", "level": 1 }, { "inner": "k" }] }));
        assert_eq!(proposed(&schema, &prior, &config), expected);
    }

    #[test]
    fn an_object_with_a_users_value_in_it_is_removed_with_its_block() {
        let schema = schema();
        let full = |json| complete(&schema, &json);
        let config = full(json!({ "name": "a" }));
        let ours = full(json!({ "name": "a", "box": { "level": 3 } }));
        let theirs = full(json!({ "name": "a", "box": { "inner": "i", "level": 3 } }));
        assert_eq!(proposed(&schema, &ours, &config)["box"]["level"], 3);
        assert_eq!(proposed(&schema, &theirs, &config)["box"], Json::Null);
    }

    #[test]
    fn a_create_proposes_the_configuration() {
        let schema = schema();
        let config = complete(&schema, &json!({ "name": "a", "box": { "inner": "i" } }));
        assert_eq!(proposed(&schema, &Json::Null, &config), config);
    }
}
