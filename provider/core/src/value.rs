//! The values of Terraform's language: known, null, or not known yet (P3).

mod typed;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use crate::path::{Path, Step};

/// A value as Terraform sends it. Not knowing is a value of its own, never a missing one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// Known only after apply.
    Unknown,
    /// Not set.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, exactly as it came.
    Number(Number),
    /// A text.
    String(String),
    /// Values in an order.
    List(Vec<Value>),
    /// Values without an order; made by [`Value::set`], which sorts, so that equal sets are equal values.
    Set(Vec<Value>),
    /// Values of one type by key.
    Map(BTreeMap<String, Value>),
    /// Attributes; each one of its type is there, null when not set.
    Object(BTreeMap<String, Value>),
    /// A value that carries its own type, for attributes of type `dynamic`.
    Dynamic {
        /// The type as Terraform writes it in JSON.
        type_json: String,
        /// The value.
        value: Box<Value>,
    },
}

static NULL: Value = Value::Null;
static UNKNOWN: Value = Value::Unknown;

impl Value {
    /// A text.
    pub fn string(text: impl Into<String>) -> Self {
        Self::String(text.into())
    }

    /// A whole number.
    pub fn int(number: impl Into<i64>) -> Self {
        Self::Number(Number::Int(number.into()))
    }

    /// A set: sorted, each value once.
    pub fn set(mut items: Vec<Value>) -> Self {
        items.sort();
        items.dedup();
        Self::Set(items)
    }

    /// An object from its attributes.
    pub fn object<K: Into<String>>(attributes: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self::Object(attributes.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }

    /// A map from its elements.
    pub fn map<K: Into<String>>(elements: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self::Map(elements.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }

    /// It is not set.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// It itself is not known; what is inside a known collection may still not be.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown)
    }

    /// Nothing in it is unknown.
    pub fn is_wholly_known(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => true,
            Self::List(items) | Self::Set(items) => items.iter().all(Self::is_wholly_known),
            Self::Map(items) | Self::Object(items) => items.values().all(Self::is_wholly_known),
            Self::Dynamic { value, .. } => value.is_wholly_known(),
        }
    }

    /// The value at `path`. What is inside a null is null, what is inside an unknown is unknown, and so is an absent
    /// attribute, key or index null.
    pub fn at(&self, path: &Path) -> &Value {
        let mut here = self;
        for step in path.steps() {
            here = match (here, step) {
                (Self::Unknown, _) => return &UNKNOWN,
                (Self::Object(items), Step::Attribute(name)) => items.get(name).unwrap_or(&NULL),
                (Self::Map(items), Step::Key(key)) => items.get(key).unwrap_or(&NULL),
                (Self::List(items) | Self::Set(items), Step::Index(index)) => {
                    items.get(*index as usize).unwrap_or(&NULL)
                }
                _ => return &NULL,
            };
        }
        here
    }

    /// The value at a path of attributes: `value.get("storage.size")`.
    pub fn get(&self, dotted: &str) -> &Value {
        self.at(&Path::of(dotted))
    }

    /// Sets an attribute at a path of attributes; nothing happens where an object on the way is null or unknown.
    pub fn set_at(&mut self, dotted: &str, value: Value) {
        let mut names = dotted.split('.').peekable();
        let mut here = self;
        while let Some(name) = names.next() {
            let Self::Object(items) = here else { return };
            if names.peek().is_none() {
                items.insert(name.to_owned(), value);
                return;
            }
            let Some(next) = items.get_mut(name) else { return };
            here = next;
        }
    }

    /// The text, when it is a known one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The truth value, when it is a known one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The whole number, when it is a known one.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Number(number) => number.as_i64(),
            _ => None,
        }
    }

    /// The attributes or elements, when it is a known object or map.
    pub fn as_entries(&self) -> Option<&BTreeMap<String, Value>> {
        match self {
            Self::Object(items) | Self::Map(items) => Some(items),
            _ => None,
        }
    }

    /// The elements, when it is a known list or set.
    pub fn as_items(&self) -> Option<&[Value]> {
        match self {
            Self::List(items) | Self::Set(items) => Some(items),
            _ => None,
        }
    }

    /// The known texts in a list or set.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.as_items().unwrap_or_default().iter().filter_map(Self::as_str)
    }

    /// As JSON; `None` when anything in it is unknown. Null attributes are left out of objects, which is what serde's
    /// `Option` expects.
    pub fn to_json(&self) -> Option<serde_json::Value> {
        use serde_json::Value as Json;
        Some(match self {
            Self::Unknown => return None,
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Number(number) => number.to_json()?,
            Self::String(text) => Json::String(text.clone()),
            Self::List(items) | Self::Set(items) => {
                Json::Array(items.iter().map(Self::to_json).collect::<Option<_>>()?)
            }
            Self::Map(items) => Json::Object(
                items.iter().map(|(k, v)| Some((k.clone(), v.to_json()?))).collect::<Option<_>>()?,
            ),
            Self::Object(items) => {
                let set = items.iter().filter(|(_, value)| !value.is_null());
                Json::Object(set.map(|(k, v)| Some((k.clone(), v.to_json()?))).collect::<Option<_>>()?)
            }
            Self::Dynamic { value, .. } => value.to_json()?,
        })
    }

    /// From JSON without a type: objects become [`Value::Object`], arrays [`Value::List`].
    pub fn from_json_untyped(json: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => Self::Number(Number::from_json(number)),
            Json::String(text) => Self::String(text.clone()),
            Json::Array(items) => Self::List(items.iter().map(Self::from_json_untyped).collect()),
            Json::Object(items) => {
                Self::Object(items.iter().map(|(k, v)| (k.clone(), Self::from_json_untyped(v))).collect())
            }
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

/// A number, exactly. Whole numbers have one form each: [`Number::Int`] where it fits, else [`Number::Uint`].
#[derive(Clone, Debug)]
pub enum Number {
    /// A whole number.
    Int(i64),
    /// A whole number beyond `i64::MAX`.
    Uint(u64),
    /// A number that is exactly a double and not a whole one that fits the others.
    Float(f64),
    /// Any other, in decimal text: Terraform sends `0.1` so.
    Decimal(String),
}

impl Number {
    /// From an unsigned number.
    pub fn from_u64(number: u64) -> Self {
        i64::try_from(number).map_or(Self::Uint(number), Self::Int)
    }

    /// From a double; whole ones become whole numbers. `None` for what is no number or infinite.
    pub fn from_f64(number: f64) -> Option<Self> {
        if !number.is_finite() {
            return None;
        }
        // Beyond 2^53 a double that looks whole may be the rounding of another number.
        if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 {
            return Some(Self::Int(number as i64));
        }
        Some(Self::Float(number))
    }

    /// From decimal text. `None` when it is not a number.
    pub fn from_text(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse::<i64>() {
            return Some(Self::Int(number));
        }
        if let Ok(number) = text.parse::<u64>() {
            return Some(Self::Uint(number));
        }
        let shape = |c: u8| c.is_ascii_digit() || matches!(c, b'+' | b'-' | b'.' | b'e' | b'E');
        (text.bytes().all(shape) && text.parse::<f64>().is_ok()).then(|| Self::Decimal(text.to_owned()))
    }

    fn from_json(number: &serde_json::Number) -> Self {
        if let Some(number) = number.as_i64() {
            return Self::Int(number);
        }
        if let Some(number) = number.as_u64() {
            return Self::Uint(number);
        }
        number.as_f64().and_then(Self::from_f64).unwrap_or_else(|| Self::Decimal(number.to_string()))
    }

    /// The number, when it is whole and fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Uint(_) | Self::Float(_) | Self::Decimal(_) => None,
        }
    }

    /// The nearest double: for comparing with bounds.
    pub fn as_f64(&self) -> f64 {
        match self {
            Self::Int(number) => *number as f64,
            Self::Uint(number) => *number as f64,
            Self::Float(number) => *number,
            Self::Decimal(text) => text.parse().unwrap_or(f64::NAN),
        }
    }

    fn to_json(&self) -> Option<serde_json::Value> {
        Some(match self {
            Self::Int(number) => (*number).into(),
            Self::Uint(number) => (*number).into(),
            Self::Float(_) | Self::Decimal(_) => {
                serde_json::Value::Number(serde_json::Number::from_f64(self.as_f64())?)
            }
        })
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Int(_) => 0,
            Self::Uint(_) => 1,
            Self::Float(_) => 2,
            Self::Decimal(_) => 3,
        }
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Uint(a), Self::Uint(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b),
            (Self::Decimal(a), Self::Decimal(b)) => a.cmp(b),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => number.fmt(f),
            Self::Uint(number) => number.fmt(f),
            Self::Float(number) => number.fmt(f),
            Self::Decimal(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_inside_an_unknown_is_unknown_and_inside_a_null_null() {
        let value = Value::object([("a", Value::Unknown), ("b", Value::Null)]);
        assert!(value.get("a.x.y").is_unknown());
        assert!(value.get("b.x").is_null());
        assert!(value.get("c").is_null());
        assert!(!value.is_wholly_known());
    }

    #[test]
    fn a_whole_number_has_one_form() {
        assert_eq!(Number::from_text("3"), Some(Number::Int(3)));
        assert_eq!(Number::from_f64(3.0), Some(Number::Int(3)));
        assert_eq!(Number::from_u64(3), Number::Int(3));
        assert_eq!(Number::from_text("18446744073709551615"), Some(Number::Uint(u64::MAX)));
        assert_eq!(Number::from_text("0.1"), Some(Number::Decimal("0.1".to_owned())));
        assert_eq!(Number::from_text("NaN"), None);
        assert_eq!(Number::from_text(""), None);
    }

    #[test]
    fn sets_are_equal_in_any_order() {
        let set = |texts: [&str; 3]| Value::set(texts.into_iter().map(Value::from).collect());
        assert_eq!(set(["a", "b", "a"]), set(["b", "a", "a"]));
    }

    #[test]
    fn json_leaves_null_attributes_out_and_refuses_unknowns() {
        let value = Value::object([("a", Value::int(1)), ("b", Value::Null)]);
        assert_eq!(value.to_json(), Some(serde_json::json!({"a": 1})));
        assert_eq!(Value::List(vec![Value::Unknown]).to_json(), None);
    }
}
