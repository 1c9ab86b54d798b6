//! Quorum, several synchronous standbys, and async: changed under load, and under faults.

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use pgha_acceptance_tests::checker;
use pgha_acceptance_tests::cluster::Cluster;
use pgha_acceptance_tests::poll::{Seen, until};
use pgha_acceptance_tests::sandbox::Target;

use crate::cases;
use crate::group::{Group, Site, WHOLE, WRITES};
use crate::online::nothing_restarted;
use crate::runner::Case;
use crate::scene::once;
use crate::{api_server, faults};

pub fn cases() -> Vec<Case> {
    cases![
        => from_one_to_two_to_quorum_without_a_failed_write,
        => quorum_postgres_killed,
        => quorum_container_killed,
        exclusive => quorum_primary_node_cut_off_and_back,
        exclusive => quorum_standby_node_cut_off_and_back,
        => of_two_that_confirm_one_is_lost,
        exclusive => async_api_server_away,
        => a_logical_slot_outlives_a_failover,
    ]
}

/// The wish that is in force: the record, and the names that a session sees.
async fn in_force(cluster: &Cluster, head: &str, voters: usize, quorum: u32) -> Result<()> {
    until(&format!("{head} with {voters} voters, of which {quorum} decide"), WHOLE, || async {
        let record = cluster.record().await?;
        let names = cluster.setting("synchronous_standby_names").await?;
        let holds = names.starts_with(head)
            && record.voters.len() == voters
            && record.quorum == quorum
            && !record.degraded;
        Ok(Seen::when(holds, format!("names {names:?}, record {record:?}")))
    })
    .await
}

async fn from_one_to_two_to_quorum_without_a_failed_write(group: &mut Group) -> Result<()> {
    let site = group.cluster_with(2).await?;
    let started = site.cluster.start_times().await?;
    let load = site.load("several").await?;
    let both = site.config.clone().set("sync_replicas", 2);
    let any = site.config.clone().set("sync_mode", "quorum").set("sync_replicas", 1);
    for (config, head, quorum) in [(both, "FIRST 2 (", 1), (any, "ANY 1 (", 2)] {
        site.apply(config).await?;
        in_force(&site.cluster, head, 2, quorum).await?;
        site.tf.plan_is_empty(head).await?;
        load.until_more(20).await?;
    }
    let outcome = load.finish().await?;
    ensure!(outcome.failures == 0, "expected no failed write, got {:?}", outcome.first_failures);
    nothing_restarted(site, &started).await?;
    site.nothing_lost(&outcome).await
}

/// The group's cluster in quorum mode.
async fn with_quorum(group: &mut Group) -> Result<()> {
    let site = group.cluster_with(2).await?;
    wished(site, "quorum", 1).await
}

async fn wished(site: &mut Site, mode: &str, sync_replicas: u32) -> Result<()> {
    let config = site.config.clone().set("sync_mode", mode).set("sync_replicas", sync_replicas);
    site.apply(config).await?;
    Ok(())
}

async fn quorum_postgres_killed(group: &mut Group) -> Result<()> {
    with_quorum(group).await?;
    once(group, "quorum_postgres_killed", |scene, _| Box::pin(faults::kill_postgres(scene))).await
}

async fn quorum_container_killed(group: &mut Group) -> Result<()> {
    with_quorum(group).await?;
    once(group, "quorum_container_killed", |scene, _| Box::pin(faults::kill_container(scene))).await
}

async fn quorum_primary_node_cut_off_and_back(group: &mut Group) -> Result<()> {
    with_quorum(group).await?;
    once(group, "quorum_primary_node_cut", |scene, load| Box::pin(faults::cut_primary(scene, load))).await
}

async fn quorum_standby_node_cut_off_and_back(group: &mut Group) -> Result<()> {
    with_quorum(group).await?;
    once(group, "quorum_standby_node_cut", |scene, load| Box::pin(faults::cut_standby(scene, load))).await
}

/// `preferred` goes on with the one that is left, and says so; with both again both confirm.
async fn of_two_that_confirm_one_is_lost(group: &mut Group) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = group.cluster_with(2).await?;
    wished(site, "sync", 2).await?;
    let cluster = site.cluster.clone();
    in_force(&cluster, "FIRST 2 (", 2, 1).await?;
    let load = site.load("one_of_two").await?;
    let primary = cluster.primary().await?;
    let lost = cluster.pods().await?.into_keys().find(|pod| *pod != primary);
    let lost = lost.ok_or_else(|| anyhow::anyhow!("there is no standby"))?;
    let suspended = sandbox.signal_in_pod(&cluster.namespace, &lost, Target::All, Signal::SIGSTOP)?;
    let outcome = until("one of two to confirm, and the record to say so", WRITES, || async {
        let record = cluster.record().await?;
        let holds = record.degraded && record.voters.len() == 1;
        Ok(Seen::when(holds, format!("degraded {}, voters {:?}", record.degraded, record.voters)))
    })
    .await;
    let went_on = if outcome.is_ok() { load.until_more(50).await } else { Ok(()) };
    suspended.iter().try_for_each(|process| process.id.signal(Signal::SIGCONT))?;
    outcome?;
    went_on?;
    cluster.until_whole(2, WHOLE).await?;
    in_force(&cluster, "FIRST 2 (", 2, 1).await?;
    let outcome = load.finish().await?;
    site.nothing_lost(&outcome).await
}

/// How many rows the slot tells of: 73 is I, an insert.
const CHANGES: &str = "SELECT count(*) FROM pg_logical_slot_{how}_binary_changes('kept', NULL, NULL, 'proto_version', '1', \
                       'publication_names', 'telling') WHERE get_byte(data, 0) = 73";

/// A slot made with `failover` is on every standby, and a consumer goes on from it at the new primary.
async fn a_logical_slot_outlives_a_failover(group: &mut Group) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = group.cluster_with(2).await?;
    let config = site.config.clone().set("sync_mode", "sync").set("parameters.wal_level", "logical");
    site.apply(config).await?;
    site.cluster.until_whole(2, WHOLE).await?;
    let cluster = site.cluster.clone();
    let primary = cluster.primary().await?;
    cluster.sql(&primary, "app", "CREATE TABLE told (id int)").await?;
    cluster.sql(&primary, "app", "CREATE PUBLICATION telling FOR TABLE told").await?;
    let sql = "SELECT pg_create_logical_replication_slot('kept', 'pgoutput', false, false, true)";
    cluster.sql(&primary, "app", sql).await?;
    let kept =
        "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'kept' AND synced AND NOT temporary";
    for pod in cluster.pods().await?.into_keys().filter(|pod| *pod != primary) {
        // A standby takes a slot over once its consumer has come past what that standby still has of the catalogs.
        until(&format!("the slot to be kept on {pod}"), WHOLE, || async {
            cluster.sql(&primary, "app", "INSERT INTO told VALUES (1)").await?;
            cluster.sql(&primary, "app", &CHANGES.replace("{how}", "get")).await?;
            let count = cluster.sql(&pod, "app", kept).await?;
            Ok(Seen::when(count == "1", count))
        })
        .await?;
    }
    // Whoever may take over has what consumers were told of.
    let record = cluster.record().await?;
    let confirms = record.voters.first().and_then(|voter| record.members.get(voter));
    let ordinal = confirms.and_then(|entry| cluster.names.ordinal(&entry.pod)).context("nobody confirms")?;
    let slots = cluster.sql(&primary, "app", "SHOW synchronized_standby_slots").await?;
    ensure!(slots == format!("pgha_{ordinal}"), "expected the slot of pg-{ordinal}, got `{slots}`");
    cluster.sql(&primary, "app", "INSERT INTO told VALUES (42)").await?;
    // It stands still: whatever else happens to a primary, it may be back before anybody has taken over.
    sandbox.signal_in_pod(&cluster.namespace, &primary, Target::All, Signal::SIGSTOP)?;
    let now = until("another primary", WRITES, || async {
        let now = cluster.primary().await.unwrap_or_default();
        Ok(if !now.is_empty() && now != primary { Seen::Yes(now) } else { Seen::NotYet(now) })
    })
    .await;
    sandbox.signal_in_pod(&cluster.namespace, &primary, Target::All, Signal::SIGCONT)?;
    let now = now?;
    until("the change to be told by the new primary", WRITES, || async {
        let count = cluster.sql(&now, "app", &CHANGES.replace("{how}", "peek")).await?;
        Ok(Seen::when(count != "0", count))
    })
    .await?;
    // The old primary's own slot of that name has made way for a copy of the new one's.
    cluster.until_whole(2, WHOLE).await?;
    until("the slot to be kept on the old primary", WHOLE, || async {
        cluster.sql(&now, "app", "INSERT INTO told VALUES (2)").await?;
        cluster.sql(&now, "app", &CHANGES.replace("{how}", "get")).await?;
        let count = cluster.sql(&primary, "app", kept).await?;
        Ok(Seen::when(count == "1", count))
    })
    .await?;
    cluster.sql(&now, "app", "SELECT pg_drop_replication_slot('kept')").await?;
    Ok(())
}

/// Without the API server the primary stays, as long as every other member vouches for it.
async fn async_api_server_away(group: &mut Group) -> Result<()> {
    let site = group.cluster_with(2).await?;
    wished(site, "async", 1).await?;
    checker::sync_set_in_force(&site.cluster, 0).await?;
    once(group, "async_api_away", |scene, load| Box::pin(api_server::away(scene, load))).await
}
