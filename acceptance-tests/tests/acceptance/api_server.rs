//! The API server away, in every way in which it can be: killed, gone for long, slow, silent, deaf to writes. Whoever leads goes on
//! leading while its synchronous standby vouches for it (A20), and stops when nobody does.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::rbac::v1::Role;
use kube::api::PostParams;
use nix::sys::signal::Signal;
use pgha_acceptance_tests::load::Load;
use pgha_acceptance_tests::poll::{Seen, throughout, until};
use pgha_acceptance_tests::sandbox::{ApiFault, Target, Who};

use crate::cases;
use crate::group::{Group, WRITES};
use crate::runner::Case;
use crate::scene::{Reign, Scene, once};

/// Several leases long.
const AWAY: Duration = Duration::from_secs(35);
/// Longer than the lease.
const HALF_ALIVE: Duration = Duration::from_secs(12);
/// How often it comes and goes, and for how long each time: shorter than the fence, longer than a renewal.
const FLAPS: u32 = 5;
const FLAP: Duration = Duration::from_secs(3);
/// A request takes two of these, which is longer than a renewal may.
const SLOW_MS: u64 = 700;

pub fn cases() -> Vec<Case> {
    cases![
        => api_refuses_the_agents_writes,
        exclusive => api_server_restarted,
        exclusive => api_server_away,
        exclusive => api_server_away_and_the_voter_too,
        exclusive => api_server_half_alive,
    ]
}

async fn api_server_restarted(group: &mut Group) -> Result<()> {
    once(group, "api_restarted", |scene, load| Box::pin(restart(scene, load))).await
}

async fn api_server_away(group: &mut Group) -> Result<()> {
    once(group, "api_away", |scene, load| Box::pin(away(scene, load))).await
}

async fn api_server_away_and_the_voter_too(group: &mut Group) -> Result<()> {
    once(group, "api_and_voter_away", |scene, _| Box::pin(away_with_the_voter(scene))).await
}

async fn api_server_half_alive(group: &mut Group) -> Result<()> {
    once(group, "api_half_alive", |scene, load| Box::pin(half_alive(scene, load))).await
}

async fn api_refuses_the_agents_writes(group: &mut Group) -> Result<()> {
    once(group, "api_read_only", |scene, load| Box::pin(read_only(scene, load))).await
}

async fn restart(scene: &Scene, load: &Load) -> Result<()> {
    let reign = scene.reign().await?;
    scene.sandbox.stop_api_server()?;
    scene.sandbox.start_api_server().await?;
    scene.sandbox.restart_controllers().await?;
    scene.led_on(load, &reign).await
}

pub async fn away(scene: &Scene, load: &Load) -> Result<()> {
    let reign = scene.reign().await?;
    scene.sandbox.stop_api_server()?;
    let lasted = stays(&reign, load, AWAY).await;
    scene.sandbox.start_api_server().await?;
    scene.sandbox.restart_controllers().await?;
    lasted?;
    scene.led_on(load, &reign).await
}

/// The lead lasts for so long, and commits are acknowledged at the end of it as at the beginning.
async fn stays(reign: &Reign, load: &Load, duration: Duration) -> Result<()> {
    throughout("the lead", duration, || async { Ok(reign.lasts()) }).await?;
    load.until_more(50).await
}

/// Nobody vouches for the primary: it stops by itself. Its voter comes back, then the API server, and it goes on.
async fn away_with_the_voter(scene: &Scene) -> Result<()> {
    let reign = scene.reign().await?;
    scene.sandbox.stop_api_server()?;
    scene.signal(&scene.standby, Target::All, Signal::SIGSTOP)?;
    let fenced = until("the primary to fence itself", WRITES, || async {
        Ok(Seen::when(!reign.postmaster.is_alive(), "its postgres runs"))
    })
    .await;
    scene.signal(&scene.standby, Target::All, Signal::SIGCONT)?;
    scene.sandbox.start_api_server().await?;
    scene.sandbox.restart_controllers().await?;
    fenced
}

/// Too slow, without answers, refusing, silent: one after the other. Then it comes and goes.
async fn half_alive(scene: &Scene, load: &Load) -> Result<()> {
    let reign = scene.reign().await?;
    let flaps = async {
        for _ in 0..FLAPS {
            scene.sandbox.api_fault(Who::Nodes, ApiFault::Refuse).await?;
            stays(&reign, load, FLAP).await?;
            scene.sandbox.api_fault(Who::Nodes, ApiFault::None).await?;
            stays(&reign, load, FLAP).await?;
        }
        scene.led_on(load, &reign).await
    };
    let faults =
        [ApiFault::Delay { delay_ms: SLOW_MS }, ApiFault::LoseReplies, ApiFault::Refuse, ApiFault::Drop];
    for fault in faults {
        scene.sandbox.api_fault(Who::Nodes, fault).await?;
        let lasted = stays(&reign, load, HALF_ALIVE).await;
        scene.sandbox.api_fault(Who::Nodes, ApiFault::None).await?;
        lasted.with_context(|| format!("{fault:?}"))?;
        scene.led_on(load, &reign).await.with_context(|| format!("after {fault:?}"))?;
    }
    let flapped = flaps.await;
    scene.sandbox.api_fault(Who::Nodes, ApiFault::None).await?;
    flapped.context("it came and went")
}

/// Reads are answered and writes of the Lease refused: the agents' rights are taken away and given back.
async fn read_only(scene: &Scene, load: &Load) -> Result<()> {
    let reign = scene.reign().await?;
    let roles = scene.cluster.api::<Role>();
    let before = roles.get(scene.cluster.names.cluster()).await?;
    let mut after = before.clone();
    let leases = |resources: &Option<Vec<String>>| resources.iter().flatten().any(|one| one == "leases");
    for rule in after.rules.iter_mut().flatten().filter(|rule| leases(&rule.resources)) {
        rule.verbs.retain(|verb| !matches!(verb.as_str(), "patch" | "update"));
    }
    after.rules.get_or_insert_default().retain(|rule| !rule.verbs.is_empty());
    ensure!(after.rules != before.rules, "the agents' Role has no rule to write the Lease");
    let taken = roles.replace(scene.cluster.names.cluster(), &PostParams::default(), &after).await?;
    let lasted = stays(&reign, load, HALF_ALIVE).await;
    let mut back = before;
    back.metadata.resource_version = taken.metadata.resource_version;
    roles.replace(scene.cluster.names.cluster(), &PostParams::default(), &back).await?;
    lasted?;
    scene.led_on(load, &reign).await
}
