//! Values in msgpack, the form in which hosts send them and expect them back.

use super::{DEPTH_MAX, WireError, mismatch, number, types};
use pgha_provider_core::path::Path;
use pgha_provider_core::value::{Number, Value};
use pgha_schema::tf::Type;
use rmpv::Value as Pack;
use std::collections::BTreeMap;

/// Extension type of a value that is not known. Hosts also send 12 (unknown, with what is known about it), which is
/// read the same; we never send that one, because what we promise there binds us.
const EXT_UNKNOWN: i8 = 0;

/// Reads one value of type `ty`.
///
/// # Errors
/// When the bytes are no msgpack, go on after the value, or don't fit the type.
pub fn decode(bytes: &[u8], ty: &Type) -> Result<Value, WireError> {
    let mut rest = bytes;
    let pack = rmpv::decode::read_value_with_max_depth(&mut rest, DEPTH_MAX)
        .map_err(|error| WireError::Malformed(error.to_string()))?;
    if !rest.is_empty() {
        return Err(WireError::Malformed("there are bytes after the value".to_owned()));
    }
    from_pack(pack, ty, &Path::root())
}

/// Writes one value of type `ty`.
///
/// # Errors
/// When `value` doesn't fit the type.
pub fn encode(value: &Value, ty: &Type) -> Result<Vec<u8>, WireError> {
    let pack = to_pack(value, ty, &Path::root())?;
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, &pack).map_err(|error| WireError::Malformed(error.to_string()))?;
    Ok(bytes)
}

/// The same value with whole numbers written in digits, for what a refresh answers.
///
/// Terraform 1.11 compares that answer with what it saved, down to the precision in which it holds numbers in memory, and a
/// msgpack integer gives it less precision than the digits of its state file do. `plan -refresh-only -detailed-exitcode` would end
/// with 2 while it prints "No changes".
pub fn in_digits(value: &Value) -> Value {
    match value {
        Value::Number(Number::Int(number)) => Value::Number(Number::Decimal(number.to_string())),
        Value::Number(Number::Uint(number)) => Value::Number(Number::Decimal(number.to_string())),
        Value::List(items) => Value::List(items.iter().map(in_digits).collect()),
        Value::Set(items) => Value::Set(items.iter().map(in_digits).collect()),
        Value::Map(entries) => Value::Map(each_in_digits(entries)),
        Value::Object(entries) => Value::Object(each_in_digits(entries)),
        Value::Dynamic { type_json, value } => {
            Value::Dynamic { type_json: type_json.clone(), value: Box::new(in_digits(value)) }
        }
        other => other.clone(),
    }
}

fn each_in_digits(entries: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    entries.iter().map(|(key, item)| (key.clone(), in_digits(item))).collect()
}

fn from_pack(pack: Pack, ty: &Type, path: &Path) -> Result<Value, WireError> {
    match (ty, pack) {
        (_, Pack::Nil) => Ok(Value::Null),
        (_, Pack::Ext(..)) => Ok(Value::Unknown),
        (Type::Bool, Pack::Boolean(truth)) => Ok(Value::Bool(truth)),
        (Type::String, Pack::String(text)) => {
            text.into_str().map(Value::String).ok_or_else(|| mismatch(path, "a string", "bytes"))
        }
        (Type::Number, pack) => from_pack_number(&pack, path),
        (Type::List(element), Pack::Array(items)) => from_items(items, |_| element, path).map(Value::List),
        (Type::Set(element), Pack::Array(items)) => from_items(items, |_| element, path).map(Value::set),
        (Type::Tuple(elements), Pack::Array(items)) if items.len() == elements.len() => {
            from_items(items, |index| &elements[index], path).map(Value::List)
        }
        (Type::Map(element), Pack::Map(entries)) => {
            let mut map = BTreeMap::new();
            for (key, item) in entries {
                let key = key_text(key, path)?;
                let item = from_pack(item, element, &path.key(&key))?;
                map.insert(key, item);
            }
            Ok(Value::Map(map))
        }
        (Type::Object { attrs, .. }, Pack::Map(entries)) => from_object(entries, attrs, path),
        (Type::Dynamic, Pack::Array(parts)) => from_dynamic(parts, path),
        (ty, pack) => Err(mismatch(path, types::word(ty), found(&pack))),
    }
}

fn from_items<'a>(
    items: Vec<Pack>,
    ty: impl Fn(usize) -> &'a Type,
    path: &Path,
) -> Result<Vec<Value>, WireError> {
    items
        .into_iter()
        .enumerate()
        .map(|(index, item)| from_pack(item, ty(index), &path.index(index)))
        .collect()
}

fn from_object(
    entries: Vec<(Pack, Pack)>,
    attrs: &BTreeMap<String, Type>,
    path: &Path,
) -> Result<Value, WireError> {
    let mut object = BTreeMap::new();
    for (key, item) in entries {
        let name = key_text(key, path)?;
        let Some(ty) = attrs.get(&name) else {
            return Err(WireError::ExtraAttribute { path: path.clone(), name });
        };
        let item = from_pack(item, ty, &path.attribute(&name))?;
        object.insert(name, item);
    }
    match attrs.keys().find(|name| !object.contains_key(*name)) {
        Some(name) => Err(WireError::MissingAttribute { path: path.clone(), name: name.clone() }),
        None => Ok(Value::Object(object)),
    }
}

fn from_dynamic(parts: Vec<Pack>, path: &Path) -> Result<Value, WireError> {
    let wrong = || mismatch(path, "a type and a value", "something else");
    let [type_json, value]: [Pack; 2] = parts.try_into().map_err(|_| wrong())?;
    let type_json = match type_json {
        Pack::Binary(bytes) => String::from_utf8(bytes).map_err(|_| wrong())?,
        Pack::String(text) => text.into_str().ok_or_else(wrong)?,
        _ => return Err(wrong()),
    };
    let ty = types::parse(type_json.as_bytes())?;
    let value = from_pack(value, &ty, path)?;
    Ok(Value::Dynamic { type_json, value: Box::new(value) })
}

fn from_pack_number(pack: &Pack, path: &Path) -> Result<Value, WireError> {
    let number = match pack {
        Pack::Integer(integer) => {
            integer.as_i64().map(Number::Int).or_else(|| integer.as_u64().map(Number::from_u64))
        }
        Pack::F32(single) => Number::from_f64(f64::from(*single)),
        Pack::F64(double) => Number::from_f64(*double),
        // Anything that is exactly neither an i64 nor a double.
        Pack::String(text) => text.as_str().and_then(number::from_text),
        _ => return Err(mismatch(path, "a number", found(pack))),
    };
    number.map(Value::Number).ok_or_else(|| mismatch(path, "a finite number", found(pack)))
}

fn key_text(key: Pack, path: &Path) -> Result<String, WireError> {
    match key {
        Pack::String(text) => text.into_str().ok_or_else(|| mismatch(path, "a string as key", "bytes")),
        other => Err(mismatch(path, "a string as key", found(&other))),
    }
}

fn found(pack: &Pack) -> &'static str {
    match pack {
        Pack::Nil => "null",
        Pack::Boolean(_) => "a bool",
        Pack::Integer(_) | Pack::F32(_) | Pack::F64(_) => "a number",
        Pack::String(_) => "a string",
        Pack::Binary(_) => "bytes",
        Pack::Array(_) => "an array",
        Pack::Map(_) => "a map",
        Pack::Ext(..) => "an extension",
    }
}

fn to_pack(value: &Value, ty: &Type, path: &Path) -> Result<Pack, WireError> {
    let wrong = || mismatch(path, types::word(ty), kind(value));
    match (ty, value) {
        (_, Value::Null) => Ok(Pack::Nil),
        (_, Value::Unknown) => Ok(Pack::Ext(EXT_UNKNOWN, vec![0])),
        (Type::Bool, Value::Bool(truth)) => Ok(Pack::Boolean(*truth)),
        (Type::String, Value::String(text)) => Ok(Pack::from(text.as_str())),
        (Type::Number, Value::Number(number)) => Ok(match number {
            Number::Int(number) => Pack::from(*number),
            Number::Uint(number) => Pack::from(*number),
            Number::Float(number) => Pack::from(*number),
            Number::Decimal(text) => Pack::from(text.as_str()),
        }),
        (Type::List(element), Value::List(items)) | (Type::Set(element), Value::Set(items)) => {
            to_items(items, |_| element, path)
        }
        (Type::Tuple(elements), Value::List(items)) if items.len() == elements.len() => {
            to_items(items, |index| &elements[index], path)
        }
        (Type::Map(element), Value::Map(entries)) => {
            let entries = entries.iter();
            let entries = entries
                .map(|(key, item)| Ok((Pack::from(key.as_str()), to_pack(item, element, &path.key(key))?)));
            entries.collect::<Result<_, _>>().map(Pack::Map)
        }
        (Type::Object { attrs, .. }, Value::Object(object)) => to_object(object, attrs, path),
        (Type::Dynamic, Value::Dynamic { type_json, value }) => {
            let ty = types::parse(type_json.as_bytes())?;
            let value = to_pack(value, &ty, path)?;
            Ok(Pack::Array(vec![Pack::Binary(type_json.clone().into_bytes()), value]))
        }
        _ => Err(wrong()),
    }
}

fn to_items<'a>(items: &[Value], ty: impl Fn(usize) -> &'a Type, path: &Path) -> Result<Pack, WireError> {
    let items = items.iter().enumerate();
    items
        .map(|(index, item)| to_pack(item, ty(index), &path.index(index)))
        .collect::<Result<_, _>>()
        .map(Pack::Array)
}

fn to_object(
    object: &BTreeMap<String, Value>,
    attrs: &BTreeMap<String, Type>,
    path: &Path,
) -> Result<Pack, WireError> {
    if let Some(name) = object.keys().find(|name| !attrs.contains_key(*name)) {
        return Err(WireError::ExtraAttribute { path: path.clone(), name: name.clone() });
    }
    let mut entries = Vec::with_capacity(attrs.len());
    for (name, ty) in attrs {
        let Some(item) = object.get(name) else {
            return Err(WireError::MissingAttribute { path: path.clone(), name: name.clone() });
        };
        entries.push((Pack::from(name.as_str()), to_pack(item, ty, &path.attribute(name))?));
    }
    Ok(Pack::Map(entries))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Unknown => "an unknown value",
        Value::Null => "null",
        Value::Bool(_) => "a bool",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::List(_) => "a list",
        Value::Set(_) => "a set",
        Value::Map(_) => "a map",
        Value::Object(_) => "an object",
        Value::Dynamic { .. } => "a value with its type",
    }
}

#[cfg(test)]
#[path = "msgpack_tests.rs"]
mod tests;
