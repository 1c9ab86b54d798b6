//! JSON Schema -> [`tf::Schema`](crate::tf::Schema): total, so a keyword that it doesn't know is an error (P2).
//!
//! Properties become attributes. A property is required when JSON Schema says so; with a default, or as an object
//! that holds defaults, it is optional and computed (P4); else it is optional.

use serde_json::{Map, Value};

use crate::extension::{KEYWORD, TYPE_KEYWORD, Tf};
use crate::tf::{Attribute, Change, Nesting, Schema, Semantic, Shape, Type};
use crate::validators::Validator;

/// A JSON Schema that has no counterpart in a Terraform schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {what}")]
pub struct ConvertError {
    /// Where, as a path of names.
    pub path: String,
    /// What is not understood.
    pub what: String,
}

type Result<T> = std::result::Result<T, ConvertError>;
type Keywords = Map<String, Value>;

/// Converts the schema of a resource: the attributes of `inputs`, and those of `outputs`, all of them computed.
pub fn schema(version: i64, inputs: &Value, outputs: Option<&Value>) -> Result<Schema> {
    let root = Node::read("", inputs)?;
    let mut attributes = root.attributes(None, false)?;
    if let Some(outputs) = outputs {
        attributes.extend(Node::read("", outputs)?.attributes(None, true)?);
    }
    attributes.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = attributes.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(ConvertError { path: pair[0].name.clone(), what: "is both input and output".to_owned() });
    }
    Ok(Schema { version, description: root.description, attributes })
}

/// One subschema with every keyword taken apart.
#[derive(Debug, Default)]
struct Node {
    path: String,
    types: Vec<String>,
    description: String,
    deprecated: bool,
    default: Option<Value>,
    properties: Option<Keywords>,
    required: Vec<String>,
    additional: Option<Value>,
    items: Option<Value>,
    unique: bool,
    choices: Vec<(String, String)>,
    minimum: Option<i64>,
    maximum: Option<i64>,
    /// The most that Rust's type holds.
    widest: Option<i64>,
    min_length: Option<u64>,
    max_length: Option<u64>,
    min_items: Option<u64>,
    max_items: Option<u64>,
    pattern: Option<String>,
    tf: Tf,
    tf_type: Tf,
}

impl Node {
    fn read(path: &str, schema: &Value) -> Result<Self> {
        let mut node = Self { path: path.to_owned(), ..Self::default() };
        let keywords = schema.as_object().ok_or_else(|| node.error("the subschema is no object"))?;
        for (keyword, value) in keywords {
            node.keyword(keyword, value)?;
        }
        node.types.retain(|name| name != "null");
        Ok(node)
    }

    fn error(&self, what: impl Into<String>) -> ConvertError {
        let path = if self.path.is_empty() { "the root" } else { &self.path };
        ConvertError { path: path.to_owned(), what: what.into() }
    }

    /// Takes one keyword in; the whole list of those that are understood.
    fn keyword(&mut self, keyword: &str, value: &Value) -> Result<()> {
        match keyword {
            "type" => self.types = self.texts(keyword, value)?,
            "description" => self.description = prose(&self.text(keyword, value)?),
            "deprecated" => self.deprecated = value == &Value::Bool(true),
            "default" => self.default = Some(value.clone()),
            "properties" => self.properties = Some(self.object(keyword, value)?),
            "required" => self.required = self.texts(keyword, value)?,
            "additionalProperties" if value == &Value::Bool(false) => {}
            "additionalProperties" => self.additional = Some(value.clone()),
            "items" => self.items = Some(value.clone()),
            "uniqueItems" => self.unique = value == &Value::Bool(true),
            "enum" => {
                let texts = self.texts(keyword, value)?;
                self.choices.extend(texts.into_iter().map(|text| (text, String::new())));
            }
            "oneOf" => self.one_of(value)?,
            "anyOf" => self.any_of(value)?,
            "minimum" => self.minimum = Some(self.whole(keyword, value)?),
            "maximum" => self.maximum = Some(self.whole(keyword, value)?),
            "minLength" => self.min_length = Some(self.count(keyword, value)?),
            "maxLength" => self.max_length = Some(self.count(keyword, value)?),
            "minItems" => self.min_items = Some(self.count(keyword, value)?),
            "maxItems" => self.max_items = Some(self.count(keyword, value)?),
            "pattern" => self.pattern = Some(self.text(keyword, value)?),
            "format" => self.format(value)?,
            "$schema" | "title" => {}
            KEYWORD => self.tf = self.extension(value)?,
            TYPE_KEYWORD => self.tf_type = self.extension(value)?,
            unknown => return Err(self.error(format!("the keyword `{unknown}` is not understood"))),
        }
        Ok(())
    }

    /// Rust's integer widths. The least that they hold is said by `minimum`, the most by nothing else; of the widest it is what a
    /// bound can say.
    fn format(&mut self, value: &Value) -> Result<()> {
        self.widest = Some(match value.as_str() {
            Some("uint16") => u16::MAX.into(),
            Some("int32") => i32::MAX.into(),
            Some("uint32") => u32::MAX.into(),
            Some("uint64" | "int64") => i64::MAX,
            _ => return Err(self.error(format!("the format {value} is not understood"))),
        });
        Ok(())
    }

    /// Unit variants with doc comments.
    fn one_of(&mut self, value: &Value) -> Result<()> {
        let variants = value.as_array().ok_or_else(|| self.error("oneOf holds no list"))?;
        for variant in variants {
            let keywords = self.object("oneOf", variant)?;
            if let Some(odd) =
                keywords.keys().find(|key| !matches!(key.as_str(), "type" | "const" | "enum" | "description"))
            {
                return Err(self.error(format!("the keyword `{odd}` in a variant is not understood")));
            }
            self.types = vec!["string".to_owned()];
            if let Some(all) = keywords.get("enum") {
                let texts = self.texts("enum", all)?;
                self.choices.extend(texts.into_iter().map(|text| (text, String::new())));
                continue;
            }
            let name = keywords.get("const").ok_or_else(|| self.error("a variant is no constant"))?;
            let about = match keywords.get("description") {
                Some(text) => prose(&self.text("description", text)?),
                None => String::new(),
            };
            self.choices.push((self.text("const", name)?, about));
        }
        Ok(())
    }

    /// `Option` of an inlined type: the type, or null.
    fn any_of(&mut self, value: &Value) -> Result<()> {
        let variants = value.as_array().ok_or_else(|| self.error("anyOf holds no list"))?;
        let mut some = variants.iter().filter(|variant| variant.get("type") != Some(&Value::from("null")));
        let (Some(one), None) = (some.next(), some.next()) else {
            return Err(self.error("anyOf is understood only as a type or null"));
        };
        for (keyword, value) in self.object("anyOf", one)? {
            // The field's own doc comment is better than its type's.
            if keyword != "description" || self.description.is_empty() {
                self.keyword(&keyword, &value)?;
            }
        }
        Ok(())
    }

    fn text(&self, keyword: &str, value: &Value) -> Result<String> {
        value
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| self.error(format!("`{keyword}` holds no text: {value}")))
    }

    fn texts(&self, keyword: &str, value: &Value) -> Result<Vec<String>> {
        match value {
            Value::Array(all) => {
                all.iter().filter(|one| !one.is_null()).map(|one| self.text(keyword, one)).collect()
            }
            one => Ok(vec![self.text(keyword, one)?]),
        }
    }

    fn object(&self, keyword: &str, value: &Value) -> Result<Keywords> {
        value.as_object().cloned().ok_or_else(|| self.error(format!("`{keyword}` holds no object")))
    }

    fn whole(&self, keyword: &str, value: &Value) -> Result<i64> {
        let float = value.as_f64().filter(|number| number.fract() == 0.0).map(|number| number as i64);
        value.as_i64().or(float).ok_or_else(|| self.error(format!("`{keyword}` holds no whole number")))
    }

    fn count(&self, keyword: &str, value: &Value) -> Result<u64> {
        value.as_u64().ok_or_else(|| self.error(format!("`{keyword}` holds no count")))
    }

    fn extension(&self, value: &Value) -> Result<Tf> {
        serde_json::from_value(value.clone()).map_err(|error| self.error(format!("the extension: {error}")))
    }

    fn change(&self, outer: Option<Change>) -> Option<Change> {
        self.tf.change.or(self.tf_type.change).or(outer)
    }

    /// The attributes of an object.
    fn attributes(&self, change: Option<Change>, computed: bool) -> Result<Vec<Attribute>> {
        let properties =
            self.properties.as_ref().ok_or_else(|| self.error("an object without properties"))?;
        let mut attributes = Vec::new();
        for (name, property) in properties {
            let path = if self.path.is_empty() { name.clone() } else { format!("{}.{name}", self.path) };
            let node = Self::read(&path, property)?;
            attributes.push(node.attribute(name, self.required.contains(name), change, computed)?);
        }
        attributes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(attributes)
    }

    fn attribute(
        &self,
        name: &str,
        required: bool,
        outer: Option<Change>,
        computed: bool,
    ) -> Result<Attribute> {
        let only_computed = computed || self.tf.computed;
        let shape = self.shape(self.change(outer), only_computed)?;
        let is_leaf = matches!(shape, Shape::Leaf(_));
        let default = self.default.clone().filter(|value| is_leaf && !value.is_null());
        let holds_defaults = match &shape {
            Shape::Nested { nesting: Nesting::Single, attributes } => {
                attributes.iter().any(|child| child.optional && child.computed)
            }
            Shape::Leaf(_) | Shape::Nested { .. } => false,
        };
        let required = required && !only_computed;
        let filled = default.is_some() || holds_defaults || self.tf.derived;
        let mut description = self.description.clone();
        for (choice, about) in self.choices.iter().filter(|(_, about)| !about.is_empty()) {
            description.push_str(&format!("\n  - `{choice}`: {about}"));
        }
        let mut attribute = Attribute {
            name: name.to_owned(),
            shape,
            required,
            optional: !required && !only_computed,
            computed: only_computed || (filled && !required),
            sensitive: self.tf.sensitive || self.tf_type.sensitive,
            write_only: self.tf.write_only,
            deprecated: self.deprecated.then(|| description.clone()),
            description,
            semantic: self.semantic()?,
            validators: Vec::new(),
            element_validators: Vec::new(),
            key_validators: self.tf.key_rules.iter().copied().map(Validator::Rule).collect(),
            change: if only_computed { Change::Nothing } else { self.change(outer).unwrap_or_default() },
            default,
            derived: self.tf.derived,
            env: self.tf.env.clone(),
        };
        if !only_computed {
            self.validators(&mut attribute)?;
        }
        Ok(attribute)
    }

    fn semantic(&self) -> Result<Option<Semantic>> {
        let element = self.element()?.and_then(|element| element.tf_type.semantic);
        Ok(self.tf.semantic.or(self.tf_type.semantic).or(element))
    }

    /// The subschema of a list's, set's or map's elements.
    fn element(&self) -> Result<Option<Self>> {
        match self.items.as_ref().or(self.additional.as_ref()) {
            Some(element) => Ok(Some(Self::read(&self.path, element)?)),
            None => Ok(None),
        }
    }

    fn kind(&self) -> Result<&str> {
        match self.types.as_slice() {
            [one] => Ok(one),
            [] => Err(self.error("the type is not said")),
            more => Err(self.error(format!("one type is wanted, not {more:?}"))),
        }
    }

    fn shape(&self, change: Option<Change>, computed: bool) -> Result<Shape> {
        if let Some(element) = self.element()?.filter(|element| element.properties.is_some()) {
            let nesting = match (self.kind()?, self.unique) {
                ("array", true) => Nesting::Set,
                ("array", false) => Nesting::List,
                _ => Nesting::Map,
            };
            return Ok(Shape::Nested { nesting, attributes: element.attributes(change, computed)? });
        }
        if self.properties.is_some() {
            return Ok(Shape::Nested {
                nesting: Nesting::Single,
                attributes: self.attributes(change, computed)?,
            });
        }
        self.leaf_type().map(Shape::Leaf)
    }

    fn leaf_type(&self) -> Result<Type> {
        let element = || match self.element()? {
            Some(element) => element.leaf_type(),
            None => Err(self.error("the elements' type is not said")),
        };
        match self.kind()? {
            "string" => Ok(Type::String),
            "boolean" => Ok(Type::Bool),
            "integer" | "number" => Ok(Type::Number),
            "array" if self.unique => Ok(Type::set(element()?)),
            "array" => Ok(Type::list(element()?)),
            "object" => Ok(Type::map(element()?)),
            other => Err(self.error(format!("the type `{other}` is not understood"))),
        }
    }

    /// Fills in what the keywords demand of the value, and of its elements.
    fn validators(&self, attribute: &mut Attribute) -> Result<()> {
        let Shape::Leaf(ty) = &attribute.shape else {
            attribute.validators = self.own_validators();
            return Ok(());
        };
        let rules = self.tf.rules.iter().chain(&self.tf_type.rules).copied().map(Validator::Rule);
        match ty {
            Type::List(_) | Type::Set(_) | Type::Map(_) => {
                attribute.validators = self.own_validators();
                if let Some(element) = self.element()? {
                    attribute.element_validators = element.own_validators();
                    attribute
                        .element_validators
                        .extend(element.tf_type.rules.iter().copied().map(Validator::Rule));
                }
                attribute.element_validators.extend(rules);
            }
            Type::String
            | Type::Number
            | Type::Bool
            | Type::Dynamic
            | Type::Object { .. }
            | Type::Tuple(_) => {
                attribute.validators = self.own_validators();
                attribute.validators.extend(rules);
            }
        }
        Ok(())
    }

    fn own_validators(&self) -> Vec<Validator> {
        let mut validators = Vec::new();
        if self.types == ["integer"] {
            validators.push(Validator::Integer);
        }
        let max = self.maximum.or(self.widest);
        if self.minimum.is_some() || max.is_some() {
            validators.push(Validator::Range { min: self.minimum, max });
        }
        if !self.choices.is_empty() {
            validators.push(Validator::OneOf(self.choices.iter().map(|(name, _)| name.clone()).collect()));
        }
        if self.min_length.is_some() || self.max_length.is_some() {
            validators.push(Validator::Length { min: self.min_length, max: self.max_length });
        }
        if self.min_items.is_some() || self.max_items.is_some() {
            validators.push(Validator::Items { min: self.min_items, max: self.max_items });
        }
        validators.extend(self.pattern.clone().map(Validator::Pattern));
        validators
    }
}

/// A doc comment as Markdown: its lines joined, its paragraphs and lists kept.
fn prose(text: &str) -> String {
    let mut joined = String::new();
    for line in text.lines().map(str::trim_end) {
        let starts_block = line.is_empty() || line.trim_start().starts_with("- ");
        if !joined.is_empty() {
            joined.push_str(if starts_block || joined.ends_with('\n') { "\n" } else { " " });
        }
        joined.push_str(line.trim());
    }
    joined
}

#[cfg(test)]
mod tests;
