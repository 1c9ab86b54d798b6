//! A Terraform schema in neutral words: what the wire turns into tfplugin6, what plan, decoding and docs are driven by.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::validators::Validator;

/// A type of Terraform's language (cty).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Text.
    String,
    /// A number of any size.
    Number,
    /// True or false.
    Bool,
    /// Known only with the value.
    Dynamic,
    /// Ordered elements of one type.
    List(Box<Type>),
    /// Elements of one type without order or repetition.
    Set(Box<Type>),
    /// Elements of one type by text key.
    Map(Box<Type>),
    /// A fixed set of named attributes.
    Object {
        /// The attributes' types.
        attrs: BTreeMap<String, Type>,
        /// Those that may be left out in a type constraint; never set in what this crate's schemas give.
        optional: BTreeSet<String>,
    },
    /// A fixed sequence of types.
    Tuple(Vec<Type>),
}

impl Type {
    /// A list of `element`.
    pub fn list(element: Self) -> Self {
        Self::List(Box::new(element))
    }

    /// A map of `element`.
    pub fn map(element: Self) -> Self {
        Self::Map(Box::new(element))
    }

    /// A set of `element`.
    pub fn set(element: Self) -> Self {
        Self::Set(Box::new(element))
    }

    /// The type in cty's JSON form, as it stands in tfplugin6's `Attribute.type`.
    pub fn to_json(&self) -> Value {
        match self {
            Self::String => json!("string"),
            Self::Number => json!("number"),
            Self::Bool => json!("bool"),
            Self::Dynamic => json!("dynamic"),
            Self::List(element) => json!(["list", element.to_json()]),
            Self::Set(element) => json!(["set", element.to_json()]),
            Self::Map(element) => json!(["map", element.to_json()]),
            Self::Object { attrs, optional } => {
                let attrs: BTreeMap<_, _> = attrs.iter().map(|(name, ty)| (name, ty.to_json())).collect();
                if optional.is_empty() {
                    json!(["object", attrs])
                } else {
                    json!(["object", attrs, optional])
                }
            }
            Self::Tuple(elements) => {
                json!(["tuple", elements.iter().map(Self::to_json).collect::<Vec<_>>()])
            }
        }
    }
}

/// How a nested attribute holds its objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nesting {
    /// One object, or null.
    Single,
    /// Objects in order.
    List,
    /// Objects without order.
    Set,
    /// Objects by key.
    Map,
}

/// What an attribute holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// A plain value of this type.
    Leaf(Type),
    /// Objects with attributes of their own (protocol 6).
    Nested {
        /// How many, and how they are found.
        nesting: Nesting,
        /// The objects' attributes, by name in alphabetical order.
        attributes: Vec<Attribute>,
    },
}

/// When two spellings mean the same (P5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Semantic {
    /// A Kubernetes quantity: `1Gi` is `1024Mi`.
    Quantity,
    /// A duration in Go's grammar: `1m` is `60s`.
    Duration,
}

/// What a change of the attribute does to the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// No cluster is touched.
    Nothing,
    /// Changed online; no restart.
    #[default]
    InPlace,
    /// PostgreSQL reads its configuration again.
    Reload,
    /// A reload, or a restart of one instance after the other where PostgreSQL needs it.
    ReloadOrRestart,
    /// Pods are made anew one by one, the primary last, after a switchover.
    Rolling,
    /// Another minor version rolls; another major version is refused.
    RollingMinor,
    /// Grows in place; shrinking is refused.
    Grow,
    /// Refused, with a way out.
    Refused,
    /// The cluster is destroyed and made anew.
    Replace,
}

/// One attribute of a schema.
#[derive(Clone, Debug, PartialEq)]
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
    /// Hidden in the CLI's output.
    pub sensitive: bool,
    /// Never in plan or state.
    pub write_only: bool,
    /// Why, and what to use instead, when it is deprecated.
    pub deprecated: Option<String>,
    /// What it is for, in Markdown.
    pub description: String,
    /// When two spellings mean the same; for a list or map it speaks of the elements.
    pub semantic: Option<Semantic>,
    /// What a known value must fulfil.
    pub validators: Vec<Validator>,
    /// What each known element of a list, set or map must fulfil.
    pub element_validators: Vec<Validator>,
    /// What each key of a map must fulfil.
    pub key_validators: Vec<Validator>,
    /// What a change does.
    pub change: Change,
    /// The value when config has none (P4). Of an optional object around defaults: see [`Attribute::default_value`].
    pub default: Option<Value>,
    /// Optional and computed, the value being derived from other inputs (`image`), so that `default` is `None`.
    pub derived: bool,
    /// Environment variables that stand in for it, first one first (provider configuration).
    pub env: Vec<String>,
}

impl Attribute {
    /// The cty type of its values.
    pub fn ty(&self) -> Type {
        match &self.shape {
            Shape::Leaf(ty) => ty.clone(),
            Shape::Nested { nesting, attributes } => {
                let object = object_type(attributes);
                match nesting {
                    Nesting::Single => object,
                    Nesting::List => Type::list(object),
                    Nesting::Set => Type::set(object),
                    Nesting::Map => Type::map(object),
                }
            }
        }
    }

    /// A change of its value needs a new cluster.
    pub fn replaces(&self) -> bool {
        self.change == Change::Replace
    }

    /// Set by the provider alone.
    pub fn is_output(&self) -> bool {
        self.computed && !self.optional
    }

    /// The nested attributes; none for a leaf.
    pub fn attributes(&self) -> &[Attribute] {
        match &self.shape {
            Shape::Leaf(_) => &[],
            Shape::Nested { attributes, .. } => attributes,
        }
    }

    /// What stands in the plan when config has null (P4): the default, or, for a single object that holds defaults,
    /// that object with every default in it. `None`: null stays null (or the value is derived or computed).
    pub fn default_value(&self) -> Option<Value> {
        if self.default.is_some() || !(self.optional && self.computed) {
            return self.default.clone();
        }
        match &self.shape {
            Shape::Nested { nesting: Nesting::Single, attributes } => Some(Value::Object(
                attributes
                    .iter()
                    .map(|child| (child.name.clone(), child.default_value().unwrap_or(Value::Null)))
                    .collect(),
            )),
            Shape::Leaf(_) | Shape::Nested { .. } => None,
        }
    }
}

/// The schema of a resource, of a data source or of the provider block.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    /// Version of the state's shape.
    pub version: i64,
    /// What it is, in Markdown.
    pub description: String,
    /// Its attributes, by name in alphabetical order.
    pub attributes: Vec<Attribute>,
}

impl Schema {
    /// The cty type of the whole object.
    pub fn ty(&self) -> Type {
        object_type(&self.attributes)
    }

    /// The attribute at a path of names joined by dots, as `storage.size`; list indexes and map keys are left out.
    pub fn attribute(&self, path: &str) -> Option<&Attribute> {
        self.attribute_at(path.split('.'))
    }

    /// The attribute at a path of names; list indexes and map keys are left out.
    pub fn attribute_at<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Option<&Attribute> {
        let mut attributes = self.attributes.as_slice();
        let mut found = None;
        for name in path {
            found = Some(attributes.iter().find(|attribute| attribute.name == name)?);
            attributes = found.map_or(&[], Attribute::attributes);
        }
        found
    }

    /// Every attribute with its path, parents before their children.
    pub fn walk(&self) -> Vec<(String, &Attribute)> {
        let mut all = Vec::new();
        walk_into("", &self.attributes, &mut all);
        all
    }
}

/// A function of the provider: pure, called by position.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Its name, behind `provider::postgres::`.
    pub name: &'static str,
    /// What it gives, in a few words.
    pub summary: &'static str,
    /// More of it, in Markdown.
    pub description: &'static str,
    /// Its arguments in order.
    pub parameters: Vec<Parameter>,
    /// Arguments after those, however many.
    pub variadic: Option<Parameter>,
    /// What it gives.
    pub returns: Type,
}

/// An argument of a [`Function`].
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub ty: Type,
    /// What it is for, in Markdown.
    pub description: &'static str,
}

fn walk_into<'a>(prefix: &str, attributes: &'a [Attribute], all: &mut Vec<(String, &'a Attribute)>) {
    for attribute in attributes {
        let path =
            if prefix.is_empty() { attribute.name.clone() } else { format!("{prefix}.{}", attribute.name) };
        all.push((path.clone(), attribute));
        walk_into(&path, attribute.attributes(), all);
    }
}

fn object_type(attributes: &[Attribute]) -> Type {
    Type::Object {
        attrs: attributes.iter().map(|attribute| (attribute.name.clone(), attribute.ty())).collect(),
        optional: BTreeSet::new(),
    }
}
