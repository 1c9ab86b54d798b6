//! The host's own rules, asserted on our answers before they leave: a violation would show to the user as the host's
//! accusation, without any hint at the cause.

use std::collections::BTreeMap;
use std::fmt;

use pgha_schema::tf::{Attribute, Nesting, Schema, Shape};

use crate::path::Path;
use crate::value::Value;

/// A rule of the host that an answer of ours breaks: a bug in the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where.
    pub path: Path,
    /// What is wrong, as the end of a sentence that begins with the path.
    pub what: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.steps().is_empty() {
            return write!(f, "the resource: {}", self.what);
        }
        write!(f, "{}: {}", self.path, self.what)
    }
}

#[derive(Default)]
struct Found(Vec<Violation>);

impl Found {
    fn add(&mut self, path: &Path, what: &'static str) {
        self.0.push(Violation { path: path.clone(), what });
    }
}

/// A plan is valid: each attribute is as configured, as it was, or the provider's to set (core's AssertPlanValid).
pub fn plan(
    schema: &Schema,
    config: &Value,
    prior: &Value,
    planned: &Value,
    requires_replace: &[Path],
) -> Vec<Violation> {
    let mut found = Found::default();
    let root = Path::root();
    match (config.is_null(), planned.is_null()) {
        (true, true) => {}
        (false, false) => attributes(&schema.attributes, &root, [prior, config, planned], &mut found),
        (true, false) => found.add(&root, "is planned to exist where config wants it gone"),
        (false, true) => found.add(&root, "is planned to be gone where config wants it"),
    }
    for path in requires_replace {
        if !leads_somewhere(planned, path) && !leads_somewhere(prior, path) {
            found.add(path, "requires a replacement but is in neither state nor plan");
        }
    }
    found.0
}

/// An answer of apply fits its plan: what was known is equal, and nothing is unknown any more.
pub fn apply(schema: &Schema, planned: &Value, new: &Value) -> Vec<Violation> {
    let mut found = Found::default();
    let root = Path::root();
    if planned.is_null() != new.is_null() {
        let what =
            if new.is_null() { "was planned and is gone" } else { "was planned to be gone and is there" };
        found.add(&root, what);
        return found.0;
    }
    compatible(planned, new, &root, &mut found);
    for attribute in &schema.attributes {
        if !new.get(&attribute.name).is_wholly_known() {
            found.add(&root.attribute(&attribute.name), "is still unknown");
        }
    }
    found.0
}

/// The plan made during apply completes the first one: what was known is equal.
pub fn completion(first: &Value, second: &Value) -> Vec<Violation> {
    let mut found = Found::default();
    compatible(first, second, &Path::root(), &mut found);
    found.0
}

fn leads_somewhere(value: &Value, path: &Path) -> bool {
    let Some((last, before)) = path.steps().split_last() else { return false };
    let parent = before.iter().fold(Path::root(), |path, step| path.then(step.clone()));
    match (value.at(&parent), last) {
        (Value::Unknown, _) => true,
        (Value::Object(items), crate::path::Step::Attribute(name)) => items.contains_key(name),
        (Value::Map(items), crate::path::Step::Key(key)) => items.contains_key(key),
        (Value::List(items), crate::path::Step::Index(index)) => (*index as usize) < items.len(),
        _ => false,
    }
}

/// Prior, config and planned, in this order.
fn attributes(schema: &[Attribute], at: &Path, values: [&Value; 3], found: &mut Found) {
    for child in schema {
        let path = at.attribute(&child.name);
        attribute(child, &path, values.map(|value| value.get(&child.name)), found);
    }
}

fn attribute(schema: &Attribute, path: &Path, values: [&Value; 3], found: &mut Found) {
    let [prior, config, planned] = values;
    if schema.write_only {
        if !planned.is_null() {
            found.add(path, "is write-only and planned");
        }
        return;
    }
    let as_configured = planned == config;
    let as_it_was = planned == prior && !prior.is_null() && !config.is_null();
    let ours = config.is_null() && schema.computed;
    if as_configured || as_it_was || ours {
        return;
    }
    if config.is_null() {
        found.add(path, "is planned but neither configured nor computed");
        return;
    }
    match &schema.shape {
        Shape::Leaf(_) => found.add(path, "is planned neither as configured nor as it was"),
        Shape::Nested { nesting, attributes } => nested(*nesting, attributes, path, values, found),
    }
}

fn nested(nesting: Nesting, inner: &[Attribute], path: &Path, values: [&Value; 3], found: &mut Found) {
    let [prior, config, planned] = values;
    match (nesting, config, planned) {
        (_, _, Value::Null) => found.add(path, "is planned to be gone where config wants it"),
        (Nesting::Single, Value::Object(_), Value::Object(_)) => attributes(inner, path, values, found),
        (Nesting::List, Value::List(wanted), Value::List(items)) if wanted.len() == items.len() => {
            let before = prior.as_items().unwrap_or_default();
            for (index, (wanted, item)) in wanted.iter().zip(items).enumerate() {
                let before = before.get(index).unwrap_or(&Value::Null);
                attributes(inner, &path.index(index), [before, wanted, item], found);
            }
        }
        (Nesting::Map, Value::Map(wanted), Value::Map(items)) if wanted.keys().eq(items.keys()) => {
            let none = BTreeMap::new();
            let before = prior.as_entries().unwrap_or(&none);
            for ((key, wanted), item) in wanted.iter().zip(items.values()) {
                let before = before.get(key).unwrap_or(&Value::Null);
                attributes(inner, &path.key(key), [before, wanted, item], found);
            }
        }
        (Nesting::Set, Value::Set(wanted), Value::Set(items)) if wanted.len() == items.len() => {}
        _ => found.add(path, "is planned with other elements than configured"),
    }
}

fn compatible(planned: &Value, new: &Value, path: &Path, found: &mut Found) {
    match (planned, new) {
        (Value::Unknown, _) => {}
        (Value::Object(planned), Value::Object(new)) => {
            for (name, planned) in planned {
                compatible(planned, new.get(name).unwrap_or(&Value::Null), &path.attribute(name), found);
            }
        }
        (Value::Map(planned), Value::Map(new)) if planned.keys().eq(new.keys()) => {
            for ((key, planned), new) in planned.iter().zip(new.values()) {
                compatible(planned, new, &path.key(key), found);
            }
        }
        (Value::List(planned), Value::List(new)) if planned.len() == new.len() => {
            for (index, (planned, new)) in planned.iter().zip(new).enumerate() {
                compatible(planned, new, &path.index(index), found);
            }
        }
        (Value::Set(planned), Value::Set(new)) => sets(planned, new, path, found),
        (planned, new) if planned == new => {}
        (planned, Value::Null) if !planned.is_null() => found.add(path, "was planned and is null now"),
        (Value::Null, _) => found.add(path, "was planned as null and has a value now"),
        _ => found.add(path, "is another value than planned"),
    }
}

/// Elements of sets are correlated by value; unknown ones may coincide with others, so a set may shrink by as many.
fn sets(planned: &[Value], new: &[Value], path: &Path, found: &mut Found) {
    let fits = |planned: &Value, new: &Value| {
        let mut inner = Found::default();
        compatible(planned, new, path, &mut inner);
        inner.0.is_empty()
    };
    if new.len() > planned.len() {
        found.add(path, "has more elements than planned");
        return;
    }
    if planned.iter().any(|planned| planned.is_wholly_known() && !new.iter().any(|new| fits(planned, new))) {
        found.add(path, "has lost an element that was planned");
    }
    if new.iter().any(|new| !planned.iter().any(|planned| fits(planned, new))) {
        found.add(path, "has an element that was not planned");
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
