use std::fmt::Write;

use super::*;
use crate::tf::{Attribute, Shape};

fn line(path: &str, attribute: &Attribute) -> String {
    let kind = match (attribute.required, attribute.optional, attribute.computed) {
        (true, false, false) => "required",
        (false, true, true) => "optional+computed",
        (false, true, false) => "optional",
        (false, false, true) => "computed",
        odd => panic!("{path}: {odd:?}"),
    };
    let shape = match &attribute.shape {
        Shape::Leaf(ty) => ty.to_json().to_string(),
        Shape::Nested { nesting, .. } => format!("nested {nesting:?}"),
    };
    let mut line = format!("{path}: {shape} {kind}");
    if kind != "computed" {
        write!(line, " {:?}", attribute.change).unwrap();
    }
    if let Some(default) = &attribute.default {
        write!(line, " default={default}").unwrap();
    }
    if attribute.derived {
        line.push_str(" derived");
    }
    if let Some(semantic) = attribute.semantic {
        write!(line, " {semantic:?}").unwrap();
    }
    for (what, validators) in [
        ("value", &attribute.validators),
        ("element", &attribute.element_validators),
        ("key", &attribute.key_validators),
    ] {
        if !validators.is_empty() {
            write!(line, " {what}={validators:?}").unwrap();
        }
    }
    line
}

#[test]
fn the_schema_is_this_one() {
    let lines: Vec<_> = schema().walk().into_iter().map(|(path, attribute)| line(&path, attribute)).collect();
    insta::assert_snapshot!(lines.join("\n"));
}
