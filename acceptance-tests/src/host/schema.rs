//! The schema that a provider serves, parsed once: what the rules and the generators go by.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value as Json};

use crate::proto_client::pb::tfplugin6 as pb;
use crate::proto_client::values::UNKNOWN;

/// A type of the language.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// Text.
    String,
    /// A number.
    Number,
    /// True or false.
    Bool,
    /// Any.
    Dynamic,
    /// Elements in order.
    List(Box<Type>),
    /// Elements without order or repetition.
    Set(Box<Type>),
    /// Elements by key.
    Map(Box<Type>),
    /// Named parts.
    Object(BTreeMap<String, Type>),
}

/// How a nested attribute holds its objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nesting {
    /// One object.
    Single,
    /// Objects in order.
    List,
    /// Objects without order.
    Set,
    /// Objects by key.
    Map,
}

/// What an attribute holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// A plain value.
    Leaf(Type),
    /// Objects with attributes of their own.
    Nested(Nesting, Vec<Attribute>),
}

/// One attribute.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub shape: Shape,
    /// The user must set it.
    pub required: bool,
    /// The user may set it.
    pub optional: bool,
    /// The provider may set it.
    pub computed: bool,
    /// Never in plan or state.
    pub write_only: bool,
    /// Its documentation.
    pub description: String,
}

impl Attribute {
    /// Only the provider sets it.
    #[must_use]
    pub fn is_output(&self) -> bool {
        self.computed && !self.optional
    }

    /// The nested attributes; none for a leaf.
    #[must_use]
    pub fn attributes(&self) -> &[Attribute] {
        match &self.shape {
            Shape::Leaf(_) => &[],
            Shape::Nested(_, attributes) => attributes,
        }
    }
}

/// The attributes of a served schema.
///
/// # Errors
/// When a type can't be read, or there are blocks, which this host doesn't know.
pub fn attributes(schema: &pb::Schema) -> Result<Vec<Attribute>> {
    let block = schema.block.as_ref().context("the schema has no block")?;
    ensure!(block.block_types.is_empty(), "blocks are not known here");
    block.attributes.iter().map(attribute).collect()
}

/// The parts of a served identity.
///
/// # Errors
/// When a type can't be read.
pub fn identity(schema: &pb::ResourceIdentitySchema) -> Result<Vec<Attribute>> {
    let part = |served: &pb::resource_identity_schema::IdentityAttribute| {
        let json = serde_json::from_slice(&served.r#type).context("the type is no JSON")?;
        Ok(Attribute {
            name: served.name.clone(),
            shape: Shape::Leaf(ty(&json).with_context(|| format!("the type of {}", served.name))?),
            required: served.required_for_import,
            optional: served.optional_for_import,
            computed: false,
            write_only: false,
            description: served.description.clone(),
        })
    };
    schema.identity_attributes.iter().map(part).collect()
}

fn attribute(served: &pb::schema::Attribute) -> Result<Attribute> {
    let shape = match &served.nested_type {
        Some(nested) => {
            let inner = nested.attributes.iter().map(attribute).collect::<Result<_>>()?;
            Shape::Nested(nesting(nested.nesting())?, inner)
        }
        None => {
            let json = serde_json::from_slice(&served.r#type).context("the type is no JSON")?;
            Shape::Leaf(ty(&json).with_context(|| format!("the type of {}", served.name))?)
        }
    };
    Ok(Attribute {
        name: served.name.clone(),
        shape,
        required: served.required,
        optional: served.optional,
        computed: served.computed,
        write_only: served.write_only,
        description: served.description.clone(),
    })
}

fn nesting(served: pb::schema::object::NestingMode) -> Result<Nesting> {
    use pb::schema::object::NestingMode as Mode;
    Ok(match served {
        Mode::Single => Nesting::Single,
        Mode::List => Nesting::List,
        Mode::Set => Nesting::Set,
        Mode::Map => Nesting::Map,
        Mode::Invalid => bail!("a nested type without a nesting"),
    })
}

/// A type as it is served, in JSON.
///
/// # Errors
/// When there is no such type.
pub fn ty(json: &Json) -> Result<Type> {
    if let Some(word) = json.as_str() {
        return Ok(match word {
            "string" => Type::String,
            "number" => Type::Number,
            "bool" => Type::Bool,
            "dynamic" => Type::Dynamic,
            _ => bail!("an unknown type {word:?}"),
        });
    }
    let element = || ty(&json[1]).map(Box::new);
    Ok(match json[0].as_str() {
        Some("list") => Type::List(element()?),
        Some("set") => Type::Set(element()?),
        Some("map") => Type::Map(element()?),
        Some("object") => {
            let parts = json[1].as_object().context("an object type without parts")?;
            let parts = parts.iter().map(|(name, part)| Ok((name.clone(), ty(part)?)));
            Type::Object(parts.collect::<Result<_>>()?)
        }
        _ => bail!("an unknown type {json}"),
    })
}

/// The value itself is not known.
#[must_use]
pub fn is_unknown(value: &Json) -> bool {
    value.as_str() == Some(UNKNOWN)
}

/// Nothing in the value is unknown.
#[must_use]
pub fn is_wholly_known(value: &Json) -> bool {
    match value {
        Json::Array(items) => items.iter().all(is_wholly_known),
        Json::Object(entries) => entries.values().all(is_wholly_known),
        _ => !is_unknown(value),
    }
}

/// `given` with every attribute that it leaves out as null, as a host has it.
#[must_use]
pub fn complete(attributes: &[Attribute], given: &Json) -> Json {
    let Json::Object(entries) = given else { return given.clone() };
    let all = attributes.iter().map(|attribute| {
        let value = entries.get(&attribute.name).unwrap_or(&Json::Null);
        (attribute.name.clone(), completed(&attribute.shape, value))
    });
    Json::Object(all.collect::<Map<_, _>>())
}

fn completed(shape: &Shape, value: &Json) -> Json {
    match (shape, value) {
        (Shape::Nested(Nesting::Single, inner), Json::Object(_)) => complete(inner, value),
        (Shape::Nested(Nesting::List | Nesting::Set, inner), Json::Array(items)) => {
            items.iter().map(|item| complete(inner, item)).collect()
        }
        (Shape::Nested(Nesting::Map, inner), Json::Object(entries)) => {
            let entries = entries.iter().map(|(key, item)| (key.clone(), complete(inner, item)));
            Json::Object(entries.collect())
        }
        _ => value.clone(),
    }
}

/// Every attribute with its dotted path, parents before children; list indexes and map keys are left out.
#[must_use]
pub fn walk(attributes: &[Attribute]) -> Vec<(String, &Attribute)> {
    fn into<'a>(prefix: &str, attributes: &'a [Attribute], all: &mut Vec<(String, &'a Attribute)>) {
        for attribute in attributes {
            let path = join(prefix, &attribute.name);
            all.push((path.clone(), attribute));
            into(&path, attribute.attributes(), all);
        }
    }
    let mut all = Vec::new();
    into("", attributes, &mut all);
    all
}

/// `storage` and `size` give `storage.size`.
#[must_use]
pub fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

/// The value at a dotted path; inside null everything is null, inside an unknown everything is unknown.
#[must_use]
pub fn at<'a>(value: &'a Json, path: &str) -> &'a Json {
    let mut here = value;
    for name in path.split('.') {
        if is_unknown(here) {
            return here;
        }
        here = &here[name];
    }
    here
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn types_are_read_and_others_refused() {
        assert_eq!(ty(&json!(["map", "string"])).unwrap(), Type::Map(Box::new(Type::String)));
        assert!(ty(&json!("text")).is_err());
        assert!(ty(&json!(["bag", "string"])).is_err());
    }

    #[test]
    fn what_is_left_out_is_null_and_inside_an_unknown_unknown() {
        let leaf = |name: &str| Attribute {
            name: name.to_owned(),
            shape: Shape::Leaf(Type::String),
            required: false,
            optional: true,
            computed: false,
            write_only: false,
            description: String::new(),
        };
        let outer =
            Attribute { shape: Shape::Nested(Nesting::Single, vec![leaf("a"), leaf("b")]), ..leaf("o") };
        let schema = [outer, leaf("c")];
        let full = complete(&schema, &json!({ "o": { "a": UNKNOWN } }));
        assert_eq!(full, json!({ "o": { "a": UNKNOWN, "b": null }, "c": null }));
        assert_eq!(at(&json!({ "o": UNKNOWN }), "o.a"), UNKNOWN);
        assert_eq!(at(&full, "c.d"), &Json::Null);
        assert!(!is_wholly_known(&full));
        let paths: Vec<_> = walk(&schema).into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["o", "o.a", "o.b", "c"]);
    }
}
