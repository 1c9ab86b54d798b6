//! What a changed PostgreSQL setting does.

use std::collections::BTreeMap;

use pgha_schema::parameters;

use crate::value::Value;

/// How a setting comes in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// By a reload.
    Reload,
    /// By a restart, standbys first.
    RestartStandbysFirst,
    /// By a restart, the primary first: a standby refuses to run with less than its primary (P23).
    RestartPrimaryFirst,
}

/// The settings that differ, with what each does in this major version of PostgreSQL.
pub(super) fn effects(was: &Value, becomes: &Value, major: u32) -> Vec<(String, Effect)> {
    let none = BTreeMap::new();
    let (was, becomes) = (was.as_entries().unwrap_or(&none), becomes.as_entries().unwrap_or(&none));
    let mut names: Vec<&String> = was.keys().chain(becomes.keys()).collect();
    names.sort();
    names.dedup();
    let text =
        |map: &BTreeMap<String, Value>, name: &str| map.get(name).and_then(Value::as_str).map(str::to_owned);
    let differ = names.into_iter().filter(|name| was.get(*name) != becomes.get(*name));
    differ
        .map(|name| {
            let (was, becomes) = (text(was, name), text(becomes, name));
            let effect = match (parameters::needs_restart(name, major), was, becomes) {
                (false, _, _) => Effect::Reload,
                (true, was, becomes) if parameters::lowers(name, was.as_deref(), becomes.as_deref()) => {
                    Effect::RestartPrimaryFirst
                }
                (true, _, _) => Effect::RestartStandbysFirst,
            };
            (format!("parameters.{name}"), effect)
        })
        .collect()
}
