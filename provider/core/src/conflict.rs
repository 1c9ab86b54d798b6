//! Fields that somebody else owns: which may be taken, which not (P17).

use crate::diagnostic::Diagnostic;
use crate::object::ObjectKey;
use crate::step::Forced;

/// One conflict as the API server tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The field, as `.spec.replicas`.
    pub field: String,
    /// Its manager, as `kubectl-edit`.
    pub manager: String,
}

/// Whether an apply may be repeated with force: only if the plan showed the difference of every field in conflict.
pub fn judge(key: &ObjectKey, forced: &Forced, conflicts: &[Conflict]) -> Result<(), Diagnostic> {
    let shown = |field: &str| forced.fields.iter().any(|path| covers(path, field));
    let unshown: Vec<&Conflict> = conflicts.iter().filter(|conflict| !shown(&conflict.field)).collect();
    if unshown.is_empty() {
        return Ok(());
    }
    let lines: Vec<_> = unshown
        .iter()
        .map(|one| format!("\n  {}: managed by \"{}\"", trim(&one.field), one.manager))
        .collect();
    Err(Diagnostic::error(
        format!("{key} has fields that another manager owns"),
        format!(
            "They have other values than this change gives, and the plan shows no difference there, so they are not taken over, and \
             nothing of this object is changed:{}\nIf they were set after the plan was made, run plan again: it shows the \
             difference, and apply then takes the fields back. Else let the other manager give them up, or leave them to that \
             one: take them out of the configuration, or name them in `ignore`.",
            lines.concat()
        ),
    ))
}

fn trim(field: &str) -> &str {
    field.trim_start_matches('.')
}

/// A path covers itself, what is below it, and what it is below: an atomic field may be told at either grain.
fn covers(path: &str, field: &str) -> bool {
    let (path, field) = (trim(path), trim(field));
    let below = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    path.is_empty() || below(field, path) || below(path, field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Kind;

    fn judged(shown: &[&str], field: &str) -> Result<(), Diagnostic> {
        let forced = Forced { fields: shown.iter().map(|one| (*one).to_owned()).collect() };
        let conflicts = [Conflict { field: field.to_owned(), manager: "kubectl-edit".to_owned() }];
        judge(&ObjectKey::new(Kind::StatefulSet, "orders"), &forced, &conflicts)
    }

    #[test]
    fn what_the_plan_showed_may_be_taken_back() {
        assert!(judged(&["spec.replicas"], ".spec.replicas").is_ok());
        assert!(judged(&["spec.selector"], ".spec.selector.role").is_ok());
        assert!(judged(&[""], ".spec.type").is_ok(), "a whole object");
    }

    #[test]
    fn what_it_did_not_show_is_an_error_with_field_and_manager() {
        let error = judged(&["spec.replicas"], ".spec.replicasMore").unwrap_err();
        assert!(error.detail.contains("\n  spec.replicasMore: managed by \"kubectl-edit\""), "{error}");
        assert!(judged(&[], ".spec.replicas").is_err());
    }
}
