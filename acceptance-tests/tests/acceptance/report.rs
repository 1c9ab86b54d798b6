//! The drift job of the examples, as CI runs it: with rights to read, against real drift.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::DeleteParams;
use pgha_acceptance_tests::poll::{Seen, until};
use pgha_acceptance_tests::process;
use pgha_acceptance_tests::terraform::Run;
use serde_json::Value;

use crate::cases;
use crate::drift::{drifting, edit_desired, reader_rules, repaired};
use crate::group::Group;
use crate::runner::Case;

pub fn cases() -> Vec<Case> {
    cases![
        => drift_job_tells_what_differs_and_who_did_it,
        => drift_job_without_an_api_says_that_it_knows_nothing,
        => drift_job_tells_of_a_cluster_that_is_gone,
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
        &format!("| `Service/{service}` | `spec.selector` | `kubectl-patch` | `20"),
        r#"- "role": "primary" + "role": "replica""#,
        "| the cluster | `sync_mode` |",
        "-sync +async",
        "An apply would update: online, no restart: sync_mode; repair of drift: Service/",
    ])?;
    repaired(site).await
}

async fn drift_job_without_an_api_says_that_it_knows_nothing(group: &mut Group) -> Result<()> {
    let kubeconfig = group.bed.sandbox.kubeconfig();
    let site = drifting(group).await?;
    let nowhere = site.tf.dir().join("nowhere.kubeconfig");
    let mut config: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(kubeconfig)?)?;
    // Nobody listens on the port that is reserved for discarding.
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9".into();
    std::fs::write(&nowhere, config.to_string())?;
    let run = site.tf.with_kubeconfig(&nowhere).run_script(&script(), &[]).await?;
    ends_with(&run, 1)?;
    run.says(&["nothing is known about drift", "https://127.0.0.1:9 can't be reached"])?;
    site.tf.plan_is_empty("a job that failed").await
}

async fn drift_job_tells_of_a_cluster_that_is_gone(group: &mut Group) -> Result<()> {
    let site = drifting(group).await?;
    let names = site.cluster.names.clone();
    let now = DeleteParams::default();
    site.cluster.api::<StatefulSet>().delete(names.cluster(), &now).await?;
    site.cluster.api::<Lease>().delete(names.cluster(), &now).await?;
    site.cluster.api::<ConfigMap>().delete(&names.anchor(), &now).await?;
    until("all three to be gone", Duration::from_secs(60), || async {
        let set = site.cluster.api::<StatefulSet>().get_opt(names.cluster()).await?;
        let lease = site.cluster.api::<Lease>().get_opt(names.cluster()).await?;
        // An agent that still runs may make its Lease again.
        if lease.is_some() {
            site.cluster.api::<Lease>().delete(names.cluster(), &now).await?;
        }
        let pods = site.cluster.pods().await?.len();
        Ok(Seen::when(
            set.is_none() && lease.is_none() && pods == 0,
            format!("{pods} pods, Lease: {}", lease.is_some()),
        ))
    })
    .await?;
    let run = site.tf.run_script(&script(), &[]).await?;
    ends_with(&run, 2)?;
    run.says(&["**The cluster is gone**", "An apply would create: create: a primary and 1 standby"])?;
    Ok(())
}

fn script() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/drift-detection/drift-report.sh")
}

fn ends_with(run: &Run, code: i32) -> Result<()> {
    ensure!(run.code == Some(code), "expected exit code {code}:\n{}", run.report());
    Ok(())
}
