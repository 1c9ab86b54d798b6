//! What a host keeps of a provider's answers, each with the rules that it breaks.

use serde_json::Value as Json;

use super::rules::Violation;
use super::rules::action::Action;
use super::rules::ignored::Ignored;
use crate::proto_client::pb::tfplugin6 as pb;

/// A state with its private part, as a host keeps it between runs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stored {
    /// The state; null when there is nothing.
    pub state: Json,
    /// What the provider keeps beside it.
    pub private: Vec<u8>,
    /// What tells it from all others; null when that is not known.
    pub identity: Json,
}

impl Stored {
    /// Nothing is there.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }
}

/// What a call of refresh or import gave.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// What there is.
    pub stored: Stored,
    /// The state as it came, for comparing bytes.
    pub wire: Vec<u8>,
    /// What the user hears.
    pub diagnostics: Vec<pb::Diagnostic>,
    /// Rules that the answer breaks.
    pub violations: Vec<Violation>,
}

impl Seen {
    /// A host goes no further from here.
    #[must_use]
    pub fn is_unusable(&self) -> bool {
        has_errors(&self.diagnostics) || !self.violations.is_empty()
    }
}

/// A plan, judged.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// What it was made from.
    pub prior: Stored,
    /// What the user wrote; null for a destroy.
    pub written: Json,
    /// Which changes of it the user wants ignored.
    pub ignored: Ignored,
    /// What the provider was given of it.
    pub config: Json,
    /// The state after apply.
    pub planned: Json,
    /// The same as it came, for comparing bytes.
    pub wire: Vec<u8>,
    /// Private state for apply.
    pub private: Vec<u8>,
    /// The identity after apply.
    pub identity: Json,
    /// What it comes to.
    pub action: Action,
    /// The paths whose change needs a replacement.
    pub replaces: Vec<String>,
    /// What the user hears, of the second plan too.
    pub diagnostics: Vec<pb::Diagnostic>,
    /// Rules that the answer breaks.
    pub violations: Vec<Violation>,
}

impl Plan {
    /// The provider refused it.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        has_errors(&self.diagnostics)
    }

    /// A destroy that the provider was not asked to plan: the first half of the replacement of a tainted instance.
    #[must_use]
    pub fn unasked_destroy(prior: &Stored) -> Self {
        Self {
            prior: prior.clone(),
            private: prior.private.clone(),
            action: Action::Delete,
            ..Self::default()
        }
    }
}

/// What apply left behind, judged.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The new state.
    pub stored: Stored,
    /// The plan that was applied: the one made during apply.
    pub plan: Plan,
    /// What the user hears.
    pub diagnostics: Vec<pb::Diagnostic>,
    /// Rules that the answers break.
    pub violations: Vec<Violation>,
}

/// Some of them are errors.
#[must_use]
pub fn has_errors(diagnostics: &[pb::Diagnostic]) -> bool {
    diagnostics.iter().any(|one| one.severity() == pb::diagnostic::Severity::Error)
}
