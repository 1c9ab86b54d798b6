//! Any number of standbys, both ways, under load; also when the primary sits on an ordinal that goes.

use anyhow::{Result, ensure};
use pgha_acceptance_tests::checker;
use pgha_acceptance_tests::load::Outcome;

use crate::cases;
use crate::group::{Group, Site, WHOLE};
use crate::runner::Case;

pub fn cases() -> Vec<Case> {
    cases![
        => from_none_to_two,
        => two_to_one_with_the_primary_on_the_highest_ordinal,
        => one_to_three,
        => three_to_none,
    ]
}

async fn from_none_to_two(group: &mut Group) -> Result<()> {
    let site = group.cluster_with(0).await?;
    let has_budget = site
        .cluster
        .api::<k8s_openapi::api::policy::v1::PodDisruptionBudget>()
        .get_opt(site.cluster.names.cluster())
        .await?
        .is_some();
    ensure!(!has_budget, "expected no PodDisruptionBudget with 0 replicas: it would block every drain");
    let load = site.load("grow").await?;
    change_replicas(site, 1).await?;
    change_replicas(site, 2).await?;
    joined_unnoticed(site, load.finish().await?).await
}

async fn two_to_one_with_the_primary_on_the_highest_ordinal(group: &mut Group) -> Result<()> {
    let site = group.cluster_with(2).await?;
    let highest = site.cluster.names.pod(2);
    move_primary(site, &highest).await?;
    let load = site.load("shrink").await?;
    change_replicas(site, 1).await?;
    let outcome = load.finish().await?;
    let primary = site.cluster.primary().await?;
    ensure!(primary != highest, "expected the primary on an ordinal that stays, it is {primary}");
    ensure!(
        outcome.outages <= 1,
        "expected one short gap for the move of the primary, got {} outages: {:?}",
        outcome.outages,
        outcome.first_failures
    );
    group.bed.record_gap("replicas 2 to 1, primary moves", outcome.gap);
    group.site().await?.nothing_lost(&outcome).await
}

async fn one_to_three(group: &mut Group) -> Result<()> {
    let site = group.cluster_with(1).await?;
    let load = site.load("wide").await?;
    change_replicas(site, 3).await?;
    joined_unnoticed(site, load.finish().await?).await
}

/// Standbys joined, and the application did not notice.
async fn joined_unnoticed(site: &Site, outcome: Outcome) -> Result<()> {
    ensure!(
        outcome.failures == 0,
        "expected no failed write while standbys join, got {}: {:?}",
        outcome.failures,
        outcome.first_failures
    );
    site.nothing_lost(&outcome).await
}

async fn three_to_none(group: &mut Group) -> Result<()> {
    let site = group.cluster_with(3).await?;
    let load = site.load("alone").await?;
    load.until_more(20).await?;
    site.apply_with("replicas", 0).await?;
    site.cluster.until_whole(0, WHOLE).await?;
    load.until_more(20).await?;
    let outcome = load.finish().await?;
    site.tf.plan_is_empty("replicas = 0").await?;
    site.nothing_lost(&outcome).await?;
    // What the removed members left behind would hold WAL for ever.
    let slots = site.cluster.sql_on_primary("SELECT count(*) FROM pg_replication_slots").await?;
    ensure!(slots == "0", "expected no replication slot without standbys, got {slots}");
    Ok(())
}

/// Applies another number of standbys and waits for the cluster to be whole with it, the mode in force, the plan empty.
async fn change_replicas(site: &mut Site, replicas: u32) -> Result<()> {
    site.apply_with("replicas", replicas).await?;
    site.cluster.until_whole(replicas, WHOLE).await?;
    checker::sync_set_in_force(&site.cluster, 1).await?;
    site.tf.plan_is_empty(&format!("replicas = {replicas}")).await
}

/// A switchover to a pod, by the handle for people.
pub async fn move_primary(site: &Site, to: &str) -> Result<()> {
    let primary = site.cluster.primary().await?;
    if primary == to {
        return Ok(());
    }
    let command = ["pgha-agent", "switchover", "--to", to];
    let output = site.cluster.exec_within(&primary, &command, WHOLE).await?;
    ensure!(output.success, "switchover to {to} was refused: {}{}", output.stdout, output.stderr);
    pgha_acceptance_tests::poll::until(&format!("{to} to be the primary"), WHOLE, || async {
        let now = site.cluster.primary().await?;
        Ok(pgha_acceptance_tests::poll::Seen::when(now == to, format!("{now} is")))
    })
    .await?;
    site.cluster.until_whole(u32::try_from(site.cluster.pods().await?.len())? - 1, WHOLE).await?;
    Ok(())
}
