//! What a plan comes to, and what it may still become when it is made again during apply.

use serde_json::Value as Json;

use super::{Rule, Violation};
use crate::host::schema::is_wholly_known;

/// What a plan does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Action {
    /// Nothing; apply is not called.
    #[default]
    NoOp,
    /// Something new.
    Create,
    /// A change in place.
    Update,
    /// The end of the old and something new.
    Replace,
    /// The end.
    Delete,
}

/// The action of a plan; `replaces`: a path that requires a replacement really changes.
#[must_use]
pub fn action(prior: &Json, planned: &Json, replaces: bool) -> Action {
    match (prior.is_null(), planned.is_null()) {
        (true, true) => Action::NoOp,
        (true, false) => Action::Create,
        (false, true) => Action::Delete,
        (false, false) if replaces => Action::Replace,
        // What is not known may still differ.
        (false, false) if prior == planned && is_wholly_known(planned) => Action::NoOp,
        (false, false) => Action::Update,
    }
}

/// The plan made during apply comes to the same; an update may turn out to be none, and of a replacement the second half
/// is a create.
#[must_use]
pub fn same_action(first: Action, second: Action) -> Vec<Violation> {
    let allowed = first == second
        || (first == Action::Update && second == Action::NoOp)
        || (first == Action::Replace && second == Action::Create);
    if allowed {
        return Vec::new();
    }
    let what = format!("{first:?} was planned, and during apply it is {second:?}");
    vec![Violation { rule: Rule::SameAction, path: String::new(), what }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto_client::values::UNKNOWN;
    use serde_json::json;

    #[test]
    fn the_values_say_what_is_done() {
        let (one, other, open) = (json!({ "a": 1 }), json!({ "a": 2 }), json!({ "a": UNKNOWN }));
        for (prior, planned, replaces, expected) in [
            (&Json::Null, &one, false, Action::Create),
            (&one, &Json::Null, false, Action::Delete),
            (&one, &one, false, Action::NoOp),
            (&one, &other, false, Action::Update),
            (&one, &open, false, Action::Update),
            (&one, &other, true, Action::Replace),
            (&Json::Null, &Json::Null, false, Action::NoOp),
        ] {
            assert_eq!(action(prior, planned, replaces), expected);
        }
    }

    #[test]
    fn only_an_update_may_come_to_nothing() {
        assert_eq!(same_action(Action::Update, Action::Update), []);
        assert_eq!(same_action(Action::Update, Action::NoOp), []);
        assert_eq!(same_action(Action::Replace, Action::Create), []);
        for (first, second) in [
            (Action::NoOp, Action::Update),
            (Action::Update, Action::Replace),
            (Action::Create, Action::NoOp),
        ] {
            assert_eq!(same_action(first, second).len(), 1);
        }
    }
}
