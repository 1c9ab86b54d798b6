//! The plan: a pure function of configuration, prior state and private state (P4–P9, P20).
//!
//! ```text
//!   config ──defaults──> inputs ──changes against prior──> refusals, replacement, last_change ──> outputs
//! ```
//!
//! The host plans again during apply and compares, so nothing here looks at the cluster.

mod changes;
mod data;
mod latency;
mod outputs;
mod protection;
mod refusals;
mod story;

use pgha_schema::resource::schema;

use crate::defaults;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::facts::Facts;
use crate::path::Path;
use crate::value::Value;

pub use changes::{Changed, changes};
pub use data::kept_volumes_go;
pub use latency::short_lease;
pub use protection::{holds_data, is_protected};

/// What a plan is made from.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// What the user wrote; null for a destroy.
    pub config: &'a Value,
    /// The refreshed state; null for a create.
    pub prior: &'a Value,
    /// Private state; in the second plan of a replacement, that of the first.
    pub facts: &'a Facts,
    /// Version of the agent that this provider carries.
    pub agent_version: &'a str,
}

/// A plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The state after apply; unknown where only apply can tell.
    pub planned: Value,
    /// Attributes whose change needs a new cluster.
    pub requires_replace: Vec<Path>,
    /// Planned private state.
    pub facts: Facts,
    /// What the user must hear.
    pub diagnostics: Diagnostics,
}

/// Plans.
pub fn plan(request: &Request<'_>) -> Plan {
    if request.config.is_null() {
        return destroy(request);
    }
    let mut diagnostics = Diagnostics::new();
    let mut planned = defaults::inputs(&schema().attributes, request.config, request.prior);
    outputs::derive(&mut planned, request.prior);
    let changes = if request.prior.is_null() { Vec::new() } else { changes(request.prior, &planned) };
    let requires_replace: Vec<Path> =
        changes.iter().filter(|one| one.replaces).map(|one| one.path.clone()).collect();
    diagnostics.extend(refusals::new_number_without_password(request.config, request.prior));
    if request.prior.is_null() {
        // Of the second plan of a replacement the host shows errors alone.
        if request.facts.protected {
            diagnostics.push(protection::second_plan());
        }
    } else if requires_replace.is_empty() {
        diagnostics.extend(refusals::refusals(&changes));
        let theirs = request.prior.get("agent_version").as_str().unwrap_or_default();
        let is_older =
            outputs::carries_agent(&planned) && outputs::newer(theirs, Some(request.agent_version));
        if is_older && outputs::touches_cluster(request.prior, &changes) {
            diagnostics.push(refusals::older_provider(request.agent_version, theirs));
        }
    } else if is_protected(request.prior) {
        diagnostics.push(protection::replacement(request.prior, &changes));
    } else {
        let refused = data::bootstrap_over_kept_volumes(request.prior, &changes);
        diagnostics.extend(refused.or_else(|| data::of_a_replacement(request.prior, &changes)));
    }
    let story = outputs::fill(&mut planned, request, &changes);
    if let Some(story) = story.filter(|_| requires_replace.is_empty()) {
        diagnostics.push(Diagnostic::warning(story.summary(), story.detail()));
    }
    let facts = Facts {
        protected: is_protected(request.prior),
        ..if request.prior.is_null() { Facts::default() } else { request.facts.clone() }
    };
    Plan { planned, requires_replace, facts, diagnostics }
}

fn destroy(request: &Request<'_>) -> Plan {
    let mut diagnostics = Diagnostics::new();
    if is_protected(request.prior) {
        diagnostics.push(protection::destroy(request.prior));
    } else {
        diagnostics.extend(data::of_a_destroy(request.prior));
    }
    let facts = Facts { protected: is_protected(request.prior), ..request.facts.clone() };
    Plan { planned: Value::Null, requires_replace: Vec::new(), facts, diagnostics }
}
