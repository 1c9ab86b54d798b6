//! Which of the paths that a plan wants a replacement for count.

use serde_json::Value as Json;

use super::{Found, Rule, Violation};
use crate::host::schema::is_unknown;
use crate::proto_client::pb::tfplugin6 as pb;
use crate::proto_client::values;

/// The value that a path leads to; `None` where it leads nowhere.
fn lookup<'a>(value: &'a Json, path: &pb::AttributePath) -> Option<&'a Json> {
    use pb::attribute_path::step::Selector;
    let mut here = value;
    for step in &path.steps {
        // Nothing can be said of what is inside an unknown or a null.
        if is_unknown(here) || here.is_null() {
            return Some(here);
        }
        here = match step.selector.as_ref()? {
            Selector::AttributeName(name) => here.as_object()?.get(name)?,
            Selector::ElementKeyString(key) => here.as_object()?.get(key)?,
            Selector::ElementKeyInt(index) => here.as_array()?.get(usize::try_from(*index).ok()?)?,
        };
    }
    Some(here)
}

/// Paths that lead to a value neither before nor after.
#[must_use]
pub fn replace_paths(paths: &[pb::AttributePath], prior: &Json, planned: &Json) -> Vec<Violation> {
    let mut found = Found::new(Rule::ReplacePath);
    for path in paths {
        let leads =
            !path.steps.is_empty() && (lookup(prior, path).is_some() || lookup(planned, path).is_some());
        if !leads {
            found.add(&values::path(path), "it is neither in the state nor in the plan");
        }
    }
    found.done()
}

/// The paths, as text, whose values really change. A value that is not known yet counts as another one.
#[must_use]
pub fn effective(paths: &[pb::AttributePath], prior: &Json, planned: &Json) -> Vec<String> {
    if prior.is_null() {
        return Vec::new();
    }
    let changes = |path: &&pb::AttributePath| lookup(prior, path) != lookup(planned, path);
    paths.iter().filter(changes).map(values::path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto_client::values::UNKNOWN;
    use pb::attribute_path::{Step, step::Selector};
    use serde_json::json;

    fn path(names: &[&str]) -> pb::AttributePath {
        let steps =
            names.iter().map(|name| Step { selector: Some(Selector::AttributeName((*name).to_owned())) });
        pb::AttributePath { steps: steps.collect() }
    }

    #[test]
    fn only_what_changes_counts() {
        let prior = json!({ "name": "a", "box": { "inner": "i" } });
        let paths = [path(&["name"]), path(&["box", "inner"])];
        assert_eq!(effective(&paths, &prior, &prior), [""; 0]);
        let planned = json!({ "name": UNKNOWN, "box": { "inner": "i" } });
        assert_eq!(effective(&paths, &prior, &planned), ["name"]);
        assert_eq!(effective(&paths, &Json::Null, &planned), [""; 0]);
        assert_eq!(replace_paths(&paths, &prior, &planned), []);
    }

    #[test]
    fn a_path_to_nowhere_is_named() {
        let state = json!({ "name": "a" });
        let found = replace_paths(&[path(&["port"]), path(&[])], &state, &state);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].path, "port");
    }
}
