//! In async: what a standby may lack when the primary is lost (`failover.max_lag`, A14), and which of two leads then.

use anyhow::{Context as _, Result, ensure};
use pgha_acceptance_tests::cluster::Cluster;
use pgha_acceptance_tests::poll::{Seen, until};
use pgha_acceptance_tests::sandbox::{Cut, Node, Sandbox};
use pgha_schema::lsn::Lsn;

use crate::cases;
use crate::group::{Group, Site, WHOLE, WRITES};
use crate::runner::Case;
use crate::scene::{held_past_the_lease, says};

/// What a standby may lack, and more than that: two segments.
const MAX_LAG: &str = "1Mi";
const MAX_LAG_BYTES: u64 = 1 << 20;
const BEYOND_BYTES: u64 = 2 * (16 << 20);

pub fn cases() -> Vec<Case> {
    cases![
        exclusive => async_the_one_that_lags_does_not_lead,
        exclusive => async_nobody_leads_that_lags_beyond_max_lag,
    ]
}

/// A cluster in async, and who is where.
struct Lagging {
    sandbox: Sandbox,
    cluster: Cluster,
    primary: (String, Node),
    standbys: Vec<(String, Node)>,
}

impl Lagging {
    async fn of(group: &mut Group) -> Result<Self> {
        let sandbox = group.bed.sandbox.clone();
        let site = group.cluster_with(2).await?;
        let config = site.config.clone().set("sync_mode", "async").set("failover.max_lag", MAX_LAG);
        site.apply(config).await?;
        let cluster = site.cluster.clone();
        let leads = cluster.until_whole(2, WHOLE).await?;
        let mut nodes = Vec::new();
        for pod in cluster.pods().await?.into_keys() {
            let node = sandbox.node_of(&cluster.namespace, &pod).await?;
            nodes.push((pod, node));
        }
        let (mut primary, standbys): (Vec<_>, _) = nodes.into_iter().partition(|(pod, _)| *pod == leads);
        Ok(Self { sandbox, cluster, primary: primary.pop().context("there is no primary")?, standbys })
    }

    /// Cuts these standbys off from the primary, and waits until it has recorded a position that is too far for them.
    async fn leave_behind(&self, standbys: &[(String, Node)]) -> Result<()> {
        for (_, node) in standbys {
            self.sandbox.cut(*node, Cut::PeersOnly)?;
        }
        let from = self.cluster.sql(&self.primary.0, "postgres", "SELECT pg_current_wal_lsn()").await?;
        let from: Lsn = from.parse()?;
        until("the record to tell of a position that is too far", WHOLE, || async {
            self.cluster.begin_segment(&self.primary.0).await?;
            let position = self.cluster.record().await?.position;
            Ok(Seen::when(position.0 > from.0 + BEYOND_BYTES, format!("{position}, {from} before")))
        })
        .await
    }

    /// The primary is lost, and the standbys see each other again.
    fn lose_primary(&self) -> Result<()> {
        self.sandbox.cut(self.primary.1, Cut::All)?;
        self.standbys.iter().try_for_each(|(_, node)| self.sandbox.heal(*node))
    }

    /// Ends all cuts, whatever came before.
    async fn healed<T>(&self, outcome: Result<T>) -> Result<T> {
        self.sandbox.heal(self.primary.1)?;
        self.standbys.iter().try_for_each(|(_, node)| self.sandbox.heal(*node))?;
        let outcome = outcome?;
        self.cluster.until_whole(2, WHOLE).await?;
        Ok(outcome)
    }

    async fn holder(&self) -> Result<String> {
        Ok(self.cluster.record().await?.holder.map(|holder| holder.pod).unwrap_or_default())
    }
}

/// Back to what the group's other cases begin with.
async fn in_sync_again(group: &mut Group) -> Result<()> {
    let site = group.site().await?;
    let config = site.config.clone().set("sync_mode", "sync").unset("failover");
    site.apply(config).await?;
    site.cluster.until_whole(2, WHOLE).await.map(drop)
}

async fn async_the_one_that_lags_does_not_lead(group: &mut Group) -> Result<()> {
    let scene = Lagging::of(group).await?;
    let [(near, _), (far, _)] = &scene.standbys[..] else { anyhow::bail!("expected two standbys") };
    let outcome = async {
        scene.leave_behind(&scene.standbys[1..]).await?;
        let recorded = scene.cluster.record().await?.position;
        scene.lose_primary()?;
        until(&format!("{near} to lead"), WRITES, || async {
            let holder = scene.holder().await?;
            ensure!(holder != *far, "{far} leads, which lacks more than `max_lag`");
            Ok(Seen::when(holder == *near, format!("{holder} holds the record")))
        })
        .await?;
        anyhow::Ok(recorded)
    };
    let outcome = outcome.await;
    let recorded = scene.healed(outcome).await?;
    let record = scene.cluster.record().await?;
    let began = record.current().context("no era")?.start.context("the era does not say where it began")?;
    ensure!(
        began.0 + MAX_LAG_BYTES >= recorded.0,
        "expected at most {MAX_LAG_BYTES} bytes to be lost, the record told of {recorded} and {near} began at {began}"
    );
    in_sync_again(group).await
}

async fn async_nobody_leads_that_lags_beyond_max_lag(group: &mut Group) -> Result<()> {
    let scene = Lagging::of(group).await?;
    let load = load(group.site().await?).await?;
    let outcome = async {
        scene.leave_behind(&scene.standbys).await?;
        scene.lose_primary()?;
        for (pod, _) in &scene.standbys {
            says(&scene.sandbox, &scene.cluster, pod, &["by more than max_lag allows"]).await?;
        }
        held_past_the_lease(&scene.cluster, &scene.primary.0).await
    };
    let outcome = outcome.await;
    scene.healed(outcome).await?;
    // Whoever has every row leads: nothing is lost, though no standby confirmed anything.
    let holder = scene.holder().await?;
    ensure!(holder == scene.primary.0, "expected {} to lead again, {holder} does", scene.primary.0);
    let outcome = load.finish().await?;
    group.site().await?.nothing_lost(&outcome).await?;
    in_sync_again(group).await
}

async fn load(site: &Site) -> Result<pgha_acceptance_tests::load::Load> {
    let load = site.load("far_behind").await?;
    load.until_more(50).await?;
    Ok(load)
}
