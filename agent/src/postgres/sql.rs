//! What is asked of postgres, and its answers as values.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pgha_agent_core::observation::SlotSeen;
use pgha_schema::lsn::{Lsn, TimelineId};
use pgha_schema::names::ROLE_REPLICATION;
use tokio_postgres::Row;

use super::conf::is_ruled;
use super::session::{Session, SessionError};

/// How many settings given by ALTER SYSTEM are told: a status document has its bounds.
const ALTERED_TOLD: usize = 50;
/// Prefix of our own slots; the rest is the ordinal of the member that it is for (A24).
const SLOT_PREFIX: &str = "pgha_";

/// The slot for the member with this ordinal.
pub fn slot_name(ordinal: u32) -> String {
    format!("{SLOT_PREFIX}{ordinal}")
}

/// What a standby says.
#[derive(Clone, Debug)]
pub struct StandbyFacts {
    /// Flushed by the walreceiver; zero when none ran.
    pub received_lsn: Lsn,
    /// Replayed.
    pub replayed_lsn: Lsn,
    /// Replay was paused.
    pub paused: bool,
    /// The startup process waits for more WAL.
    pub idle: bool,
    /// The walreceiver's state and the host that it streams from.
    pub receiver: Option<(String, String)>,
    /// A walreceiver process exists.
    pub receiver_process: bool,
    /// The highest timeline that is known.
    pub timeline: TimelineId,
    /// `primary_conninfo` is empty.
    pub detached: bool,
}

/// What a primary says.
#[derive(Clone, Debug)]
pub struct PrimaryFacts {
    /// Written up to here.
    pub current_lsn: Lsn,
    /// Its timeline.
    pub timeline: TimelineId,
    /// Timeline of the last completed checkpoint.
    pub checkpoint_timeline: TimelineId,
    /// `synchronous_standby_names`.
    pub names: String,
}

/// A walsender as postgres shows it.
#[derive(Clone, Debug)]
pub struct WalsenderFacts {
    /// Its process.
    pub pid: i32,
    /// Its application_name.
    pub application_name: String,
    /// Its role's name.
    pub role: String,
    /// Its state.
    pub state: String,
    /// Sent.
    pub sent_lsn: Lsn,
    /// Flushed there.
    pub flushed_lsn: Lsn,
    /// The standby's time of its last reply: only its changes mean something here.
    pub reply_time: String,
}

/// What the configuration looks like from inside.
#[derive(Clone, Debug, Default)]
pub struct SettingsFacts {
    /// A changed setting waits for a restart.
    pub pending_restart: bool,
    /// A setting of ours is overridden in a file that is not ours.
    pub tampered: bool,
    /// What postgres refuses, by name; all that has no name under the empty one.
    pub problems: BTreeMap<String, String>,
    /// Settings that ALTER SYSTEM gives and nobody else does: a text only as how long it is.
    pub altered: BTreeMap<String, String>,
}

fn lsn(row: &Row, column: usize) -> Lsn {
    row.get::<_, Option<String>>(column).and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn timeline(number: i64) -> TimelineId {
    TimelineId(u32::try_from(number).unwrap_or(0))
}

fn nothing() -> SessionError {
    SessionError::Silent("an answer without a row".to_owned())
}

/// Whether postgres is in recovery.
pub async fn in_recovery(session: &Session, deadline: Duration) -> Result<bool, SessionError> {
    let rows = session.query("select pg_is_in_recovery()", &[], deadline).await?;
    Ok(rows.first().ok_or_else(nothing)?.get(0))
}

/// A standby's facts.
pub async fn standby(session: &Session, deadline: Duration) -> Result<StandbyFacts, SessionError> {
    let rows = session
        .query(
            "select pg_last_wal_receive_lsn()::text, pg_last_wal_replay_lsn()::text, \
             pg_get_wal_replay_pause_state() <> 'not paused', \
             (select coalesce(wait_event, '') from pg_stat_activity where backend_type = 'startup' limit 1), \
             r.status, r.sender_host, \
             exists (select from pg_stat_activity where backend_type = 'walreceiver'), \
             greatest((select timeline_id from pg_control_checkpoint())::int8, \
                      (select min_recovery_end_timeline from pg_control_recovery())::int8, \
                      coalesce(r.received_tli, 0)::int8), \
             current_setting('primary_conninfo') = '' \
             from (select 1) one left join pg_stat_wal_receiver r on true",
            &[],
            deadline,
        )
        .await?;
    let row = rows.first().ok_or_else(nothing)?;
    let wait: Option<String> = row.get(3);
    Ok(StandbyFacts {
        received_lsn: lsn(row, 0),
        replayed_lsn: lsn(row, 1),
        paused: row.get(2),
        idle: matches!(wait.as_deref(), Some("RecoveryWalStream" | "RecoveryRetrieveRetryInterval")),
        receiver: row
            .get::<_, Option<String>>(4)
            .map(|status| (status, row.get::<_, Option<String>>(5).unwrap_or_default())),
        receiver_process: row.get(6),
        timeline: timeline(row.get(7)),
        detached: row.get(8),
    })
}

/// A primary's facts.
pub async fn primary(session: &Session, deadline: Duration) -> Result<PrimaryFacts, SessionError> {
    let rows = session
        .query(
            "select pg_current_wal_lsn()::text, \
             ('x' || lpad(substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), 16, '0'))::bit(64)::int8, \
             (select timeline_id from pg_control_checkpoint())::int8, \
             current_setting('synchronous_standby_names')",
            &[],
            deadline,
        )
        .await?;
    let row = rows.first().ok_or_else(nothing)?;
    Ok(PrimaryFacts {
        current_lsn: lsn(row, 0),
        timeline: timeline(row.get(1)),
        checkpoint_timeline: timeline(row.get(2)),
        names: row.get(3),
    })
}

/// pg_stat_replication.
pub async fn walsenders(session: &Session, deadline: Duration) -> Result<Vec<WalsenderFacts>, SessionError> {
    let rows = session
        .query(
            "select pid, coalesce(application_name, ''), coalesce(usename, '')::text, coalesce(state, ''), \
             sent_lsn::text, flush_lsn::text, coalesce(reply_time::text, '') from pg_stat_replication",
            &[],
            deadline,
        )
        .await?;
    Ok(rows
        .iter()
        .map(|row| WalsenderFacts {
            pid: row.get(0),
            application_name: row.get(1),
            role: row.get(2),
            state: row.get(3),
            sent_lsn: lsn(row, 4),
            flushed_lsn: lsn(row, 5),
            reply_time: row.get(6),
        })
        .collect())
}

impl WalsenderFacts {
    /// A standby of this cluster: our role, and a member id as its name. Clones and rewinds have another name.
    pub fn is_member(&self) -> bool {
        self.role == ROLE_REPLICATION
            && self.application_name.len() == 17
            && self.application_name.starts_with('m')
            && self.application_name[1..].bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

/// Our own slots, by ordinal.
pub async fn slots(session: &Session, deadline: Duration) -> Result<BTreeMap<u32, SlotSeen>, SessionError> {
    let rows = session
        .query(
            "select slot_name::text, restart_lsn::text, active, coalesce(wal_status, '') = 'lost' \
             from pg_replication_slots where slot_type = 'physical' and starts_with(slot_name::text, 'pgha_')",
            &[],
            deadline,
        )
        .await?;
    Ok(rows
        .iter()
        .filter_map(|row| {
            let ordinal = row.get::<_, String>(0).strip_prefix(SLOT_PREFIX)?.parse().ok()?;
            let restart_lsn = row.get::<_, Option<String>>(1).and_then(|text| text.parse().ok());
            Some((ordinal, SlotSeen { restart_lsn, active: row.get(2), lost: row.get(3) }))
        })
        .collect())
}

/// Whether the files say what they should, and what waits for a restart.
pub async fn settings(
    session: &Session,
    ruled: &BTreeSet<String>,
    deadline: Duration,
) -> Result<SettingsFacts, SessionError> {
    let rows = session
        .query(
            "select coalesce(name, ''), coalesce(error, ''), coalesce(sourcefile, '') like '%postgresql.auto.conf', \
             coalesce(setting, '') from pg_file_settings",
            &[],
            deadline,
        )
        .await?;
    // After the files were looked at: looking marks what waits for a restart, also where this session has not read them again yet.
    let waiting = session.query("select name from pg_settings where pending_restart", &[], deadline).await?;
    let pending: Vec<String> = waiting.iter().map(|row| row.get(0)).collect();
    let mut facts = SettingsFacts { pending_restart: !pending.is_empty(), ..SettingsFacts::default() };
    let mut altered: BTreeMap<String, String> = BTreeMap::new();
    for row in &rows {
        let (name, error, foreign): (String, String, bool) = (row.get(0), row.get(1), row.get(2));
        let by_hand = foreign.then(|| name.to_ascii_lowercase());
        if by_hand.as_ref().is_some_and(|name| is_ruled(name, ruled)) {
            facts.tampered = true;
            continue;
        }
        altered.extend(by_hand.map(|name| (name, row.get(3))));
        if !error.is_empty() && !waits_for_restart(&pending, &name, &error) {
            facts.problems.insert(name.to_ascii_lowercase(), error);
        }
    }
    if !altered.is_empty() {
        facts.altered = presentable(session, altered, deadline).await?;
    }
    Ok(facts)
}

/// A text may hold a secret, as a command's password, and what is told goes into a ConfigMap and into a state: only how long it is.
async fn presentable(
    session: &Session,
    altered: BTreeMap<String, String>,
    deadline: Duration,
) -> Result<BTreeMap<String, String>, SessionError> {
    let names: Vec<&String> = altered.keys().collect();
    let plain = "select lower(name) from pg_settings where vartype <> 'string' and lower(name) = any($1)";
    let rows = session.query(plain, &[&names], deadline).await?;
    let plain: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    let shown = altered.into_iter().map(|(name, value)| {
        let value = if plain.contains(&name) { value } else { format!("(a text of {} bytes)", value.len()) };
        (name, value)
    });
    Ok(shown.take(ALTERED_TOLD).collect())
}

/// What a restart puts in force is no refusal. A setting that was taken out of the file has a row without a name, and only
/// the text of its error tells which one it is.
fn waits_for_restart(pending: &[String], name: &str, error: &str) -> bool {
    pending.iter().any(|one| one == name || (name.is_empty() && error.contains(&format!("\"{one}\""))))
}

/// Makes postgres read its files again and waits until the postmaster has: then a new connection has them (A17).
pub async fn reload(
    session: &Session,
    open: impl AsyncFn() -> Result<Session, SessionError>,
) -> Result<(), SessionError> {
    let deadline = Duration::from_millis(500);
    let rows = session.query("select pg_conf_load_time()::text, pg_reload_conf()", &[], deadline).await?;
    let before: String = rows.first().ok_or_else(nothing)?.get(0);
    for _ in 0..60 {
        let fresh = open().await?;
        let rows = fresh.query("select pg_conf_load_time()::text", &[], deadline).await?;
        if rows.first().ok_or_else(nothing)?.get::<_, String>(0) != before {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err(SessionError::Silent("the configuration was not read again".to_owned()))
}

/// Postgres was asked about its recovery, which has just ended.
pub fn recovery_ended(error: &SessionError) -> bool {
    matches!(error, SessionError::Refused { message, .. } if message.contains("recovery is not in progress"))
}

/// Ends all sessions of clients; the agents' own and replication stay.
pub async fn end_client_sessions(session: &Session, deadline: Duration) -> Result<(), SessionError> {
    session
        .query(
            "select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend' \
             and pid <> pg_backend_pid() and application_name <> 'pgha-agent' and usename is distinct from $1",
            &[&ROLE_REPLICATION],
            deadline,
        )
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_taken_out_of_the_file_waits_for_a_restart_too() {
        let pending = ["max_connections".to_owned()];
        let error = "parameter \"max_connections\" cannot be changed without restarting the server";
        assert!(waits_for_restart(&pending, "", error));
        assert!(waits_for_restart(&pending, "max_connections", "setting could not be applied"));
        assert!(!waits_for_restart(&pending, "", "syntax error"));
        assert!(!waits_for_restart(&pending, "work_mem", "invalid value"));
    }
}
