//! Values from JSON by type: for state that was stored, and for what import gives back.

use pgha_schema::tf::Type;
use serde_json::Value as Json;

use super::Value;

impl Value {
    /// From JSON, shaped by a type: attributes that the JSON lacks are null, those that the type lacks are dropped.
    /// What doesn't fit the type at all becomes null.
    pub fn from_json(json: &Json, ty: &Type) -> Self {
        match (ty, json) {
            (_, Json::Null) => Self::Null,
            (Type::Object { attrs, .. }, Json::Object(items)) => Self::Object(
                attrs
                    .iter()
                    .map(|(name, ty)| {
                        let value = items.get(name).map_or(Self::Null, |json| Self::from_json(json, ty));
                        (name.clone(), value)
                    })
                    .collect(),
            ),
            (Type::Map(element), Json::Object(items)) => Self::Map(
                items.iter().map(|(key, json)| (key.clone(), Self::from_json(json, element))).collect(),
            ),
            (Type::List(element), Json::Array(items)) => {
                Self::List(items.iter().map(|json| Self::from_json(json, element)).collect())
            }
            (Type::Set(element), Json::Array(items)) => {
                Self::set(items.iter().map(|json| Self::from_json(json, element)).collect())
            }
            (Type::Tuple(elements), Json::Array(items)) => {
                Self::List(elements.iter().zip(items).map(|(ty, json)| Self::from_json(json, ty)).collect())
            }
            (Type::String, Json::String(_))
            | (Type::Number, Json::Number(_))
            | (Type::Bool, Json::Bool(_))
            | (Type::Dynamic, _) => Self::from_json_untyped(json),
            _ => Self::Null,
        }
    }

    /// The object of a type with every attribute null.
    pub fn empty_object(ty: &Type) -> Self {
        Self::from_json(&Json::Object(serde_json::Map::new()), ty)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_takes_the_shape_of_the_type() {
        let attrs = [
            ("labels".to_owned(), Type::map(Type::String)),
            ("size".to_owned(), Type::String),
            ("tags".to_owned(), Type::set(Type::String)),
        ];
        let ty = Type::Object { attrs: attrs.into(), optional: Default::default() };
        let value = Value::from_json(&json!({"labels": {"a": "b"}, "tags": ["y", "x", "y"], "old": 1}), &ty);
        let expected = Value::object([
            ("labels", Value::map([("a", Value::from("b"))])),
            ("size", Value::Null),
            ("tags", Value::Set(vec!["x".into(), "y".into()])),
        ]);
        assert_eq!(value, expected);
    }
}
