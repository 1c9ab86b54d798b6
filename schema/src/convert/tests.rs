use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::*;
use crate::resource::json_schema;

fn converted(schema: &Value) -> Result<Schema> {
    super::schema(0, schema, None)
}

fn one(property: &Value) -> Result<Attribute> {
    let schema = json!({ "type": "object", "properties": { "a": property } });
    converted(&schema).map(|schema| schema.attributes[0].clone())
}

#[test]
fn what_is_not_understood_is_an_error_that_names_it() {
    for (property, what) in [
        (
            json!({ "type": "string", "contentEncoding": "base64" }),
            "the keyword `contentEncoding` is not understood",
        ),
        (
            json!({ "type": "integer", "exclusiveMinimum": 0 }),
            "the keyword `exclusiveMinimum` is not understood",
        ),
        (json!({ "$ref": "#/$defs/X" }), "the keyword `$ref` is not understood"),
        (json!({ "allOf": [] }), "the keyword `allOf` is not understood"),
        (json!({ "type": "integer", "format": "int128" }), "the format \"int128\" is not understood"),
        (json!({ "type": ["string", "integer"] }), "one type is wanted, not [\"string\", \"integer\"]"),
        (
            json!({ "anyOf": [{ "type": "string" }, { "type": "integer" }] }),
            "anyOf is understood only as a type or null",
        ),
        (json!({ "oneOf": [{ "type": "object" }] }), "a variant is no constant"),
        (
            json!({ "oneOf": [{ "const": "a", "title": "A" }] }),
            "the keyword `title` in a variant is not understood",
        ),
        (json!({ "type": "array" }), "the elements' type is not said"),
        (json!({}), "the type is not said"),
        (json!(true), "the subschema is no object"),
        (
            json!({ "type": "string", "x-tf": { "replaces": true } }),
            "the extension: unknown field `replaces`",
        ),
        (json!({ "type": "number", "minimum": 0.5 }), "`minimum` holds no whole number"),
    ] {
        let error = one(&property).unwrap_err();
        assert_eq!(error.path, "a", "{property}");
        assert!(error.what.starts_with(what), "{property}: {}", error.what);
    }
    let twice = json!({ "type": "object", "properties": { "a": { "type": "string" } } });
    assert_eq!(super::schema(0, &twice, Some(&twice)).unwrap_err().what, "is both input and output");
}

/// Every shape that schemars gives for the types that are allowed.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Everything {
    text: String,
    maybe: Option<String>,
    /// First line,
    /// second line.
    ///
    /// - a list
    wrapped: Wrapped,
    #[serde(default)]
    filled: Filled,
    maybe_filled: Option<Filled>,
    maybe_object: Option<Plain>,
    list: Vec<Plain>,
    set: BTreeSet<String>,
    numbers: Option<Vec<u32>>,
    #[schemars(length(min = 1, max = 3))]
    map: BTreeMap<String, Choice>,
    objects: BTreeMap<String, Plain>,
    maybe_choice: Option<Documented>,
    #[deprecated]
    #[schemars(regex(pattern = "^a+$"))]
    old: Option<String>,
    #[schemars(extend("x-tf" = Tf::new().sensitive().change(Change::Replace).env("OLD")))]
    secret: Option<String>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Wrapped(bool);

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Filled {
    number: i64,
    none: Option<String>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Plain {
    #[schemars(length(min = 2))]
    word: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Choice {
    One,
    Two,
}

#[derive(Serialize, Deserialize, JsonSchema)]
enum Documented {
    /// The first.
    One,
    Two,
}

#[test]
fn every_shape_of_the_rust_types_is_understood() {
    let schema = converted(&json_schema::<Everything>()).unwrap();
    let seen = |path: &str| {
        let attribute = schema.attribute(path).unwrap_or_else(|| panic!("{path}"));
        let kind = [(attribute.required, 'r'), (attribute.optional, 'o'), (attribute.computed, 'c')];
        let kind: String = kind.iter().filter(|(is, _)| *is).map(|(_, letter)| letter).collect();
        format!("{kind} {}", attribute.ty().to_json())
    };
    let plain = r#"["object",{"word":"string"}]"#;
    let filled = r#"["object",{"none":"string","number":"number"}]"#;
    for (path, wanted) in [
        ("text", r#"r "string""#.to_owned()),
        ("maybe", r#"o "string""#.to_owned()),
        ("wrapped", r#"r "bool""#.to_owned()),
        ("filled", format!("oc {filled}")),
        ("filled.number", r#"oc "number""#.to_owned()),
        ("filled.none", r#"o "string""#.to_owned()),
        ("maybe_filled", format!("oc {filled}")),
        ("maybe_object", format!("o {plain}")),
        ("maybe_object.word", r#"r "string""#.to_owned()),
        ("list", format!(r#"r ["list",{plain}]"#)),
        ("set", r#"r ["set","string"]"#.to_owned()),
        ("numbers", r#"o ["list","number"]"#.to_owned()),
        ("map", r#"r ["map","string"]"#.to_owned()),
        ("objects", format!(r#"r ["map",{plain}]"#)),
        ("maybe_choice", r#"o "string""#.to_owned()),
    ] {
        assert_eq!(seen(path), wanted, "{path}");
    }
    let at = |path: &str| schema.attribute(path).unwrap();
    assert_eq!(at("wrapped").description, "First line, second line.\n\n- a list");
    assert_eq!(at("map").element_validators, [Validator::OneOf(vec!["one".into(), "two".into()])]);
    assert_eq!(at("maybe_choice").validators, [Validator::OneOf(vec!["Two".into(), "One".into()])]);
    assert_eq!(at("maybe_choice").description, "\n  - `One`: The first.");
    assert_eq!(at("old").validators, [Validator::Pattern("^a+$".into())]);
    assert!(at("old").deprecated.is_some());
    assert_eq!(at("objects.word").validators, [Validator::Length { min: Some(2), max: None }]);
    assert_eq!(
        at("numbers").element_validators,
        [Validator::Integer, Validator::Range { min: Some(0), max: Some(u32::MAX.into()) }]
    );
    let secret = at("secret");
    assert!(secret.sensitive && secret.replaces() && secret.env == ["OLD"]);
    assert_eq!(at("filled").default_value(), Some(json!({ "none": null, "number": 0 })));
    assert_eq!(at("maybe_object").default_value(), None);
    assert_eq!((schema.attribute("list.nowhere"), schema.attribute("text.word")), (None, None));
}

#[test]
fn both_schemas_hold_what_terraform_demands() {
    for schema in [crate::resource::schema(), crate::provider_block::schema()] {
        assert!(!schema.description.is_empty());
        for (path, attribute) in schema.walk() {
            assert!(!attribute.description.is_empty(), "{path} has no text");
            assert!(attribute.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{path}");
            let reserved =
                ["count", "for_each", "provider", "depends_on", "lifecycle", "connection", "provisioner"];
            assert!(!reserved.contains(&path.as_str()), "{path} is Terraform's word");
            assert!(attribute.required || attribute.optional || attribute.computed, "{path}");
            assert!(!attribute.required || !(attribute.optional || attribute.computed), "{path}");
            assert!(attribute.default.is_none() || (attribute.optional && attribute.computed), "{path}");
        }
    }
}

#[test]
fn every_default_passes_its_validators() {
    for (path, attribute) in crate::resource::schema().walk() {
        let Some(default) = &attribute.default else { continue };
        for validator in &attribute.validators {
            assert_eq!(crate::validators::check(validator, default), Ok(()), "{path}");
        }
        for element in default.as_array().into_iter().flatten() {
            for validator in &attribute.element_validators {
                assert_eq!(crate::validators::check(validator, element), Ok(()), "{path}");
            }
        }
    }
}
