//! Changes to a running cluster, under load.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use pgha_acceptance_tests::checker;
use pgha_acceptance_tests::cluster::Cluster;
use pgha_acceptance_tests::load::{Load, Outcome};
use pgha_acceptance_tests::poll::{Seen, until};
use pgha_acceptance_tests::sandbox::pods::ContainerProcess;
use pgha_acceptance_tests::sandbox::{Sandbox, Target};
use serde_json::json;

use crate::cases;
use crate::create::fails_early;
use crate::group::{Group, Site, WHOLE, WRITES};
use crate::runner::Case;

/// What plans tell of a restart and of a hand-over: "a second or a few", "about a second". The machine's noise is in what is seen.
const TOLD_AT_MOST: Duration = Duration::from_secs(30);

pub fn cases() -> Vec<Case> {
    cases![
        => sync_to_async_to_sync_without_a_failed_write,
        => required_waits_and_preferred_goes_on,
        => a_parameter_by_reload,
        => a_parameter_that_postgres_refuses,
        => pods_come_back_while_postgres_refuses_a_parameter,
        => a_parameter_by_restart,
        => max_connections_up,
        => max_connections_down,
        => another_image,
    ]
}

async fn sync_to_async_to_sync_without_a_failed_write(group: &mut Group) -> Result<()> {
    let site = group.cluster_with(2).await?;
    let started = site.cluster.start_times().await?;
    let load = site.load("modes").await?;
    for (mode, confirming) in [("async", 0), ("sync", 1)] {
        site.apply_with("sync_mode", mode).await?;
        checker::sync_set_in_force(&site.cluster, confirming).await?;
        site.tf.plan_is_empty(&format!("sync_mode = {mode}")).await?;
        load.until_more(20).await?;
    }
    let outcome = load.finish().await?;
    ensure!(
        outcome.failures == 0,
        "expected no failed write while the mode changes, got {}: {:?}",
        outcome.failures,
        outcome.first_failures
    );
    nothing_restarted(site, &started).await?;
    site.nothing_lost(&outcome).await
}

async fn required_waits_and_preferred_goes_on(group: &mut Group) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = group.cluster_with(2).await?;
    let cluster = site.cluster.clone();
    site.apply_with("durability", "required").await?;
    site.tf.plan_is_empty("durability = required").await?;
    let load = site.load("durability").await?;
    let suspended = Suspended::all_standbys(&sandbox, &cluster).await?;
    // Longer than `preferred` would wait before it goes on alone (degrade_after, 3 s).
    until("writes to wait for a standby", WRITES, || async {
        let silence = load.silence();
        Ok(Seen::when(silence > Duration::from_secs(6), format!("a commit was acknowledged {silence:?} ago")))
    })
    .await?;
    let names = cluster.setting("synchronous_standby_names").await?;
    ensure!(!names.is_empty(), "expected names in force while `required` waits, they are empty");
    suspended.resume()?;
    load.until_acknowledged_after(Instant::now(), WRITES).await?;
    cluster.until_whole(2, WHOLE).await?;

    site.apply_with("durability", "preferred").await?;
    site.tf.plan_is_empty("durability = preferred").await?;
    load.until_more(20).await?;
    let suspended = Suspended::all_standbys(&sandbox, &cluster).await?;
    until("`preferred` to record that it goes on alone", WRITES, || async {
        let record = cluster.record().await?;
        Ok(Seen::when(record.degraded, format!("degraded {}, voters {:?}", record.degraded, record.voters)))
    })
    .await?;
    load.until_acknowledged_after(Instant::now(), WRITES).await?;
    suspended.resume()?;
    cluster.until_whole(2, WHOLE).await?;
    checker::sync_set_in_force(&cluster, 1).await?;
    let outcome = load.finish().await?;
    site.nothing_lost(&outcome).await
}

/// Standbys whose every process is suspended; they go on at the latest when this is dropped.
pub struct Suspended {
    processes: Vec<ContainerProcess>,
}

impl Suspended {
    /// All of both standbys.
    pub async fn all_standbys(sandbox: &Sandbox, cluster: &Cluster) -> Result<Self> {
        let primary = cluster.primary().await?;
        let mut suspended = Self { processes: Vec::new() };
        for pod in cluster.pods().await?.into_keys().filter(|pod| *pod != primary) {
            let hit = sandbox.signal_in_pod(&cluster.namespace, &pod, Target::All, Signal::SIGSTOP)?;
            suspended.processes.extend(hit);
        }
        Ok(suspended)
    }

    /// They go on.
    pub fn resume(&self) -> Result<()> {
        self.processes.iter().try_for_each(|process| process.id.signal(Signal::SIGCONT))
    }
}

impl Drop for Suspended {
    fn drop(&mut self) {
        // Resumed already, or the test fails for another reason.
        let _ = self.resume();
    }
}

async fn a_parameter_by_reload(group: &mut Group) -> Result<()> {
    let site = group.cluster_with(2).await?;
    let started = site.cluster.start_times().await?;
    let load = site.load("reload").await?;
    let run = site.apply_with("parameters", json!({ "work_mem": "8MB" })).await?;
    let run = run.says(&["This change is made while the database runs", "reload: parameters.work_mem"])?;
    ensure!(!run.flat().contains("interrupts"), "expected no interruption to be told:\n{}", run.report());
    in_force_everywhere(site, "work_mem", "8MB").await?;
    site.tf.plan_is_empty("a parameter by reload").await?;
    unnoticed(site, load, &started).await
}

/// The apply ends early with PostgreSQL's words, the database goes on, and a corrected one goes through.
async fn a_parameter_that_postgres_refuses(group: &mut Group) -> Result<()> {
    let site = group.cluster_with(2).await?;
    let started = site.cluster.start_times().await?;
    let load = site.load("refused").await?;
    let good = site.config.clone();
    site.write(good.clone().set("parameters.work_mem", "banana"))?;
    let said = ["parameters[\"work_mem\"]", "invalid value for parameter", "\"banana\"", "apply again"];
    fails_early(site, &said).await?;
    load.until_more(20).await?;
    site.apply(good.set("parameters.work_mem", "9MB")).await?;
    in_force_everywhere(site, "work_mem", "9MB").await?;
    site.tf.plan_is_empty("a corrected parameter").await?;
    unnoticed(site, load, &started).await
}

/// PostgreSQL does not start with what is wished; pods that are lost meanwhile start with what was in force before.
async fn pods_come_back_while_postgres_refuses_a_parameter(group: &mut Group) -> Result<()> {
    let site = group.cluster_with(2).await?;
    let load = site.load("comes_back").await?;
    let good = site.config.clone();
    site.write(good.clone().set("parameters.work_mem", "banana"))?;
    fails_early(site, &["\"banana\"", "apply again"]).await?;
    load.until_more(20).await?;
    let standby = site.cluster.standby().await?;
    comes_back(site, &standby).await?;
    let primary = site.cluster.primary().await?;
    comes_back(site, &primary).await?;
    load.until_more(20).await?;
    site.apply(good.set("parameters.work_mem", "9MB")).await?;
    in_force_everywhere(site, "work_mem", "9MB").await?;
    site.tf.plan_is_empty("a corrected parameter, and pods that were lost").await?;
    let outcome = load.finish().await?;
    site.nothing_lost(&outcome).await
}

/// The pod is lost, and postgres starts in its new one; writes go on.
async fn comes_back(site: &Site, pod: &str) -> Result<()> {
    let before = site.cluster.start_times().await?;
    site.cluster.delete_pod(pod, true).await?;
    until("postgres to start in the new pod, and all three to be up", WHOLE, || async {
        let now = site.cluster.start_times().await?;
        let anew = now.len() == 3 && now.get(pod) != before.get(pod);
        Ok(Seen::when(anew && site.cluster.status().await?.accepts_writes, format!("{now:?}")))
    })
    .await
}

async fn a_parameter_by_restart(group: &mut Group) -> Result<()> {
    let outcome = restart_under_load(group, "shared_buffers", "64MB", LAST).await?;
    group.bed.record_gap("parameter with restart", outcome.gap);
    Ok(())
}

async fn max_connections_up(group: &mut Group) -> Result<()> {
    let outcome = restart_under_load(group, "max_connections", "150", LAST).await?;
    group.bed.record_gap("max_connections up", outcome.gap);
    Ok(())
}

async fn max_connections_down(group: &mut Group) -> Result<()> {
    let outcome = restart_under_load(group, "max_connections", "60", FIRST).await?;
    group.bed.record_gap("max_connections down", outcome.gap);
    Ok(())
}

async fn another_image(group: &mut Group) -> Result<()> {
    const OTHER: &str = pgha_acceptance_tests::sandbox::images::OTHER_18;
    let site = group.cluster_with(2).await?;
    let load = site.load("image").await?;
    let config = site.config.clone().set("image", OTHER).set("postgres_version", "18");
    let told = [
        "This change interrupts connections",
        "rolling restart (all 3 instances",
        "writes pause for about a second): image",
    ];
    site.apply(config).await?.says(&told)?;
    site.cluster.until_whole(2, WHOLE).await?;
    for (name, pod) in site.cluster.pods().await? {
        let image =
            pod.spec.and_then(|spec| spec.containers.into_iter().find_map(|c| c.image)).unwrap_or_default();
        ensure!(image == OTHER, "expected {name} to run {OTHER}, it runs {image}");
    }
    site.tf.plan_is_empty("another image").await?;
    let outcome = load.finish().await?;
    one_gap_at_most(&outcome)?;
    site.nothing_lost(&outcome).await?;
    group.bed.record_gap("another image", outcome.gap);
    Ok(())
}

/// When the primary restarts, as plans tell it.
const LAST: &str = "standbys one by one, the primary last (writes wait for a second or a few";
const FIRST: &str = "the primary first, since a standby must never have less, then standbys one by one (writes wait for a second or a few";

/// Changes a parameter that needs a restart: told as it comes, in force on every instance, nothing lost, one gap at most.
async fn restart_under_load(group: &mut Group, name: &str, value: &str, order: &str) -> Result<Outcome> {
    let site = group.cluster_with(2).await?;
    let started = site.cluster.start_times().await?;
    let load = site.load(&format!("restart_{name}_{value}").to_lowercase()).await?;
    let run = site.apply_with(&format!("parameters.{name}"), value).await?;
    run.says(&[
        "This change interrupts connections",
        "in all 3 instances",
        order,
        &format!("): parameters.{name}"),
    ])?;
    site.cluster.until_whole(2, WHOLE).await?;
    in_force_everywhere(site, name, value).await?;
    site.tf.plan_is_empty(&format!("{name} = {value}")).await?;
    let outcome = load.finish().await?;
    for (pod, time) in site.cluster.start_times().await? {
        ensure!(
            started.get(&pod) != Some(&time),
            "expected postgres in {pod} to have been restarted for {name}"
        );
    }
    one_gap_at_most(&outcome)?;
    site.nothing_lost(&outcome).await?;
    Ok(outcome)
}

/// One outage, about as long as was told.
fn one_gap_at_most(outcome: &Outcome) -> Result<()> {
    ensure!(
        outcome.outages <= 1,
        "expected one short gap for the primary, got {} outages with {} failures: {:?}",
        outcome.outages,
        outcome.failures,
        outcome.first_failures
    );
    ensure!(
        outcome.gap < TOLD_AT_MOST,
        "a second or a few was told, and no commit was acknowledged for {:?}",
        outcome.gap
    );
    Ok(())
}

async fn in_force_everywhere(site: &Site, name: &str, wanted: &str) -> Result<()> {
    for pod in site.cluster.pods().await?.into_keys() {
        until(&format!("{name} = {wanted} in {pod}"), WHOLE, || async {
            let seen = site.cluster.sql(&pod, "postgres", &format!("SHOW {name}")).await?;
            Ok(Seen::when(seen == wanted, seen))
        })
        .await?;
    }
    Ok(())
}

/// No write failed or was lost, and no PostgreSQL restarted.
async fn unnoticed(site: &Site, load: Load, started: &BTreeMap<String, String>) -> Result<()> {
    let outcome = load.finish().await?;
    ensure!(outcome.failures == 0, "expected no failed write, got {:?}", outcome.first_failures);
    nothing_restarted(site, started).await?;
    site.nothing_lost(&outcome).await
}

/// No postgres was started since.
pub async fn nothing_restarted(site: &Site, started: &BTreeMap<String, String>) -> Result<()> {
    let now = site.cluster.start_times().await?;
    ensure!(
        now == *started,
        "expected no restart of any postgres: started {started:?} before, {now:?} after"
    );
    Ok(())
}
