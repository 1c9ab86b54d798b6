//! The host's laws on plans of random configurations: every plan is one that the host accepts, and the plan made during
//! apply, when all is known, completes the one that the user saw.

use pgha_provider::wire::msgpack;
use pgha_provider_core::check;
use pgha_provider_core::facts::Facts;
use pgha_provider_core::generate;
use pgha_provider_core::plan::{self, Plan, Request};
use pgha_provider_core::value::Value;
use pgha_schema::resource::schema;
use pgha_schema::tf::{Attribute, Nesting, Shape, Type};
use proptest::prelude::*;

/// Texts that mean something to some attribute, equal meanings among them.
const TEXTS: [&str; 20] = [
    "1Gi",
    "1024Mi",
    "2Gi",
    "10s",
    "10000ms",
    "1m",
    "sync",
    "async",
    "18",
    "18.1",
    "17",
    "LoadBalancer",
    "ClusterIP",
    "required",
    "preferred",
    "db",
    "shop",
    "docker.io/library/postgres:18",
    "host all all all md5",
    "",
];

fn leaf(ty: &Type) -> BoxedStrategy<Value> {
    let known = match ty {
        Type::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Type::Number => (0..12i64).prop_map(Value::int).boxed(),
        Type::List(element) => prop::collection::vec(leaf(element), 0..3).prop_map(Value::List).boxed(),
        Type::Set(element) => prop::collection::vec(leaf(element), 0..3).prop_map(Value::set).boxed(),
        Type::Map(element) => {
            prop::collection::btree_map("[ab]", leaf(element), 0..3).prop_map(Value::Map).boxed()
        }
        Type::String | Type::Dynamic | Type::Object { .. } | Type::Tuple(_) => {
            prop::sample::select(&TEXTS[..]).prop_map(Value::from).boxed()
        }
    };
    prop_oneof![9 => known, 1 => Just(Value::Unknown)].boxed()
}

fn object(attributes: &[Attribute]) -> BoxedStrategy<Value> {
    let names: Vec<_> = attributes.iter().map(|one| one.name.clone()).collect();
    let values: Vec<_> = attributes.iter().map(configured).collect();
    values.prop_map(move |values| Value::object(names.iter().cloned().zip(values))).boxed()
}

/// A value as a user may write it; null for what the provider sets.
fn configured(attribute: &Attribute) -> BoxedStrategy<Value> {
    if attribute.is_output() {
        return Just(Value::Null).boxed();
    }
    let value = match &attribute.shape {
        Shape::Leaf(ty) => leaf(ty),
        Shape::Nested { nesting, attributes } => {
            let inner = object(attributes);
            let known = match nesting {
                Nesting::Single => inner,
                Nesting::List => prop::collection::vec(inner, 0..3).prop_map(Value::List).boxed(),
                Nesting::Set => prop::collection::vec(inner, 0..3).prop_map(Value::set).boxed(),
                Nesting::Map => prop::collection::btree_map("[ab]", inner, 0..3).prop_map(Value::Map).boxed(),
            };
            prop_oneof![9 => known, 1 => Just(Value::Unknown)].boxed()
        }
    };
    if attribute.required { value } else { prop_oneof![2 => value, 1 => Just(Value::Null)].boxed() }
}

fn config() -> BoxedStrategy<Value> {
    object(&schema().attributes)
}

/// `value` with each unknown given a value: what the host sends when everything else was applied.
fn known(value: &Value, ty: &Type) -> Value {
    match (value, ty) {
        (Value::Unknown, Type::String | Type::Dynamic | Type::Tuple(_)) => "1m".into(),
        (Value::Unknown, Type::Number) => Value::int(3),
        (Value::Unknown, Type::Bool) => Value::Bool(true),
        (Value::Unknown, Type::List(_)) => Value::List(Vec::new()),
        (Value::Unknown, Type::Set(_)) => Value::set(Vec::new()),
        (Value::Unknown, Type::Map(_)) => Value::map::<String>([]),
        (Value::Unknown, Type::Object { attrs, .. }) => {
            let values = attrs.iter().map(|(name, ty)| (name.clone(), default_known(ty)));
            Value::object(values)
        }
        (Value::List(items), Type::List(ty)) => {
            Value::List(items.iter().map(|item| known(item, ty)).collect())
        }
        (Value::Set(items), Type::Set(ty)) => Value::set(items.iter().map(|item| known(item, ty)).collect()),
        (Value::Map(items), Type::Map(ty)) => {
            Value::Map(items.iter().map(|(key, item)| (key.clone(), known(item, ty))).collect())
        }
        (Value::Object(items), Type::Object { attrs, .. }) => {
            let values = items.iter().map(|(name, item)| {
                let value = attrs.get(name).map_or_else(|| item.clone(), |ty| known(item, ty));
                (name.clone(), value)
            });
            Value::Object(values.collect())
        }
        _ => value.clone(),
    }
}

/// Inside an unknown object everything may also turn out null.
fn default_known(ty: &Type) -> Value {
    match ty {
        Type::String => "2Gi".into(),
        _ => Value::Null,
    }
}

fn plan_of(config: &Value, prior: &Value) -> Plan {
    plan::plan(&Request { config, prior, facts: &Facts::default(), agent_version: "0.1.0" })
}

/// What apply leaves behind when all goes well.
fn applied(plan: &Plan) -> Value {
    let mut state = known(&plan.planned, &schema().ty());
    state.set_at("ready", Value::Bool(true));
    state.set_at("system_identifier", "7312345678901234567".into());
    state
}

fn accepted(config: &Value, prior: &Value, plan: &Plan) -> Result<(), TestCaseError> {
    let found = check::plan(schema(), config, prior, &plan.planned, &plan.requires_replace);
    let texts: Vec<_> = found.iter().map(ToString::to_string).collect();
    prop_assert!(texts.is_empty(), "{texts:?}");
    let ty = schema().ty();
    let bytes = msgpack::encode(&plan.planned, &ty);
    prop_assert!(bytes.is_ok(), "{bytes:?}");
    let back = bytes.and_then(|bytes| msgpack::decode(&bytes, &ty));
    prop_assert_eq!(back.as_ref(), Ok(&plan.planned));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn plans_are_accepted(first in config(), second in config()) {
        let create = plan_of(&first, &Value::Null);
        accepted(&first, &Value::Null, &create)?;
        let state = applied(&create);
        accepted(&second, &state, &plan_of(&second, &state))?;
        accepted(&Value::Null, &state, &plan_of(&Value::Null, &state))?;
    }

    #[test]
    fn the_plan_during_apply_completes_the_first(before in config(), wanted in config()) {
        let settled = known(&wanted, &schema().ty());
        let state = applied(&plan_of(&before, &Value::Null));
        for prior in [Value::Null, state] {
            let (seen, last) = (plan_of(&wanted, &prior), plan_of(&settled, &prior));
            let found = check::completion(&seen.planned, &last.planned);
            let texts: Vec<_> = found.iter().map(ToString::to_string).collect();
            prop_assert!(texts.is_empty(), "{texts:?}");
        }
    }

    #[test]
    fn after_an_apply_nothing_is_left_to_do(wanted in config()) {
        let wanted = known(&wanted, &schema().ty());
        let state = applied(&plan_of(&wanted, &Value::Null));
        let again = plan_of(&wanted, &state);
        prop_assert_eq!(again.planned, state);
        prop_assert_eq!(again.requires_replace, []);
    }

    #[test]
    fn a_configuration_made_of_a_state_leaves_nothing_to_do(wanted in config()) {
        let wanted = known(&wanted, &schema().ty());
        let state = applied(&plan_of(&wanted, &Value::Null));
        let again = plan_of(&generate::config(&state), &state);
        prop_assert_eq!(again.planned, state);
        prop_assert_eq!(again.requires_replace, []);
    }
}
