//! The primary's node cut off in part: in one direction, from the API server alone, from the other nodes alone. And routes
//! that are late.

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use pgha_acceptance_tests::load::Load;
use pgha_acceptance_tests::poll::{Seen, throughout, until};
use pgha_acceptance_tests::sandbox::{Cut, Target};

use crate::cases;
use crate::group::{Group, WRITES};
use crate::runner::Case;
use crate::scene::{PAST_THE_LEASE, Scene, once};

pub fn cases() -> Vec<Case> {
    cases![
        exclusive => primary_sends_and_hears_nothing,
        exclusive => primary_hears_and_sends_nothing,
        exclusive => primary_cut_off_from_the_api_server,
        exclusive => primary_cut_off_from_the_other_nodes,
        exclusive => routes_are_late,
    ]
}

async fn primary_sends_and_hears_nothing(group: &mut Group) -> Result<()> {
    once(group, "nothing_comes_in", |scene, load| Box::pin(taken_from(scene, load, Cut::OneWayIn))).await
}

async fn primary_hears_and_sends_nothing(group: &mut Group) -> Result<()> {
    once(group, "nothing_gets_out", |scene, load| Box::pin(taken_from(scene, load, Cut::OneWayOut))).await
}

async fn primary_cut_off_from_the_api_server(group: &mut Group) -> Result<()> {
    once(group, "primary_without_api", |scene, load| Box::pin(vouched_for(scene, load))).await
}

async fn primary_cut_off_from_the_other_nodes(group: &mut Group) -> Result<()> {
    once(group, "primary_without_peers", |scene, load| Box::pin(alone(scene, load))).await
}

async fn routes_are_late(group: &mut Group) -> Result<()> {
    once(group, "routes_late", |scene, load| Box::pin(late(scene, load))).await
}

/// kube-proxy takes up no change, as after outages of the API server it may not for a minute: by the list of all instances
/// libpq finds the new primary, while nobody comes there through rw.
async fn late(scene: &Scene, load: &Load) -> Result<()> {
    let proxies = |signal| {
        let places = ["node1", "node2", "node3", "client"];
        places
            .iter()
            .try_for_each(|place| scene.sandbox.signal_daemon(&format!("kube-proxy-{place}"), signal))
    };
    proxies(Signal::SIGSTOP)?;
    let found = found_by_the_list(scene).await;
    proxies(Signal::SIGCONT)?;
    found?;
    scene.taken_over(load).await
}

async fn found_by_the_list(scene: &Scene) -> Result<()> {
    let (names, namespace) = (&scene.cluster.names, &scene.cluster.namespace);
    let all: Vec<String> = (0..3).map(|ordinal| names.pod_host(ordinal, namespace)).collect();
    scene.signal(&scene.primary, Target::Init, Signal::SIGKILL)?;
    until("libpq to find the new primary by the list of all instances", WRITES, || async {
        let answer = asked(scene, &all.join(",")).await?;
        Ok(Seen::when(answer == "f", answer))
    })
    .await?;
    let holder = scene.cluster.record().await?.holder.map(|holder| holder.pod);
    ensure!(holder.as_ref().is_some_and(|pod| *pod != scene.primary), "{holder:?} leads, nobody took over");
    let through = asked(scene, &names.rw_host(namespace)).await?;
    ensure!(through != "f", "rw reached the new primary: its routes were not late");
    Ok(())
}

/// Whether libpq in the third instance's pod says that who it reached is in recovery, or why it reached nobody.
async fn asked(scene: &Scene, hosts: &str) -> Result<String> {
    let password = scene.cluster.secret_value(&scene.cluster.names.secret_app(), "password").await?;
    let target = format!(
        "host={hosts} dbname=app user=app password={password} connect_timeout=2 target_session_attrs=read-write"
    );
    let answer = scene
        .cluster
        .exec(
            &scene.other,
            &["psql", "-X", "-A", "-t", "-q", "-d", &target, "-c", "SELECT pg_is_in_recovery()"],
        )
        .await?;
    Ok(if answer.success { answer.stdout.trim().to_owned() } else { answer.stderr })
}

/// No renewal and no heartbeat arrives: another takes over, the old primary fences itself.
async fn taken_from(scene: &Scene, load: &Load, cut: Cut) -> Result<()> {
    let node = scene.sandbox.node_of(&scene.cluster.namespace, &scene.primary).await?;
    let old = scene.postmaster(&scene.primary)?;
    scene.sandbox.cut(node, cut)?;
    let outcome = async {
        scene.taken_over(load).await?;
        until("the old primary to fence itself", WRITES, || async {
            Ok(Seen::when(!old.is_alive(), "its postgres runs"))
        })
        .await
    };
    let outcome = outcome.await;
    scene.sandbox.heal(node)?;
    outcome
}

/// Its renewals fail and its heartbeats arrive: it stays, and nobody takes it for dead.
async fn vouched_for(scene: &Scene, load: &Load) -> Result<()> {
    let node = scene.sandbox.node_of(&scene.cluster.namespace, &scene.primary).await?;
    let reign = scene.reign().await?;
    scene.sandbox.cut(node, Cut::ApiOnly)?;
    let lasted = throughout("the lead", PAST_THE_LEASE, || async { Ok(reign.lasts()) }).await;
    let leads = match lasted {
        Ok(()) => scene.led_on(load, &reign).await,
        Err(error) => Err(error),
    };
    scene.sandbox.heal(node)?;
    leads
}

/// It renews, so it stays, and goes on alone as `preferred` says, recorded first.
async fn alone(scene: &Scene, load: &Load) -> Result<()> {
    let node = scene.sandbox.node_of(&scene.cluster.namespace, &scene.primary).await?;
    let reign = scene.reign().await?;
    scene.sandbox.cut(node, Cut::PeersOnly)?;
    let outcome = async {
        scene.goes_on_alone().await?;
        scene.led_on(load, &reign).await
    };
    let outcome = outcome.await;
    scene.sandbox.heal(node)?;
    outcome
}
