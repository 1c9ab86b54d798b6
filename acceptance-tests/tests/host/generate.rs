//! Random configurations from the schema that the provider serves and from what was learned of its attributes.

use pgha_acceptance_tests::host::schema::{Attribute, Nesting, Shape, Type, join};
use pgha_acceptance_tests::host::{Ignored, Part};
use pgha_acceptance_tests::proto_client::values::UNKNOWN;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value as Json, json};

use crate::learn::{Learned, Meaning};
use crate::words;

/// A configuration in which every value is one that its attribute takes; rules between attributes may still refuse it.
pub fn config(attributes: &[Attribute], learned: &Learned) -> BoxedStrategy<Json> {
    let numbered = numbered(attributes);
    let secret = prop::option::weighted(0.3, ("hunter2-[a-z]{8}", 1..4_i64));
    (object("", attributes, learned), secret)
        .prop_map(move |(mut config, secret)| {
            for (name, number) in &numbered {
                let (text, version) = secret.clone().unzip();
                (config[name], config[number]) = (json!(text), json!(version));
            }
            config
        })
        .boxed()
}

/// Write-only values, each with the attribute that numbers it: one is no use without the other.
pub fn numbered(attributes: &[Attribute]) -> Vec<(String, String)> {
    let names = attributes.iter().filter(|one| one.write_only).map(|one| one.name.clone());
    names.map(|name| (name.clone(), format!("{name}_version"))).collect()
}

fn object(at: &str, attributes: &[Attribute], learned: &Learned) -> BoxedStrategy<Json> {
    let inputs: Vec<_> = attributes.iter().filter(|one| !one.is_output()).collect();
    let names: Vec<_> = inputs.iter().map(|one| one.name.clone()).collect();
    let values: Vec<_> = inputs.iter().map(|one| configured(&join(at, &one.name), one, learned)).collect();
    values.prop_map(move |values| Json::Object(names.iter().cloned().zip(values).collect())).boxed()
}

fn configured(path: &str, attribute: &Attribute, learned: &Learned) -> BoxedStrategy<Json> {
    let value = match &attribute.shape {
        Shape::Leaf(ty) => leaf(path, ty, learned),
        Shape::Nested(nesting, inner) => {
            let inner = object(path, inner, learned);
            match nesting {
                Nesting::Single => inner,
                Nesting::List | Nesting::Set => {
                    prop::collection::vec(inner, 0..3).prop_map(Json::Array).boxed()
                }
                Nesting::Map => {
                    let entries = prop::collection::btree_map("[ab]", inner, 0..3);
                    entries.prop_map(|entries| Json::Object(entries.into_iter().collect())).boxed()
                }
            }
        }
    };
    if attribute.required { value } else { prop_oneof![2 => Just(Json::Null), 1 => value].boxed() }
}

fn leaf(path: &str, ty: &Type, learned: &Learned) -> BoxedStrategy<Json> {
    // What is not learned is not set here: write-only values and their numbers.
    let Some(pool) = learned.leaves.get(path) else { return Just(Json::Null).boxed() };
    let one = select(pool.good.clone());
    match ty {
        Type::List(_) | Type::Set(_) => prop::collection::vec(one, 1..3)
            .prop_map(|items| {
                let mut all: Vec<Json> = Vec::new();
                for item in items.into_iter().filter_map(|item| item.as_array().cloned()).flatten() {
                    if !all.contains(&item) {
                        all.push(item);
                    }
                }
                Json::Array(all)
            })
            .boxed(),
        Type::Map(_) => prop::collection::vec(one, 0..3)
            .prop_map(|items| {
                let entries = items.into_iter().filter_map(|item| item.as_object().cloned()).flatten();
                Json::Object(entries.collect::<Map<_, _>>())
            })
            .boxed(),
        _ => one.boxed(),
    }
}

/// `ignore_changes`, mostly none.
pub fn ignored(attributes: &[Attribute]) -> BoxedStrategy<Ignored> {
    let parts = ignorable("", attributes);
    let one = any::<Index>().prop_map(move |index| index.get(&parts).clone());
    prop_oneof![
        12 => Just(Ignored::Nothing),
        5 => prop::collection::vec(one, 1..4).prop_map(Ignored::Parts),
        1 => Just(Ignored::All),
    ]
    .boxed()
}

/// Attributes that can be named, of maps also a key.
fn ignorable(at: &str, attributes: &[Attribute]) -> Vec<Part> {
    let mut parts = Vec::new();
    for attribute in attributes.iter().filter(|one| !one.is_output()) {
        let path = join(at, &attribute.name);
        parts.push(Part { path: path.clone(), key: None });
        match &attribute.shape {
            Shape::Nested(Nesting::Single, inner) => parts.extend(ignorable(&path, inner)),
            Shape::Leaf(Type::Map(_)) => {
                parts.extend(words::KEYS.map(|key| Part { path: path.clone(), key: Some(key.to_owned()) }));
            }
            Shape::Leaf(_) | Shape::Nested(_, _) => {}
        }
    }
    parts
}

/// `config` with some of what it sets not known yet.
pub fn sprinkled(config: &Json, picks: &[Index]) -> Json {
    let mut places = Vec::new();
    set_places(config, String::new(), &mut places);
    let mut open = config.clone();
    for pick in picks {
        let place = pick.get(&places);
        // A place inside of one that is unknown already is gone.
        if let Some(value) = open.pointer_mut(place) {
            *value = UNKNOWN.into();
        }
    }
    open
}

/// JSON pointers of everything that is set.
pub fn set_places(value: &Json, at: String, places: &mut Vec<String>) {
    if value.is_null() {
        return;
    }
    match value {
        Json::Object(entries) => {
            for (name, item) in entries {
                set_places(item, format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), places);
            }
        }
        Json::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                set_places(item, format!("{at}/{index}"), places);
            }
        }
        _ => {}
    }
    if !at.is_empty() {
        places.push(at);
    }
}

/// `value` with every text of an attribute with a meaning in another spelling of the same, where one is known. Gives also
/// how many were changed.
pub fn respelled(attributes: &[Attribute], learned: &Learned, value: &Json) -> (Json, usize) {
    let mut other = value.clone();
    let mut count = 0;
    respell("", attributes, learned, &mut other, &mut count);
    (other, count)
}

fn respell(at: &str, attributes: &[Attribute], learned: &Learned, value: &mut Json, count: &mut usize) {
    for attribute in attributes {
        let path = join(at, &attribute.name);
        let Some(item) = value.get_mut(&attribute.name) else { continue };
        match (&attribute.shape, item) {
            (Shape::Nested(_, inner), Json::Array(items)) => {
                for item in items.iter_mut() {
                    respell(&path, inner, learned, item, count);
                }
            }
            (Shape::Nested(_, inner), item) => respell(&path, inner, learned, item, count),
            (Shape::Leaf(_), item) => {
                if let Some(meaning) = learned.leaves.get(&path).and_then(|pool| pool.meaning) {
                    texts(item, &mut |text| {
                        let other = synonym(meaning, text)?;
                        *count += 1;
                        Some(other.to_owned())
                    });
                }
            }
        }
    }
}

fn texts(value: &mut Json, change: &mut dyn FnMut(&str) -> Option<String>) {
    match value {
        Json::String(text) => {
            if let Some(other) = change(text) {
                *text = other;
            }
        }
        Json::Array(items) => items.iter_mut().for_each(|item| texts(item, change)),
        Json::Object(entries) => entries.values_mut().for_each(|item| texts(item, change)),
        _ => {}
    }
}

/// Another spelling of the same.
pub fn synonym(meaning: Meaning, text: &str) -> Option<&'static str> {
    let groups: &[&[&str]] = match meaning {
        Meaning::Quantity => &words::QUANTITIES,
        Meaning::Duration => &words::DURATIONS,
    };
    let group = groups.iter().find(|group| group.contains(&text))?;
    group.iter().find(|other| **other != text).copied()
}

/// Whether two values of an attribute mean the same, judged by a reading of our own.
pub fn same_meaning(meaning: Option<Meaning>, one: &Json, other: &Json) -> bool {
    if one == other {
        return true;
    }
    let Some(meaning) = meaning else { return false };
    let each = |one: &Json, other: &Json| same_meaning(Some(meaning), one, other);
    match (one, other) {
        (Json::String(one), Json::String(other)) => {
            let (one, other) = (amount(meaning, one), amount(meaning, other));
            one.zip(other).is_some_and(|(one, other)| (one - other).abs() <= one.abs() * 1e-12)
        }
        (Json::Array(one), Json::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| each(one, other))
        }
        (Json::Object(one), Json::Object(other)) => {
            one.keys().eq(other.keys()) && one.iter().all(|(key, value)| each(value, &other[key]))
        }
        _ => false,
    }
}

/// How much a text means: units, or seconds. Only the forms that `words.rs` and the documentation use.
pub fn amount(meaning: Meaning, text: &str) -> Option<f64> {
    let (mut total, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().ok()?;
        let after = &rest[end..];
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        total += number * unit(meaning, &after[..unit_end])?;
        rest = &after[unit_end..];
    }
    (!text.is_empty()).then_some(total)
}

fn unit(meaning: Meaning, name: &str) -> Option<f64> {
    Some(match (meaning, name) {
        (Meaning::Quantity, "") | (Meaning::Duration, "s") => 1.0,
        (Meaning::Duration, "m") => 60.0,
        (Meaning::Quantity, "m") | (Meaning::Duration, "ms") => 1e-3,
        (Meaning::Duration, "h") => 3_600.0,
        (Meaning::Quantity, "k") => 1e3,
        (Meaning::Quantity, "M") => 1e6,
        (Meaning::Quantity, "G") => 1e9,
        (Meaning::Quantity, "Ki") => 1_024.0,
        (Meaning::Quantity, "Mi") => 1_048_576.0,
        (Meaning::Quantity, "Gi") => 1_073_741_824.0,
        (Meaning::Quantity, "Ti") => 1_099_511_627_776.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_in_a_group_mean_the_same_and_groups_differ() {
        for (meaning, groups) in
            [(Meaning::Quantity, &words::QUANTITIES[..]), (Meaning::Duration, &words::DURATIONS[..])]
        {
            let amounts: Vec<_> = groups.iter().map(|group| amount(meaning, group[0]).unwrap()).collect();
            for (group, expected) in groups.iter().zip(&amounts) {
                assert!(group.iter().all(|text| amount(meaning, text) == Some(*expected)), "{group:?}");
                assert_eq!(amounts.iter().filter(|other| other.total_cmp(expected).is_eq()).count(), 1);
            }
        }
        assert!(same_meaning(Some(Meaning::Quantity), &json!({ "a": "1Gi" }), &json!({ "a": "1024Mi" })));
        assert!(!same_meaning(None, &json!("1Gi"), &json!("1024Mi")));
    }

    #[test]
    fn unknowns_are_put_where_something_is_set() {
        let mut places = Vec::new();
        set_places(&json!({ "a": null, "b": { "c/d": [1] } }), String::new(), &mut places);
        assert_eq!(places, ["/b/c~1d/0", "/b/c~1d", "/b"]);
    }
}
