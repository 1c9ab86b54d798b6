//! Streaming: whom this member follows, who follows it, and when names are in force (A12, A17, A24).

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use pgha_agent_core::observation::{InForce, Upstream};
use pgha_schema::lsn::Lsn;

use super::ActError;
use crate::agent::Agent;
use crate::boottime::now_ms;
use crate::postgres::session::{Local, Session, SessionError};
use crate::postgres::{conf, sql};

const SQL_DEADLINE: Duration = Duration::from_secs(1);
/// The walreceiver ends on SIGTERM at once, unless its machine is in trouble.
const LEAVE_DEADLINE_MS: u64 = 2_000;
const LOOK_EVERY: Duration = Duration::from_millis(40);
/// Names that are not in force after this are confirmed by a later attempt.
const CONFIRM_DEADLINE_MS: u64 = 8_000;
const CONFIRM_EVERY: Duration = Duration::from_millis(50);
const CHECKPOINT_DEADLINE: Duration = Duration::from_mins(5);

impl Agent {
    pub(super) async fn follow(&mut self, upstream: &Upstream) -> Result<(), ActError> {
        self.postgres.touch_stream();
        self.render_upstream(Some(upstream))?;
        let session = self.postgres.session().await?;
        session.query("select pg_reload_conf()", &[], SQL_DEADLINE).await?;
        tracing::info!(upstream = upstream.pod, era = upstream.era.0, "follows");
        Ok(())
    }

    /// Leaves the stream: what this member has received from then on never grows (A12).
    pub(super) async fn leave_stream(&mut self) -> Result<(), ActError> {
        self.postgres.touch_stream();
        self.render_upstream(None)?;
        self.postgres.reload().await?;
        let until_ms = now_ms() + LEAVE_DEADLINE_MS;
        let mut quiet = 0;
        loop {
            let session = self.postgres.session().await?;
            let rows = session
                .query(
                    "select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'walreceiver'",
                    &[],
                    SQL_DEADLINE,
                )
                .await?;
            quiet = if rows.is_empty() { quiet + 1 } else { 0 };
            if quiet == 2 {
                break;
            }
            if now_ms() > until_ms {
                return Err(ActError::Premise("the walreceiver does not end"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.postgres.note_left_stream();
        tracing::info!("left the stream");
        Ok(())
    }

    pub(super) async fn resume_replay(&mut self) -> Result<(), ActError> {
        let session = self.postgres.session().await?;
        session.query("select pg_wal_replay_resume()", &[], SQL_DEADLINE).await?;
        Ok(())
    }

    /// Confirms beside the loop that names are in force; the result shows in what is observed.
    pub(super) fn confirm_in_force(&mut self, names: &str, checkpoint: bool) {
        let Some(pid) = self.guard.state().postmaster else { return };
        if self.confirming.as_ref().is_some_and(|(running, task)| running == names && !task.is_finished()) {
            return;
        }
        if let Some((_, task)) = self.confirming.take() {
            task.abort();
        }
        let (local, wake, shared) =
            (self.postgres.local.clone(), Arc::clone(&self.wake), Arc::clone(&self.postgres.in_force));
        let names = names.to_owned();
        let wanted = names.clone();
        let task = tokio::spawn(async move {
            match confirm(&local, &wanted, checkpoint).await {
                Ok(from_lsn) => {
                    tracing::info!(names = wanted, lsn = %from_lsn, "names are in force");
                    let in_force = InForce { names: wanted, from_lsn };
                    *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some((pid, in_force));
                    wake.notify_one();
                }
                Err(error) => {
                    tracing::info!(names = wanted, %error, "names are not confirmed to be in force");
                }
            }
        });
        self.confirming = Some((names, task));
    }

    pub(super) async fn set_slots(&mut self, slots: &BTreeMap<u32, Option<Lsn>>) -> Result<(), ActError> {
        let session = self.postgres.session().await?;
        let existing = sql::slots(session, SQL_DEADLINE).await?;
        for (ordinal, slot) in &existing {
            let name = sql::slot_name(*ordinal);
            if (slot.lost || !slots.contains_key(ordinal)) && !slot.active {
                session.query("select pg_drop_replication_slot($1)", &[&name], SQL_DEADLINE).await?;
            }
        }
        for (ordinal, position) in slots {
            let name = sql::slot_name(*ordinal);
            let known = existing.get(ordinal).filter(|slot| !slot.lost);
            if known.is_none() {
                session
                    .query("select pg_create_physical_replication_slot($1, true)", &[&name], SQL_DEADLINE)
                    .await?;
            }
            let behind = |lsn: &Lsn| {
                known.is_some_and(|slot| !slot.active && slot.restart_lsn.is_none_or(|at| at < *lsn))
            };
            if let Some(lsn) = position.filter(behind) {
                let advance = session
                    .query(
                        "select pg_replication_slot_advance($1, least($2::text::pg_lsn, case when pg_is_in_recovery() \
                         then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end))",
                        &[&name, &lsn.to_string()],
                        SQL_DEADLINE,
                    )
                    .await;
                // It may just have become active, or be ahead already: both are as good.
                if let Err(SessionError::Silent(why)) = advance {
                    return Err(SessionError::Silent(why).into());
                }
            }
        }
        if self.me.postgres_major >= conf::KEEPS_LOGICAL_SLOTS {
            session.query(DROP_OWN_LOGICAL_SLOTS, &[], SQL_DEADLINE).await?;
        }
        Ok(())
    }
}

/// Slots that an old primary brought along: they keep the new primary's of the same names from being copied here.
const DROP_OWN_LOGICAL_SLOTS: &str = "select pg_drop_replication_slot(slot_name) from pg_replication_slots \
     where pg_is_in_recovery() and slot_type = 'logical' and failover and not synced and not active";

/// A17: a new connection shows the names, a checkpoint returns if asked for, each walsender's reply advances twice; then
/// the position.
async fn confirm(local: &Local, names: &str, checkpoint: bool) -> Result<Lsn, SessionError> {
    let until_ms = now_ms() + CONFIRM_DEADLINE_MS;
    let late = || SessionError::Silent("the names are not in force yet".to_owned());
    let session = loop {
        let session = Session::open(local).await?;
        let rows =
            session.query("select current_setting('synchronous_standby_names')", &[], SQL_DEADLINE).await?;
        if rows.first().is_some_and(|row| row.get::<_, String>(0) == names) {
            break session;
        }
        if now_ms() > until_ms {
            return Err(late());
        }
        tokio::time::sleep(CONFIRM_EVERY).await;
    };
    if checkpoint {
        session.execute("CHECKPOINT", CHECKPOINT_DEADLINE).await?;
    }
    // How often each walsender's reply was seen to change, and its last time.
    let mut waiting: BTreeMap<i32, (u32, String)> = sql::walsenders(&session, SQL_DEADLINE)
        .await?
        .into_iter()
        .filter(|sender| sender.is_member())
        .map(|sender| (sender.pid, (0, sender.reply_time)))
        .collect();
    let until_ms = now_ms() + CONFIRM_DEADLINE_MS;
    while !waiting.is_empty() {
        if now_ms() > until_ms {
            return Err(late());
        }
        tokio::time::sleep(CONFIRM_EVERY).await;
        let senders = sql::walsenders(&session, SQL_DEADLINE).await?;
        waiting.retain(|pid, (changes, last)| {
            let Some(sender) = senders.iter().find(|sender| sender.pid == *pid) else { return false };
            if sender.reply_time != *last {
                *changes += 1;
                last.clone_from(&sender.reply_time);
            }
            *changes < 2
        });
    }
    let rows = session.query("select pg_current_wal_flush_lsn()::text", &[], SQL_DEADLINE).await?;
    rows.first().and_then(|row| row.get::<_, String>(0).parse().ok()).ok_or_else(late)
}
