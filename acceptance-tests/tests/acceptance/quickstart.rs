//! From nothing to a cluster and back: apply, use, destroy, apply again over the kept volumes.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use pgha_acceptance_tests::checker;
use pgha_acceptance_tests::leftovers;
use pgha_acceptance_tests::poll::{Seen, until};
use pgha_acceptance_tests::sandbox::Target;
use pgha_acceptance_tests::terraform::hcl::ADDRESS;

use crate::cases;
use crate::group::{Group, Site, WHOLE};
use crate::runner::Case;

pub fn cases() -> Vec<Case> {
    cases![
        => apply_gives_a_cluster_that_serves,
        => destroy_keeps_the_volumes_and_nothing_else,
        => apply_over_kept_volumes_brings_every_row_back,
        => destroy_in_the_middle_of_a_failover_keeps_every_row,
        => destroy_without_retain_leaves_nothing,
    ]
}

const TABLE: &str = "quickstart";

async fn apply_gives_a_cluster_that_serves(group: &mut Group) -> Result<()> {
    let site = group.site().await?;
    site.tf.apply(&[]).await?;
    site.cluster.until_whole(2, WHOLE).await?;

    let load = site.load(TABLE).await?;
    load.until_more(50).await?;
    let outcome = load.finish().await?;
    ensure!(
        outcome.failures == 0,
        "expected an undisturbed cluster to take every write, {} failed: {:?}",
        outcome.failures,
        outcome.first_failures
    );
    site.nothing_lost(&outcome).await?;

    let ro = site.ro().await?;
    checker::ro_is_never_the_primary(&ro, 20).await?;
    let rows = ro.ask(&format!("SELECT count(*) FROM {TABLE}")).await?;
    ensure!(
        rows.parse::<usize>()? >= outcome.acknowledged.len(),
        "expected every row through ro, got {rows}"
    );

    checker::sync_set_in_force(&site.cluster, 1).await?;
    site.tf.plan_is_empty("the first apply").await?;
    let state = site.tf.attributes(ADDRESS).await?;
    ensure!(state["ready"] == true, "expected ready = true in the state, got {}", state["ready"]);
    let identifier = site.cluster.sql_on_primary("SELECT system_identifier FROM pg_control_system()").await?;
    ensure!(
        state["system_identifier"] == identifier.as_str(),
        "expected system_identifier {identifier} in the state, got {}",
        state["system_identifier"]
    );
    no_secret_in_the_state(site).await
}

/// The passwords that Kubernetes holds are nowhere in the state.
async fn no_secret_in_the_state(site: &Site) -> Result<()> {
    let state = std::fs::read_to_string(site.tf.dir().join("terraform.tfstate"))?;
    for secret in [site.cluster.names.secret_app(), site.cluster.names.secret_superuser()] {
        let password = site.cluster.secret_value(&secret, "password").await?;
        ensure!(password.len() >= 16, "expected a password of 16 characters or more in {secret}");
        ensure!(!state.contains(&password), "the password of Secret {secret} is in the state");
    }
    Ok(())
}

async fn destroy_keeps_the_volumes_and_nothing_else(group: &mut Group) -> Result<()> {
    let site = with_rows(group).await?;
    let claims = claims(site).await?;
    site.tf.try_plan(&["-destroy"]).await?.says(&["stays in its volumes"])?;
    site.tf.destroy().await?;
    only_these_are_left(site, &claims).await?;
    let resumes = ["The cluster resumes from kept volumes", "the data was made with the same one"];
    site.tf.try_plan(&[]).await?.says(&resumes).map(drop)
}

/// The volume claims, as leftovers are named.
async fn claims(site: &Site) -> Result<BTreeSet<String>> {
    let claims = site.cluster.claims().await?.into_keys();
    let claims: BTreeSet<String> = claims.map(|name| format!("PersistentVolumeClaim/{name}")).collect();
    ensure!(claims.len() == 3, "expected three volume claims before destroy, got {claims:?}");
    Ok(claims)
}

async fn only_these_are_left(site: &Site, claims: &BTreeSet<String>) -> Result<()> {
    until("only the volume claims to be left", Duration::from_secs(90), || async {
        let left = leftovers::in_namespace(site.cluster.client(), &site.namespace).await?;
        Ok(Seen::when(left == *claims, format!("{left:?}, wanted {claims:?}")))
    })
    .await
}

async fn apply_over_kept_volumes_brings_every_row_back(group: &mut Group) -> Result<()> {
    let site = with_rows(group).await?;
    let before = everything(site).await?;
    let identifier = site.tf.attributes(ADDRESS).await?["system_identifier"].clone();
    site.tf.destroy().await?;
    site.tf.apply(&[]).await?;
    site.cluster.until_whole(2, WHOLE).await?;
    let after = everything(site).await?;
    ensure!(before == after, "expected the rows from before destroy ({before}), got {after}");
    let resumed = site.tf.attributes(ADDRESS).await?["system_identifier"].clone();
    ensure!(resumed == identifier, "expected the same system {identifier}, got {resumed}");
    site.tf.plan_is_empty("apply over kept volumes").await?;
    // It is a cluster like any other: it takes writes, and they reach the standbys.
    let load = site.load(TABLE).await?;
    load.until_more(20).await?;
    let outcome = load.finish().await?;
    site.nothing_lost(&outcome).await
}

/// The primary's container dies and the destroy begins at once: while nobody leads, or the next one is being promoted.
async fn destroy_in_the_middle_of_a_failover_keeps_every_row(group: &mut Group) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = with_rows(group).await?;
    let before = everything(site).await?;
    let claims = claims(site).await?;
    let primary = site.cluster.primary().await?;
    sandbox.kill_in_pod(&site.namespace, &primary, Target::Init)?;
    site.tf.destroy().await?;
    only_these_are_left(site, &claims).await?;
    site.tf.apply(&[]).await?;
    site.cluster.until_whole(2, WHOLE).await?;
    let after = everything(site).await?;
    ensure!(before == after, "expected the rows from before destroy ({before}), got {after}");
    site.tf.plan_is_empty("apply over what a destroy in a failover left").await
}

async fn destroy_without_retain_leaves_nothing(group: &mut Group) -> Result<()> {
    let site = with_rows(group).await?;
    site.apply_with("storage.retain", false).await?;
    site.tf.plan_is_empty("storage.retain = false").await?;
    site.tf.destroy().await?;
    until("nothing to be left", Duration::from_secs(90), || async {
        let left = leftovers::in_namespace(site.cluster.client(), &site.namespace).await?;
        Ok(Seen::when(left.is_empty(), format!("{left:?}")))
    })
    .await
}

/// A whole cluster with rows in it, whatever the case before left.
async fn with_rows(group: &mut Group) -> Result<&mut Site> {
    let site = group.site().await?;
    if site.tf.attributes(ADDRESS).await?.is_null() {
        site.tf.apply(&[]).await?;
    }
    site.cluster.until_whole(2, WHOLE).await?;
    let load = site.load(TABLE).await?;
    load.until_more(20).await?;
    load.finish().await?;
    Ok(site)
}

async fn everything(site: &Site) -> Result<String> {
    let primary = site.cluster.primary().await?;
    site.cluster
        .sql(&primary, "app", &format!("SELECT count(*) || ' rows, sum ' || sum(id) FROM {TABLE}"))
        .await
}
