//! The examples that only newer CLIs read, before our own host: as they stand, validated and planned by the provider.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use pgha_acceptance_tests::proto_client::host::Host;
use pgha_acceptance_tests::proto_client::values::UNKNOWN;
use pgha_acceptance_tests::proto_client::view::TYPE;
use pgha_acceptance_tests::terraform::newer::{self, Block};
use pgha_acceptance_tests::terraform::pages;
use serde_json::{Value as Json, json};

/// What any of a file's objects may say beside what it is about.
const META: [&str; 3] = ["count", "for_each", "provider"];
/// Moments at which a CLI sets off an action.
const EVENTS: [&str; 4] = ["before_create", "after_create", "before_update", "after_update"];

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// The examples take a cluster for granted.
fn known() -> Json {
    json!({ "postgres_ha_cluster": { "orders": { "name": "orders", "namespace": "shop" } } })
}

/// Whether a host would take this text, and the provider what it says.
async fn judge(host: &Host, text: &str) -> Result<()> {
    let all = newer::blocks(text, &known())?;
    let of_actions = all.iter().filter(|block| block.kind() == "action");
    let actions: Vec<String> =
        of_actions.map(|block| format!("action.{}", block.labels().join("."))).collect();
    for block in &all {
        match (block.kind(), block.labels().as_slice()) {
            ("action", [action, _]) => judge_action(host, block, action).await?,
            ("list", [TYPE, _]) => judge_list(host, block).await?,
            ("import", []) => judge_import(host, block).await?,
            ("resource", ["terraform_data", _]) => judge_trigger(block, &actions)?,
            (kind, labels) => bail!("nobody knows {kind} {labels:?}"),
        }
    }
    for line in text.lines() {
        let Some((_, invoked)) = line.split_once("-invoke ") else { continue };
        ensure!(actions.iter().any(|action| action == invoked), "{invoked} is none of {actions:?}");
    }
    Ok(())
}

async fn judge_action(host: &Host, block: &Block, action: &str) -> Result<()> {
    block.holds_only(&META, &["config"])?;
    let given = block.only("config")?;
    let found = host.validate_action(action, &given).await?;
    ensure!(found.is_empty(), "{action}: {found:?}");
    let found = host.plan_action(action, &given).await?;
    ensure!(found.iter().all(|one| one.starts_with("warning")), "{action}: {found:?}");
    Ok(())
}

async fn judge_list(host: &Host, block: &Block) -> Result<()> {
    block.holds_only(&[&META[..], &["include_resource", "limit"]].concat(), &["config"])?;
    ensure!(block.references("provider")? == ["postgres"], "a list says whose it is");
    let (given, whole, limit) =
        (block.only("config")?, block.value("include_resource")?, block.value("limit")?);
    ensure!(whole.is_null() || whole.is_boolean(), "include_resource is {whole}");
    ensure!(limit.is_null() || limit.is_u64(), "limit is {limit}");
    let found = host.validate_list(&given, &whole, &limit).await?;
    ensure!(found.is_empty(), "{found:?}");
    Ok(())
}

async fn judge_import(host: &Host, block: &Block) -> Result<()> {
    block.holds_only(&["to", "identity", "provider", "for_each"], &[])?;
    let to = block.references("to")?;
    let [to] = to.as_slice() else { bail!("it goes to {to:?}") };
    ensure!(known().pointer(&format!("/{}", to.replace('.', "/"))).is_some(), "there is no {to}");
    let identity = block.value("identity")?;
    let given = identity.as_object().context("no identity")?;
    let parts = host.identity().await?.identity_attributes;
    let strange: Vec<_> = given.keys().filter(|key| !parts.iter().any(|part| part.name == **key)).collect();
    ensure!(strange.is_empty(), "nothing is identified by {strange:?}");
    for part in parts.iter().filter(|part| part.required_for_import) {
        ensure!(given.get(&part.name).is_some_and(Json::is_string), "no {} in {identity}", part.name);
    }
    Ok(())
}

/// The CLI's own resource sets off actions of the same file.
fn judge_trigger(block: &Block, actions: &[String]) -> Result<()> {
    block.holds_only(&["input", "triggers_replace"], &["lifecycle"])?;
    block.value("input")?;
    for lifecycle in block.inside("lifecycle") {
        lifecycle.holds_only(&[], &["action_trigger"])?;
        for trigger in lifecycle.inside("action_trigger") {
            trigger.holds_only(&["events", "actions", "condition"], &[])?;
            for event in trigger.references("events")? {
                ensure!(EVENTS.contains(&event.as_str()), "there is no {event}");
            }
            for action in trigger.references("actions")? {
                ensure!(actions.contains(&action), "{action} is none of {actions:?}");
            }
        }
    }
    Ok(())
}

/// A provider whose configuration is not known yet: what is judged here needs no cluster.
async fn host() -> Result<Host> {
    Host::configured(&json!({ "host": UNKNOWN })).await
}

#[tokio::test]
async fn each_is_what_the_provider_takes() -> Result<()> {
    let host = host().await?;
    let all = newer::files(&examples())?;
    for (path, text) in &all {
        judge(&host, text).await.with_context(|| path.display().to_string())?;
    }
    let kinds = ["action", "list", "import"];
    let is_there = |kind: &&str| all.iter().any(|(_, text)| text.lines().any(|line| line.starts_with(kind)));
    ensure!(kinds.iter().all(is_there), "expected examples of {kinds:?} among {all:?}");
    let missing: Vec<_> = host
        .schemas
        .action_schemas
        .keys()
        .filter(|action| !all.iter().any(|(_, text)| text.contains(&format!("action \"{action}\""))))
        .collect();
    ensure!(missing.is_empty(), "there is no example of {missing:?}");
    Ok(())
}

#[tokio::test]
async fn so_is_what_the_pages_show() -> Result<()> {
    let host = host().await?;
    let all: Vec<_> = pages::shown()?.into_iter().filter(|(_, text)| newer::is_newer(text)).collect();
    ensure!(!all.is_empty(), "no page shows what only newer CLIs read");
    for (name, text) in all {
        judge(&host, &text).await.with_context(|| format!("{name}:\n{text}"))?;
    }
    Ok(())
}

/// So that the judge is one: whatever is called by a wrong name is found.
#[tokio::test]
async fn a_misspelt_word_in_any_of_them_is_found() -> Result<()> {
    let host = host().await?;
    for (path, text) in newer::files(&examples())? {
        let wrong = misspelt(&text);
        ensure!(wrong.len() >= 3, "{}: only {} words were found", path.display(), wrong.len());
        for text in wrong {
            ensure!(judge(&host, &text).await.is_err(), "{}: nothing is wrong with\n{text}", path.display());
        }
    }
    Ok(())
}

/// The text with one word wrong, for each word that begins a line, each part of a reference, and each value that is no text.
fn misspelt(text: &str) -> Vec<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let code = line.trim_end().trim_end_matches(']');
        let begin = line.len() - line.trim_start().len();
        let word = line[begin..].find(|c: char| !is_word(c)).unwrap_or(0);
        // Comments and brackets begin with no word.
        if word > 0 {
            let mut ends = vec![begin + word];
            ends.extend(code.match_indices('.').map(|(dot, _)| dot));
            ends.extend(code.ends_with(is_word).then_some(code.len()));
            found.extend(ends.iter().map(|end| format!("{}x{}", &text[..start + end], &text[start + end..])));
        }
        start += line.len();
    }
    found
}
