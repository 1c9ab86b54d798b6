//! The drift job of the examples, as CI runs it: with rights to read, against real drift.

use std::path::Path;

use anyhow::{Result, ensure};
use pgha_acceptance_tests::process;
use pgha_acceptance_tests::terraform::Run;

use crate::cases;
use crate::drift::{drifting, edit_desired, reader_rules, repaired};
use crate::group::Group;
use crate::runner::Case;

pub fn cases() -> Vec<Case> {
    cases![
        => drift_job_tells_what_differs_and_who_did_it,
        => drift_job_without_an_api_says_that_it_knows_nothing,
    ]
}

async fn drift_job_tells_what_differs_and_who_did_it(group: &mut Group) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = drifting(group).await?;
    let reader =
        site.tf.with_kubeconfig(&sandbox.restricted_kubeconfig(&site.namespace, &reader_rules()?).await?);
    let run = reader.run_script(&script(), &[]).await?;
    ends_with(&run, 0)?;
    run.says(&["Nothing differs: 1 resources were compared"])?;

    let service = site.cluster.names.service_rw();
    let mut patch = sandbox.kubectl();
    patch.args(["--namespace", &site.namespace, "patch", "service", &service]);
    process::run(patch.args(["--patch", r#"{"spec":{"selector":{"role":"replica"}}}"#]))?;
    edit_desired(site, |desired| desired["sync_mode"] = "async".into()).await?;
    let run = reader.run_script(&script(), &[]).await?;
    ends_with(&run, 2)?;
    run.says(&[
        &format!("postgres_ha_cluster.this ({}/{})", site.namespace, Group::CLUSTER),
        &format!("| `Service/{service}` | `.spec.selector.role` | `kubectl-patch` | `20"),
        "-primary +replica",
        "| the cluster | `sync_mode` |",
        "-sync +async",
        "An apply would update: online, no restart: sync_mode; repair of drift: Service/",
    ])?;
    repaired(site).await
}

async fn drift_job_without_an_api_says_that_it_knows_nothing(group: &mut Group) -> Result<()> {
    let site = drifting(group).await?;
    let nowhere = site.tf.dir().join("nowhere.kubeconfig");
    let text = std::fs::read_to_string(group.bed.sandbox.kubeconfig())?;
    // Nobody listens on the port that is reserved for discarding.
    let lines = text.lines().map(|line| match line.split_once("server:") {
        Some((before, _)) => format!("{before}server: https://127.0.0.1:9\n"),
        None => format!("{line}\n"),
    });
    std::fs::write(&nowhere, lines.collect::<String>())?;
    let site = drifting(group).await?;
    let run = site.tf.with_kubeconfig(&nowhere).run_script(&script(), &[]).await?;
    ends_with(&run, 1)?;
    run.says(&["nothing is known about drift", "https://127.0.0.1:9 can't be reached"])?;
    site.tf.plan_is_empty("a job that failed").await
}

fn script() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/drift-detection/drift-report.sh")
}

fn ends_with(run: &Run, code: i32) -> Result<()> {
    ensure!(run.code == Some(code), "expected exit code {code}:\n{}", run.report());
    Ok(())
}
