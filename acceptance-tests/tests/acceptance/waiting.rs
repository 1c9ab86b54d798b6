//! Waits that do not end as wished: what they tell, and that the next run goes on from there.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::api::{Patch, PatchParams};
use pgha_acceptance_tests::terraform::hcl::ADDRESS;
use serde_json::{Value, json};

use crate::cases;
use crate::create::{EARLY, doomed, fails_early, goes_through};
use crate::group::{Group, Site, WHOLE};
use crate::runner::Case;

/// An agent that says why it ends.
const ON_FIRE: &str = "#!/bin/sh\necho the disk is on fire\nexit 3\n";
/// What holds an object until somebody takes it away.
const FINALIZER: &str = "example.com/hold";

pub fn cases() -> Vec<Case> {
    cases![
        => crash_loop_tells_the_last_words,
        => settings_that_keep_postgres_from_starting,
        => instance_that_has_no_node,
        => timeout_that_is_too_short,
        => update_with_too_little_time,
        => finalizer_that_holds_a_destroy,
    ]
}

async fn crash_loop_tells_the_last_words(group: &mut Group) -> Result<()> {
    let site = doomed(group).await?;
    let good = site.config.clone();
    let agent = site.tf.dir().join("agent.sh");
    std::fs::write(&agent, ON_FIRE)?;
    let own = site.tf.clone();
    let carrying = own.clone().with_env("PGHA_DEBUG_AGENT", &agent.to_string_lossy());
    site.tf = carrying.with_env("PGHA_DEBUG_AGENT_VERSION", "0.1.7");
    let said = ["container postgres, ends again and again (exit code 3)", "Last lines: the disk is on fire"];
    fails_early(site, &said).await?;
    site.tf = own;
    goes_through(site, good).await
}

/// A library that is not there shows when PostgreSQL starts, a value that is none when it reads its files.
async fn settings_that_keep_postgres_from_starting(group: &mut Group) -> Result<()> {
    let site = doomed(group).await?;
    let good = site.config.clone();
    site.write(good.clone().set("parameters.shared_preload_libraries", "nope"))?;
    fails_early(site, &["pg-0", "ends at every start", "could not access file", "nope"]).await?;
    site.write(good.clone().set("parameters.work_mem", "banana"))?;
    fails_early(site, &["pg-0", "parameters[\"work_mem\"]", "invalid value for parameter"]).await?;
    goes_through(site, good).await
}

/// One instance more than there are nodes, and never two on one: that is said early, what serves is kept, and the next apply goes on.
async fn instance_that_has_no_node(group: &mut Group) -> Result<()> {
    let site = doomed(group).await?;
    let apart = site.config.clone().set("replicas", 3).set("scheduling.spread", "required");
    site.write(apart.clone())?;
    let run = site.tf.try_apply(&[]).await?.succeeded()?;
    let run = run.says(&["Warning: The cluster serves, but is not complete", "can't be scheduled"])?;
    ensure!(run.took < EARLY, "expected the warning long before the timeout, it came after {:?}", run.took);
    ensure!(!site.tf.is_tainted(ADDRESS).await?, "expected a cluster that serves not to be tainted");
    let ready = site.tf.attributes(ADDRESS).await?["ready"].clone();
    ensure!(ready == false, "expected ready = false in the state, got {ready}");
    let load = site.load("kept").await?;
    load.until_more(10).await?;
    let outcome = load.finish().await?;

    site.apply(apart.set("replicas", 2)).await?.says(&["0 added, 1 changed, 0 destroyed"])?;
    site.cluster.until_whole(2, WHOLE).await?;
    site.tf.plan_is_empty("as many instances as there are nodes").await?;
    let ready = site.tf.attributes(ADDRESS).await?["ready"].clone();
    ensure!(ready == true, "expected ready = true in the state, got {ready}");
    site.nothing_lost(&outcome).await
}

/// Nothing that was begun is lost, and the timeout is named.
async fn timeout_that_is_too_short(group: &mut Group) -> Result<()> {
    let site = doomed(group).await?;
    let good = site.config.clone();
    site.write(good.clone().set("timeouts", json!({ "create": "2s" })))?;
    site.tf.try_apply(&[]).await?.failed_saying(&["Not done within 2s", "timeouts.create"])?;
    goes_through(site, good).await
}

/// The same of an update: the cluster is the one from before, not ready, and the next apply goes on.
async fn update_with_too_little_time(group: &mut Group) -> Result<()> {
    let site = doomed(group).await?;
    let good = site.config.clone();
    goes_through(site, good.clone()).await?;
    let more = good.set("replicas", 1);
    site.write(more.clone().set("timeouts", json!({ "update": "2s" })))?;
    site.tf.try_apply(&[]).await?.failed_saying(&["Not done within 2s", "timeouts.update"])?;
    ensure!(!site.tf.is_tainted(ADDRESS).await?, "expected an update not to taint the cluster");
    let state = site.tf.attributes(ADDRESS).await?;
    ensure!(
        state["ready"] == false && state["replicas"] == 0,
        "expected the state from before, not ready, got {state:#}"
    );
    // What was begun may have come true by itself meanwhile.
    site.apply(more).await?;
    site.cluster.until_whole(1, WHOLE).await?;
    site.tf.plan_is_empty("an update with enough time").await
}

async fn finalizer_that_holds_a_destroy(group: &mut Group) -> Result<()> {
    let site = doomed(group).await?;
    let config =
        site.config.clone().set("deletion_protection", false).set("timeouts", json!({ "delete": "20s" }));
    goes_through(site, config).await?;
    hold(site, json!([FINALIZER])).await?;
    site.tf.try_destroy().await?.failed_saying(&["pg-rw", FINALIZER, "timeouts.delete"])?;
    hold(site, Value::Null).await?;
    site.tf.destroy().await.map(drop)
}

async fn hold(site: &Site, finalizers: Value) -> Result<()> {
    let patch = json!({ "metadata": { "finalizers": finalizers } });
    let services = site.cluster.api::<Service>();
    let name = site.cluster.names.service_rw();
    services.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}
