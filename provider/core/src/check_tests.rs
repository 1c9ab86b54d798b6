//! Each rule broken once, on the resource's own schema.

use pgha_schema::resource::schema;

use super::*;
use crate::facts::Facts;
use crate::plan::{Request, plan as make};

fn null_object(attributes: &[Attribute]) -> Value {
    Value::object(attributes.iter().map(|one| (one.name.clone(), Value::Null)))
}

/// Config with the required attributes.
fn config() -> Value {
    let mut config = null_object(&schema().attributes);
    config.set_at("name", "db".into());
    config.set_at("namespace", "shop".into());
    let storage = schema().attribute("storage").map(Attribute::attributes).unwrap_or_default();
    config.set_at("storage", null_object(storage));
    config.set_at("storage.size", "1Gi".into());
    config
}

fn planned(config: &Value, prior: &Value) -> Value {
    make(&Request { config, prior, facts: &Facts::default(), agent_version: "0.1.0" }).planned
}

fn filled(value: &Value) -> Value {
    match value {
        Value::Unknown => Value::Null,
        Value::Object(items) => {
            Value::Object(items.iter().map(|(name, item)| (name.clone(), filled(item))).collect())
        }
        other => other.clone(),
    }
}

fn texts(found: Vec<Violation>) -> Vec<String> {
    found.iter().map(ToString::to_string).collect()
}

fn check(config: &Value, prior: &Value, planned: &Value) -> Vec<String> {
    texts(plan(schema(), config, prior, planned, &[]))
}

#[test]
fn our_own_plans_pass() {
    let create = planned(&config(), &Value::Null);
    assert_eq!(check(&config(), &Value::Null, &create), [""; 0]);
    let state = filled(&create);
    let mut wanted = config();
    wanted.set_at("replicas", Value::int(3));
    assert_eq!(check(&wanted, &state, &planned(&wanted, &state)), [""; 0]);
    assert_eq!(check(&Value::Null, &state, &Value::Null), [""; 0]);
}

#[test]
fn what_is_configured_must_be_planned_so_or_kept() {
    let mut plan = planned(&config(), &Value::Null);
    plan.set_at("name", "other".into());
    plan.set_at("storage.size", "2Gi".into());
    let found = check(&config(), &Value::Null, &plan);
    assert_eq!(
        found,
        [
            "name: is planned neither as configured nor as it was",
            "storage.size: is planned neither as configured nor as it was"
        ]
    );
    // The prior spelling may stand in for what means the same.
    let mut prior = filled(&planned(&config(), &Value::Null));
    prior.set_at("storage.size", "2Gi".into());
    prior.set_at("name", "other".into());
    assert_eq!(check(&config(), &prior, &plan), [""; 0]);
}

#[test]
fn only_computed_attributes_get_values_of_their_own() {
    let mut plan = planned(&config(), &Value::Null);
    plan.set_at("storage.class", "fast".into());
    assert_eq!(
        check(&config(), &Value::Null, &plan),
        ["storage.class: is planned but neither configured nor computed"]
    );
}

#[test]
fn presence_follows_config() {
    let plan = planned(&config(), &Value::Null);
    assert_eq!(
        check(&config(), &plan, &Value::Null),
        ["the resource: is planned to be gone where config wants it"]
    );
    assert_eq!(
        check(&Value::Null, &plan, &plan),
        ["the resource: is planned to exist where config wants it gone"]
    );
}

#[test]
fn a_replacement_names_an_attribute_that_is_there() {
    let prior = planned(&config(), &Value::Null);
    let found = plan(schema(), &config(), &prior, &prior, &[Path::of("name"), Path::of("storage.speed")]);
    assert_eq!(texts(found), ["storage.speed: requires a replacement but is in neither state nor plan"]);
}

#[test]
fn apply_keeps_what_was_known_and_leaves_nothing_unknown() {
    let plan = planned(&config(), &Value::Null);
    let mut new = filled(&plan);
    assert_eq!(texts(apply(schema(), &plan, &new)), [""; 0]);
    new.set_at("replicas", Value::int(1));
    new.set_at("ready", Value::Unknown);
    new.set_at("rw_host", Value::Null);
    assert_eq!(
        texts(apply(schema(), &plan, &new)),
        [
            "replicas: is another value than planned",
            "rw_host: was planned and is null now",
            "ready: is still unknown"
        ]
    );
}

#[test]
fn elements_of_sets_are_correlated_by_value() {
    let set = |items: Vec<Value>| Value::set(items);
    let rules = |planned: Value, new: Value| {
        let mut found = Found::default();
        compatible(&planned, &new, &Path::of("s"), &mut found);
        texts(found.0)
    };
    assert_eq!(rules(set(vec!["a".into(), Value::Unknown]), set(vec!["a".into(), "b".into()])), [""; 0]);
    assert_eq!(rules(set(vec!["a".into(), Value::Unknown]), set(vec!["a".into()])), [""; 0]);
    assert_eq!(
        rules(set(vec!["a".into()]), set(vec!["b".into()])),
        ["s: has lost an element that was planned", "s: has an element that was not planned"]
    );
    assert_eq!(
        rules(set(vec![Value::Unknown]), set(vec!["a".into(), "b".into()])),
        ["s: has more elements than planned"]
    );
}
