//! Faults under load in sync mode: writes come back, one primary, every acknowledged row is there, every instance streams again
//! without a hand. The longest times without an acknowledged commit are printed, not asserted: the benchmark measures them.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use pgha_acceptance_tests::checker;
use pgha_acceptance_tests::cluster::Cluster;
use pgha_acceptance_tests::load::Load;
use pgha_acceptance_tests::poll::{Seen, until};
use pgha_acceptance_tests::sandbox::{Cut, Sandbox, Target};

use crate::cases;
use crate::group::{Group, WHOLE, WRITES};
use crate::runner::{Case, Running};

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

/// What a fault needs: the machine, the cluster, the load that runs, and who was what when it began.
struct Scene {
    sandbox: Sandbox,
    cluster: Cluster,
    primary: String,
    standby: String,
}

/// Does the damage, waits until the cluster has dealt with it, and mends what no cluster could.
type Fault = for<'a> fn(&'a Scene, &'a Load) -> Running<'a>;

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

/// Runs a fault as often as asked for, each time on a whole cluster under load, and checks what must hold after it.
async fn repeated(group: &mut Group, name: &str, fault: Fault) -> Result<()> {
    for repeat in 1..=group.bed.repeats {
        once(group, name, repeat, fault).await.with_context(|| format!("{name}, time {repeat}"))?;
    }
    Ok(())
}

async fn once(group: &mut Group, name: &str, repeat: u32, fault: Fault) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = group.cluster_with(2).await?;
    site.cluster.until_whole(2, WHOLE).await?;
    checker::sync_set_in_force(&site.cluster, 1).await?;
    let scene = Scene {
        sandbox,
        cluster: site.cluster.clone(),
        primary: site.cluster.primary().await?,
        standby: confirming_standby(&site.cluster).await?,
    };
    let load = site.load(&format!("{name}_{repeat}")).await?;
    load.until_more(100).await?;

    let struck = Instant::now();
    fault(&scene, &load).await?;
    let writes = load.until_acknowledged_after(Instant::now(), WRITES).await;
    let whole = site.cluster.until_whole(2, WHOLE).await;
    let gap = load.gap_since(struck);
    let outcome = load.finish().await?;
    writes.context("writes did not come back")?;
    whole.context("the cluster did not heal without a hand")?;

    site.nothing_lost(&outcome).await?;
    checker::sync_set_in_force(&site.cluster, 1).await?;
    checker::ro_is_never_the_primary(&site.ro().await?, 10).await?;
    let drop_table = format!("DROP TABLE {}", outcome.table);
    site.cluster.sql(&site.cluster.primary().await?, "app", &drop_table).await?;
    group.bed.record_gap(&format!("{name} #{repeat}"), gap);
    Ok(())
}

/// The standby that confirms commits, as the primary sees it: the one whose loss hurts.
async fn confirming_standby(cluster: &Cluster) -> Result<String> {
    let senders = cluster.walsenders().await?;
    let confirming =
        senders.iter().find(|sender| sender.sync_state == "sync").context("nobody confirms commits")?;
    let record = cluster.record().await?;
    let member = record.members.iter().find(|(member, _)| member.as_str() == confirming.application_name);
    let (_, entry) =
        member.with_context(|| format!("{} is no member in {record:?}", confirming.application_name))?;
    Ok(entry.pod.clone())
}

async fn kill_postgres(scene: &Scene) -> Result<()> {
    scene.sandbox.kill_in_pod(&scene.cluster.namespace, &scene.primary, Target::Postmaster)?;
    Ok(())
}

async fn kill_container(scene: &Scene) -> Result<()> {
    kill_guard(scene, &scene.primary).await
}

/// Kills the container's first process, and waits until another container runs in its place: of the same pod, or of a
/// new one when the leader deleted a pod that Kubernetes would have left in crash back-off (A29).
async fn kill_guard(scene: &Scene, pod: &str) -> Result<()> {
    let before = scene.cluster.containers(pod).await?;
    scene.sandbox.kill_in_pod(&scene.cluster.namespace, pod, Target::Init)?;
    until(&format!("the container of {pod} to be made anew"), WHOLE, || async {
        let now = scene.cluster.containers(pod).await.unwrap_or_default();
        let anew = !now.is_empty() && now.is_disjoint(&before);
        Ok(Seen::when(anew, format!("containers {now:?}, {before:?} before the kill")))
    })
    .await
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
    let members = |record: &pgha_schema::record::Record| {
        record
            .members
            .iter()
            .filter(|(_, entry)| entry.pod == pod)
            .map(|(id, _)| id.clone())
            .collect::<Vec<_>>()
    };
    let before = members(&scene.cluster.record().await?);
    // Suspended first: a server that runs makes new files while its directories are removed.
    scene.sandbox.signal_in_pod(&scene.cluster.namespace, pod, Target::All, Signal::SIGSTOP)?;
    scene.sandbox.wipe_volume(&scene.cluster.namespace, &scene.cluster.names.claim(ordinal)).await?;
    kill_guard(scene, pod).await?;
    // New data is a new member (A2): proof that it was really made anew.
    until(&format!("{pod} to come back with new data"), WHOLE, || async {
        let now = members(&scene.cluster.record().await?);
        Ok(Seen::when(
            now.iter().any(|member| !before.contains(member)),
            format!("members {now:?}, {before:?} before"),
        ))
    })
    .await
}

async fn cut_primary(scene: &Scene, load: &Load) -> Result<()> {
    let node = scene.sandbox.node_of(&scene.cluster.namespace, &scene.primary).await?;
    scene.sandbox.cut(node, Cut::All)?;
    let outcome = async {
        until("another instance to take over", WRITES, || async {
            let holder = scene.cluster.record().await?.holder.map(|holder| holder.pod);
            let moved = holder.as_ref().is_some_and(|pod| *pod != scene.primary);
            Ok(Seen::when(moved, format!("the record's holder is {holder:?}")))
        })
        .await?;
        load.until_acknowledged_after(Instant::now(), WRITES).await?;
        load.until_more(50).await
    }
    .await;
    scene.sandbox.heal(node)?;
    outcome
}

async fn cut_standby(scene: &Scene, load: &Load) -> Result<()> {
    let node = scene.sandbox.node_of(&scene.cluster.namespace, &scene.standby).await?;
    scene.sandbox.cut(node, Cut::All)?;
    // The commit that waits for the lost standby is under way: what counts comes after the stall.
    let outcome = async {
        until("the lost standby to leave the voters", WRITES, || async {
            let record = scene.cluster.record().await?;
            let lost: Vec<_> = record
                .members
                .iter()
                .filter(|(_, entry)| entry.pod == scene.standby)
                .map(|(id, _)| id)
                .collect();
            let voting = lost.iter().any(|member| record.voters.contains(*member));
            Ok(Seen::when(!voting, format!("voters {:?}, members {:?}", record.voters, record.members)))
        })
        .await?;
        load.until_acknowledged_after(Instant::now(), WRITES).await?;
        load.until_more(50).await
    }
    .await;
    scene.sandbox.heal(node)?;
    outcome?;
    let primary = scene.cluster.primary().await?;
    ensure!(
        primary == scene.primary,
        "expected {} to stay primary without a standby, {primary} is",
        scene.primary
    );
    Ok(())
}
