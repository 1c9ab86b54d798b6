//! The inputs of a plan: config, with defaults where it says nothing, in the spelling of the prior state where that means
//! the same (P4, P5).

use std::collections::BTreeMap;

use pgha_schema::semantic;
use pgha_schema::tf::{Attribute, Nesting, Shape};

use crate::value::Value;

/// The planned inputs: outputs are null here, derived attributes too where config has none.
///
/// Defaults come from config alone, never from the prior state: an attribute that was removed returns to its default.
/// The prior state gives nothing but the spelling of what means the same.
pub fn inputs(attributes: &[Attribute], config: &Value, prior: &Value) -> Value {
    object(attributes, config, prior)
}

fn object(attributes: &[Attribute], config: &Value, prior: &Value) -> Value {
    let planned = attributes.iter().map(|child| {
        let value = if child.is_output() || child.write_only {
            Value::Null
        } else {
            attribute(child, config.get(&child.name), prior.get(&child.name))
        };
        (child.name.clone(), value)
    });
    Value::Object(planned.collect())
}

fn attribute(schema: &Attribute, config: &Value, prior: &Value) -> Value {
    if config.is_unknown() {
        return Value::Unknown;
    }
    let default;
    let wanted = if config.is_null() {
        let json = schema.default_value().map(|json| Value::from_json(&json, &schema.ty()));
        default = json.unwrap_or(Value::Null);
        &default
    } else {
        config
    };
    match &schema.shape {
        Shape::Leaf(_) => spelled(schema, wanted, prior),
        Shape::Nested { nesting, attributes } => nested(*nesting, attributes, wanted, prior),
    }
}

/// The prior spelling where the whole leaf means the same, else the new one word for word.
fn spelled(schema: &Attribute, wanted: &Value, prior: &Value) -> Value {
    if same_meaning(schema, wanted, prior) { prior.clone() } else { wanted.clone() }
}

fn nested(nesting: Nesting, attributes: &[Attribute], wanted: &Value, prior: &Value) -> Value {
    match (nesting, wanted) {
        (Nesting::Single, Value::Object(_)) => object(attributes, wanted, prior),
        (Nesting::List, Value::List(items)) => {
            let before = prior.as_items().unwrap_or_default();
            let at = |index: usize| before.get(index).unwrap_or(&Value::Null);
            let items = items.iter().enumerate();
            Value::List(items.map(|(index, item)| element(attributes, item, at(index))).collect())
        }
        (Nesting::Map, Value::Map(items)) => {
            let none = BTreeMap::new();
            let before = prior.as_entries().unwrap_or(&none);
            let at = |key: &String| before.get(key).unwrap_or(&Value::Null);
            Value::Map(
                items.iter().map(|(key, item)| (key.clone(), element(attributes, item, at(key)))).collect(),
            )
        }
        (Nesting::Set, Value::Set(items)) => {
            let planned =
                Value::set(items.iter().map(|item| element(attributes, item, &Value::Null)).collect());
            if planned == *prior { prior.clone() } else { planned }
        }
        (_, other) => other.clone(),
    }
}

fn element(attributes: &[Attribute], item: &Value, prior: &Value) -> Value {
    match item {
        Value::Object(_) => object(attributes, item, prior),
        other => other.clone(),
    }
}

/// Whether two values of a leaf mean the same.
pub fn same_meaning(schema: &Attribute, one: &Value, other: &Value) -> bool {
    if one == other {
        return true;
    }
    let Some(semantic) = schema.semantic else { return false };
    match (one.to_json(), other.to_json()) {
        (Some(one), Some(other)) => semantic::equal(semantic, &one, &other),
        _ => false,
    }
}
