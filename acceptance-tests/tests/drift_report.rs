//! The drift job's script without a cluster: with the real CLI where its built-in resource is enough, else with a CLI that
//! only plays back a plan.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use pgha_acceptance_tests::process;
use pgha_acceptance_tests::terraform::{Run, Terraform, clis, offline};
use serde_json::{Value, json};

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/drift-detection/drift-report.sh")
}

/// The report on a configuration, whose exit code has to be `code`.
async fn report(tf: &Terraform, config: &str, code: i32) -> Result<Run> {
    tf.write("main.tf", config)?;
    let run = tf.run_script(&script(), &[]).await?;
    ensure!(run.code == Some(code), "expected exit code {code}:\n{}", run.report());
    ensure!(
        run.flat().contains("Nothing differs") == (code == 0),
        "expected `Nothing differs` with exit code 0 alone:\n{}",
        run.report()
    );
    Ok(run)
}

fn outputs(primary: &str, word: &str) -> String {
    format!(
        "output \"primary\" {{\n  value = {primary:?}\n}}\noutput \"word\" {{\n  value = {word:?}\n  sensitive = true\n}}\n"
    )
}

#[tokio::test]
async fn outputs_moves_and_imports_differ_too() -> Result<()> {
    let tf = offline(clis()?.first().context("a CLI")?)?;
    let (named, values) = ("resource \"terraform_data\" \"one\" {}\n", outputs("orders-0", "first-word"));
    let applied = format!("{named}{values}");
    tf.write("main.tf", &applied)?;
    tf.init().await?;
    tf.apply(&[]).await?;
    report(&tf, &applied, 0).await?.says(&["Nothing differs: 1 resources were compared"])?;

    let run = report(&tf, &format!("{named}{}", outputs("orders-1", "second-word")), 2).await?;
    ensure!(!run.report().contains("-word"), "expected nothing sensitive:\n{}", run.report());
    run.says(&["`primary`: `orders-0` becomes `orders-1`", "`word`: `(sensitive)` becomes `(sensitive)`"])?;

    let moved = format!(
        "resource \"terraform_data\" \"two\" {{}}\nmoved {{\n  from = terraform_data.one\n  to   = terraform_data.two\n}}\n{values}"
    );
    report(&tf, &moved, 2).await?.says(&["`terraform_data.two`: moved from `terraform_data.one`"])?;

    let imported = format!(
        "{applied}resource \"terraform_data\" \"two\" {{}}\nimport {{\n  to = terraform_data.two\n  id = \"it\"\n}}\n"
    );
    report(&tf, &imported, 2).await?.says(&["`terraform_data.two`: imported"])?;
    Ok(())
}

/// The report on a plan of one cluster, played back: its change, what the refresh found, the plan's diagnostics.
struct Played {
    change: Value,
    found: Value,
    diagnostics: Vec<Value>,
}

impl Played {
    fn report(&self) -> Result<String> {
        let folder = tempfile::tempdir()?;
        let address = "postgres_ha_cluster.orders";
        let resource = |change: &Value| json!({ "address": address, "mode": "managed", "type": "postgres_ha_cluster", "change": change });
        let plan = json!({ "resource_changes": [resource(&self.change)], "resource_drift": [resource(&self.found)] });
        let lines = self.diagnostics.iter().map(|one| {
            let mut one = one.clone();
            one["address"] = address.into();
            json!({ "type": "diagnostic", "diagnostic": one }).to_string()
        });
        let log: Vec<String> = std::iter::once("no JSON\n[]".to_owned()).chain(lines).collect();
        let cli = folder.path().join("cli");
        fs::write(folder.path().join("plan.json"), plan.to_string())?;
        fs::write(folder.path().join("log"), log.join("\n"))?;
        fs::write(
            &cli,
            "#!/bin/sh\ncd \"$(dirname \"$0\")\"\ncase $2 in\n  plan) cat log; exit 2 ;;\n  show) cat plan.json ;;\nesac\n",
        )?;
        fs::set_permissions(&cli, fs::Permissions::from_mode(0o755))?;
        let output = process::output(Command::new("sh").arg(script()).env("TERRAFORM", &cli))?;
        let text = process::both(&output);
        ensure!(output.status.code() == Some(2), "expected exit code 2, got {}:\n{text}", output.status);
        Ok(text)
    }
}

/// What stands in a cluster's configuration, and what others made of it.
fn cluster(parameters: Value, pg_hba: Value) -> Value {
    json!({
        "name": "orders", "namespace": "shop", "replicas": 2, "sync_mode": "sync", "parameters": parameters,
        "pg_hba": pg_hba, "drift": [], "superuser_password_wo": null,
    })
}

fn entry(object: &str, field: &str, diff: &str) -> Value {
    json!({ "object": object, "field": field, "diff": diff, "changed_by": "kubectl-edit", "changed_at": "2026-11-29" })
}

/// Drift of every kind, with texts that only the marks tell from others.
fn played(marks: &Value) -> Played {
    let was = cluster(json!({ "app.word": "first-word", "work_mem": "4MB" }), json!(["host first-line"]));
    let mut is = cluster(
        json!({ "app.word": "second-word", "work_mem": "5MB" }),
        json!(["host new", "host second-line"]),
    );
    let mut found = json!({ "actions": ["update"], "before": was, "before_sensitive": marks });
    (is["replicas"], is["sync_mode"]) = (1.into(), "async".into());
    found["after"] = is.clone();
    is["drift"] = json!([
        entry("ConfigMap/orders-desired", "data.desired.json", "-\"first-word\"\n+\"third-word\""),
        entry("PostgreSQL/orders-0", "app.word", "+fourth-word"),
        entry("PostgreSQL/orders-0", "work_mem", "+6MB"),
        entry("Service/orders-rw", "spec.selector", "+\"role\": \"replica\""),
    ]);
    // The write-only password is marked by the schema and never there.
    let mut sensitive = marks.clone();
    if sensitive.is_object() {
        sensitive["superuser_password_wo"] = true.into();
    }
    Played {
        change: json!({
            "actions": ["update"], "before": is, "after": was, "after_unknown": {}, "before_sensitive": {},
            "after_sensitive": sensitive,
        }),
        found,
        diagnostics: vec![
            json!({
                "severity": "warning", "summary": "Cluster orders was changed outside of Terraform",
                "detail": "sync_mode is \"async\" and was \"sync\": by \"other\" at , in ConfigMap orders-desired; \
                           replicas is 1 and was 2: by \"kubectl\" at 2026-11-29T02:00:00Z, in StatefulSet orders.",
            }),
            json!({ "severity": "warning", "summary": "Strange", "detail": "it says second-word" }),
        ],
    }
}

/// Every text that a mark may have to hide, and none that is told in any case.
const HIDDEN: [&str; 6] =
    ["first-word", "second-word", "third-word", "fourth-word", "first-line", "second-line"];

#[test]
fn without_marks_all_is_told_and_who_did_it() -> Result<()> {
    let text = played(&json!({})).report()?;
    for told in HIDDEN.into_iter().chain([
        "| the cluster | `replicas` | `kubectl` | `2026-11-29T02:00:00Z` |",
        "| the cluster | `sync_mode` | `other` | not known |",
        "| the cluster | `pg_hba` | not known | not known |",
        "-2\n+1\n",
        "+6MB",
        "\"replica\"",
        "\"role\": \"replica\"",
        "replicas: by \"kubectl\"",
    ]) {
        ensure!(text.contains(told), "expected `{told}` in:\n{text}");
    }
    ensure!(!text.contains("Nothing differs") && !text.contains("(sensitive)"), "{text}");
    Ok(())
}

#[test]
fn what_is_marked_is_shown_nowhere() -> Result<()> {
    for (marks, also) in [
        (json!({ "parameters": true, "pg_hba": true }), &["4MB", "5MB", "6MB"][..]),
        (json!({ "parameters": { "app.word": true }, "pg_hba": [true] }), &[]),
    ] {
        let text = played(&marks).report()?;
        for hidden in HIDDEN.iter().chain(also) {
            ensure!(!text.contains(hidden), "expected no `{hidden}` with {marks}:\n{text}");
        }
        // What has nothing to do with it.
        for told in ["-2\n+1\n", "\"role\": \"replica\"", "`kubectl`", "- **Strange**", "it says (sensitive)"]
        {
            ensure!(text.contains(told), "expected `{told}` with {marks}:\n{text}");
        }
        ensure!(also.is_empty() == text.contains("+6MB"), "{marks}:\n{text}");
    }
    Ok(())
}

#[test]
fn the_number_of_replicas_may_be_a_secret_too() -> Result<()> {
    let text = played(&json!({ "replicas": true })).report()?;
    for hidden in ["-2\n", "+1\n", "is 1 and was 2", "first-word\"\n+", "\"role\""] {
        ensure!(!text.contains(hidden), "expected no `{hidden}`:\n{text}");
    }
    ensure!(text.contains("| the cluster | `replicas` | `kubectl` |") && text.contains("+6MB"), "{text}");
    Ok(())
}

#[test]
fn a_plan_without_words_is_not_called_empty() -> Result<()> {
    let nothing = json!({ "actions": ["no-op"], "before": { "drift": [] }, "after": { "drift": [] } });
    let text = Played { change: nothing, found: Value::Null, diagnostics: Vec::new() }.report()?;
    ensure!(text.contains("has no words for") && !text.contains("Nothing differs"), "{text}");
    Ok(())
}
