//! Values in JSON: state as it was stored. Read with tolerance, because an older provider wrote it: an attribute that
//! is missing is null, one that the schema no longer has is dropped.

use super::{DEPTH_MAX, WireError, mismatch, number, types};
use pgha_provider_core::path::Path;
use pgha_provider_core::value::Value;
use pgha_schema::tf::Type;
use serde_json::Value as Json;

/// Reads one value of type `ty`.
///
/// # Errors
/// When the bytes are no JSON, or a value has another type than its attribute.
pub fn decode(bytes: &[u8], ty: &Type) -> Result<Value, WireError> {
    // serde_json stops at a depth of 128 by itself.
    let json: Json =
        serde_json::from_slice(bytes).map_err(|error| WireError::Malformed(error.to_string()))?;
    from_json(&json, ty, &Path::root(), DEPTH_MAX)
}

fn from_json(json: &Json, ty: &Type, path: &Path, depth: usize) -> Result<Value, WireError> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(WireError::Malformed("it nests too deep".to_owned()));
    };
    let wrong = || mismatch(path, types::word(ty), found(json));
    let items = |items: &[Json], element: &Type| -> Result<Vec<Value>, WireError> {
        let items = items.iter().enumerate();
        items.map(|(index, item)| from_json(item, element, &path.index(index), depth)).collect()
    };
    match (ty, json) {
        (_, Json::Null) => Ok(Value::Null),
        (Type::String, Json::String(text)) => Ok(Value::String(text.clone())),
        (Type::Bool, Json::Bool(truth)) => Ok(Value::Bool(*truth)),
        (Type::Number, Json::Number(number)) => {
            number::from_text(&number.to_string()).map(Value::Number).ok_or_else(wrong)
        }
        (Type::Number, Json::String(text)) => number::from_text(text).map(Value::Number).ok_or_else(wrong),
        (Type::List(element), Json::Array(array)) => items(array, element).map(Value::List),
        (Type::Set(element), Json::Array(array)) => items(array, element).map(Value::set),
        (Type::Tuple(elements), Json::Array(array)) if array.len() == elements.len() => {
            let pairs = array.iter().zip(elements).enumerate();
            let parsed = pairs.map(|(index, (item, ty))| from_json(item, ty, &path.index(index), depth));
            parsed.collect::<Result<_, _>>().map(Value::List)
        }
        (Type::Map(element), Json::Object(entries)) => {
            let entries = entries.iter();
            let parsed = entries
                .map(|(key, item)| Ok((key.clone(), from_json(item, element, &path.key(key), depth)?)));
            parsed.collect::<Result<_, _>>().map(Value::Map)
        }
        (Type::Object { attrs, .. }, Json::Object(entries)) => {
            let parsed = attrs.iter().map(|(name, ty)| {
                let item = entries.get(name).unwrap_or(&Json::Null);
                Ok((name.clone(), from_json(item, ty, &path.attribute(name), depth)?))
            });
            parsed.collect::<Result<_, _>>().map(Value::Object)
        }
        (Type::Dynamic, Json::Object(entries)) => {
            let (Some(ty), Some(value)) = (entries.get("type"), entries.get("value")) else {
                return Err(wrong());
            };
            let type_json = ty.to_string();
            let ty = types::parse(type_json.as_bytes())?;
            let value = from_json(value, &ty, path, depth)?;
            Ok(Value::Dynamic { type_json, value: Box::new(value) })
        }
        _ => Err(wrong()),
    }
}

fn found(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "a bool",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgha_provider_core::value::Number;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn state() -> Type {
        let attrs = [
            ("name".to_owned(), Type::String),
            ("replicas".to_owned(), Type::Number),
            ("labels".to_owned(), Type::map(Type::String)),
            ("hosts".to_owned(), Type::set(Type::String)),
        ];
        Type::Object { attrs: attrs.into(), optional: BTreeSet::new() }
    }

    #[test]
    fn missing_attributes_are_null_and_removed_ones_dropped() {
        let value = decode(br#"{"name":"a","gone":[1],"replicas":"3","hosts":["y","x"]}"#, &state()).unwrap();
        let expected = Value::object([
            ("name", "a".into()),
            ("replicas", Value::int(3)),
            ("labels", Value::Null),
            ("hosts", Value::set(vec!["x".into(), "y".into()])),
        ]);
        assert_eq!(value, expected);
    }

    #[test]
    fn another_type_is_named_with_its_place() {
        let error = decode(br#"{"labels":{"a":1}}"#, &state()).unwrap_err();
        assert_eq!(error.to_string(), "labels[\"a\"]: expected a string, found a number");
    }

    #[test]
    fn numbers_have_the_form_that_msgpack_gives_them() {
        let number = |text: &str| decode(text.as_bytes(), &Type::Number).unwrap();
        assert_eq!(number("0.5"), Value::Number(Number::Float(0.5)));
        assert_eq!(number("0.1"), Value::Number(Number::Decimal("0.1".to_owned())));
        assert_eq!(number("3"), Value::int(3));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes, &state());
        }
    }
}
