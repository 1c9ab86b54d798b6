//! The registry's list of attributes: required, optional, read-only, and the nested ones below.

use std::fmt::Write;

use serde_json::Value;

use crate::tf::{Attribute, Change, Nesting, Schema, Shape, Type};

/// The section of a schema. With `says_change` each attribute says what a change of it does to the cluster.
pub(super) fn section(schema: &Schema, says_change: bool) -> String {
    let mut text = String::from("## Schema\n");
    groups(&mut text, "", &schema.attributes, says_change);
    for (path, attribute) in schema.walk() {
        if !attribute.attributes().is_empty() {
            write!(
                text,
                "\n<a id=\"nestedatt--{}\"></a>\n### Nested Schema for `{path}`\n",
                path.replace('.', "--")
            )
            .unwrap_or_default();
            groups(&mut text, &path, attribute.attributes(), says_change);
        }
    }
    text
}

/// The attributes of one object in the registry's three groups.
fn groups(text: &mut String, path: &str, attributes: &[Attribute], says_change: bool) {
    let level = if path.is_empty() { "###" } else { "####" };
    let required = |attribute: &&Attribute| attribute.required;
    let optional = |attribute: &&Attribute| attribute.optional;
    let read_only = |attribute: &&Attribute| attribute.is_output();
    let mut group = |title: &str, members: Vec<&Attribute>| {
        if !members.is_empty() {
            text.push_str(&format!("\n{level} {title}\n\n"));
            for attribute in members {
                text.push_str(&line(path, attribute, says_change));
            }
        }
    };
    group("Required", attributes.iter().filter(required).collect());
    group("Optional", attributes.iter().filter(optional).collect());
    group("Read-Only", attributes.iter().filter(read_only).collect());
}

fn line(path: &str, attribute: &Attribute, says_change: bool) -> String {
    let mut kind = type_words(&attribute.shape);
    if attribute.sensitive {
        kind.push_str(", Sensitive");
    }
    if attribute.write_only {
        kind.push_str(", Write-only");
    }
    // The list of choices, if there is one, comes last.
    let (about, choices) = attribute
        .description
        .split_once("\n  - ")
        .map_or((&*attribute.description, None), |(a, b)| (a, Some(b)));
    let mut line = format!("- `{}` ({kind}) {about}", attribute.name);
    if attribute.deprecated.is_some() {
        line.push_str(" **Deprecated.**");
    }
    if let Some(default) = &attribute.default {
        line.push_str(&format!(" Default: `{}`.", literal(default)));
    }
    if !attribute.env.is_empty() {
        line.push_str(&format!(" Environment: `{}`.", attribute.env.join("`, `")));
    }
    if !attribute.is_output() && !is_object(attribute) && says_change {
        line.push_str(&format!(" Change: {}.", change_words(attribute.change)));
    }
    if !attribute.attributes().is_empty() {
        let anchor =
            if path.is_empty() { attribute.name.clone() } else { format!("{path}.{}", attribute.name) };
        line.push_str(&format!(" (see [below](#nestedatt--{}))", anchor.replace('.', "--")));
    }
    if let Some(choices) = choices {
        line.push_str(&format!("\n  - {choices}"));
    }
    line + "\n"
}

/// What a change of a nested object does is said at its attributes.
fn is_object(attribute: &Attribute) -> bool {
    matches!(attribute.shape, Shape::Nested { nesting: Nesting::Single, .. })
}

fn type_words(shape: &Shape) -> String {
    match shape {
        Shape::Leaf(ty) => leaf_words(ty),
        Shape::Nested { nesting: Nesting::Single, .. } => "Attributes".to_owned(),
        Shape::Nested { nesting: Nesting::List, .. } => "Attributes List".to_owned(),
        Shape::Nested { nesting: Nesting::Set, .. } => "Attributes Set".to_owned(),
        Shape::Nested { nesting: Nesting::Map, .. } => "Attributes Map".to_owned(),
    }
}

pub(super) fn leaf_words(ty: &Type) -> String {
    match ty {
        Type::String => "String".to_owned(),
        Type::Number => "Number".to_owned(),
        Type::Bool => "Boolean".to_owned(),
        Type::Dynamic => "Dynamic".to_owned(),
        Type::List(element) => format!("List of {}", leaf_words(element)),
        Type::Set(element) => format!("Set of {}", leaf_words(element)),
        Type::Map(element) => format!("Map of {}", leaf_words(element)),
        Type::Object { .. } => "Object".to_owned(),
        Type::Tuple(_) => "Tuple".to_owned(),
    }
}

/// A default in the words of Terraform's language.
fn literal(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(literal).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(items) => {
            let items: Vec<_> =
                items.iter().map(|(key, item)| format!("{key} = {}", literal(item))).collect();
            format!("{{ {} }}", items.join(", "))
        }
        other => other.to_string(),
    }
}

fn change_words(change: Change) -> &'static str {
    match change {
        Change::Nothing => "no cluster is touched",
        Change::InPlace => "in place",
        Change::Reload => "reload",
        Change::ReloadOrRestart => "reload, or ordered restart where PostgreSQL needs it",
        Change::Rolling => "rolling restart",
        Change::RollingMinor => "a minor version by rolling restart; another major version is refused",
        Change::Grow => "grows in place; shrinking is refused",
        Change::Refused => "refused",
        Change::Replace => "replaces the cluster",
    }
}
