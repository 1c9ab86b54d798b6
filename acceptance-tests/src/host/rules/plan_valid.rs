//! Is a plan one that the host accepts: every value as configured, as it was, or the provider's to set.

use serde_json::Value as Json;

use super::{Found, Rule, Violation};
use crate::host::schema::{Attribute, Nesting, Shape, join};

/// What of a plan of create or update is neither configured, nor as before, nor computed.
#[must_use]
pub fn plan_valid(attributes: &[Attribute], prior: &Json, config: &Json, planned: &Json) -> Vec<Violation> {
    let mut found = Found::new(Rule::PlanValid);
    object(attributes, "", [prior, config, planned], &mut found);
    found.done()
}

/// Prior, config and planned, in this order.
fn object(attributes: &[Attribute], at: &str, values: [&Json; 3], found: &mut Found) {
    for child in attributes {
        let path = join(at, &child.name);
        attribute(child, &path, values.map(|value| &value[&child.name]), found);
    }
}

fn attribute(schema: &Attribute, path: &str, values: [&Json; 3], found: &mut Found) {
    let [prior, config, planned] = values;
    if schema.write_only {
        if !planned.is_null() {
            found.add(path, "a write-only value is planned");
        }
        return;
    }
    let kept = planned == prior && !prior.is_null() && !config.is_null();
    let free = schema.computed && config.is_null();
    if planned == config || kept || free {
        return;
    }
    match &schema.shape {
        Shape::Nested(nesting, inner) if !config.is_null() => nested(*nesting, inner, path, values, found),
        _ if config.is_null() => found.add(path, format!("{planned} is planned and nothing is configured")),
        _ => found.add(path, format!("{planned} is planned and {config} is configured")),
    }
}

fn nested(nesting: Nesting, inner: &[Attribute], path: &str, values: [&Json; 3], found: &mut Found) {
    let [prior, config, planned] = values;
    match (nesting, config, planned) {
        (Nesting::Single, Json::Object(_), Json::Object(_)) => object(inner, path, values, found),
        (Nesting::List, Json::Array(wanted), Json::Array(items)) if wanted.len() == items.len() => {
            for (index, (wanted, item)) in wanted.iter().zip(items).enumerate() {
                object(inner, &format!("{path}[{index}]"), [&prior[index], wanted, item], found);
            }
        }
        (Nesting::Map, Json::Object(wanted), Json::Object(items)) if wanted.keys().eq(items.keys()) => {
            for (key, wanted) in wanted {
                object(inner, &format!("{path}[{key:?}]"), [&prior[key], wanted, &items[key]], found);
            }
        }
        // Elements of sets have no name by which two could be told to be the same.
        (Nesting::Set, Json::Array(wanted), Json::Array(items)) if wanted.len() == items.len() => {}
        _ => found.add(path, format!("{planned} is planned and {config} is configured")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::rules::samples::schema;
    use crate::host::schema::complete;
    use crate::proto_client::values::UNKNOWN;
    use serde_json::json;

    fn broken(prior: &Json, config: &Json, planned: &Json) -> Vec<String> {
        let schema = schema();
        let full = |json: &Json| complete(&schema, json);
        let found = plan_valid(&schema, &full(prior), &full(config), &full(planned));
        found.into_iter().map(|one| one.path).collect()
    }

    #[test]
    fn configured_kept_and_computed_values_are_fine() {
        let config = json!({ "name": "a", "size": "1024Mi", "box": { "inner": "i" } });
        let prior = json!({ "name": "a", "size": "1Gi" });
        let planned = json!({ "name": "a", "size": "1Gi", "mode": "x", "uri": UNKNOWN,
            "box": { "inner": "i", "level": 3 } });
        assert_eq!(broken(&prior, &config, &planned), [""; 0]);
        assert_eq!(broken(&Json::Null, &json!({ "name": UNKNOWN }), &json!({ "name": UNKNOWN })), [""; 0]);
    }

    #[test]
    fn everything_else_is_not() {
        let config = json!({ "name": "a", "size": "1", "items": [{ "inner": "i" }] });
        for (planned, path) in [
            (json!({ "name": "b", "size": "1", "items": [{ "inner": "i" }] }), "name"),
            (json!({ "name": "a", "size": UNKNOWN, "items": [{ "inner": "i" }] }), "size"),
            (json!({ "name": "a", "size": null, "items": [{ "inner": "i" }] }), "size"),
            (json!({ "name": "a", "size": "1", "items": [] }), "items"),
            (json!({ "name": "a", "size": "1", "items": [{ "inner": "j" }] }), "items[0].inner"),
            (json!({ "name": "a", "size": "1", "items": [{ "inner": "i" }], "tags": ["t"] }), "tags"),
            (json!({ "name": "a", "size": "1", "items": [{ "inner": "i" }], "secret": "s" }), "secret"),
        ] {
            assert_eq!(broken(&Json::Null, &config, &planned), [path], "{planned}");
        }
        // Only what is configured may be kept: a removed value has to go.
        let was = json!({ "name": "a", "size": "1" });
        assert_eq!(broken(&was, &json!({ "name": "a" }), &was), ["size"]);
    }
}
