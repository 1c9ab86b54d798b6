//! Drift: what somebody changed by hand shows in the plan, typed or with object, field and diff; apply repairs it in place.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role};
use kube::api::DeleteParams;
use pgha_acceptance_tests::checker;
use pgha_acceptance_tests::poll::{Seen, until};
use pgha_acceptance_tests::terraform::Planned;
use pgha_acceptance_tests::terraform::hcl::ADDRESS;
use pgha_schema::names::{KEY_DESIRED, LABEL_MANAGED_BY};
use serde_json::{Value, json};

use crate::cases;
use crate::group::{Group, Site, WHOLE};
use crate::runner::Case;

pub fn cases() -> Vec<Case> {
    cases![
        => read_only_kubeconfig_plans_and_sees_drift,
        => scaled_by_kubectl,
        => sync_mode_edited,
        => service_selector_edited,
        => service_deleted,
        => parameter_edited,
        => label_removed,
        => failover_is_not_drift,
    ]
}

async fn scaled_by_kubectl(group: &mut Group) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = drifting(group).await?;
    let set = format!("statefulset/{}", site.cluster.names.cluster());
    let mut scale = sandbox.kubectl();
    scale.args(["--namespace", &site.namespace, "scale", &set, "--replicas=1"]);
    pgha_acceptance_tests::process::run(&mut scale)?;
    let planned = drift_seen(site).await?;
    let change = planned.change(ADDRESS)?;
    ensure!(
        change["before"]["replicas"] == 0 && change["after"]["replicas"] == 1,
        "expected replicas to read 0 and to be planned as 1:\n{}",
        planned.text
    );
    nothing_else(&planned)?;
    repaired(site).await
}

async fn sync_mode_edited(group: &mut Group) -> Result<()> {
    let site = drifting(group).await?;
    edit_desired(site, |desired| desired["sync_mode"] = "async".into()).await?;
    let planned = drift_seen(site).await?;
    let change = planned.change(ADDRESS)?;
    ensure!(
        change["before"]["sync_mode"] == "async" && change["after"]["sync_mode"] == "sync",
        "expected sync_mode to read async and to be planned as sync:\n{}",
        planned.text
    );
    nothing_else(&planned)?;
    repaired(site).await?;
    checker::sync_set_in_force(&site.cluster, 1).await
}

async fn service_selector_edited(group: &mut Group) -> Result<()> {
    let site = drifting(group).await?;
    let service = site.cluster.names.service_rw();
    site.cluster.patch::<Service>(&service, json!({ "spec": { "selector": { "role": "replica" } } })).await?;
    let planned = drift_seen(site).await?;
    drift_names(&planned, &[&service, "selector", "replica", "primary"])?;
    repaired(site).await
}

async fn service_deleted(group: &mut Group) -> Result<()> {
    let site = drifting(group).await?;
    let service = site.cluster.names.service_ro();
    site.cluster.api::<Service>().delete(&service, &DeleteParams::default()).await?;
    let planned = drift_seen(site).await?;
    drift_names(&planned, &["Service", &service])?;
    repaired(site).await
}

async fn parameter_edited(group: &mut Group) -> Result<()> {
    let site = drifting(group).await?;
    edit_desired(site, |desired| desired["parameters"]["work_mem"] = "3MB".into()).await?;
    let planned = drift_seen(site).await?;
    drift_names(&planned, &[&site.cluster.names.desired(), "work_mem", "3MB"])?;
    repaired(site).await?;
    until("the edited parameter to be gone", WHOLE, || async {
        let seen = site.cluster.setting("work_mem").await?;
        Ok(Seen::when(seen != "3MB", seen))
    })
    .await
}

async fn label_removed(group: &mut Group) -> Result<()> {
    let site = drifting(group).await?;
    let set = site.cluster.names.cluster().to_owned();
    let pods = site.cluster.pod_uids().await?;
    site.cluster
        .patch::<StatefulSet>(&set, json!({ "metadata": { "labels": { LABEL_MANAGED_BY: null } } }))
        .await?;
    let planned = drift_seen(site).await?;
    drift_names(&planned, &["StatefulSet", &set, LABEL_MANAGED_BY])?;
    repaired(site).await?;
    let labels = site.cluster.api::<StatefulSet>().get(&set).await?.metadata.labels.unwrap_or_default();
    ensure!(
        labels.contains_key(LABEL_MANAGED_BY),
        "expected the label {LABEL_MANAGED_BY} to be back, got {labels:?}"
    );
    ensure!(site.cluster.pod_uids().await? == pods, "expected the repair of a label to make no pod anew");
    Ok(())
}

async fn read_only_kubeconfig_plans_and_sees_drift(group: &mut Group) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = drifting(group).await?;
    let kubeconfig = sandbox.restricted_kubeconfig(&site.namespace, &reader_rules()?).await?;
    let reader = site.tf.with_kubeconfig(&kubeconfig);
    reader.plan_is_empty("nothing was changed, seen by a reader").await?;
    let service = site.cluster.names.service_r();
    site.cluster.patch::<Service>(&service, json!({ "spec": { "selector": { "role": "primary" } } })).await?;
    let planned = reader.plan(&[]).await?;
    ensure!(planned.changes, "expected the reader to see drift:\n{}", planned.text);
    drift_names(&planned, &[&service, "selector"])?;
    repaired(site).await
}

async fn failover_is_not_drift(group: &mut Group) -> Result<()> {
    let site = drifting(group).await?;
    let before = site.cluster.primary().await?;
    let era = site.cluster.record().await?.era();
    let other = site.cluster.standby().await?;
    crate::replicas::move_primary(site, &other).await?;
    let now = site.cluster.record().await?.era();
    ensure!(
        now > era,
        "expected a new era after the primary moved from {before} to {other}, got {now} after {era}"
    );
    site.tf.plan_is_empty("a failover").await?;
    let outcome = site.tf.plan(&["-refresh-only"]).await?;
    ensure!(!outcome.changes, "expected -refresh-only to end with 0 after a failover:\n{}", outcome.text);
    let moved = &outcome.json["resource_drift"];
    ensure!(
        moved.as_array().is_none_or(Vec::is_empty),
        "expected -refresh-only to find nothing after a failover, got {moved}:\n{}",
        outcome.text
    );
    Ok(())
}

/// The Role that the examples give to a job which only looks for drift.
pub fn reader_rules() -> Result<Vec<PolicyRule>> {
    let role: Role = serde_yaml_ng::from_str(include_str!("../../../examples/rbac/reader.yaml"))?;
    role.rules.context("the reader's Role has rules")
}

/// A whole cluster of two instances without drift.
pub async fn drifting(group: &mut Group) -> Result<&mut Site> {
    let site = group.cluster_with(1).await?;
    site.tf.plan_is_empty("nothing was changed yet").await?;
    Ok(site)
}

/// Edits the desired state as a person with an editor would.
pub async fn edit_desired(site: &Site, edit: impl Fn(&mut Value)) -> Result<()> {
    let name = site.cluster.names.desired();
    let map = site.cluster.api::<ConfigMap>().get(&name).await?;
    let text = map.data.as_ref().and_then(|data| data.get(KEY_DESIRED)).context("no desired state")?;
    let mut desired: Value = serde_json::from_str(text).context("read the desired state")?;
    edit(&mut desired);
    let edited = serde_json::to_string_pretty(&desired)?;
    site.cluster.patch::<ConfigMap>(&name, json!({ "data": { KEY_DESIRED: edited } })).await
}

/// A plan that is not empty and updates in place.
pub async fn drift_seen(site: &Site) -> Result<Planned> {
    let planned = site.tf.plan(&[]).await?;
    ensure!(planned.changes, "expected exit code 2 and a plan that shows the drift:\n{}", planned.text);
    let actions = planned.actions(ADDRESS)?;
    ensure!(actions == "update", "expected an update in place, got {actions}:\n{}", planned.text);
    Ok(planned)
}

/// Asserts that the `drift` entries name all of these texts.
pub fn drift_names(planned: &Planned, texts: &[&str]) -> Result<()> {
    let change = planned.change(ADDRESS)?;
    let drift = change["before"]["drift"].to_string();
    for text in texts {
        ensure!(drift.contains(text), "expected `{text}` in drift {drift}:\n{}", planned.text);
    }
    ensure!(
        change["after"]["drift"] == json!([]),
        "expected drift to be planned as empty:\n{}",
        planned.text
    );
    Ok(())
}

/// Asserts that there is no `drift` entry: what shows in its own attribute does not show twice.
fn nothing_else(planned: &Planned) -> Result<()> {
    let drift = &planned.change(ADDRESS)?["before"]["drift"];
    ensure!(*drift == json!([]), "expected no drift entry beside the attribute, got {drift}");
    Ok(())
}

/// Apply repairs; the next plan is empty; the cluster is whole.
pub async fn repaired(site: &Site) -> Result<()> {
    let run = site.tf.apply(&[]).await?;
    run.says(&["0 added, 1 changed, 0 destroyed"])?;
    site.tf.plan_is_empty("the repair").await?;
    site.cluster.until_whole(1, WHOLE).await?;
    // Agents acknowledge what they have in force: the repair holds.
    until("the plan to stay empty", Duration::from_secs(60), || async {
        let planned = site.tf.plan(&[]).await?;
        Ok(Seen::when(!planned.changes, planned.text))
    })
    .await
}
