//! The neutral schemas in the protocol's form.

use crate::proto::tfplugin6 as pb;
use pb::schema::object::NestingMode;
use pgha_schema::tf::{Attribute, Function, Nesting, Parameter, Schema, Shape, Type};

/// A resource's or the provider's schema.
#[must_use]
pub fn to_proto(schema: &Schema) -> pb::Schema {
    pb::Schema {
        version: schema.version,
        block: Some(pb::schema::Block {
            version: schema.version,
            attributes: schema.attributes.iter().map(attribute).collect(),
            description: schema.description.clone(),
            description_kind: pb::StringKind::Markdown.into(),
            ..Default::default()
        }),
    }
}

/// The schema of a resource's identity.
#[must_use]
pub fn identity(schema: &Schema) -> pb::ResourceIdentitySchema {
    let part = |part: &Attribute| pb::resource_identity_schema::IdentityAttribute {
        name: part.name.clone(),
        r#type: ty(&part.ty()),
        required_for_import: part.required,
        optional_for_import: part.optional,
        description: part.description.clone(),
    };
    pb::ResourceIdentitySchema {
        version: schema.version,
        identity_attributes: schema.attributes.iter().map(part).collect(),
    }
}

/// A function's declaration.
#[must_use]
pub fn function(function: &Function) -> pb::Function {
    pb::Function {
        parameters: function.parameters.iter().map(parameter).collect(),
        variadic_parameter: function.variadic.as_ref().map(parameter),
        r#return: Some(pb::function::Return { r#type: ty(&function.returns) }),
        summary: function.summary.to_owned(),
        description: function.description.to_owned(),
        description_kind: pb::StringKind::Markdown.into(),
        deprecation_message: String::new(),
    }
}

/// Unknown arguments are not asked for: the host then makes the result unknown by itself.
fn parameter(parameter: &Parameter) -> pb::function::Parameter {
    pb::function::Parameter {
        name: parameter.name.to_owned(),
        r#type: ty(&parameter.ty),
        allow_null_value: false,
        allow_unknown_values: false,
        description: parameter.description.to_owned(),
        description_kind: pb::StringKind::Markdown.into(),
    }
}

fn ty(ty: &Type) -> Vec<u8> {
    ty.to_json().to_string().into_bytes()
}

fn attribute(attribute: &Attribute) -> pb::schema::Attribute {
    // Exactly one of the two may be there: hosts crash on an empty type where no nested type is given.
    let (leaf, nested) = match &attribute.shape {
        Shape::Leaf(leaf) => (ty(leaf), None),
        Shape::Nested { nesting, attributes } => (Vec::new(), Some(object(*nesting, attributes))),
    };
    pb::schema::Attribute {
        name: attribute.name.clone(),
        r#type: leaf,
        nested_type: nested,
        description: attribute.description.clone(),
        description_kind: pb::StringKind::Markdown.into(),
        required: attribute.required,
        optional: attribute.optional,
        computed: attribute.computed,
        sensitive: attribute.sensitive,
        write_only: attribute.write_only,
        deprecated: attribute.deprecated.is_some(),
        deprecation_message: attribute.deprecated.clone().unwrap_or_default(),
    }
}

fn object(nesting: Nesting, attributes: &[Attribute]) -> pb::schema::Object {
    let nesting = match nesting {
        Nesting::Single => NestingMode::Single,
        Nesting::List => NestingMode::List,
        Nesting::Set => NestingMode::Set,
        Nesting::Map => NestingMode::Map,
    };
    pb::schema::Object { attributes: attributes.iter().map(attribute).collect(), nesting: nesting.into() }
}
