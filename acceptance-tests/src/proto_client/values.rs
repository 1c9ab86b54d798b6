//! Values of the language, written and read with plain msgpack after the schema that the provider announced.

use super::pb::tfplugin6 as pb;
use anyhow::{Context as _, Result, bail, ensure};
use pb::schema::Attribute;
use pb::schema::object::NestingMode;
use rmpv::Value as Pack;
use serde_json::{Map, Value as Json};

/// Stands for an unknown value in JSON given to [`config`], and in JSON that [`json`] gives.
pub const UNKNOWN: &str = "(known after apply)";

/// A value of `schema` with the attributes that `given` has and null for all others.
///
/// # Errors
/// When `given` has an attribute that the schema lacks.
pub fn config(schema: &pb::Schema, given: &Json) -> Result<pb::DynamicValue> {
    let block = schema.block.as_ref().context("the schema has no block")?;
    ensure!(block.block_types.is_empty(), "blocks are not known here");
    dynamic(&object(&block.attributes, given)?)
}

/// A value as a function gets it: objects and maps are written alike.
///
/// # Errors
/// Never in practice.
pub fn argument(given: &Json) -> Result<pb::DynamicValue> {
    dynamic(&plain(given))
}

/// The null value.
///
/// # Errors
/// Never in practice.
pub fn null() -> Result<pb::DynamicValue> {
    dynamic(&Pack::Nil)
}

/// Any msgpack.
///
/// # Errors
/// Never in practice.
pub fn dynamic(pack: &Pack) -> Result<pb::DynamicValue> {
    let mut msgpack = Vec::new();
    rmpv::encode::write_value(&mut msgpack, pack)?;
    Ok(pb::DynamicValue { msgpack, json: Vec::new() })
}

/// What an answer holds, with [`UNKNOWN`] for unknown values.
///
/// # Errors
/// When it is no msgpack.
pub fn json(value: Option<&pb::DynamicValue>) -> Result<Json> {
    let Some(value) = value else { return Ok(Json::Null) };
    ensure!(value.json.is_empty(), "answers are msgpack only");
    let mut rest = value.msgpack.as_slice();
    let pack = rmpv::decode::read_value(&mut rest)?;
    ensure!(rest.is_empty(), "bytes after the value");
    to_json(pack)
}

fn object(attributes: &[Attribute], given: &Json) -> Result<Pack> {
    // An element of a list may be unknown as a whole.
    if given.is_null() || given.as_str() == Some(UNKNOWN) {
        return Ok(plain(given));
    }
    let given = given.as_object().context("an object is needed")?;
    for name in given.keys() {
        ensure!(attributes.iter().any(|attribute| attribute.name == *name), "there is no attribute {name:?}");
    }
    let entries = attributes.iter().map(|attribute| {
        let value = attribute_value(attribute, given.get(&attribute.name).unwrap_or(&Json::Null))?;
        Ok((Pack::from(attribute.name.as_str()), value))
    });
    entries.collect::<Result<_>>().map(Pack::Map)
}

fn attribute_value(attribute: &Attribute, given: &Json) -> Result<Pack> {
    let nested = attribute.nested_type.as_ref();
    match (nested, given) {
        (None, _) | (_, Json::Null) => Ok(plain(given)),
        (_, Json::String(text)) if text == UNKNOWN => Ok(plain(given)),
        (Some(nested), _) => {
            let each = |json: &Json| object(&nested.attributes, json);
            match (nested.nesting(), given) {
                (NestingMode::Single, json) => each(json),
                (NestingMode::List | NestingMode::Set, Json::Array(items)) => {
                    items.iter().map(each).collect::<Result<_>>().map(Pack::Array)
                }
                (NestingMode::Map, Json::Object(entries)) => entries
                    .iter()
                    .map(|(key, json)| Ok((Pack::from(key.as_str()), each(json)?)))
                    .collect::<Result<_>>()
                    .map(Pack::Map),
                (nesting, _) => bail!("{}: {nesting:?} does not go with {given}", attribute.name),
            }
        }
    }
}

fn plain(json: &Json) -> Pack {
    match json {
        Json::Null => Pack::Nil,
        Json::Bool(truth) => Pack::from(*truth),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => Pack::from(integer),
            None => Pack::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) if text == UNKNOWN => Pack::Ext(0, vec![0]),
        Json::String(text) => Pack::from(text.as_str()),
        Json::Array(items) => Pack::Array(items.iter().map(plain).collect()),
        Json::Object(entries) => {
            Pack::Map(entries.iter().map(|(key, item)| (Pack::from(key.as_str()), plain(item))).collect())
        }
    }
}

fn to_json(pack: Pack) -> Result<Json> {
    Ok(match pack {
        Pack::Nil => Json::Null,
        Pack::Boolean(truth) => truth.into(),
        Pack::Integer(integer) => match integer.as_i64() {
            Some(integer) => integer.into(),
            None => integer.as_u64().into(),
        },
        Pack::F32(number) => number.into(),
        Pack::F64(number) => number.into(),
        Pack::String(text) => text.into_str().context("a string is not UTF-8")?.into(),
        Pack::Array(items) => Json::Array(items.into_iter().map(to_json).collect::<Result<_>>()?),
        Pack::Map(entries) => {
            let mut map = Map::new();
            for (key, item) in entries {
                let key = key.as_str().context("a key is not a string")?.to_owned();
                ensure!(map.insert(key.clone(), to_json(item)?).is_none(), "{key:?} is there twice");
            }
            Json::Object(map)
        }
        Pack::Ext(0, _) => UNKNOWN.into(),
        Pack::Ext(kind, _) => bail!("the provider sent extension {kind}, which would bind it"),
        Pack::Binary(_) => bail!("bytes where a value should be"),
    })
}

/// What a host keeps of an answer: as [`json`], with the numbers of `schema` as numbers, also those that came in digits.
///
/// # Errors
/// When it is no msgpack, or a number is none.
pub fn stored(schema: &pb::Schema, value: Option<&pb::DynamicValue>) -> Result<Json> {
    let mut json = json(value)?;
    let block = schema.block.as_ref().context("the schema has no block")?;
    numbers_of(&block.attributes, &mut json)?;
    Ok(json)
}

fn numbers_of(attributes: &[Attribute], json: &mut Json) -> Result<()> {
    match json {
        Json::Array(items) => items.iter_mut().try_for_each(|item| numbers_of(attributes, item)),
        Json::Object(entries) => attributes.iter().try_for_each(|attribute| {
            let Some(item) = entries.get_mut(&attribute.name) else { return Ok(()) };
            match &attribute.nested_type {
                Some(nested) => numbers_of(&nested.attributes, item),
                None => numbers(&serde_json::from_slice(&attribute.r#type)?, item),
            }
        }),
        _ => Ok(()),
    }
}

fn numbers(ty: &Json, json: &mut Json) -> Result<()> {
    let is_number = ty == "number" && json.as_str().is_some_and(|text| text != UNKNOWN);
    if is_number {
        let text = json.as_str().unwrap_or_default();
        *json = Json::Number(text.parse().with_context(|| format!("{text} is no number"))?);
        return Ok(());
    }
    // Of types with parts, ["list", "number"] say, the second word is that of each part.
    match json {
        Json::Array(items) => items.iter_mut().try_for_each(|item| numbers(&ty[1], item)),
        Json::Object(entries) => entries.values_mut().try_for_each(|item| numbers(&ty[1], item)),
        _ => Ok(()),
    }
}

/// Messages as lines: `error storage.size: summary: detail`.
#[must_use]
pub fn messages(diagnostics: &[pb::Diagnostic]) -> Vec<String> {
    diagnostics
        .iter()
        .map(|diagnostic| {
            let severity = match diagnostic.severity() {
                pb::diagnostic::Severity::Error => "error",
                pb::diagnostic::Severity::Warning => "warning",
                pb::diagnostic::Severity::Invalid => "invalid",
            };
            let path = diagnostic.attribute.as_ref().map(path).unwrap_or_default();
            format!("{severity} {path}: {}: {}", diagnostic.summary, diagnostic.detail)
        })
        .collect()
}

/// A path as `storage.size`, `pg_hba[0]`, `labels["a"]`.
#[must_use]
pub fn path(path: &pb::AttributePath) -> String {
    use pb::attribute_path::step::Selector;
    let mut text = String::new();
    for step in &path.steps {
        match &step.selector {
            Some(Selector::AttributeName(name)) if text.is_empty() => text.push_str(name),
            Some(Selector::AttributeName(name)) => text.push_str(&format!(".{name}")),
            Some(Selector::ElementKeyString(key)) => text.push_str(&format!("[{key:?}]")),
            Some(Selector::ElementKeyInt(index)) => text.push_str(&format!("[{index}]")),
            None => text.push_str("[?]"),
        }
    }
    text
}
