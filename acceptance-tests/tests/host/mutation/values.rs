//! Values as a left-out rule leaves them.

use anyhow::Result;
use pgha_acceptance_tests::host::schema::{Attribute, Nesting, Shape, is_unknown, join};
use pgha_acceptance_tests::proto_client::pb::tfplugin6 as pb;
use pgha_acceptance_tests::proto_client::values::{argument, dynamic};
use rmpv::Value as Pack;
use serde_json::Value as Json;

use crate::generate::synonym;
use crate::learn::Learned;

/// An identity as it goes over the wire.
pub fn identity(parts: &Json) -> Result<pb::ResourceIdentityData> {
    Ok(pb::ResourceIdentityData { identity_data: Some(argument(parts)?) })
}

/// A path of one name.
pub fn named(name: &str) -> pb::AttributePath {
    use pb::attribute_path::{Step, step::Selector};
    pb::AttributePath { steps: vec![Step { selector: Some(Selector::AttributeName(name.to_owned())) }] }
}

pub fn error(name: &str) -> pb::Diagnostic {
    pb::Diagnostic {
        severity: pb::diagnostic::Severity::Error.into(),
        summary: "Refused".to_owned(),
        detail: String::new(),
        attribute: Some(named(name)),
    }
}

/// Every unknown in a value, replaced.
pub fn unknown_to(value: &mut Json, other: &Json) {
    match value {
        Json::Array(items) => items.iter_mut().for_each(|item| unknown_to(item, other)),
        Json::Object(entries) => entries.values_mut().for_each(|item| unknown_to(item, other)),
        value if is_unknown(value) => *value = other.clone(),
        _ => {}
    }
}

/// A state as a configuration: without outputs.
pub fn inputs_of(attributes: &[Attribute], state: &Json) -> Json {
    let mut inputs = state.clone();
    for output in attributes.iter().filter(|one| one.is_output()) {
        inputs[&output.name] = Json::Null;
    }
    inputs
}

/// Texts with a meaning as they are configured.
pub fn word_for_word(
    prefix: &str,
    attributes: &[Attribute],
    learned: &Learned,
    config: &Json,
    planned: &mut Json,
) {
    for attribute in attributes {
        let path = join(prefix, &attribute.name);
        let (wanted, Some(item)) = (&config[&attribute.name], planned.get_mut(&attribute.name)) else {
            continue;
        };
        let meant = learned.leaves.get(&path).is_some_and(|pool| pool.meaning.is_some());
        match &attribute.shape {
            Shape::Nested(Nesting::Single, inner) => word_for_word(&path, inner, learned, wanted, item),
            Shape::Leaf(_) if meant && !wanted.is_null() => *item = wanted.clone(),
            _ => {}
        }
    }
}

pub fn own_spelling(prefix: &str, attributes: &[Attribute], learned: &Learned, planned: &mut Json) {
    each_meant(prefix, attributes, learned, planned, &mut |meaning, text| {
        synonym(meaning, text).map(str::to_owned)
    });
}

type Respell<'a> = dyn FnMut(crate::learn::Meaning, &str) -> Option<String> + 'a;

fn each_meant(
    prefix: &str,
    attributes: &[Attribute],
    learned: &Learned,
    value: &mut Json,
    change: &mut Respell<'_>,
) {
    for attribute in attributes {
        let path = join(prefix, &attribute.name);
        let Some(item) = value.get_mut(&attribute.name) else { continue };
        match (&attribute.shape, item) {
            (Shape::Nested(Nesting::Single, inner), item) => each_meant(&path, inner, learned, item, change),
            (Shape::Leaf(_), Json::String(text)) => {
                let meaning = learned.leaves.get(&path).and_then(|pool| pool.meaning);
                if let Some(other) = meaning.and_then(|meaning| change(meaning, text)) {
                    *text = other;
                }
            }
            _ => {}
        }
    }
}

/// Of maps and lists that changed, prior values of what stays.
pub fn keep_parts(attributes: &[Attribute], prior: &Json, planned: &mut Json) {
    for attribute in attributes {
        let (was, Some(is)) = (&prior[&attribute.name], planned.get_mut(&attribute.name)) else { continue };
        match (&attribute.shape, was, is) {
            (Shape::Nested(Nesting::Single, inner), was, is) => keep_parts(inner, was, is),
            (Shape::Leaf(_), Json::Array(was), Json::Array(is)) => {
                is.iter_mut().zip(was).take(1).for_each(|(is, was)| is.clone_from(was));
            }
            (Shape::Leaf(_), Json::Object(was), Json::Object(is)) => {
                for (key, value) in is.iter_mut() {
                    if let Some(before) = was.get(key) {
                        *value = before.clone();
                    }
                }
            }
            _ => {}
        }
    }
}

/// The same value with whole numbers in digits.
pub fn in_digits(value: &pb::DynamicValue) -> Result<pb::DynamicValue> {
    fn digits(pack: Pack) -> Pack {
        match pack {
            Pack::Integer(number) => Pack::from(number.to_string()),
            Pack::Array(items) => Pack::Array(items.into_iter().map(digits).collect()),
            Pack::Map(entries) => {
                Pack::Map(entries.into_iter().map(|(key, item)| (key, digits(item))).collect())
            }
            other => other,
        }
    }
    dynamic(&digits(rmpv::decode::read_value(&mut value.msgpack.as_slice())?))
}

/// Without its last part.
pub fn cut(value: &pb::DynamicValue) -> Result<pb::DynamicValue> {
    let mut pack = rmpv::decode::read_value(&mut value.msgpack.as_slice())?;
    if let Pack::Map(entries) = &mut pack {
        entries.pop();
    }
    dynamic(&pack)
}
