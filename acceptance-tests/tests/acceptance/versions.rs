//! A short pass on the older majors: apply, write, lose the primary, change a parameter, take another minor, destroy.

use anyhow::{Context as _, Result, ensure};
use pgha_acceptance_tests::checker;
use pgha_acceptance_tests::sandbox::Target;
use serde_json::json;

use crate::cases;
use crate::group::{Group, Site, WHOLE, WRITES};
use crate::runner::Case;

pub fn cases_15() -> Vec<Case> {
    cases![=> short_pass_on_15]
}

pub fn cases_16() -> Vec<Case> {
    cases![=> short_pass_on_16]
}

async fn short_pass_on_15(group: &mut Group) -> Result<()> {
    short_pass(group, "15", None).await
}

async fn short_pass_on_16(group: &mut Group) -> Result<()> {
    short_pass(group, "16", Some("16.14")).await
}

/// `minor` is one for which the sandbox has an image.
async fn short_pass(group: &mut Group, version: &str, minor: Option<&str>) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = group.site().await?;
    let config = site.config.clone().set("postgres_version", version).set("replicas", 1);
    site.apply(config).await?;
    site.cluster.until_whole(1, WHOLE).await?;
    let seen = site.cluster.setting("server_version").await?;
    ensure!(seen.starts_with(version), "expected PostgreSQL {version}, got {seen}");
    checker::sync_set_in_force(&site.cluster, 1).await?;
    site.tf.plan_is_empty("apply").await?;

    let load = site.load("rows").await?;
    load.until_more(50).await?;
    let primary = site.cluster.primary().await?;
    let struck = std::time::Instant::now();
    sandbox.kill_in_pod(&site.namespace, &primary, Target::Init)?;
    load.until_acknowledged_after(struck, WRITES).await?;
    site.cluster.until_whole(1, WHOLE).await?;
    site.apply_with("parameters", json!({ "max_connections": "70" })).await?;
    site.cluster.until_whole(1, WHOLE).await?;
    let gap = load.gap_since(struck);
    if let Some(minor) = minor {
        takes_minor(site, minor).await?;
        load.until_more(50).await?;
    }
    let outcome = load.finish().await?;
    site.nothing_lost(&outcome).await?;
    site.tf.plan_is_empty("max_connections = 70, and another minor where there is one").await?;
    site.tf.destroy().await?;
    group.bed.record_gap(&format!("container killed, PostgreSQL {version}"), gap);
    Ok(())
}

/// The minor is written down: every instance runs its image, and the server says so.
async fn takes_minor(site: &mut Site, minor: &str) -> Result<()> {
    let before = site.cluster.pod_uids().await?;
    site.apply_with("postgres_version", minor).await?;
    site.cluster.until_whole(1, WHOLE).await?;
    let image = format!("docker.io/library/postgres:{minor}");
    for (name, pod) in site.cluster.pods().await? {
        let containers = pod.spec.with_context(|| format!("{name} has no spec"))?.containers;
        let images: Vec<_> = containers.into_iter().filter_map(|container| container.image).collect();
        ensure!(images == [image.as_str()], "expected {name} to run {image}, it runs {images:?}");
    }
    let after = site.cluster.pod_uids().await?;
    let same: Vec<_> = after.iter().filter(|(pod, uid)| before.get(*pod) == Some(*uid)).collect();
    ensure!(same.is_empty(), "expected every pod to be made anew, these were not: {same:?}");
    let seen = site.cluster.setting("server_version").await?;
    ensure!(seen.starts_with(minor), "expected PostgreSQL {minor}, got {seen}");
    Ok(())
}
