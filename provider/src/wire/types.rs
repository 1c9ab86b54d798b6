//! Types as the protocol writes them, in JSON. We send those of our schema; we read those of dynamic values.

use super::{DEPTH_MAX, WireError};
use pgha_schema::tf::Type;
use serde_json::Value as Json;
use std::collections::BTreeSet;

/// Reads a type.
///
/// # Errors
/// When it is none.
pub fn parse(text: &[u8]) -> Result<Type, WireError> {
    let json: Json = serde_json::from_slice(text).map_err(|error| WireError::Malformed(error.to_string()))?;
    from_json(&json, DEPTH_MAX).ok_or_else(|| WireError::Malformed("not a type".to_owned()))
}

fn from_json(json: &Json, depth: usize) -> Option<Type> {
    let depth = depth.checked_sub(1)?;
    if let Some(word) = json.as_str() {
        return match word {
            "string" => Some(Type::String),
            "number" => Some(Type::Number),
            "bool" => Some(Type::Bool),
            "dynamic" => Some(Type::Dynamic),
            _ => None,
        };
    }
    let (word, inner) = json.as_array()?.split_first()?;
    let element = || from_json(inner.first()?, depth);
    match word.as_str()? {
        "list" => Some(Type::list(element()?)),
        "set" => Some(Type::set(element()?)),
        "map" => Some(Type::map(element()?)),
        "object" => {
            let attrs = inner.first()?.as_object()?.iter();
            let attrs =
                attrs.map(|(name, ty)| Some((name.clone(), from_json(ty, depth)?))).collect::<Option<_>>()?;
            Some(Type::Object { attrs, optional: BTreeSet::new() })
        }
        "tuple" => {
            let elements = inner.first()?.as_array()?.iter();
            Some(Type::Tuple(elements.map(|ty| from_json(ty, depth)).collect::<Option<_>>()?))
        }
        _ => None,
    }
}

/// The word for messages.
#[must_use]
pub fn word(ty: &Type) -> &'static str {
    match ty {
        Type::String => "a string",
        Type::Number => "a number",
        Type::Bool => "a bool",
        Type::Dynamic => "a value with its type",
        Type::List(_) => "a list",
        Type::Set(_) => "a set",
        Type::Map(_) => "a map",
        Type::Object { .. } => "an object",
        Type::Tuple(_) => "a tuple",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_come_back_as_they_went() {
        let all = Type::Tuple(vec![
            Type::String,
            Type::list(Type::Number),
            Type::set(Type::Bool),
            Type::map(Type::Dynamic),
            Type::Object { attrs: [("a".to_owned(), Type::String)].into(), optional: BTreeSet::new() },
        ]);
        assert_eq!(parse(all.to_json().to_string().as_bytes()), Ok(all));
    }

    #[test]
    fn endless_nesting_and_other_words_are_refused() {
        let deep = format!("{}\"string\"{}", r#"["list","#.repeat(100), "]".repeat(100));
        assert!(parse(deep.as_bytes()).is_err());
        assert!(parse(br#""text""#).is_err());
        assert!(parse(b"[]").is_err());
    }
}
