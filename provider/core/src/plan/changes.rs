//! What differs between the prior state and the planned inputs.

use pgha_schema::resource::schema;
use pgha_schema::tf::{Attribute, Change, Nesting, Shape};

use crate::path::Path;
use crate::value::Value;

/// One input that changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// Which.
    pub path: Path,
    /// What a change of it does.
    pub change: Change,
    /// It needs a new cluster.
    pub replaces: bool,
    /// The value before.
    pub was: Value,
    /// The planned value; may be unknown.
    pub becomes: Value,
}

impl Changed {
    /// The cluster is touched.
    pub fn is_significant(&self) -> bool {
        self.change != Change::Nothing
    }
}

/// The inputs that differ, in the schema's order.
pub fn changes(prior: &Value, planned: &Value) -> Vec<Changed> {
    let mut found = Vec::new();
    compare(&schema().attributes, &Path::root(), prior, planned, &mut found);
    found
}

fn compare(attributes: &[Attribute], at: &Path, prior: &Value, planned: &Value, found: &mut Vec<Changed>) {
    for attribute in attributes.iter().filter(|attribute| !attribute.is_output()) {
        let path = at.attribute(&attribute.name);
        let (was, becomes) = (prior.get(&attribute.name), planned.get(&attribute.name));
        if was == becomes {
            continue;
        }
        match (&attribute.shape, was, becomes) {
            (Shape::Nested { nesting: Nesting::Single, attributes }, Value::Object(_), Value::Object(_)) => {
                compare(attributes, &path, was, becomes, found);
            }
            _ => found.push(Changed {
                path,
                change: attribute.change,
                replaces: attribute.replaces(),
                was: was.clone(),
                becomes: becomes.clone(),
            }),
        }
    }
}
