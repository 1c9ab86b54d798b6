//! Faults under load in sync mode: writes come back, one primary, every acknowledged row is there, every instance streams again
//! without a hand. The longest times without an acknowledged commit are printed, not asserted: the benchmark measures them.

use std::time::Instant;

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use pgha_acceptance_tests::load::Load;
use pgha_acceptance_tests::poll::{Seen, until};
use pgha_acceptance_tests::sandbox::{Cut, Target};

use crate::cases;
use crate::group::{Group, WHOLE, WRITES};
use crate::runner::Case;
use crate::scene::{Scene, kill_guard, members_of, repeated, until_data_is_new};

pub fn cases() -> Vec<Case> {
    cases![
        => postgres_killed,
        => container_killed,
        => primary_pod_deleted_gracefully,
        => primary_pod_deleted_by_force,
        => standby_pod_deleted_by_force,
        => standby_volume_wiped,
        => primary_volume_wiped,
        exclusive => primary_node_cut_off_and_back,
        exclusive => standby_node_cut_off_and_back,
    ]
}

async fn postgres_killed(group: &mut Group) -> Result<()> {
    repeated(group, "postgres_killed", |scene, _| Box::pin(kill_postgres(scene))).await
}

async fn container_killed(group: &mut Group) -> Result<()> {
    repeated(group, "container_killed", |scene, _| Box::pin(kill_container(scene))).await
}

async fn primary_pod_deleted_gracefully(group: &mut Group) -> Result<()> {
    repeated(group, "pod_deleted", |scene, _| Box::pin(delete(scene, &scene.primary, false))).await
}

async fn primary_pod_deleted_by_force(group: &mut Group) -> Result<()> {
    repeated(group, "pod_deleted_by_force", |scene, _| Box::pin(delete(scene, &scene.primary, true))).await
}

async fn standby_pod_deleted_by_force(group: &mut Group) -> Result<()> {
    repeated(group, "standby_deleted_by_force", |scene, _| Box::pin(delete(scene, &scene.standby, true)))
        .await
}

async fn standby_volume_wiped(group: &mut Group) -> Result<()> {
    repeated(group, "standby_volume_wiped", |scene, _| Box::pin(wipe(scene, &scene.standby))).await
}

async fn primary_volume_wiped(group: &mut Group) -> Result<()> {
    repeated(group, "primary_volume_wiped", |scene, _| Box::pin(wipe(scene, &scene.primary))).await
}

async fn primary_node_cut_off_and_back(group: &mut Group) -> Result<()> {
    repeated(group, "primary_node_cut_off", |scene, load| Box::pin(cut_primary(scene, load))).await
}

async fn standby_node_cut_off_and_back(group: &mut Group) -> Result<()> {
    repeated(group, "standby_node_cut_off", |scene, load| Box::pin(cut_standby(scene, load))).await
}

pub async fn kill_postgres(scene: &Scene) -> Result<()> {
    scene.sandbox.kill_in_pod(&scene.cluster.namespace, &scene.primary, Target::Postmaster)?;
    Ok(())
}

pub async fn kill_container(scene: &Scene) -> Result<()> {
    kill_guard(scene, &scene.primary).await
}

async fn delete(scene: &Scene, pod: &str, force: bool) -> Result<()> {
    let before = scene.cluster.pod_uids().await?;
    scene.cluster.delete_pod(pod, force).await?;
    until(&format!("{pod} to be made anew"), WHOLE, || async {
        let now = scene.cluster.pod_uids().await?;
        Ok(Seen::when(now.get(pod).is_some_and(|uid| before.get(pod) != Some(uid)), format!("{now:?}")))
    })
    .await
}

/// Empties the volume and kills the container: what is left of an instance whose disk was replaced.
async fn wipe(scene: &Scene, pod: &str) -> Result<()> {
    let ordinal = scene.cluster.names.ordinal(pod).with_context(|| format!("{pod} has no ordinal"))?;
    let before = members_of(scene, pod).await?;
    // Suspended first: a server that runs makes new files while its directories are removed.
    scene.sandbox.signal_in_pod(&scene.cluster.namespace, pod, Target::All, Signal::SIGSTOP)?;
    scene.sandbox.wipe_volume(&scene.cluster.namespace, &scene.cluster.names.claim(ordinal)).await?;
    kill_guard(scene, pod).await?;
    // Proof that it was really made anew.
    until_data_is_new(scene, pod, &before).await
}

pub async fn cut_primary(scene: &Scene, load: &Load) -> Result<()> {
    let node = scene.sandbox.node_of(&scene.cluster.namespace, &scene.primary).await?;
    scene.sandbox.cut(node, Cut::All)?;
    let outcome = scene.taken_over(load).await;
    scene.sandbox.heal(node)?;
    outcome
}

pub async fn cut_standby(scene: &Scene, load: &Load) -> Result<()> {
    let node = scene.sandbox.node_of(&scene.cluster.namespace, &scene.standby).await?;
    scene.sandbox.cut(node, Cut::All)?;
    let outcome = goes_on_without_the_standby(scene, load).await;
    scene.sandbox.heal(node)?;
    outcome?;
    scene.leads(&scene.primary).await
}

/// Whoever confirmed commits confirms nothing any more: it leaves the voters, and writes go on.
pub async fn goes_on_without_the_standby(scene: &Scene, load: &Load) -> Result<()> {
    // The commit that waits for the lost standby is under way: what counts comes after the stall.
    until("the lost standby to leave the voters", WRITES, || async {
        let record = scene.cluster.record().await?;
        let lost: Vec<_> =
            record.members.iter().filter(|(_, entry)| entry.pod == scene.standby).map(|(id, _)| id).collect();
        let voting = lost.iter().any(|member| record.voters.contains(*member));
        Ok(Seen::when(!voting, format!("voters {:?}, members {:?}", record.voters, record.members)))
    })
    .await?;
    load.until_acknowledged_after(Instant::now(), WRITES).await?;
    load.until_more(50).await
}
