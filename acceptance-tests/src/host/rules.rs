//! The host's rules, each a pure function from values to what breaks it.
//!
//! They are written from the protocol's documents and from what hosts were seen to refuse, not from the provider's own
//! checks: the two are to be able to disagree.

pub mod action;
pub mod compatible;
pub mod conform;
pub mod identity;
pub mod ignored;
pub mod plan_valid;
pub mod proposed;
pub mod replace;
pub mod write_only;

use std::fmt;

/// Which rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A value has exactly the parts and types of the schema.
    Conforms,
    /// A state holds nothing unknown.
    WhollyKnown,
    /// A planned value is the configured one, the prior one, or the provider's to set.
    PlanValid,
    /// A path that requires a replacement is there.
    ReplacePath,
    /// The plan made during apply completes the first one.
    FinalPlan,
    /// Both plans come to the same action.
    SameAction,
    /// The state after apply is the planned one.
    Result,
    /// No answer holds a write-only value.
    WriteOnly,
    /// An identity is whole, and stays.
    Identity,
    /// What is destroyed is gone, what is not is there.
    Existence,
}

/// A rule that an answer breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// Where, as `storage.size`; empty for the whole.
    pub path: String,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {:?}: {}", self.rule, self.path, self.what)
    }
}

/// Collects what breaks one rule.
pub(crate) struct Found {
    rule: Rule,
    all: Vec<Violation>,
}

impl Found {
    pub(crate) fn new(rule: Rule) -> Self {
        Self { rule, all: Vec::new() }
    }

    pub(crate) fn add(&mut self, path: &str, what: impl Into<String>) {
        self.all.push(Violation { rule: self.rule, path: path.to_owned(), what: what.into() });
    }

    pub(crate) fn done(self) -> Vec<Violation> {
        self.all
    }
}

#[cfg(test)]
pub(crate) mod samples {
    //! A schema small enough to think about.

    use crate::host::schema::{Attribute, Nesting, Shape, Type};

    pub(crate) fn leaf(name: &str, ty: Type) -> Attribute {
        Attribute {
            name: name.to_owned(),
            shape: Shape::Leaf(ty),
            required: false,
            optional: true,
            computed: false,
            write_only: false,
            description: String::new(),
        }
    }

    pub(crate) fn computed(attribute: Attribute) -> Attribute {
        Attribute { computed: true, ..attribute }
    }

    pub(crate) fn output(name: &str) -> Attribute {
        Attribute { optional: false, computed: true, ..leaf(name, Type::String) }
    }

    pub(crate) fn nested(name: &str, nesting: Nesting, inner: Vec<Attribute>) -> Attribute {
        Attribute { shape: Shape::Nested(nesting, inner), ..leaf(name, Type::String) }
    }

    /// name: required; size: optional; mode: optional with a default; uri: output; box { inner, level with a default };
    /// items: a list of objects; tags: a set.
    pub(crate) fn schema() -> Vec<Attribute> {
        let inner = || vec![leaf("inner", Type::String), computed(leaf("level", Type::Number))];
        vec![
            Attribute { required: true, optional: false, ..leaf("name", Type::String) },
            leaf("size", Type::String),
            computed(leaf("mode", Type::String)),
            output("uri"),
            computed(nested("box", Nesting::Single, inner())),
            nested("items", Nesting::List, inner()),
            leaf("tags", Type::Set(Box::new(Type::String))),
            Attribute { write_only: true, ..leaf("secret", Type::String) },
        ]
    }
}
