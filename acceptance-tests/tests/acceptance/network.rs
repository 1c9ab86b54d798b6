//! The primary's node cut off in part: in one direction, from the API server alone, from the other nodes alone.

use anyhow::Result;
use pgha_acceptance_tests::load::Load;
use pgha_acceptance_tests::poll::{Seen, throughout, until};
use pgha_acceptance_tests::sandbox::Cut;

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
