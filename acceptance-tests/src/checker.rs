//! What must hold after every fault, once it has healed.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use pgha_schema::desired::SyncMode;

use crate::cluster::Cluster;
use crate::lists::{self, Transaction};
use crate::load::{Outcome, Target};
use crate::poll::{Seen, until};

/// How many missing or doubled ids a message shows.
const SHOWN: usize = 10;

/// How what is there differs from what was promised.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Rows on the primary.
    pub rows: usize,
    /// Acknowledged ids that are not there.
    pub missing: Vec<i64>,
    /// Ids that are there more than once.
    pub doubled: Vec<i64>,
}

/// Compares what a load was promised with what the primary holds.
///
/// # Errors
/// When the primary can't be asked.
pub async fn difference(cluster: &Cluster, database: &str, outcome: &Outcome) -> Result<Difference> {
    let primary = cluster.primary().await?;
    let rows = cluster.sql(&primary, database, &format!("SELECT id FROM {}", outcome.table)).await?;
    let mut counts: BTreeMap<i64, u32> = BTreeMap::new();
    for row in rows.lines() {
        *counts.entry(row.parse().with_context(|| format!("an id, not {row:?}"))?).or_default() += 1;
    }
    Ok(Difference {
        rows: counts.len(),
        missing: outcome.acknowledged.iter().filter(|id| !counts.contains_key(id)).copied().collect(),
        doubled: counts.iter().filter(|(_, count)| **count > 1).map(|(id, _)| *id).collect(),
    })
}

/// Asserts that every acknowledged id is on the primary exactly once, and no other id twice.
///
/// # Errors
/// Names the ids that are missing or doubled.
pub async fn nothing_lost(cluster: &Cluster, database: &str, outcome: &Outcome) -> Result<()> {
    ensure!(!outcome.acknowledged.is_empty(), "the load had no commit acknowledged: nothing was tested");
    let Difference { rows, missing, doubled } = difference(cluster, database, outcome).await?;
    if !missing.is_empty() || !doubled.is_empty() {
        bail!(
            "{} acknowledged rows, {rows} on the primary: {} acknowledged ones are lost {:?}, {} are doubled {:?}",
            outcome.acknowledged.len(),
            missing.len(),
            &missing[..missing.len().min(SHOWN)],
            doubled.len(),
            &doubled[..doubled.len().min(SHOWN)],
        );
    }
    Ok(())
}

/// Asserts that every standby comes to hold what the primary holds.
///
/// # Errors
/// When one does not within a minute; says what each holds.
pub async fn all_equal(cluster: &Cluster, database: &str, table: &str) -> Result<()> {
    let sum = format!("SELECT count(*) || ' rows, sum ' || coalesce(sum(id), 0) FROM {table}");
    let primary = cluster.primary().await?;
    let wanted = cluster.sql(&primary, database, &sum).await?;
    for pod in cluster.pods().await?.into_keys().filter(|pod| *pod != primary) {
        until(&format!("{pod} to hold what {primary} holds: {wanted}"), Duration::from_secs(60), || async {
            let held = cluster.sql(&pod, database, &sum).await?;
            Ok(Seen::when(held == wanted, held))
        })
        .await?;
    }
    Ok(())
}

/// Asserts that a history of the list workload has no anomaly, and that every standby comes to hold the primary's lists.
///
/// # Errors
/// Names the anomalies, or what a standby holds instead.
pub async fn lists_hold(
    cluster: &Cluster,
    database: &str,
    table: &str,
    history: &[Transaction],
) -> Result<()> {
    let acknowledged = history.iter().filter(|one| one.outcome == lists::Outcome::Acknowledged).count();
    ensure!(acknowledged > 0, "no transaction on lists was acknowledged: nothing was tested");
    let primary = cluster.primary().await?;
    let last = lists::final_lists(cluster, &primary, database, table).await?;
    let found = lists::check(history, &last);
    if !found.is_empty() {
        let shown: Vec<String> = found.iter().take(SHOWN).map(ToString::to_string).collect();
        bail!(
            "{} anomalies in {} transactions, {acknowledged} of them acknowledged:\n  {}",
            found.len(),
            history.len(),
            shown.join("\n  ")
        );
    }
    for pod in cluster.pods().await?.into_keys().filter(|pod| *pod != primary) {
        until(&format!("{pod} to hold the lists of {primary}"), Duration::from_secs(60), || async {
            let held = lists::final_lists(cluster, &pod, database, table).await?;
            Ok(Seen::when(held == last, format!("{held:?}, the primary {last:?}")))
        })
        .await?;
    }
    Ok(())
}

/// Asserts that the primary's sync set in force is what the mode wants: in sync `sync_replicas` walsenders confirm, in quorum
/// all that stream may, in async none.
///
/// # Errors
/// When it is not within a minute; says what is in force.
pub async fn sync_set_in_force(cluster: &Cluster, confirming: usize) -> Result<()> {
    until(&format!("{confirming} standbys to confirm commits"), Duration::from_secs(60), || async {
        let senders = cluster.walsenders().await?;
        let names = cluster.setting("synchronous_standby_names").await?;
        let sync = senders.iter().filter(|sender| sender.confirms()).count();
        let record = cluster.record().await?;
        let holds = sync == confirming
            && names.is_empty() == (confirming == 0)
            && record.voters.len() == confirming
            && !record.degraded;
        Ok(Seen::when(
            holds,
            format!(
                "names in force {names:?}, walsenders {senders:?}, voters {:?}, degraded {}",
                record.voters, record.degraded
            ),
        ))
    })
    .await
}

/// Asserts that what is in force is what the recorded mode wants of so many standbys, where one has to confirm.
///
/// # Errors
/// When it is not within a minute; says what is in force.
pub async fn mode_in_force(cluster: &Cluster, standbys: usize) -> Result<()> {
    let confirming = match cluster.record().await?.mode {
        SyncMode::Async => 0,
        SyncMode::Sync => standbys.min(1),
        SyncMode::Quorum => standbys,
    };
    sync_set_in_force(cluster, confirming).await
}

/// Asserts that ro answers reads and never with the primary: every one of `times` new connections finds a standby.
///
/// # Errors
/// When one connection fails or reaches a primary.
pub async fn ro_is_never_the_primary(ro: &Target, times: u32) -> Result<()> {
    for attempt in 1..=times {
        let recovering = ro.ask("SELECT pg_is_in_recovery()").await?;
        ensure!(
            recovering == "t",
            "connection {attempt} through ro reached a primary (pg_is_in_recovery {recovering})"
        );
    }
    Ok(())
}

/// An event about the pod says so.
///
/// # Errors
/// When none does within a minute; says what the events with this reason tell.
pub async fn told_by_event(cluster: &Cluster, pod: &str, reason: &str, why: &str) -> Result<()> {
    until(&format!("an event {reason} on {pod}"), Duration::from_secs(60), || async {
        let events = cluster.events_about(pod).await?;
        let told: Vec<_> = events.into_iter().filter(|(is, _)| is == reason).map(|(_, text)| text).collect();
        Ok(Seen::when(told.iter().any(|text| text.contains(why)), format!("{told:?}")))
    })
    .await
    .map(drop)
}
