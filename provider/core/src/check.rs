//! The host's own rules, asserted on our answers before they leave: a violation would show to the user as the host's
//! accusation, without any hint at the cause.

use std::collections::BTreeMap;

use pgha_schema::resource::schema;
use pgha_schema::tf::{Attribute, Nesting, Shape};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::path::Path;
use crate::value::Value;

/// A plan is valid: each attribute is as configured, as before, or the provider's to set.
pub fn plan(config: &Value, prior: &Value, planned: &Value) -> Diagnostics {
    let mut found = Vec::new();
    match (config.is_null(), planned.is_null()) {
        (true, true) => {}
        (false, false) => {
            attributes(&schema().attributes, &Path::root(), [prior, config, planned], &mut found)
        }
        (true, false) => found.push((Path::root(), "existence is planned, and the configuration wants none")),
        (false, true) => {
            found.push((Path::root(), "absence is planned, and the configuration wants existence"))
        }
    }
    diagnostics("an invalid plan", found)
}

/// An answer of apply (or of the plan during apply) completes the plan: known values are equal, unknown ones may be anything.
pub fn completes(planned: &Value, actual: &Value) -> Diagnostics {
    let mut found = Vec::new();
    complete(&Path::root(), planned, actual, &mut found);
    diagnostics("an answer that does not fit its plan", found)
}

/// A state is wholly known.
pub fn known(state: &Value) -> Diagnostics {
    let mut found = Vec::new();
    if let Some(fields) = state.as_entries() {
        let unknown = fields.iter().filter(|(_, value)| !value.is_wholly_known());
        found.extend(unknown.map(|(name, _)| (Path::of(name), "the state holds an unknown value")));
    } else if state.is_unknown() {
        found.push((Path::root(), "the state is unknown"));
    }
    diagnostics("an unknown state", found)
}

fn diagnostics(what: &str, found: Vec<(Path, &'static str)>) -> Diagnostics {
    let error = |(path, why): (Path, &str)| {
        Diagnostic::error(
            format!("The provider made {what}"),
            format!("This is a bug in the provider; nothing was changed by it. At `{path}`: {why}. Please report it."),
        )
        .at(path)
    };
    found.into_iter().map(error).collect()
}

type Found = Vec<(Path, &'static str)>;

/// Prior, config and planned, in this order.
fn attributes(schema: &[Attribute], at: &Path, values: [&Value; 3], found: &mut Found) {
    for child in schema {
        let path = at.attribute(&child.name);
        attribute(child, &path, values.map(|value| value.get(&child.name)), found);
    }
}

fn attribute(schema: &Attribute, path: &Path, [prior, config, planned]: [&Value; 3], found: &mut Found) {
    if schema.write_only {
        if !planned.is_null() {
            found.push((path.clone(), "a write-only value is planned"));
        }
        return;
    }
    let as_configured = planned == config;
    let as_before = planned == prior && !prior.is_null() && !config.is_null();
    let ours = config.is_null() && schema.computed;
    if as_configured || as_before || ours {
        return;
    }
    match &schema.shape {
        Shape::Leaf(_) => found.push((path.clone(), "the value is neither as configured nor as before")),
        Shape::Nested { nesting, attributes: inner } => {
            nested(*nesting, inner, path, [prior, config, planned], found);
        }
    }
}

fn nested(nesting: Nesting, inner: &[Attribute], path: &Path, values: [&Value; 3], found: &mut Found) {
    let [prior, config, planned] = values;
    match (nesting, config, planned) {
        (_, Value::Null, _) => {
            found.push((path.clone(), "existence is planned, and the configuration wants none"))
        }
        (_, _, Value::Null) => {
            found.push((path.clone(), "absence is planned, and the configuration wants existence"))
        }
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
        _ => found.push((path.clone(), "another number of elements is planned than configured")),
    }
}

fn complete(path: &Path, planned: &Value, actual: &Value, found: &mut Found) {
    match (planned, actual) {
        (Value::Unknown, _) => {}
        (Value::Object(planned), Value::Object(actual)) => {
            for (name, planned) in planned {
                complete(&path.attribute(name), planned, actual.get(name).unwrap_or(&Value::Null), found);
            }
        }
        (Value::Map(planned), Value::Map(actual)) if planned.keys().eq(actual.keys()) => {
            for ((key, planned), actual) in planned.iter().zip(actual.values()) {
                complete(&path.key(key), planned, actual, found);
            }
        }
        (Value::List(planned), Value::List(actual)) if planned.len() == actual.len() => {
            for (index, (planned, actual)) in planned.iter().zip(actual).enumerate() {
                complete(&path.index(index), planned, actual, found);
            }
        }
        (Value::Set(planned), Value::Set(actual)) => {
            let fits = |item: &Value| planned.iter().any(|planned| fits_in(planned, item));
            if actual.len() > planned.len() || !actual.iter().all(fits) {
                found.push((path.clone(), "the set holds what was not planned"));
            }
        }
        (planned, actual) if planned == actual => {}
        _ => found.push((path.clone(), "the value is not the planned one")),
    }
}

fn fits_in(planned: &Value, actual: &Value) -> bool {
    let mut found = Vec::new();
    complete(&Path::root(), planned, actual, &mut found);
    found.is_empty()
}
