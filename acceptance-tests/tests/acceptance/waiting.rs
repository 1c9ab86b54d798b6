//! Waits that do not end as wished: what they tell, and that the next run goes on from there.

use anyhow::Result;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::cases;
use crate::create::{doomed, fails_early, goes_through};
use crate::group::{Group, Site};
use crate::runner::Case;

/// An image in which there is no PostgreSQL.
const NO_POSTGRES: &str = "docker.io/library/pgha-pause:1";
/// What holds an object until somebody takes it away.
const FINALIZER: &str = "example.com/hold";

pub fn cases() -> Vec<Case> {
    cases![
        => crash_loop_tells_the_last_words,
        => settings_that_keep_postgres_from_starting,
        => timeout_that_is_too_short,
        => finalizer_that_holds_a_destroy,
    ]
}

async fn crash_loop_tells_the_last_words(group: &mut Group) -> Result<()> {
    let site = doomed(group).await?;
    let good = site.config.clone();
    site.write(good.clone().set("image", NO_POSTGRES))?;
    fails_early(site, &["pg-0", "postgres"]).await?;
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

/// Nothing that was begun is lost, and the timeout is named.
async fn timeout_that_is_too_short(group: &mut Group) -> Result<()> {
    let site = doomed(group).await?;
    let good = site.config.clone();
    site.write(good.clone().set("timeouts", json!({ "create": "2s" })))?;
    site.tf.try_apply(&[]).await?.failed_saying(&["Not done within 2s", "timeouts.create"])?;
    goes_through(site, good).await
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
