//! Deletion protection, judged on the prior state (P20).

use crate::diagnostic::Diagnostic;
use crate::path::Path;
use crate::plan::{Changed, data::who};
use crate::value::Value;

const WAY_OUT: &str = "If you mean it, set deletion_protection = false, apply that, and then do this again.";

/// The cluster was initialised: it may hold rows that exist nowhere else.
pub fn holds_data(prior: &Value) -> bool {
    prior.get("system_identifier").as_str().is_some_and(|identifier| !identifier.is_empty())
}

/// The cluster holds data, and its state says that it is not to be destroyed.
pub fn is_protected(prior: &Value) -> bool {
    holds_data(prior) && prior.get("deletion_protection").as_bool() != Some(false)
}

pub(super) fn destroy(prior: &Value) -> Diagnostic {
    Diagnostic::error(
        format!("Cluster {} is protected against deletion", who(prior)),
        format!("It holds data and its state has deletion_protection = true. {WAY_OUT}"),
    )
    .at(Path::of("deletion_protection"))
}

pub(super) fn replacement(prior: &Value, changes: &[Changed]) -> Diagnostic {
    let paths: Vec<String> =
        changes.iter().filter(|one| one.replaces).map(|one| one.path.to_string()).collect();
    let unknown = changes.iter().any(|one| one.replaces && !one.becomes.is_wholly_known());
    let unknown = if unknown { " (A value that is not known yet counts as another one.)" } else { "" };
    let first = changes.iter().find(|one| one.replaces).map_or_else(Path::root, |one| one.path.clone());
    Diagnostic::error(
        format!("Cluster {} is protected against replacement", who(prior)),
        format!(
            "A change of {} destroys the cluster and makes a new one.{unknown} It holds data and its state has \
             deletion_protection = true. Take the change back, or make a second cluster and move the data. {WAY_OUT}",
            paths.join(", ")
        ),
    )
    .at(first)
}

/// In the second plan of a replacement the prior state is null, and only the mark of the first tells.
pub(super) fn second_plan() -> Diagnostic {
    Diagnostic::error(
        "The cluster that would be replaced is protected",
        format!(
            "It holds data and its state has deletion_protection = true. {WAY_OUT} If it is replaced only because it \
             is tainted, `terraform untaint` keeps it."
        ),
    )
    .at(Path::of("deletion_protection"))
}
