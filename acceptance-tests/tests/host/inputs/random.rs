//! Random values as a host could send them, and as none would: what a type takes, what it doesn't, nothing, not known yet.

use pgha_acceptance_tests::host::schema::{Attribute, Nesting, Shape, Type};
use pgha_acceptance_tests::proto_client::values::UNKNOWN;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rmpv::Value as Pack;
use serde_json::{Map, Value as Json};

/// Texts that nobody hopes for.
const ODD: [&str; 22] = [
    "",
    " ",
    "\u{0}",
    "\n\r\t",
    "Not A Name",
    "../../secrets/orders-superuser",
    "orders/../../x?y=z#w",
    "%2e%2e%2f",
    "\u{1f418}\u{200d}\u{301}",
    "\u{202e}sredro",
    "e\u{301}",
    "\u{feff}orders",
    "'; drop table users; --",
    "${jndi:x}",
    "${var.name}",
    "a=b c='d\\",
    "-1",
    "9999999999999999999999999999999999h",
    "1e999999s",
    "FFFFFFFFF/0",
    "0/0x10",
    "null",
];
/// Numbers in digits, as those travel that no machine word holds.
const DIGITS: [&str; 6] = [
    "0.1",
    "-0.30000000000000000000000000000001",
    "18446744073709551616",
    "123456789012345678901234567890123456789012345678901234567890",
    "5432.5",
    "-9223372036854775809",
];
const NUMBERS: [i64; 9] = [0, 1, 3, 5432, 65_536, -1, 4_294_967_296, i64::MAX, i64::MIN];

/// What an attribute or parameter of this name may well be; each first one is that of the cluster that is there.
fn words(name: &str) -> &'static [&'static str] {
    match name {
        "name" => &["orders", "orders", "orders", "nobody"],
        "namespace" => &["shop", "shop", "shop", "elsewhere"],
        "role" | "roles" | "user" | "database" => &["app", "superuser"],
        "to" | "instance" => &["orders-1", "orders-0", "orders-77", "others-0"],
        "access" => &["rw", "ro", "all"],
        "ahead" | "behind" => &["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF", "0/10"],
        "failover" => &["10s", "2s", "6s", "3s", "auto"],
        "rw_host" | "ro_host" => &["orders-rw.shop.svc", "198.51.100.7", "2001:db8::7"],
        _ => &["30s", "1m", "500ms", "prefer", "app"],
    }
}

/// How a case is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Taste {
    /// Share of what is not known.
    pub unknown: f64,
    /// Share of what its type does not take.
    pub wrong: f64,
    /// Share of odd texts and numbers.
    pub odd: f64,
}

impl Taste {
    /// Half of all cases are such as people write.
    pub fn any(rng: &mut StdRng) -> Self {
        match rng.random_range(0..4) {
            0 | 1 => Self { unknown: 0.0, wrong: 0.0, odd: 0.0 },
            2 => Self { unknown: 0.15, wrong: 0.0, odd: 0.1 },
            _ => Self { unknown: 0.1, wrong: 0.1, odd: 0.4 },
        }
    }
}

/// The value for the whole of what is unknown, plainly or with what is known of it.
pub fn unknown(rng: &mut StdRng) -> Pack {
    // Of the second kind it is known that it is not null.
    if rng.random_bool(0.5) { Pack::Ext(0, vec![0]) } else { Pack::Ext(12, vec![0x81, 0x01, 0xc2]) }
}

fn wrong(rng: &mut StdRng) -> Pack {
    match rng.random_range(0..6) {
        0 => Pack::from(true),
        1 => Pack::from(7),
        2 => Pack::Array(vec![Pack::from("a"), Pack::Nil]),
        3 => Pack::Map(vec![(Pack::from("no such part"), Pack::from(1))]),
        4 => Pack::Binary(vec![1, 2, 3]),
        _ => Pack::from("a text"),
    }
}

/// A whole configuration.
pub fn config(rng: &mut StdRng, attributes: &[Attribute], taste: Taste) -> Pack {
    if rng.random_bool(taste.wrong / 4.0) {
        return wrong(rng);
    }
    let mut entries: Vec<(Pack, Pack)> = Vec::new();
    for one in attributes {
        let value = if one.is_output() { Pack::Nil } else { attribute(rng, one, taste) };
        entries.push((Pack::from(one.name.as_str()), value));
    }
    if rng.random_bool(taste.wrong / 4.0) {
        entries.pop();
    }
    Pack::Map(entries)
}

fn attribute(rng: &mut StdRng, attribute: &Attribute, taste: Taste) -> Pack {
    if rng.random_bool(taste.wrong) {
        return wrong(rng);
    }
    if rng.random_bool(taste.unknown) {
        return unknown(rng);
    }
    let left_out = if attribute.required { taste.odd / 4.0 } else { 0.5 };
    if rng.random_bool(left_out) {
        return Pack::Nil;
    }
    match &attribute.shape {
        Shape::Leaf(ty) => value(rng, &attribute.name, ty, taste),
        Shape::Nested(Nesting::Single, inner) => config(rng, inner, taste),
        Shape::Nested(Nesting::List | Nesting::Set, inner) => {
            Pack::Array((0..rng.random_range(0..3)).map(|_| config(rng, inner, taste)).collect())
        }
        Shape::Nested(Nesting::Map, inner) => Pack::Map(vec![(Pack::from("a"), config(rng, inner, taste))]),
    }
}

/// A value of a type, or of none.
pub fn value(rng: &mut StdRng, name: &str, ty: &Type, taste: Taste) -> Pack {
    if rng.random_bool(taste.wrong) {
        return wrong(rng);
    }
    if rng.random_bool(taste.unknown) {
        return unknown(rng);
    }
    match ty {
        Type::String | Type::Dynamic => Pack::from(text(rng, name, taste)),
        Type::Number if rng.random_bool(taste.odd) => match rng.random_range(0..3) {
            0 => Pack::from(*DIGITS.choose(rng).unwrap_or(&"0")),
            1 => Pack::from(1.5e300),
            _ => Pack::from(*NUMBERS.choose(rng).unwrap_or(&0)),
        },
        Type::Number => Pack::from(if name == "port" { 5432 } else { rng.random_range(0..4) }),
        Type::Bool => Pack::from(rng.random_bool(0.5)),
        Type::List(inner) | Type::Set(inner) => {
            Pack::Array((0..rng.random_range(0..3)).map(|_| value(rng, name, inner, taste)).collect())
        }
        Type::Map(inner) => {
            let keys = keys(name);
            let some = (0..rng.random_range(0..4)).map(|_| {
                let odd = rng.random_bool(taste.odd);
                let key = if odd { ODD.choose(rng) } else { keys.choose(rng) }.copied().unwrap_or_default();
                let item = if rng.random_bool(0.2) { Pack::Nil } else { value(rng, name, inner, taste) };
                (key, item)
            });
            let entries: std::collections::BTreeMap<_, _> = some.collect();
            Pack::Map(entries.into_iter().map(|(key, item)| (Pack::from(key), item)).collect())
        }
        Type::Object(parts) => {
            let part = |(name, ty): (&String, &Type)| {
                let null = rng.random_bool(0.1);
                let item = if null { Pack::Nil } else { value(rng, name, ty, taste) };
                (Pack::from(name.as_str()), item)
            };
            Pack::Map(parts.iter().map(part).collect())
        }
    }
}

fn keys(name: &str) -> &'static [&'static str] {
    match name {
        "failover" => {
            &["lease_duration", "renew_interval", "fence_after", "degrade_after", "on_postgres_crash"]
        }
        _ => &["password", "sslmode", "application_name", "connect_timeout", "host", "user"],
    }
}

fn text(rng: &mut StdRng, name: &str, taste: Taste) -> String {
    if rng.random_bool(taste.odd) {
        return match rng.random_range(0..20) {
            0 => "x".repeat(100_000),
            _ => (*ODD.choose(rng).unwrap_or(&"")).to_owned(),
        };
    }
    (*words(name).choose(rng).unwrap_or(&"x")).to_owned()
}

/// Whether a host with this schema could send the value.
pub fn fits(attributes: &[Attribute], value: &Pack) -> bool {
    let Pack::Map(entries) = value else { return false };
    let part = |one: &Attribute| entries.iter().find(|(key, _)| key.as_str() == Some(&one.name));
    entries.len() == attributes.len()
        && attributes.iter().all(|one| part(one).is_some_and(|(_, value)| fits_shape(&one.shape, value)))
}

fn fits_shape(shape: &Shape, value: &Pack) -> bool {
    if is_open(value) {
        return true;
    }
    match (shape, value) {
        (Shape::Leaf(ty), value) => fits_type(ty, value),
        (Shape::Nested(Nesting::Single, inner), value) => fits(inner, value),
        (Shape::Nested(Nesting::List | Nesting::Set, inner), Pack::Array(items)) => {
            items.iter().all(|item| item.is_ext() || fits(inner, item))
        }
        (Shape::Nested(Nesting::Map, inner), Pack::Map(entries)) => {
            entries.iter().all(|(key, item)| key.is_str() && (item.is_ext() || fits(inner, item)))
        }
        _ => false,
    }
}

/// Null and what is not known fit everything.
fn is_open(value: &Pack) -> bool {
    value.is_nil() || value.is_ext()
}

/// The same of a type.
pub fn fits_type(ty: &Type, value: &Pack) -> bool {
    if is_open(value) {
        return true;
    }
    match (ty, value) {
        (Type::String, value) => value.is_str(),
        (Type::Bool, value) => value.is_bool(),
        (Type::Number, Pack::String(digits)) => digits.as_str().is_some_and(is_digits),
        (Type::Number, value) => value.is_number(),
        (Type::List(inner) | Type::Set(inner), Pack::Array(items)) => {
            items.iter().all(|item| fits_type(inner, item))
        }
        (Type::Map(inner), Pack::Map(entries)) => {
            entries.iter().all(|(key, item)| key.is_str() && fits_type(inner, item))
        }
        (Type::Object(parts), Pack::Map(entries)) => {
            let part = |name: &String| entries.iter().find(|(key, _)| key.as_str() == Some(name));
            entries.len() == parts.len()
                && parts.iter().all(|(name, ty)| part(name).is_some_and(|(_, item)| fits_type(ty, item)))
        }
        _ => false,
    }
}

fn is_digits(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.starts_with(|c: char| c.is_ascii_digit()) && digits.chars().all(|c| c.is_ascii_digit() || c == '.')
}

/// Nothing in it is unknown.
pub fn is_known(value: &Pack) -> bool {
    match value {
        Pack::Ext(_, _) => false,
        Pack::Array(items) => items.iter().all(is_known),
        Pack::Map(entries) => entries.iter().all(|(_, item)| is_known(item)),
        _ => true,
    }
}

/// `value` with something in it that is set no longer known; `None`: nothing is set.
pub fn sprinkled(rng: &mut StdRng, value: &Pack) -> Option<Pack> {
    let Pack::Map(entries) = value else { return None };
    let set: Vec<usize> = (0..entries.len()).filter(|at| !is_open(&entries[*at].1)).collect();
    let at = *set.choose(rng)?;
    let mut entries = entries.clone();
    let deeper = if rng.random_bool(0.5) { sprinkled(rng, &entries[at].1) } else { None };
    entries[at].1 = deeper.unwrap_or_else(|| unknown(rng));
    Some(Pack::Map(entries))
}

/// For comparisons: every unknown alike.
pub fn read(value: &Pack) -> Json {
    match value {
        Pack::Nil | Pack::Binary(_) => Json::Null,
        Pack::Boolean(truth) => (*truth).into(),
        Pack::Integer(number) => number.as_i64().map_or(Json::Null, Json::from),
        Pack::F32(number) => f64::from(*number).into(),
        Pack::F64(number) => (*number).into(),
        Pack::String(text) => text.as_str().unwrap_or_default().into(),
        Pack::Array(items) => items.iter().map(read).collect(),
        Pack::Map(entries) => {
            let entries =
                entries.iter().map(|(key, item)| (key.as_str().unwrap_or_default().to_owned(), read(item)));
            Json::Object(entries.collect::<Map<_, _>>())
        }
        Pack::Ext(_, _) => UNKNOWN.into(),
    }
}

/// The value of a top-level attribute.
pub fn part<'a>(value: &'a Pack, name: &str) -> &'a Pack {
    let entries = value.as_map().into_iter().flatten();
    let mut found = entries.filter(|(key, _)| key.as_str() == Some(name)).map(|(_, item)| item);
    found.next().unwrap_or(&Pack::Nil)
}
