//! Clocks of single pods that are set, or run fast or slow: the sandbox's nodes are one machine, so processes are told another time.
//! docs/failure-modes.md says what is promised.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use pgha_acceptance_tests::cluster::Cluster;
use pgha_acceptance_tests::load::Load;
use pgha_acceptance_tests::poll::{Seen, throughout, until};
use pgha_acceptance_tests::sandbox::{Cut, Target};

use crate::bed::Bed;
use crate::cases;
use crate::group::{Group, Site, WHOLE, WRITES};
use crate::runner::Case;
use crate::scene::{PAST_THE_LEASE, Scene, postmaster, strike};

const HOUR_S: i64 = 3_600;
/// Together 1.35 times: a fence after 6 s of the slow clock, a lease of 10 s of the fast ones, a second in between.
const SLOW: i64 = -150_000;
const FAST: i64 = 150_000;
/// A clock has gone wrong when it differs by so much.
const APART: Duration = Duration::from_secs(1);

pub fn cases() -> Vec<Case> {
    cases![
        => time_of_day_is_set,
        exclusive => primary_slow_and_standbys_fast,
    ]
}

/// A cluster of three whose clocks are true yet.
async fn with_clocks(group: &mut Group) -> Result<Option<&mut Site>> {
    let Some(image) = group.bed.image_with_clocks()? else { return Ok(None) };
    let site = group.fresh_site().await?;
    let config = site.config.clone().set("replicas", 2).set("image", image.clone());
    site.apply(config.set("postgres_version", "15").set("agent_image", image)).await?;
    site.cluster.until_whole(2, WHOLE).await?;
    Ok(Some(site))
}

/// How far the time of day in a pod is ahead of the machine's, in seconds.
async fn ahead_s(cluster: &Cluster, pod: &str) -> Result<f64> {
    let told = cluster.sql(pod, "postgres", "SELECT extract(epoch FROM clock_timestamp())").await?;
    let here = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    Ok(told.parse::<f64>()? - here)
}

async fn set(scene: &Scene, pod: &str, millionths: i64, ahead_s: i64) -> Result<()> {
    let ordinal = scene.cluster.names.ordinal(pod).context("a pod without an ordinal")?;
    let claim = scene.cluster.names.claim(ordinal);
    scene.sandbox.set_clock(&scene.cluster.namespace, &claim, millionths, ahead_s).await
}

async fn time_of_day_is_set(group: &mut Group) -> Result<()> {
    let bed = Arc::clone(&group.bed);
    let Some(site) = with_clocks(group).await? else { return Ok(()) };
    strike(&bed, site, "time_of_day_set", 1, |scene, load| Box::pin(set_time_of_day(scene, load))).await?;
    site.tf.plan_is_empty("clocks that were set").await
}

/// The primary's clock is set forward, the others' are set back: it leads on with the postgres that it has. Agents that begin with
/// these clocks hear each other as well, and one of them takes over when the primary is lost.
async fn set_time_of_day(scene: &Scene, load: &Load) -> Result<()> {
    let reign = scene.reign().await?;
    for (pod, hours) in [(&scene.primary, 3), (&scene.standby, -5), (&scene.other, -2)] {
        set(scene, pod, 0, hours * HOUR_S).await?;
        until(&format!("{pod} to have another time of day"), WRITES, || async {
            let ahead = ahead_s(&scene.cluster, pod).await?;
            let set = (ahead - (hours * HOUR_S) as f64).abs() < APART.as_secs_f64();
            Ok(Seen::when(set, format!("it is {ahead} s ahead")))
        })
        .await?;
    }
    throughout("the primary's postgres", PAST_THE_LEASE, || async { Ok(reign.lasts()) }).await?;
    scene.led_on(load, &reign).await?;
    scene.sandbox.kill_in_pod(&scene.cluster.namespace, &scene.primary, Target::Init)?;
    scene.taken_over(load).await
}

async fn primary_slow_and_standbys_fast(group: &mut Group) -> Result<()> {
    let bed = Arc::clone(&group.bed);
    let Some(site) = with_clocks(group).await? else { return Ok(()) };
    strike(&bed, site, "clocks_apart", 1, |scene, load| Box::pin(run_apart(scene, load))).await?;
    // In async time alone fences.
    site.apply_with("sync_mode", "async").await?;
    let primary = site.cluster.until_whole(2, WHOLE).await?;
    let outcome = fenced_in_time(&bed, site, &primary).await;
    bed.sandbox.heal(bed.sandbox.node_of(&site.namespace, &primary).await?)?;
    outcome?;
    site.cluster.until_whole(2, WHOLE).await.map(drop)
}

/// Nobody's patience ends earlier than the primary renews: it leads on.
async fn run_apart(scene: &Scene, load: &Load) -> Result<()> {
    let reign = scene.reign().await?;
    for (pod, millionths) in [(&scene.primary, SLOW), (&scene.standby, FAST), (&scene.other, FAST)] {
        set(scene, pod, millionths, 0).await?;
    }
    for pod in [&scene.primary, &scene.standby, &scene.other] {
        until(&format!("the clock of {pod} to be wrong"), WHOLE, || async {
            let ahead = ahead_s(&scene.cluster, pod).await?;
            Ok(Seen::when(ahead.abs() > APART.as_secs_f64(), format!("it is {ahead} s ahead")))
        })
        .await?;
    }
    throughout("the primary's postgres", PAST_THE_LEASE, || async { Ok(reign.lasts()) }).await?;
    scene.led_on(load, &reign).await
}

/// The node of the slow one is cut off: its postgres has ended before any fast one has taken the record.
async fn fenced_in_time(bed: &Bed, site: &Site, primary: &str) -> Result<()> {
    let cluster = &site.cluster;
    let postmaster = postmaster(&bed.sandbox, cluster, primary)?;
    bed.sandbox.cut(bed.sandbox.node_of(&site.namespace, primary).await?, Cut::All)?;
    let (taker, wrote) = until("another instance to take over", WRITES, || async {
        let holder = cluster.record().await?.holder.map(|holder| holder.pod).unwrap_or_default();
        // Looked at after the take: what has ended by then had ended before, or in the moment between.
        let runs = postmaster.is_alive();
        let waits = format!("{holder} holds the record, the postgres of {primary} runs: {runs}");
        Ok(if holder == primary { Seen::NotYet(waits) } else { Seen::Yes((holder, runs)) })
    })
    .await?;
    ensure!(!wrote, "{taker} took the record while {primary} could still write");
    Ok(())
}
