//! What a changed PostgreSQL setting does.

use std::collections::BTreeMap;

use pgha_schema::parameters;

use crate::drift::edited_settings;
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

type Settings = BTreeMap<String, Value>;

/// The settings that differ, with what each does in this major version of PostgreSQL. What somebody wrote into the desired
/// document is what PostgreSQL runs with, rather than what the state says.
pub(super) fn effects(prior: &Value, planned: &Value, major: u32) -> Vec<(String, Effect)> {
    let none = Settings::new();
    let configured = prior.get("parameters").as_entries().unwrap_or(&none);
    let becomes = match planned.get("parameters") {
        Value::Unknown => configured,
        settings => settings.as_entries().unwrap_or(&none),
    };
    let was = in_force(prior, configured, becomes, major);
    let mut names: Vec<&String> = was.keys().chain(becomes.keys()).collect();
    names.sort();
    names.dedup();
    let text = |map: &Settings, name: &str| map.get(name).and_then(Value::as_str).map(str::to_owned);
    let differ = names.into_iter().filter(|name| {
        let becomes = becomes.get(*name);
        was.get(*name) != becomes && becomes.is_none_or(|value| !value.is_unknown())
    });
    differ
        .map(|name| {
            let (was, becomes) = (text(&was, name), text(becomes, name));
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

/// The prior settings, with those that were edited in the desired document as they are there. A member of the document that is no
/// setting known to need a restart, nor one of the user's, may be something else.
fn in_force(prior: &Value, configured: &Settings, becomes: &Settings, major: u32) -> Settings {
    let mut settings = configured.clone();
    for (name, live) in edited_settings(prior) {
        let users = configured.contains_key(&name) || becomes.contains_key(&name);
        if !users && !parameters::needs_restart(&name, major) {
            continue;
        }
        match live {
            Some(live) => settings.insert(name, live.into()),
            None => settings.remove(&name),
        };
    }
    settings
}
