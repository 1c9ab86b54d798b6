//! StopProvider: whatever hangs at an API server that has fallen silent comes to its end within two seconds.
// Whole lives are large futures, and each is run once.
#![allow(clippy::large_futures)]

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use pgha_acceptance_tests::host::{Ignored, Stored, has_errors};
use pgha_acceptance_tests::poll::{self, Seen};
use pgha_acceptance_tests::proto_client::actions::{Told, told};
use pgha_acceptance_tests::proto_client::agents::{Agents, Mood};
use pgha_acceptance_tests::proto_client::host::Host;
use pgha_acceptance_tests::proto_client::kubernetes::FakeApi;
use pgha_acceptance_tests::proto_client::pb::tfplugin6 as pb;
use pgha_acceptance_tests::proto_client::values::messages;
use serde_json::{Value as Json, json as js};

/// From StopProvider to the answer, as the documentation promises.
const BOUND: Duration = Duration::from_secs(2);
/// Noise of the machine may break one try, not each of them.
const TRIES: usize = 3;
/// For what must happen; a busy machine may take its time.
const SOON: Duration = Duration::from_mins(1);
const SET: &str = "/apis/apps/v1/namespaces/shop/statefulsets/db";
const DESIRED: &str = "/api/v1/namespaces/shop/configmaps/db-desired";

/// A provider in front of an API server with agents.
struct Scene {
    api: FakeApi,
    agents: Agents,
    host: Host,
}

impl Scene {
    async fn new() -> Result<Self> {
        let agents = Agents::default();
        let api = FakeApi::start_with(agents.reaction()).await?;
        let host = Host::configured(&js!({ "host": api.address() })).await?;
        Ok(Self { api, agents, host })
    }

    /// The same with the cluster `db`.
    async fn with_cluster() -> Result<(Self, Stored)> {
        let scene = Self::new().await?;
        let core = scene.host.core().await?;
        let plan = core.plan(&Stored::nothing(), &given(), &Ignored::Nothing).await?;
        let made = core.apply(&plan, &given()).await?;
        ensure!(made.diagnostics.is_empty(), "{:?}", messages(&made.diagnostics));
        scene.api.forget_requests();
        Ok((scene, made.stored))
    }

    /// The API server falls silent once it was asked for these, and the call is stopped when it hangs there: how long its answer takes
    /// then, and what it is.
    async fn stopped<T>(
        &self,
        reached: &[&str],
        call: impl Future<Output = Result<T>>,
    ) -> Result<(Duration, T)> {
        let stop = async {
            poll::until("the call to be on its way", SOON, || async {
                let asked = self.api.requests();
                Ok(Seen::when(in_order(reached, &asked), format!("{asked:?}")))
            })
            .await?;
            self.api.fall_silent();
            poll::until("a request that hangs", SOON, || async {
                Ok(Seen::when(self.api.hanging() > 0, "none"))
            })
            .await?;
            let began = Instant::now();
            self.host.rpc().stop_provider(pb::stop_provider::Request {}).await?;
            anyhow::Ok(began)
        };
        let call = async {
            let answer = call.await?;
            Ok((Instant::now(), answer))
        };
        let both = async { tokio::try_join!(stop, call) };
        let (began, (ended, answer)) = tokio::time::timeout(SOON * 2, both).await??;
        Ok((ended.saturating_duration_since(began), answer))
    }
}

fn given() -> Json {
    js!({ "name": "db", "namespace": "shop", "storage": { "size": "1Gi" }, "deletion_protection": false })
}

/// These were asked for, one after the other.
fn in_order(wanted: &[&str], asked: &[String]) -> bool {
    let mut asked = asked.iter();
    wanted.iter().all(|wanted| asked.any(|one| one == wanted))
}

/// The best of some tries is within the bound.
async fn in_time<F>(mut one: impl FnMut() -> F) -> Result<()>
where
    F: Future<Output = Result<Duration>>,
{
    let mut all = Vec::new();
    for _ in 0..TRIES {
        let took = one().await?;
        if took <= BOUND {
            return Ok(());
        }
        all.push(took);
    }
    bail!("a stop is answered within {BOUND:?}, it took {all:?}")
}

#[tokio::test]
async fn a_refresh_that_hangs_ends_in_time_and_keeps_the_state() -> Result<()> {
    in_time(async || {
        let (scene, stored) = Scene::with_cluster().await?;
        let core = scene.host.core().await?;
        let (took, seen) = scene.stopped(&[], core.read(&stored)).await?;
        ensure!(has_errors(&seen.diagnostics) && seen.stored == stored, "{:?}", messages(&seen.diagnostics));
        Ok(took)
    })
    .await
}

#[tokio::test]
async fn a_plan_that_hangs_ends_in_time_and_is_a_plan_all_the_same() -> Result<()> {
    in_time(async || {
        let scene = Scene::new().await?;
        let core = scene.host.core().await?;
        let nothing = Stored::nothing();
        let given = given();
        let plan = core.plan(&nothing, &given, &Ignored::Nothing);
        let (took, plan) = scene.stopped(&[], plan).await?;
        ensure!(
            plan.planned["name"] == "db" && plan.diagnostics.is_empty(),
            "{:?}",
            messages(&plan.diagnostics)
        );
        Ok(took)
    })
    .await
}

#[tokio::test]
async fn a_create_that_waits_ends_in_time_and_what_is_there_is_in_the_state() -> Result<()> {
    in_time(async || {
        let scene = Scene::new().await?;
        scene.agents.set(Mood::Dead);
        let core = scene.host.core().await?;
        let given = given();
        let plan = core.plan(&Stored::nothing(), &given, &Ignored::Nothing).await?;
        scene.api.forget_requests();
        // Its dry run has asked for no events; every look of a wait does.
        let events = "GET /api/v1/namespaces/shop/events";
        let (took, made) =
            scene.stopped(&[&format!("PATCH {SET}"), events], core.apply(&plan, &given)).await?;
        ensure!(has_errors(&made.diagnostics), "{:?}", messages(&made.diagnostics));
        ensure!(
            made.stored.state["name"] == "db",
            "a half-made cluster is in the state: {}",
            made.stored.state
        );
        Ok(took)
    })
    .await
}

#[tokio::test]
async fn a_destroy_that_waits_ends_in_time_and_keeps_the_state() -> Result<()> {
    in_time(async || {
        let (scene, stored) = Scene::with_cluster().await?;
        scene.agents.set(Mood::Dead);
        let core = scene.host.core().await?;
        let plan = core.plan(&stored, &Json::Null, &Ignored::Nothing).await?;
        let stop = format!("PATCH {DESIRED}");
        let (took, left) = scene.stopped(&[&stop], core.apply(&plan, &Json::Null)).await?;
        ensure!(has_errors(&left.diagnostics), "{:?}", messages(&left.diagnostics));
        ensure!(left.stored.state == stored.state, "a cluster that is there stays in the state");
        Ok(took)
    })
    .await
}

#[tokio::test]
async fn an_action_that_waits_ends_in_time_and_says_what_it_leaves() -> Result<()> {
    in_time(async || {
        let (scene, _) = Scene::with_cluster().await?;
        scene.agents.set(Mood::Dead);
        let asked = format!("PATCH {DESIRED}");
        let act = async {
            let given = js!({ "name": "db", "namespace": "shop" });
            told(scene.host.invoke("postgres_ha_switchover", &given).await?).await
        };
        let (took, Told { problems, .. }) = scene.stopped(&[&asked], act).await?;
        ensure!(
            problems.len() == 1
                && problems[0].contains("Interrupted")
                && problems[0].contains("may still be carried out"),
            "{problems:?}"
        );
        Ok(took)
    })
    .await
}
