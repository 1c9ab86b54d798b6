//! What tells a resource from all others: whole once it exists, and never another one after that.

use serde_json::Value as Json;

use super::action::Action;
use super::conform::{conforms, wholly_known};
use super::{Found, Rule, Violation};
use crate::host::schema::Attribute;

/// Of what exists: it has every part, and is what it was if it was known before.
#[must_use]
pub fn settled(attributes: &[Attribute], before: &Json, now: &Json) -> Vec<Violation> {
    let mut found = whole(attributes, now);
    let mut moved = Found::new(Rule::Identity);
    if !before.is_null() && now != before {
        moved.add("", format!("it was {before} and is {now}"));
    }
    found.extend(moved.done());
    as_identity(wholly_known(now), found)
}

/// Of a plan: what is new may have parts that are not known yet, what stays is what it was, and what goes may be left out.
#[must_use]
pub fn planned(attributes: &[Attribute], action: Action, before: &Json, now: &Json) -> Vec<Violation> {
    match action {
        Action::Create | Action::Replace => whole(attributes, now),
        Action::NoOp | Action::Update => settled(attributes, before, now),
        Action::Delete if now.is_null() => Vec::new(),
        Action::Delete => settled(attributes, before, now),
    }
}

/// It is there, with the parts of its schema, none of them null.
fn whole(attributes: &[Attribute], now: &Json) -> Vec<Violation> {
    let mut lacks = Found::new(Rule::Identity);
    if now.is_null() {
        lacks.add("", "it is missing");
    }
    for (name, _) in now.as_object().into_iter().flatten().filter(|(_, part)| part.is_null()) {
        lacks.add(name, "it is null");
    }
    as_identity(conforms(attributes, now), lacks.done())
}

/// What breaks the rules of any value, as what it breaks here.
fn as_identity(others: Vec<Violation>, mut found: Vec<Violation>) -> Vec<Violation> {
    found.extend(others.into_iter().map(|one| Violation { rule: Rule::Identity, ..one }));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::rules::samples::leaf;
    use crate::host::schema::Type;
    use crate::proto_client::values::UNKNOWN;
    use serde_json::json;

    fn broken(action: Action, before: &Json, now: &Json) -> usize {
        planned(&[leaf("name", Type::String), leaf("namespace", Type::String)], action, before, now).len()
    }

    #[test]
    fn what_is_new_may_be_open_and_what_exists_stays() {
        let (here, open) =
            (json!({ "name": "a", "namespace": "b" }), json!({ "name": UNKNOWN, "namespace": "b" }));
        assert_eq!(broken(Action::Create, &Json::Null, &open), 0);
        assert_eq!(broken(Action::Replace, &here, &open), 0);
        assert_eq!(broken(Action::Update, &here, &here), 0);
        assert_eq!(broken(Action::Update, &Json::Null, &here), 0);
        assert_eq!(broken(Action::Delete, &here, &Json::Null), 0);
        assert!(broken(Action::Update, &here, &open) > 0);
        assert!(broken(Action::NoOp, &here, &json!({ "name": "c", "namespace": "b" })) > 0);
    }

    #[test]
    fn it_is_there_with_all_its_parts() {
        for now in [
            Json::Null,
            json!({ "name": "a" }),
            json!({ "name": "a", "namespace": null }),
            json!({ "name": 1, "namespace": "b" }),
        ] {
            assert!(broken(Action::Create, &Json::Null, &now) > 0, "{now}");
        }
    }
}
