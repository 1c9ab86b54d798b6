//! The state after an apply, whole or cut short (P19).

use pgha_schema::resource::schema;

use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::live::LiveCluster;
use crate::refresh::{load_balancer_host, ready};
use crate::value::Value;

/// What apply answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The new state, wholly known.
    pub state: Value,
    /// What the user must hear.
    pub diagnostics: Diagnostics,
}

/// After a create whose anchor was made. Once the primary accepts writes a failure is a warning: an error would taint the
/// instance, and the next apply would destroy it.
pub fn created(planned: &Value, live: &LiveCluster, failure: Option<Diagnostic>) -> Outcome {
    let whole = failure.is_none();
    let mut diagnostics = Diagnostics::new();
    if let Some(failure) = failure {
        diagnostics.push(if accepts_writes(live) { unfinished(failure) } else { failure });
    }
    Outcome { state: finish(planned, live, whole), diagnostics }
}

/// After an update. One that fails answers with the state before, not ready, so that the next plan goes on with it.
pub fn updated(planned: &Value, prior: &Value, live: &LiveCluster, failure: Option<Diagnostic>) -> Outcome {
    let Some(failure) = failure else {
        return Outcome { state: finish(planned, live, true), diagnostics: Diagnostics::new() };
    };
    let mut state = prior.clone();
    state.set_at("ready", Value::Bool(false));
    Outcome { state, diagnostics: failure.into() }
}

fn accepts_writes(live: &LiveCluster) -> bool {
    live.status().is_some_and(|status| status.accepts_writes)
}

fn unfinished(failure: Diagnostic) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        summary: format!("The cluster serves, but is not complete: {}", failure.summary),
        detail: format!(
            "{}\n\nThe primary accepts writes, so the cluster is kept with ready = false. Mend the cause and apply again: the \
             next plan goes on where this one stopped.",
            failure.detail
        ),
        path: failure.path,
    }
}

/// The planned state with what only apply could tell.
fn finish(planned: &Value, live: &LiveCluster, whole: bool) -> Value {
    let mut state = planned.clone();
    let unknown = schema().attributes.iter().filter(|attribute| planned.get(&attribute.name).is_unknown());
    for attribute in unknown {
        let value = match attribute.name.as_str() {
            "ready" => Value::Bool(whole && ready(live) != Some(false)),
            "system_identifier" => live.system_identifier().map_or(Value::Null, Value::from),
            "rw_host" => host(planned, live, "rw"),
            "ro_host" => host(planned, live, "ro"),
            _ => Value::Null,
        };
        state.set_at(&attribute.name, value);
    }
    state
}

/// The load balancer's address, or, until it has one, the name inside the Kubernetes cluster, which works there.
fn host(planned: &Value, live: &LiveCluster, service: &str) -> Value {
    let namespace = planned.get("namespace").as_str().unwrap_or_default();
    let inside = match service {
        "rw" => live.names.rw_host(namespace),
        _ => live.names.ro_host(namespace),
    };
    load_balancer_host(live, service).unwrap_or(inside).into()
}
