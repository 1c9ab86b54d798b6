//! The local postgres as decisions see it: asked over the agent's own connection, remembered per postmaster.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pgha_agent_core::observation::{
    DesiredSeen, Gate, InForce, PostgresSeen, PrimarySeen, StandbySeen, StreamSeen, Walsender,
};
use pgha_schema::lsn::{Lsn, TimelineId};
use pgha_schema::status::Acknowledged;

use super::fallback::Accepted;
use super::files::ConfigFiles;
use super::refusals::Refusals;
use super::session::{Local, Session, SessionError};
use super::sql::{self, SettingsFacts, StandbyFacts, WalsenderFacts};
use super::tools::Tools;
use super::upstream::{Drought, lacks_wal};
use crate::boottime::now_ms;
use crate::guard::message::State as GuardState;
use crate::secrets::Secrets;
use crate::volume::Volume;

mod settings;

/// One look takes a millisecond; a hung postgres must not hold up a renewal.
const LOOK_DEADLINE: Duration = Duration::from_millis(500);
/// The settings are looked at this often, and whenever they were touched.
const SETTINGS_EVERY_MS: u64 = 2_000;
/// A promotion that is not seen after this is asked for again.
const PROMOTION_MS: u64 = 10_000;
/// A standby that has waited for its stream this long asks whether the upstream still has the WAL; so often again.
const LACK_EVERY_MS: u64 = 10_000;
/// Two looks this far apart must find no walreceiver (A12).
const QUIET_GAP_MS: u64 = 50;

/// Reading its configuration takes postgres some milliseconds.
const WORDS_DEADLINE: Duration = Duration::from_secs(5);

/// What is known of one postmaster.
#[derive(Debug, Default)]
struct Life {
    pid: Option<u32>,
    started_ms: u64,
    answered: bool,
    was_primary: bool,
    silent_since_ms: Option<u64>,
    stopping_since_ms: Option<u64>,
    primary_since_ms: Option<u64>,
    timeline_start: Option<(u32, Lsn)>,
    /// Highest timeline that this standby was seen on: once its receiver is gone, PostgreSQL itself only knows the control
    /// file's, which is older until the next restartpoint.
    streamed_timeline: u32,
    replayed_to_end: bool,
    quiet_looks: u32,
    quiet_at_ms: u64,
    replies: BTreeMap<i32, (String, u64)>,
    settings: SettingsFacts,
    settings_at_ms: Option<u64>,
    accepted: Option<Acknowledged>,
    promotion_asked_ms: Option<u64>,
    drought: Drought,
    /// What the last look at the upstream's WAL found.
    upstream_lacks_wal: Arc<AtomicBool>,
}

/// The confirmed names, written by a task beside the loop.
pub type SharedInForce = Arc<Mutex<Option<(u32, InForce)>>>;

/// The local postgres.
#[derive(Debug)]
pub struct LocalPostgres {
    /// How it is reached.
    pub local: Local,
    /// Its files.
    pub files: ConfigFiles,
    /// The wanted value of a setting is held back by the control file.
    pub held_back: bool,
    /// When a standby last looked whether its control file still holds it back.
    held_back_at_ms: u64,
    /// Names confirmed to be in force, with their postmaster.
    pub in_force: SharedInForce,
    secrets: Secrets,
    tools: Tools,
    session: Option<Session>,
    life: Life,
    refusals: Refusals,
    /// What it was last seen to run with as wished.
    accepted: Option<Accepted>,
    /// The last end of a postmaster that was looked at, and how many fences there had been; `None`: not looked yet.
    ended: Option<(Option<(u32, u64)>, u64)>,
}

impl LocalPostgres {
    /// Nothing known yet.
    pub fn new(local: Local, files: ConfigFiles, secrets: Secrets, tools: Tools) -> Self {
        Self {
            local,
            accepted: files.accepted(),
            files,
            secrets,
            held_back: false,
            held_back_at_ms: 0,
            in_force: Arc::default(),
            tools,
            session: None,
            life: Life::default(),
            refusals: Refusals::default(),
            ended: None,
        }
    }

    /// The agent's connection, opened when there is none.
    pub async fn session(&mut self) -> Result<&Session, SessionError> {
        if self.session.as_ref().is_none_or(Session::is_closed) {
            self.session = Some(Session::open(&self.local).await?);
        }
        self.session.as_ref().ok_or_else(|| SessionError::Silent("no connection".to_owned()))
    }

    /// Throws the connection away, as after a deadline.
    pub fn drop_session(&mut self) {
        self.session = None;
    }

    /// A stop was asked for.
    pub fn note_stopping(&mut self) {
        self.life.stopping_since_ms.get_or_insert_with(now_ms);
    }

    /// The settings were touched.
    pub fn touch_settings(&mut self) {
        self.life.settings_at_ms = None;
        self.life.accepted = None;
    }

    /// The stream was touched: that it has ended must be seen anew.
    pub fn touch_stream(&mut self) {
        self.life.quiet_looks = 0;
    }

    /// Promotion was asked for.
    pub fn note_promotion(&mut self) {
        self.life.promotion_asked_ms = Some(now_ms());
    }

    /// Promotion was asked for a short time ago.
    pub fn promotion_asked(&self) -> bool {
        self.life.promotion_asked_ms.is_some_and(|at| now_ms() < at + PROMOTION_MS)
    }

    /// Two looks have found no walreceiver and primary_conninfo empty (A12).
    pub fn note_left_stream(&mut self) {
        self.life.quiet_looks = 2;
        self.life.quiet_at_ms = now_ms();
    }

    /// Makes postgres read its files again, and returns when it has.
    pub async fn reload(&mut self) -> Result<(), SessionError> {
        let local = self.local.clone();
        let session = self.session().await?;
        let result = sql::reload(session, async || Session::open(&local).await).await;
        if result.is_err() {
            self.drop_session();
        }
        result
    }

    /// One look.
    pub async fn look(
        &mut self,
        guard: &GuardState,
        volume: &Volume,
        desired: Option<&DesiredSeen>,
    ) -> PostgresSeen {
        let now = now_ms();
        self.note_end(guard, volume, desired.map(|seen| &seen.document));
        if self.life.pid != guard.postmaster {
            self.session = None;
            self.life = Life { pid: guard.postmaster, started_ms: now, ..Life::default() };
        }
        if guard.postmaster.is_none() {
            return if guard.clearing {
                PostgresSeen::Stopping { since_ms: now, walsenders: Vec::new() }
            } else {
                PostgresSeen::Down
            };
        }
        if let Some(since_ms) = self.life.stopping_since_ms {
            return PostgresSeen::Stopping { since_ms, walsenders: Vec::new() };
        }
        let mut answer = self.ask(volume, desired).await;
        if matches!(answer, Err(SessionError::Silent(_))) {
            // The connection may just have been ended from outside; a second one tells that from a silent postgres.
            self.session = None;
            answer = self.ask(volume, desired).await;
        }
        if answer.as_ref().is_err_and(sql::recovery_ended) {
            // It was promoted between two questions.
            answer = self.ask(volume, desired).await;
        }
        match answer {
            Ok(seen) => {
                self.life.answered = true;
                self.life.silent_since_ms = None;
                if self.files.instead_of().is_none() {
                    self.refusals.answers();
                }
                seen
            }
            Err(error) => {
                self.session = None;
                if !self.life.answered {
                    return PostgresSeen::Starting { since_ms: self.life.started_ms };
                }
                if self.life.silent_since_ms.is_none() {
                    tracing::warn!(%error, "postgres does not answer");
                }
                let since_ms = *self.life.silent_since_ms.get_or_insert(now);
                PostgresSeen::Unresponsive { since_ms, was_primary: self.life.was_primary }
            }
        }
    }

    async fn ask(
        &mut self,
        volume: &Volume,
        desired: Option<&DesiredSeen>,
    ) -> Result<PostgresSeen, SessionError> {
        let recovering = sql::in_recovery(self.session().await?, LOOK_DEADLINE).await?;
        self.refresh_settings(volume, desired, recovering).await?;
        if recovering { self.standby().await } else { self.primary(volume).await }
    }

    async fn standby(&mut self) -> Result<PostgresSeen, SessionError> {
        let session = self.session().await?;
        let facts = sql::standby(session, LOOK_DEADLINE).await?;
        let slots = sql::slots(session, LOOK_DEADLINE).await?;
        let now = now_ms();
        let upstream = self.files.upstream();
        let life = &mut self.life;
        life.was_primary = false;
        life.primary_since_ms = None;
        let streaming = facts.receiver.as_ref().is_some_and(|(status, _)| status == "streaming");
        life.streamed_timeline = life.streamed_timeline.max(facts.timeline.0);
        let timeline = TimelineId(life.streamed_timeline);
        // A stream begins only once what lies in pg_wal is used up.
        life.replayed_to_end |= facts.idle || streaming;
        if facts.detached && !facts.receiver_process {
            if life.quiet_looks == 0 || now >= life.quiet_at_ms + QUIET_GAP_MS {
                life.quiet_looks += 1;
                life.quiet_at_ms = now;
            }
        } else {
            life.quiet_looks = 0;
        }
        let stream = match (&facts.receiver, upstream) {
            (Some((_, host)), Some(upstream)) if streaming && *host == upstream.address => {
                StreamSeen::Streaming { upstream }
            }
            _ if life.quiet_looks >= 2 => StreamSeen::Detached,
            (_, upstream) => StreamSeen::Waiting { upstream },
        };
        let started_ms = life.started_ms;
        let replayed_to_end = life.replayed_to_end;
        let upstream_lacks_wal = self.look_for_wal(&stream, &facts, now);
        let mut settings = self.settings_seen();
        // The primary's restart with a lower limit reaches the control file by replay: render again, now and then.
        if self.held_back && now >= self.held_back_at_ms + SETTINGS_EVERY_MS {
            self.held_back_at_ms = now;
            settings.tampered = true;
        }
        Ok(PostgresSeen::Standby(StandbySeen {
            started_ms,
            replayed_to_end,
            replay_idle: facts.idle,
            received_lsn: facts.received_lsn,
            replayed_lsn: facts.replayed_lsn,
            timeline,
            stream,
            upstream_lacks_wal,
            replay_paused: facts.paused,
            settings,
            slots,
        }))
    }

    /// Whether the upstream was found to lack the WAL that comes next here; looked for beside the loop.
    fn look_for_wal(&mut self, stream: &StreamSeen, facts: &StandbyFacts, now: u64) -> bool {
        let (upstream, streaming) = match stream {
            StreamSeen::Waiting { upstream: Some(upstream) } => (Some(upstream), false),
            StreamSeen::Streaming { upstream } => (Some(upstream), true),
            StreamSeen::Waiting { upstream: None } | StreamSeen::Detached => (None, false),
        };
        let lasts_ms = upstream.and_then(|_| self.life.drought.lasts_ms(streaming, now));
        let (Some(upstream), Some(lasts_ms)) = (upstream, lasts_ms) else {
            self.life.drought = Drought::default();
            self.life.upstream_lacks_wal.store(false, Ordering::Release);
            return false;
        };
        if facts.idle && lasts_ms >= LACK_EVERY_MS {
            self.life.drought.counts_again(now);
            if let (Ok(address), Ok(passwords)) = (upstream.address.parse(), self.secrets.passwords()) {
                let (found, port, position) =
                    (Arc::clone(&self.life.upstream_lacks_wal), self.local.port, facts.replayed_lsn);
                tokio::spawn(async move {
                    match lacks_wal(address, port, &passwords.replication, position).await {
                        Ok(lacks) => {
                            if lacks {
                                tracing::warn!(lsn = %position, "the upstream lacks the WAL that is needed");
                            }
                            found.store(lacks, Ordering::Release);
                        }
                        Err(error) => tracing::debug!(error, "the upstream's WAL was not looked at"),
                    }
                });
            }
        }
        self.life.upstream_lacks_wal.load(Ordering::Acquire)
    }

    async fn primary(&mut self, volume: &Volume) -> Result<PostgresSeen, SessionError> {
        let session = self.session().await?;
        let facts = sql::primary(session, LOOK_DEADLINE).await?;
        let senders = sql::walsenders(session, LOOK_DEADLINE).await?;
        let slots = sql::slots(session, LOOK_DEADLINE).await?;
        let now = now_ms();
        let gate = self.files.gate();
        let in_force = self.in_force();
        let life = &mut self.life;
        life.was_primary = true;
        let primary_since_ms = *life.primary_since_ms.get_or_insert(now);
        if life.timeline_start.is_none_or(|(timeline, _)| timeline != facts.timeline.0) {
            let start = volume
                .timeline_start(facts.timeline.0)
                .map_err(|error| SessionError::Silent(format!("timeline history: {error}")))?;
            life.timeline_start = Some((facts.timeline.0, start));
        }
        life.replies.retain(|pid, _| senders.iter().any(|sender| sender.pid == *pid));
        let walsenders =
            senders.iter().map(|sender| seen_walsender(sender, &mut life.replies, now)).collect();
        let started_ms = life.started_ms;
        let timeline_start_lsn = life.timeline_start.map_or(Lsn::ZERO, |(_, start)| start);
        let mut settings = self.settings_seen();
        // What a control file held back on the standby binds a primary no more: render again.
        settings.tampered |= self.held_back;
        Ok(PostgresSeen::Primary(PrimarySeen {
            started_ms,
            primary_since_ms,
            timeline: facts.timeline,
            timeline_start_lsn,
            current_lsn: facts.current_lsn,
            walsenders,
            names_shown: facts.names,
            in_force,
            gate,
            checkpoint_since_promotion: facts.checkpoint_timeline == facts.timeline,
            settings,
            slots,
        }))
    }

    /// The names confirmed to be in force in this postmaster.
    fn in_force(&self) -> Option<InForce> {
        let shared = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        shared.as_ref().filter(|(pid, _)| Some(*pid) == self.life.pid).map(|(_, in_force)| in_force.clone())
    }

    /// Other names were written: nothing is confirmed any more.
    pub fn forget_in_force(&self) {
        *self.in_force.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The gate in the files.
    pub fn gate(&self) -> Gate {
        self.files.gate()
    }
}

/// A walsender with the age of its last reply by this clock: the reply's own time is the standby's.
fn seen_walsender(facts: &WalsenderFacts, replies: &mut BTreeMap<i32, (String, u64)>, now: u64) -> Walsender {
    let entry = replies.entry(facts.pid).or_insert_with(|| (facts.reply_time.clone(), now));
    if entry.0 != facts.reply_time {
        *entry = (facts.reply_time.clone(), now);
    }
    Walsender {
        pid: facts.pid,
        application_name: facts.application_name.clone(),
        ours: facts.is_member(),
        streaming: facts.state == "streaming",
        sent_lsn: facts.sent_lsn,
        flushed_lsn: facts.flushed_lsn,
        reply_age_ms: now.saturating_sub(entry.1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(application_name: &str, reply_time: &str) -> WalsenderFacts {
        WalsenderFacts {
            pid: 7,
            application_name: application_name.to_owned(),
            role: pgha_schema::names::ROLE_REPLICATION.to_owned(),
            state: "streaming".to_owned(),
            sent_lsn: Lsn(8),
            flushed_lsn: Lsn(8),
            reply_time: reply_time.to_owned(),
        }
    }

    #[test]
    fn the_age_of_a_reply_is_counted_here_and_not_on_the_standby() {
        let mut replies = BTreeMap::new();
        let standby_clock_is_years_off = "2001-01-01 00:00:00+00";
        let member = "m0123456789abcdef";
        assert_eq!(
            seen_walsender(&facts(member, standby_clock_is_years_off), &mut replies, 100).reply_age_ms,
            0
        );
        assert_eq!(
            seen_walsender(&facts(member, standby_clock_is_years_off), &mut replies, 400).reply_age_ms,
            300
        );
        assert_eq!(
            seen_walsender(&facts(member, "2001-01-01 00:00:01+00"), &mut replies, 500).reply_age_ms,
            0
        );
    }

    #[test]
    fn only_members_streams_are_ours() {
        let mut replies = BTreeMap::new();
        for (name, ours) in [("m0123456789abcdef", true), ("pgha_job", false), ("walreceiver", false)] {
            assert_eq!(seen_walsender(&facts(name, ""), &mut replies, 1).ours, ours, "{name}");
        }
    }
}
