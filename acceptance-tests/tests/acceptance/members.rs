//! All members at once, members in a bad order, labels changed by hand, a node drained.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use kube::api::{EvictParams, Patch, PatchParams};
use nix::sys::signal::Signal;
use pgha_acceptance_tests::load::Load;
use pgha_acceptance_tests::poll::{Seen, throughout, until};
use pgha_acceptance_tests::sandbox::{Cut, Target};
use pgha_schema::names::{LABEL_ROLE, ROLE_PRIMARY, ROLE_REPLICA};
use serde_json::json;

use crate::cases;
use crate::group::{Group, WHOLE, WRITES};
use crate::runner::Case;
use crate::scene::{Scene, once};

/// Longer than the lease: whoever may take over by waiting would have.
const PAST_THE_LEASE: Duration = Duration::from_secs(15);

pub fn cases() -> Vec<Case> {
    cases![
        => all_pods_deleted_by_force,
        => labels_changed_by_hand,
        exclusive => members_come_back_the_stale_one_first,
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
        let what = format!("{} to wait for {}", scene.other, scene.standby);
        until(&what, WHOLE, || async {
            let said = scene.sandbox.exec_in_pod(namespace, &scene.other, &["pgha-agent", "status"]).await?;
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            let waits = said.contains("it did not confirm commits")
                && said.contains(&format!("may take over without loss: {}", scene.standby));
            Ok(Seen::when(waits, said))
        })
        .await?;
        throughout("the record's holder", PAST_THE_LEASE, || async {
            let holder = scene.cluster.record().await?.holder.map(|holder| holder.pod);
            Ok(Seen::when(holder.as_ref() == Some(&scene.primary), format!("{holder:?} holds it")))
        })
        .await?;
        scene.sandbox.heal(newest)?;
        scene.taken_over(load).await?;
        let leads = scene.cluster.record().await?.holder.map(|holder| holder.pod);
        ensure!(leads.as_ref() == Some(&scene.standby), "expected {} to lead, {leads:?} does", scene.standby);
        anyhow::Ok(())
    };
    let outcome = outcome.await;
    for node in [stale, newest, last] {
        scene.sandbox.heal(node)?;
    }
    outcome
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
