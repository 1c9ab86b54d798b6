//! What JSON Schema can't say of an attribute, as one typed extension per field (P2).

use serde::{Deserialize, Serialize};

use crate::tf::{Change, Semantic};
use crate::validators::Rule;

/// The keyword under which [`Tf`] stands in the JSON Schema.
pub const KEYWORD: &str = "x-tf";
/// The keyword under which a Rust type says the same of all its fields; [`KEYWORD`] adds to it.
pub const TYPE_KEYWORD: &str = "x-tf-type";

/// The extension: `#[schemars(extend("x-tf" = Tf::new().change(Change::Replace)))]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tf {
    /// What a change does; when not said, what the object around it says, else [`Change::InPlace`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// Set by the provider alone.
    #[serde(skip_serializing_if = "is_false")]
    pub computed: bool,
    /// Derived from other inputs when config has none: optional and computed without a default.
    #[serde(skip_serializing_if = "is_false")]
    pub derived: bool,
    /// Hidden in the CLI's output.
    #[serde(skip_serializing_if = "is_false")]
    pub sensitive: bool,
    /// Never in plan or state.
    #[serde(skip_serializing_if = "is_false")]
    pub write_only: bool,
    /// When two spellings mean the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub semantic: Option<Semantic>,
    /// Rules for the value; for the elements where it is a list, set or map.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// Rules for the keys of a map.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key_rules: Vec<Rule>,
    /// Environment variables that stand in for it, first one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Tf {
    /// Says nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a change does.
    pub fn change(mut self, change: Change) -> Self {
        self.change = Some(change);
        self
    }

    /// Set by the provider alone.
    pub fn computed(mut self) -> Self {
        self.computed = true;
        self
    }

    /// Derived from other inputs when config has none.
    pub fn derived(mut self) -> Self {
        self.derived = true;
        self
    }

    /// Hidden in the CLI's output.
    pub fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }

    /// Never in plan or state, and hidden.
    pub fn write_only(mut self) -> Self {
        self.write_only = true;
        self.sensitive()
    }

    /// When two spellings mean the same.
    pub fn semantic(mut self, semantic: Semantic) -> Self {
        self.semantic = Some(semantic);
        self
    }

    /// A rule for the value, or for each element.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// A rule for each key.
    pub fn key_rule(mut self, rule: Rule) -> Self {
        self.key_rules.push(rule);
        self
    }

    /// An environment variable that stands in for it.
    pub fn env(mut self, name: &str) -> Self {
        self.env.push(name.to_owned());
        self
    }
}
