//! Validation without a cluster, unknown values skipped: each message names the attribute and the way out.

mod cross;
mod image;
mod network;

use pgha_schema::resource::schema;
use pgha_schema::tf::{Attribute, Nesting, Shape};
use pgha_schema::validators::{Problem, Validator, check};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::path::Path;
use crate::value::Value;

/// Validates a resource block.
pub fn resource(config: &Value) -> Diagnostics {
    let mut found = attributes(&schema().attributes, config);
    found.extend(cross::rules(config));
    found
}

/// Write-only attributes that a host is about to keep, since it does not know of such: it would store them in plan and state.
pub fn write_only(schema: &[Attribute], config: &Value) -> Diagnostics {
    let given = schema.iter().filter(|one| one.write_only && !config.get(&one.name).is_null());
    let refused = given.map(|one| {
        let path = Path::of(&one.name);
        Diagnostic::error(
            format!("{path} needs a newer CLI"),
            "This CLI does not know write-only attributes, so the value would be kept in plan and state. Use Terraform 1.11 or OpenTofu \
             1.11, or newer; or leave it out.",
        )
        .at(path)
    });
    refused.collect()
}

/// Runs the schema's own validators on a block of any schema.
pub fn attributes(schema: &[Attribute], config: &Value) -> Diagnostics {
    let mut found = Diagnostics::new();
    object(schema, &Path::root(), config, &mut found);
    found
}

fn object(schema: &[Attribute], at: &Path, value: &Value, found: &mut Diagnostics) {
    for child in schema {
        attribute(child, &at.attribute(&child.name), value.get(&child.name), found);
    }
}

fn attribute(schema: &Attribute, path: &Path, value: &Value, found: &mut Diagnostics) {
    if schema.is_output() && !value.is_null() {
        found.error(
            path.clone(),
            format!("{path} can't be set"),
            format!("The provider gives {path} its value. Leave it out."),
        );
        return;
    }
    if value.is_null() || value.is_unknown() {
        return;
    }
    if let Some(why) = &schema.deprecated {
        found.warning(path.clone(), format!("{path} is deprecated"), why.clone());
    }
    run(&schema.validators, path, value, found);
    elements(schema, path, value, found);
    let Shape::Nested { nesting, attributes } = &schema.shape else { return };
    match (nesting, value) {
        (Nesting::Single, value) => object(attributes, path, value, found),
        (Nesting::List | Nesting::Set, value) => {
            for (index, item) in value.as_items().unwrap_or_default().iter().enumerate() {
                object(attributes, &path.index(index), item, found);
            }
        }
        (Nesting::Map, value) => {
            for (key, item) in value.as_entries().into_iter().flatten() {
                object(attributes, &path.key(key), item, found);
            }
        }
    }
}

fn elements(schema: &Attribute, path: &Path, value: &Value, found: &mut Diagnostics) {
    for (index, item) in value.as_items().unwrap_or_default().iter().enumerate() {
        run(&schema.element_validators, &path.index(index), item, found);
    }
    let Value::Map(items) = value else { return };
    for (key, item) in items {
        run(&schema.key_validators, &path.key(key), &Value::from(key.as_str()), found);
        run(&schema.element_validators, &path.key(key), item, found);
    }
}

fn run(validators: &[Validator], path: &Path, value: &Value, found: &mut Diagnostics) {
    // A list with an unknown element is judged element by element.
    let Some(json) = value.to_json() else { return };
    for validator in validators {
        if let Err(problem) = check(validator, &json) {
            report(found, path.clone(), &problem);
        }
    }
}

/// An error from a problem.
fn report(found: &mut Diagnostics, path: Path, problem: &Problem) {
    let summary = format!("Invalid {path}");
    found.error(path, summary, problem.to_string());
}
