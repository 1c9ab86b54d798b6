//! Configuration from state: what a user would have written, without what the defaults say anyway.

use pgha_schema::resource::{PostgresVersion, schema};
use pgha_schema::tf::{Attribute, Nesting, Shape};

use crate::value::Value;

/// A configuration whose plan over this state is empty.
pub fn config(state: &Value) -> Value {
    let mut config = object(&schema().attributes, state);
    let image = state.get("postgres_version").as_str().and_then(|text| text.parse::<PostgresVersion>().ok());
    if image.is_some_and(|version| state.get("image").as_str() == Some(&version.default_image())) {
        config.set_at("image", Value::Null);
    }
    config
}

fn object(attributes: &[Attribute], state: &Value) -> Value {
    let values = attributes.iter().map(|one| (one.name.clone(), attribute(one, state.get(&one.name))));
    Value::object(values)
}

fn attribute(schema: &Attribute, value: &Value) -> Value {
    let default = schema.default_value().map(|json| Value::from_json(&json, &schema.ty()));
    if schema.is_output() || schema.write_only || (!schema.required && default.as_ref() == Some(value)) {
        return Value::Null;
    }
    match (&schema.shape, value) {
        (Shape::Nested { nesting: Nesting::Single, attributes }, Value::Object(_)) => {
            object(attributes, value)
        }
        (Shape::Nested { attributes, .. }, Value::List(items)) => {
            Value::List(items.iter().map(|item| object(attributes, item)).collect())
        }
        (Shape::Nested { attributes, .. }, Value::Set(items)) => {
            Value::set(items.iter().map(|item| object(attributes, item)).collect())
        }
        (Shape::Nested { attributes, .. }, Value::Map(items)) => {
            Value::Map(items.iter().map(|(key, item)| (key.clone(), object(attributes, item))).collect())
        }
        (_, value) => value.clone(),
    }
}
