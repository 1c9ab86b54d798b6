//! Does a later value complete an earlier one: what was known is equal, what was unknown may be anything.

use serde_json::Value as Json;

use super::{Found, Rule, Violation};
use crate::host::schema::{Attribute, Nesting, Shape, Type, is_unknown, is_wholly_known, join};

/// Where `later` does not complete `earlier`; `rule` says of which two values they are.
#[must_use]
pub fn compatible(rule: Rule, attributes: &[Attribute], earlier: &Json, later: &Json) -> Vec<Violation> {
    let mut found = Found::new(rule);
    parts(attributes, "", earlier, later, &mut found);
    found.done()
}

fn parts(attributes: &[Attribute], at: &str, earlier: &Json, later: &Json, found: &mut Found) {
    if is_settled(at, earlier, later, found) {
        return;
    }
    for attribute in attributes {
        let path = join(at, &attribute.name);
        let (was, is) = (&earlier[&attribute.name], &later[&attribute.name]);
        match &attribute.shape {
            Shape::Leaf(ty) => value(ty, &path, was, is, found),
            Shape::Nested(Nesting::Single, inner) => parts(inner, &path, was, is, found),
            Shape::Nested(Nesting::List, inner) => {
                list(&path, was, is, found, &|at, was, is, found| parts(inner, at, was, is, found));
            }
            Shape::Nested(Nesting::Map, inner) => {
                map(&path, was, is, found, &|at, was, is, found| parts(inner, at, was, is, found));
            }
            Shape::Nested(Nesting::Set, inner) => set(&path, was, is, found, |was, is| {
                let mut inside = Found::new(Rule::Result);
                parts(inner, "", was, is, &mut inside);
                inside.done().is_empty()
            }),
        }
    }
}

/// What was unknown may be anything; null against something is said. `true` when there is nothing to look into.
fn is_settled(path: &str, earlier: &Json, later: &Json, found: &mut Found) -> bool {
    if is_unknown(earlier) {
        return true;
    }
    match (earlier.is_null(), later.is_null()) {
        (true, true) => true,
        (true, false) => {
            found.add(path, format!("it was null and is {later}"));
            true
        }
        (false, true) => {
            found.add(path, format!("it was {earlier} and is null"));
            true
        }
        (false, false) => false,
    }
}

fn value(ty: &Type, path: &str, earlier: &Json, later: &Json, found: &mut Found) {
    if is_settled(path, earlier, later, found) {
        return;
    }
    match ty {
        Type::List(inner) => {
            list(path, earlier, later, found, &|at, was, is, found| value(inner, at, was, is, found));
        }
        Type::Map(inner) => {
            map(path, earlier, later, found, &|at, was, is, found| value(inner, at, was, is, found));
        }
        Type::Set(inner) => set(path, earlier, later, found, |was, is| {
            let mut inside = Found::new(Rule::Result);
            value(inner, "", was, is, &mut inside);
            inside.done().is_empty()
        }),
        Type::Object(types) => {
            for (name, ty) in types {
                value(ty, &join(path, name), &earlier[name], &later[name], found);
            }
        }
        Type::String | Type::Number | Type::Bool | Type::Dynamic => {
            if earlier != later {
                found.add(path, format!("it was {earlier} and is {later}"));
            }
        }
    }
}

type Inside<'a> = dyn Fn(&str, &Json, &Json, &mut Found) + 'a;

fn list(path: &str, earlier: &Json, later: &Json, found: &mut Found, inside: &Inside<'_>) {
    if is_settled(path, earlier, later, found) {
        return;
    }
    match (earlier.as_array(), later.as_array()) {
        (Some(was), Some(is)) if was.len() == is.len() => {
            for (index, (was, is)) in was.iter().zip(is).enumerate() {
                inside(&format!("{path}[{index}]"), was, is, found);
            }
        }
        _ => found.add(path, format!("it was {earlier} and is {later}")),
    }
}

fn map(path: &str, earlier: &Json, later: &Json, found: &mut Found, inside: &Inside<'_>) {
    if is_settled(path, earlier, later, found) {
        return;
    }
    match (earlier.as_object(), later.as_object()) {
        (Some(was), Some(is)) if was.keys().eq(is.keys()) => {
            for (key, was) in was {
                inside(&format!("{path}[{key:?}]"), was, &is[key], found);
            }
        }
        _ => found.add(path, format!("it was {earlier} and is {later}")),
    }
}

/// Elements go by value; unknown ones may turn out equal to others, so that a set may shrink.
fn set(path: &str, earlier: &Json, later: &Json, found: &mut Found, fits: impl Fn(&Json, &Json) -> bool) {
    if is_settled(path, earlier, later, found) {
        return;
    }
    let (Some(was), Some(is)) = (earlier.as_array(), later.as_array()) else {
        found.add(path, format!("it was {earlier} and is {later}"));
        return;
    };
    let lost = was.iter().any(|was| is_wholly_known(was) && !is.iter().any(|is| fits(was, is)));
    let new = is.iter().any(|is| !was.iter().any(|was| fits(was, is)));
    if lost || new || is.len() > was.len() {
        found.add(path, format!("it was {earlier} and is {later}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::rules::samples::schema;
    use crate::host::schema::complete;
    use crate::proto_client::values::UNKNOWN;
    use serde_json::json;

    fn broken(earlier: &Json, later: &Json) -> Vec<String> {
        let schema = schema();
        let full = |json: &Json| complete(&schema, json);
        let found = compatible(Rule::Result, &schema, &full(earlier), &full(later));
        found.into_iter().map(|one| one.path).collect()
    }

    #[test]
    fn unknowns_may_become_anything_and_the_rest_stays() {
        let earlier = json!({ "name": "a", "mode": UNKNOWN, "box": UNKNOWN, "items": [{ "inner": UNKNOWN, "level": 1 }],
            "tags": ["x", UNKNOWN, UNKNOWN] });
        let later = json!({ "name": "a", "mode": null, "box": { "inner": "i" }, "items": [{ "inner": "i", "level": 1 }],
            "tags": ["y", "x"] });
        assert_eq!(broken(&earlier, &later), [""; 0]);
    }

    #[test]
    fn a_known_value_that_moves_is_named() {
        let earlier =
            json!({ "name": "a", "box": { "level": 1 }, "items": [{ "inner": "i" }], "tags": ["x"] });
        for (later, path) in [
            (
                json!({ "name": "b", "box": { "level": 1 }, "items": [{ "inner": "i" }], "tags": ["x"] }),
                "name",
            ),
            (
                json!({ "name": "a", "box": { "level": 2 }, "items": [{ "inner": "i" }], "tags": ["x"] }),
                "box.level",
            ),
            (json!({ "name": "a", "box": null, "items": [{ "inner": "i" }], "tags": ["x"] }), "box"),
            (json!({ "name": "a", "box": { "level": 1 }, "items": [], "tags": ["x"] }), "items"),
            (
                json!({ "name": "a", "box": { "level": 1 }, "items": [{ "inner": "j" }], "tags": ["x"] }),
                "items[0].inner",
            ),
            (
                json!({ "name": "a", "box": { "level": 1 }, "items": [{ "inner": "i" }], "tags": ["y"] }),
                "tags",
            ),
            (
                json!({ "name": "a", "box": { "level": 1 }, "items": [{ "inner": "i" }], "tags": ["x", "y"] }),
                "tags",
            ),
            (
                json!({ "name": "a", "box": { "level": 1 }, "items": [{ "inner": "i" }], "tags": ["x"], "size": "1" }),
                "size",
            ),
        ] {
            assert_eq!(broken(&earlier, &later), [path], "{later}");
        }
    }
}
