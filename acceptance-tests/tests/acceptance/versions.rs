//! A short pass on the older majors: apply, write, lose the primary, change a parameter, destroy.

use anyhow::{Result, ensure};
use pgha_acceptance_tests::checker;
use pgha_acceptance_tests::sandbox::Target;
use serde_json::json;

use crate::cases;
use crate::group::{Group, WHOLE, WRITES};
use crate::runner::Case;

pub fn cases_15() -> Vec<Case> {
    cases![=> short_pass_on_15]
}

pub fn cases_16() -> Vec<Case> {
    cases![=> short_pass_on_16]
}

async fn short_pass_on_15(group: &mut Group) -> Result<()> {
    short_pass(group, "15").await
}

async fn short_pass_on_16(group: &mut Group) -> Result<()> {
    short_pass(group, "16").await
}

async fn short_pass(group: &mut Group, version: &str) -> Result<()> {
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
    let outcome = load.finish().await?;
    site.nothing_lost(&outcome).await?;
    site.tf.plan_is_empty("max_connections = 70").await?;
    site.tf.destroy().await?;
    group.bed.record_gap(&format!("container killed, PostgreSQL {version}"), gap);
    Ok(())
}
