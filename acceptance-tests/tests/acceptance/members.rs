//! All members at once, members in a bad order, labels changed by hand, a node drained.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use kube::api::{EvictParams, Patch, PatchParams};
use nix::sys::signal::Signal;
use pgha_acceptance_tests::load::Load;
use pgha_acceptance_tests::poll::{Seen, until};
use pgha_acceptance_tests::sandbox::{Cut, Target};
use pgha_schema::names::{LABEL_ROLE, PGDATA, ROLE_PRIMARY, ROLE_REPLICA, SOCKET_DIR};
use serde_json::json;

use crate::cases;
use crate::group::{Group, WHOLE, WRITES};
use crate::runner::Case;
use crate::scene::{Scene, kill_guard, members_of, once, until_data_is_new};

pub fn cases() -> Vec<Case> {
    cases![
        => all_pods_deleted_by_force,
        => labels_changed_by_hand,
        exclusive => members_come_back_the_stale_one_first,
        exclusive => alone_and_then_lost,
        => standby_wal_gone,
        exclusive => forked_and_its_wal_is_gone,
        exclusive => primary_node_drained,
    ]
}

async fn all_pods_deleted_by_force(group: &mut Group) -> Result<()> {
    once(group, "all_pods_deleted", |scene, _| Box::pin(delete_all(scene))).await
}

async fn labels_changed_by_hand(group: &mut Group) -> Result<()> {
    once(group, "labels_changed", |scene, load| Box::pin(change_labels(scene, load))).await
}

async fn members_come_back_the_stale_one_first(group: &mut Group) -> Result<()> {
    once(group, "stale_one_first", |scene, load| Box::pin(come_back(scene, load))).await
}

async fn alone_and_then_lost(group: &mut Group) -> Result<()> {
    once(group, "alone_then_lost", |scene, load| Box::pin(lose_all(scene, load))).await
}

async fn standby_wal_gone(group: &mut Group) -> Result<()> {
    once(group, "standby_wal_gone", |scene, load| Box::pin(lose_standbys_wal(scene, load))).await
}

async fn forked_and_its_wal_is_gone(group: &mut Group) -> Result<()> {
    once(group, "wal_gone", |scene, load| Box::pin(lose_wal(scene, load))).await
}

async fn primary_node_drained(group: &mut Group) -> Result<()> {
    once(group, "node_drained", |scene, load| Box::pin(drain(scene, load))).await
}

async fn delete_all(scene: &Scene) -> Result<()> {
    let before = scene.cluster.pod_uids().await?;
    for pod in before.keys() {
        scene.cluster.delete_pod(pod, true).await?;
    }
    until("all pods to be made anew", WHOLE, || async {
        let now = scene.cluster.pod_uids().await?;
        let anew = now.len() == before.len() && now.iter().all(|(pod, uid)| before.get(pod) != Some(uid));
        Ok(Seen::when(anew, format!("{now:?}, {before:?} before")))
    })
    .await
}

/// The labels are a picture of the record: they are drawn again, and nobody leads for having one.
async fn change_labels(scene: &Scene, load: &Load) -> Result<()> {
    let reign = scene.reign().await?;
    let role = |role: &str| json!({ "metadata": { "labels": { LABEL_ROLE: role } } });
    scene.cluster.patch::<Pod>(&scene.standby, role(ROLE_PRIMARY)).await?;
    scene.cluster.patch::<Pod>(&scene.primary, role(ROLE_REPLICA)).await?;
    until("the labels to be as they were", WRITES, || async {
        let labelled = scene.cluster.labelled_primary().await?;
        Ok(Seen::when(labelled == [scene.primary.clone()], format!("primary: {labelled:?}")))
    })
    .await?;
    scene.led_on(load, &reign).await
}

/// A total outage after which the nodes come back one by one, first one with a standby that lacks acknowledged commits: it
/// waits, and says for whom. The one that confirmed them leads.
async fn come_back(scene: &Scene, load: &Load) -> Result<()> {
    let namespace = &scene.cluster.namespace;
    scene.signal(&scene.other, Target::All, Signal::SIGSTOP)?;
    load.until_more(100).await?;
    let mut nodes = Vec::new();
    for pod in [&scene.other, &scene.standby, &scene.primary] {
        nodes.push((pod, scene.sandbox.node_of(namespace, pod).await?));
    }
    for (_, node) in &nodes {
        scene.sandbox.cut(*node, Cut::All)?;
    }
    for (pod, _) in &nodes {
        scene.sandbox.kill_in_pod(namespace, pod, Target::Init)?;
    }
    let [(_, stale), (_, newest), (_, last)] = nodes[..] else { return Err(anyhow::anyhow!("three nodes")) };
    let outcome = async {
        scene.sandbox.heal(stale)?;
        let names_it = format!("may take over without loss: {}", scene.standby);
        scene.says(&scene.other, &["it did not confirm commits", &names_it]).await?;
        scene.held_past_the_lease().await?;
        scene.sandbox.heal(newest)?;
        scene.taken_over(load).await?;
        scene.leads(&scene.standby).await?;
        anyhow::Ok(())
    };
    let outcome = outcome.await;
    for node in [stale, newest, last] {
        scene.sandbox.heal(node)?;
    }
    outcome
}

/// Both standbys are lost, so the primary goes on alone as `preferred` says; then it is lost too. The standbys come back and lead
/// nothing, since they lack what it acknowledged alone: they wait for it, and say so.
async fn lose_all(scene: &Scene, load: &Load) -> Result<()> {
    let namespace = &scene.cluster.namespace;
    let mut standbys = Vec::new();
    for pod in [&scene.standby, &scene.other] {
        standbys.push((pod, scene.sandbox.node_of(namespace, pod).await?));
    }
    let last = scene.sandbox.node_of(namespace, &scene.primary).await?;
    for (_, node) in &standbys {
        scene.sandbox.cut(*node, Cut::All)?;
    }
    let outcome = async {
        scene.goes_on_alone().await?;
        load.until_more(100).await?;
        scene.sandbox.cut(last, Cut::All)?;
        scene.sandbox.kill_in_pod(namespace, &scene.primary, Target::Init)?;
        for (pod, node) in &standbys {
            scene.sandbox.heal(*node)?;
            scene.says(pod, &["only the primary has every commit"]).await?;
        }
        scene.held_past_the_lease().await
    };
    let outcome = outcome.await;
    for node in standbys.iter().map(|(_, node)| *node).chain([last]) {
        scene.sandbox.heal(node)?;
    }
    outcome?;
    load.until_acknowledged_after(Instant::now(), WRITES).await?;
    scene.leads(&scene.primary).await
}

/// What confirmed commits loses its WAL, and the primary has no more of what it would start from: it is cloned anew, without a
/// hand, and nobody else leads.
async fn lose_standbys_wal(scene: &Scene, load: &Load) -> Result<()> {
    let reign = scene.reign().await?;
    let before = members_of(scene, &scene.standby).await?;
    until_start_is_nowhere_else(scene).await?;
    scene.signal(&scene.standby, Target::All, Signal::SIGSTOP)?;
    remove_wal(scene, &scene.standby).await?;
    kill_guard(scene, &scene.standby).await?;
    until_data_is_new(scene, &scene.standby, &before).await?;
    scene.led_on(load, &reign).await
}

/// Waits until the primary has removed the file of WAL that the standby's next start begins with: the standby is past it, and
/// has no reason for a restartpoint yet.
async fn until_start_is_nowhere_else(scene: &Scene) -> Result<()> {
    let primary = async |sql: &str| scene.cluster.sql(&scene.primary, "postgres", sql).await;
    primary("CHECKPOINT").await?;
    scene.cluster.sql(&scene.standby, "postgres", "CHECKPOINT").await?;
    until("the standby's start to be on no other volume", WHOLE, || async {
        let redo = "SELECT redo_lsn FROM pg_control_checkpoint()";
        let redo = scene.cluster.sql(&scene.standby, "postgres", redo).await?;
        scene.cluster.begin_segment(&scene.primary).await?;
        primary("CHECKPOINT").await?;
        let there = format!(
            "SELECT count(*) FROM pg_ls_waldir() WHERE substr(name, 9) = substr(pg_walfile_name('{redo}'), 9)"
        );
        let there = primary(&there).await?;
        Ok(Seen::when(there == "0", format!("the primary has the file of {redo}")))
    })
    .await
}

async fn remove_wal(scene: &Scene, pod: &str) -> Result<()> {
    let gone = format!("rm {PGDATA}/pg_wal/0*");
    let gone = scene.sandbox.exec_in_pod(&scene.cluster.namespace, pod, &["sh", "-c", &gone]).await?;
    ensure!(gone.status.success(), "expected the WAL to be removed: {gone:?}");
    Ok(())
}

/// The old primary has written what no other has, and loses the WAL that a rewind would need: it is cloned anew, without a hand.
async fn lose_wal(scene: &Scene, load: &Load) -> Result<()> {
    let namespace = &scene.cluster.namespace;
    let before = members_of(scene, &scene.primary).await?;
    let postmaster = scene.postmaster(&scene.primary)?;
    let node = scene.sandbox.node_of(namespace, &scene.primary).await?;
    scene.sandbox.cut(node, Cut::All)?;
    let outcome = async {
        // Nobody is there to confirm it: it is on the old primary alone.
        let fork = format!(
            "psql -X -h {SOCKET_DIR} -U postgres -v ON_ERROR_STOP=1 \
             -c 'SET synchronous_commit = local' -c 'CREATE TABLE forked AS SELECT 1'"
        );
        let fork = scene.sandbox.exec_in_pod(namespace, &scene.primary, &["sh", "-c", &fork]).await?;
        ensure!(fork.status.success(), "expected the old primary to write on: {fork:?}");
        scene.taken_over(load).await?;
        until("the old primary to fence itself", WRITES, || async {
            Ok(Seen::when(!postmaster.is_alive(), "its postgres runs"))
        })
        .await?;
        remove_wal(scene, &scene.primary).await
    };
    let outcome = outcome.await;
    scene.sandbox.heal(node)?;
    outcome?;
    until_data_is_new(scene, &scene.primary, &before).await?;
    scene.cluster.until_whole(2, WHOLE).await?;
    let forked =
        scene.cluster.sql(&scene.primary, "postgres", "SELECT to_regclass('forked') IS NULL").await?;
    ensure!(forked == "t", "{} still has what it wrote while it was cut off", scene.primary);
    Ok(())
}

/// What `kubectl drain` does: no new pods there, and evictions, which the disruption budget allows one at a time.
async fn drain(scene: &Scene, load: &Load) -> Result<()> {
    let node = scene.sandbox.node_of(&scene.cluster.namespace, &scene.primary).await?.name();
    let nodes: Api<Node> = Api::all(scene.sandbox.client());
    let unschedulable = |wanted: bool| Patch::Merge(json!({ "spec": { "unschedulable": wanted } }));
    nodes.patch(&node, &PatchParams::default(), &unschedulable(true)).await?;
    let outcome = evict(scene, load).await;
    nodes.patch(&node, &PatchParams::default(), &unschedulable(false)).await?;
    outcome
}

async fn evict(scene: &Scene, load: &Load) -> Result<()> {
    let pods = scene.cluster.api::<Pod>();
    pods.evict(&scene.primary, &EvictParams::default()).await.context("evict the primary")?;
    scene.taken_over(load).await?;
    // Its volume is on the drained node, so the pod waits; meanwhile no other may go.
    until("the budget to protect the two that are left", WRITES, || async {
        let budget = scene.cluster.api::<PodDisruptionBudget>().get(scene.cluster.names.cluster()).await?;
        let allowed = budget.status.map(|status| status.disruptions_allowed);
        Ok(Seen::when(allowed == Some(0), format!("it allows {allowed:?} disruptions")))
    })
    .await?;
    load.until_more(50).await
}
