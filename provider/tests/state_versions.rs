//! States as earlier builds stored them. Each file in `fixtures/` is frozen: what users have in their state files must stay readable, and
//! a plan with the configuration that made it must stay empty.

use std::path::PathBuf;

use pgha_provider::cluster::ClusterEngine;
use pgha_provider::engine::Engine as _;
use pgha_provider_core::facts::Facts;
use pgha_provider_core::generate;
use pgha_provider_core::plan::{Request, plan};
use pgha_provider_core::value::Value;
use pgha_schema::resource::{SCHEMA_VERSION, schema};
use pgha_schema::tf::{Attribute, Nesting, Shape};
use serde_json::Value as Json;

/// Every fixture: the schema version in its name, its name, its text.
fn fixtures() -> Vec<(i64, String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder).expect("the fixtures").flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        let version =
            name.strip_prefix("state-v").and_then(|rest| rest.split(['-', '.']).next()?.parse().ok());
        let version = version.expect("a name such as state-v0-minimal.json");
        found.push((version, name, std::fs::read_to_string(file.path()).expect("a text")));
    }
    found.sort();
    found
}

async fn upgraded(version: i64, text: &str) -> Value {
    ClusterEngine::new().upgrade(version, text.as_bytes()).await.expect("a state that can be read")
}

/// What the state file holds that is not in the value, or other there.
fn lost(stored: &Json, value: &Value, path: &str, found: &mut Vec<String>) {
    match (stored, value) {
        (Json::Object(stored), Value::Object(entries) | Value::Map(entries)) => {
            for (name, stored) in stored {
                match entries.get(name) {
                    Some(value) => lost(stored, value, &format!("{path}.{name}"), found),
                    None => found.push(format!("{path}.{name}")),
                }
            }
        }
        (Json::Array(stored), Value::List(items) | Value::Set(items)) if stored.len() == items.len() => {
            for (index, (stored, value)) in stored.iter().zip(items).enumerate() {
                lost(stored, value, &format!("{path}[{index}]"), found);
            }
        }
        (stored, value) if value.to_json().as_ref() == Some(stored) => {}
        _ => found.push(path.to_owned()),
    }
}

#[test]
fn every_schema_version_has_a_state() {
    for version in 0..=SCHEMA_VERSION {
        assert!(fixtures().iter().any(|(of, _, _)| *of == version), "no fixture of schema version {version}");
    }
}

/// Attributes that have a value in none of these objects.
fn unset(attributes: &[Attribute], objects: &[&Json], path: &str, found: &mut Vec<String>) {
    for attribute in attributes.iter().filter(|one| !one.write_only) {
        let path = format!("{path}.{}", attribute.name);
        let values = objects.iter().map(|object| &object[&attribute.name]).filter(|value| !value.is_null());
        let values: Vec<&Json> = values.collect();
        let inside: Vec<&Json> = match &attribute.shape {
            Shape::Leaf(_) => values,
            Shape::Nested { nesting: Nesting::Single, .. } => values,
            Shape::Nested { nesting: Nesting::Map, .. } => {
                values.iter().filter_map(|value| value.as_object()).flat_map(|all| all.values()).collect()
            }
            Shape::Nested { .. } => values.iter().filter_map(|value| value.as_array()).flatten().collect(),
        };
        match &attribute.shape {
            _ if inside.is_empty() => found.push(path),
            Shape::Nested { attributes, .. } => unset(attributes, &inside, &path, found),
            Shape::Leaf(_) => {}
        }
    }
}

/// A new attribute needs a state that sets it too, in a new file: those that are there stay as they are.
#[test]
fn one_state_of_the_present_version_sets_every_attribute() {
    let present = fixtures().into_iter().filter(|(version, _, _)| *version == SCHEMA_VERSION);
    let lacks = present.map(|(_, name, text)| {
        let (state, mut found): (Json, _) = (serde_json::from_str(&text).unwrap(), Vec::new());
        unset(&schema().attributes, &[&state], "", &mut found);
        (found, name)
    });
    let (missing, name) = lacks.min_by_key(|(found, _)| found.len()).expect("a fixture");
    assert!(missing.is_empty(), "the fullest one is {name}, and it lacks {missing:?}");
}

#[tokio::test]
async fn nothing_of_a_stored_state_is_lost() {
    for (version, name, text) in fixtures() {
        let (stored, value) = (serde_json::from_str(&text).unwrap(), upgraded(version, &text).await);
        let mut found = Vec::new();
        lost(&stored, &value, "", &mut found);
        assert!(found.is_empty(), "{name}: {found:?}");
    }
}

#[tokio::test]
async fn a_plan_over_a_stored_state_is_empty() {
    for (version, name, text) in fixtures() {
        let state = upgraded(version, &text).await;
        let config = generate::config(&state);
        let agent = state.get("agent_version").as_str().unwrap_or_default().to_owned();
        let request =
            Request { config: &config, prior: &state, facts: &Facts::default(), agent_version: &agent };
        let planned = plan(&request);
        let drifted = state.get("drift").as_items().is_some_and(|drift| !drift.is_empty());
        assert_eq!(planned.diagnostics.is_empty(), !drifted, "{name}: {}", planned.diagnostics);
        assert!(!planned.diagnostics.has_errors(), "{name}: {}", planned.diagnostics);
        let mut expected = state.clone();
        if drifted {
            // What has drifted is repaired, and that is told; all else stays.
            expected.set_at("drift", Value::List(Vec::new()));
            expected.set_at("last_change", planned.planned.get("last_change").clone());
            if !state.get("agent_image").is_null() {
                // Which one the image holds, every apply finds out.
                expected.set_at("agent_version", Value::Unknown);
            }
        }
        assert_eq!(planned.planned, expected, "{name}");
    }
}

#[tokio::test]
async fn what_another_build_did_not_have_or_has_no_more_does_not_matter() {
    let text = r#"{"name": "orders", "namespace": "shop", "an_attribute_of_old": [1], "storage": {"size": "1Gi", "kind": "x"}}"#;
    let state = upgraded(0, text).await;
    assert_eq!(state.get("storage.size"), &"1Gi".into());
    assert!(state.get("replicas").is_null());
    let entries = state.as_entries().unwrap();
    assert!(entries.keys().eq(schema().attributes.iter().map(|attribute| &attribute.name)));
}

#[tokio::test]
async fn a_state_of_a_newer_build_is_refused_with_the_way_out() {
    let problems = ClusterEngine::new().upgrade(SCHEMA_VERSION + 1, b"{}").await.unwrap_err();
    assert!(problems.to_string().contains("a newer one"), "{problems}");
}
