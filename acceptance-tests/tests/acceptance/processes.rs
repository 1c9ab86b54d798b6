//! Processes of the primary's pod that die, stand still, or get too little memory or processor. docs/failure-modes.md says what
//! is promised for each.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use nix::sys::signal::Signal;
use pgha_acceptance_tests::checker;
use pgha_acceptance_tests::load::{Load, Target as Way};
use pgha_acceptance_tests::poll::{Seen, throughout, until};
use pgha_acceptance_tests::sandbox::Target;

use crate::cases;
use crate::faults::goes_on_without_the_standby;
use crate::group::{Group, WHOLE, WRITES};
use crate::runner::Case;
use crate::scene::{Scene, once, repeated, strike};

/// Memory that a backend finds when it wants four times as much.
const ROOM_BYTES: u64 = 96 << 20;
/// How long the primary has hardly any processor, and how much in percent of one.
const STARVED_FOR: Duration = Duration::from_secs(15);
const STARVED_PERCENT: u64 = 1;

pub fn cases() -> Vec<Case> {
    cases![
        => agent_killed,
        => agent_suspended,
        => container_suspended_and_resumed,
        => confirming_standby_suspended,
        => backend_out_of_memory,
        => processor_starved,
    ]
}

async fn agent_killed(group: &mut Group) -> Result<()> {
    repeated(group, "agent_killed", |scene, load| Box::pin(kill_agent(scene, load))).await
}

async fn agent_suspended(group: &mut Group) -> Result<()> {
    once(group, "agent_suspended", |scene, load| Box::pin(suspend_agent(scene, load))).await
}

async fn backend_out_of_memory(group: &mut Group) -> Result<()> {
    once(group, "backend_out_of_memory", |scene, _| Box::pin(run_out_of_memory(scene))).await
}

async fn processor_starved(group: &mut Group) -> Result<()> {
    once(group, "processor_starved", |scene, _| Box::pin(starve(scene))).await
}

/// The guard goes on and starts another agent; postgres notices nothing, and nobody else takes the lead.
async fn kill_agent(scene: &Scene, load: &Load) -> Result<()> {
    let (reign, agent) = (scene.reign().await?, scene.agent(&scene.primary)?);
    agent.signal(Signal::SIGKILL)?;
    until("another agent to run", WRITES, || async {
        let now = scene.agent(&scene.primary)?;
        Ok(Seen::when(now != agent && now.is_alive(), format!("{now:?}")))
    })
    .await?;
    scene.led_on(load, &reign).await
}

/// Its heartbeats stop and its fence falls: another instance takes over. The guard makes an agent that works.
async fn suspend_agent(scene: &Scene, load: &Load) -> Result<()> {
    let agent = scene.agent(&scene.primary)?;
    agent.signal(Signal::SIGSTOP)?;
    scene.taken_over(load).await?;
    until("the guard to start another agent", WHOLE, || async {
        let now = scene.agent(&scene.primary)?;
        Ok(Seen::when(now != agent && now.is_alive(), format!("{now:?}")))
    })
    .await?;
    checker::told_by_event(&scene.cluster, &scene.primary, "Fenced", "the guard stopped postgres").await
}

/// Guard and all stand still past the take-over: nothing was there to fence. Sessions that go straight to the old primary must
/// not be told of a commit when it wakes.
async fn container_suspended_and_resumed(group: &mut Group) -> Result<()> {
    let bed = Arc::clone(&group.bed);
    let site = group.cluster_with(2).await?;
    let old = site.cluster.primary().await?;
    let pod = site.cluster.api::<Pod>().get(&old).await?;
    let address = pod.status.and_then(|status| status.pod_ip).context("the primary has no address")?;
    let straight = Way { host: address, ..site.rw().await? };
    let direct = Load::start(&straight, "straight", 2).await?;

    strike(&bed, site, "container_suspended", 1, |scene, load| Box::pin(suspend(scene, load))).await?;
    // Clients that stayed with the old primary meet a standby, which refuses writes.
    if site.cluster.primary().await? != old {
        let before = direct.acknowledged();
        throughout("no commit on the old primary", Duration::from_secs(2), || async {
            Ok(Seen::when(direct.acknowledged() == before, "a commit was acknowledged"))
        })
        .await?;
    }
    let direct = direct.finish().await?;
    checker::nothing_lost(&site.cluster, "app", &direct).await?;
    let drop_table = format!("DROP TABLE {}", direct.table);
    site.cluster.sql(&site.cluster.primary().await?, "app", &drop_table).await?;
    Ok(())
}

async fn confirming_standby_suspended(group: &mut Group) -> Result<()> {
    repeated(group, "standby_suspended", |scene, load| Box::pin(suspend_standby(scene, load))).await
}

/// Its connections live on and say nothing: another standby confirms, and the lead stays.
async fn suspend_standby(scene: &Scene, load: &Load) -> Result<()> {
    let reign = scene.reign().await?;
    scene.signal(&scene.standby, Target::All, Signal::SIGSTOP)?;
    let outcome = goes_on_without_the_standby(scene, load).await;
    scene.signal(&scene.standby, Target::All, Signal::SIGCONT)?;
    outcome?;
    scene.led_on(load, &reign).await
}

async fn suspend(scene: &Scene, load: &Load) -> Result<()> {
    scene.signal(&scene.primary, Target::All, Signal::SIGSTOP)?;
    let taken = scene.taken_over(load).await;
    scene.signal(&scene.primary, Target::All, Signal::SIGCONT)?;
    taken
}

/// The kernel kills one process of the container (version 1 of control groups) or all (version 2). A killed backend takes the
/// whole postgres along, and it is started again in place, without another leader.
async fn run_out_of_memory(scene: &Scene) -> Result<()> {
    let (namespace, primary) = (&scene.cluster.namespace, &scene.primary);
    let postmaster = scene.postmaster(primary)?;
    let kills = scene.sandbox.out_of_memory_kills(namespace, primary)?;
    let limit = scene.sandbox.tighten_memory(namespace, primary, ROOM_BYTES)?;
    let hungry = format!("SELECT length(repeat('x', {}))", 4 * ROOM_BYTES);
    let answer = scene.cluster.sql(primary, "postgres", &hungry).await;
    ensure!(answer.is_err(), "expected the backend to be killed, it answered {answer:?}");
    let now = scene.sandbox.out_of_memory_kills(namespace, primary);
    drop(limit);
    ensure!(now.as_ref().is_ok_and(|now| *now > kills) || now.is_err(), "the kernel killed nothing: {now:?}");
    until("the postgres of before to end", WRITES, || async {
        Ok(Seen::when(!postmaster.is_alive(), "it runs"))
    })
    .await
}

/// Whatever is decided meanwhile (to stay, or to be taken over from), nothing acknowledged is lost, and it heals.
async fn starve(scene: &Scene) -> Result<()> {
    let (namespace, primary) = (&scene.cluster.namespace, &scene.primary);
    let limit = scene.sandbox.starve(namespace, primary, STARVED_PERCENT)?;
    let known = throughout("a holder in the record", STARVED_FOR, || async {
        let holder = scene.cluster.record().await?.holder;
        Ok(Seen::when(holder.is_some(), "nobody holds it"))
    });
    let known = known.await;
    let throttled = scene.sandbox.throttled(namespace, primary)?;
    drop(limit);
    ensure!(throttled > 0, "the container had all the processor that it wanted");
    known
}
