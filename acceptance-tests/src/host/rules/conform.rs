//! Has a value the shape of its schema.

use serde_json::Value as Json;

use super::{Found, Rule, Violation};
use crate::host::schema::{Attribute, Nesting, Shape, Type, is_unknown, is_wholly_known, join};

/// Parts that are missing, too many or of another type. A null whole is fine: there is nothing.
#[must_use]
pub fn conforms(attributes: &[Attribute], value: &Json) -> Vec<Violation> {
    let mut found = Found::new(Rule::Conforms);
    object(attributes, "", value, &mut found);
    found.done()
}

/// Parts that are not known where all must be.
#[must_use]
pub fn wholly_known(value: &Json) -> Vec<Violation> {
    let mut found = Found::new(Rule::WhollyKnown);
    match value {
        Json::Object(entries) => {
            for (name, _) in entries.iter().filter(|(_, value)| !is_wholly_known(value)) {
                found.add(name, "it is not known");
            }
        }
        _ if is_wholly_known(value) => {}
        _ => found.add("", "it is not known"),
    }
    found.done()
}

fn object(attributes: &[Attribute], at: &str, value: &Json, found: &mut Found) {
    if value.is_null() || is_unknown(value) {
        return;
    }
    let Some(entries) = value.as_object() else {
        found.add(at, format!("{value} is no object"));
        return;
    };
    for name in entries.keys().filter(|name| !attributes.iter().any(|one| one.name == **name)) {
        found.add(&join(at, name), "it is not in the schema");
    }
    for attribute in attributes {
        let path = join(at, &attribute.name);
        match (entries.get(&attribute.name), &attribute.shape) {
            (None, _) => found.add(&path, "it is missing"),
            (Some(value), Shape::Leaf(expected)) => leaf(expected, &path, value, found),
            (Some(value), Shape::Nested(nesting, inner)) => nested(*nesting, inner, &path, value, found),
        }
    }
}

fn nested(nesting: Nesting, inner: &[Attribute], path: &str, value: &Json, found: &mut Found) {
    match (nesting, value) {
        (_, value) if value.is_null() || is_unknown(value) => {}
        (Nesting::Single, value) => object(inner, path, value, found),
        (Nesting::List | Nesting::Set, Json::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                object(inner, &format!("{path}[{index}]"), item, found);
            }
        }
        (Nesting::Map, Json::Object(entries)) => {
            for (key, item) in entries {
                object(inner, &format!("{path}[{key:?}]"), item, found);
            }
        }
        (nesting, value) => found.add(path, format!("{value} does not go with {nesting:?}")),
    }
}

fn leaf(expected: &Type, path: &str, value: &Json, found: &mut Found) {
    match (expected, value) {
        (_, value) if value.is_null() || is_unknown(value) => {}
        (Type::String, Json::String(_))
        | (Type::Number, Json::Number(_))
        | (Type::Bool, Json::Bool(_))
        | (Type::Dynamic, _) => {}
        (Type::List(inner) | Type::Set(inner), Json::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                leaf(inner, &format!("{path}[{index}]"), item, found);
            }
        }
        (Type::Map(inner), Json::Object(entries)) => {
            for (key, item) in entries {
                leaf(inner, &format!("{path}[{key:?}]"), item, found);
            }
        }
        (Type::Object(types), Json::Object(entries)) if types.keys().eq(entries.keys()) => {
            for (name, inner) in types {
                leaf(inner, &join(path, name), &entries[name], found);
            }
        }
        (expected, value) => found.add(path, format!("{value} is no {expected:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::rules::samples::schema;
    use crate::host::schema::complete;
    use crate::proto_client::values::UNKNOWN;
    use serde_json::json;

    #[test]
    fn parts_are_all_there_and_of_their_type() {
        let schema = schema();
        let good = complete(&schema, &json!({ "name": UNKNOWN, "tags": ["a"], "items": [{ "level": 2 }] }));
        assert_eq!(conforms(&schema, &good), []);
        assert_eq!(conforms(&schema, &Json::Null), []);
        for (pointer, value, path) in [
            ("/name", json!(1), "name"),
            ("/tags", json!("a"), "tags"),
            ("/tags/0", json!(true), "tags[0]"),
            ("/items/0/level", json!("2"), "items[0].level"),
            ("/items/0", json!({ "inner": null }), "items[0].level"),
            ("/items", json!({}), "items"),
            ("/box", json!({ "inner": null, "level": null, "more": 1 }), "box.more"),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap() = value;
            let paths: Vec<_> = conforms(&schema, &bad).into_iter().map(|one| one.path).collect();
            assert_eq!(paths, [path]);
        }
    }

    #[test]
    fn a_state_holds_nothing_unknown() {
        assert_eq!(wholly_known(&json!({ "a": [1] })), []);
        assert_eq!(wholly_known(&json!({ "a": [UNKNOWN] }))[0].path, "a");
        assert_eq!(wholly_known(&json!(UNKNOWN)).len(), 1);
    }
}
