//! A toy PostgreSQL: WAL as a list of records, timelines numbered as the real one numbers them (the highest seen locally
//! plus one), synchronous waits with the names in force, no check of content: only timeline histories are compared.

use std::collections::BTreeMap;

use pgha_agent_core::observation::{ControlState, InForce, LeaseVersion, Marks, Unfinished, Upstream};
use pgha_schema::ids::{Era, MemberId};
use pgha_schema::lsn::Lsn;
use pgha_schema::record::Record;
use pgha_schema::status::{Acknowledged, FailedStarts};

use crate::settings::Accepted;

/// Records that a volume without room still takes beyond those that a restartpoint has left.
pub const ROOM_LEFT: usize = 600;

/// Bytes of one WAL record, so that the bounds of the rules mean something here.
pub const RECORD_BYTES: u64 = 64 << 10;

/// The position after so many records.
pub fn lsn(records: usize) -> Lsn {
    Lsn(records as u64 * RECORD_BYTES)
}

/// A data directory.
#[derive(Clone, Debug)]
pub struct DataDir {
    /// The agent's file beside it.
    pub member: MemberId,
    /// The agent's file beside it.
    pub era: Option<Era>,
    /// The agent's file beside it.
    pub marks: Option<Marks>,
    /// System identifier.
    pub system: u64,
    /// Every record, by its unique number.
    pub wal: Vec<u64>,
    /// Timelines with the number of records at which each began.
    pub history: Vec<(u32, usize)>,
    /// Highest timeline number that a history file was seen of.
    pub highest_timeline: u32,
    /// pg_control.
    pub control: ControlState,
    /// Number of records up to the last restart point or checkpoint.
    pub checkpoint: usize,
    /// WAL that a start reads is gone: it ends, again and again.
    pub unreadable: bool,
    /// And it does not end: it waits for WAL that never comes.
    pub waits: bool,
    /// The primary has removed WAL that comes next here.
    pub outrun: bool,
    /// WAL up to this record was removed from the volume, or may be used again.
    pub removed: usize,
}

impl DataDir {
    /// WAL up to this record needs no room any more.
    pub fn free(&mut self, up_to: usize) {
        self.removed = self.removed.max(up_to);
    }

    /// The timeline that it is on.
    pub fn timeline(&self) -> u32 {
        self.history.last().map_or(1, |(timeline, _)| *timeline)
    }

    /// Where a timeline of this history ends: `None` when it is the current one, `Some(0)` when it is none of it.
    pub fn end_of(&self, timeline: u32) -> Option<usize> {
        match self.history.iter().position(|(number, _)| *number == timeline) {
            Some(at) => self.history.get(at + 1).map(|(_, start)| *start),
            None => Some(0),
        }
    }
}

/// A volume.
#[derive(Clone, Debug, Default)]
pub struct Volume {
    /// PGDATA.
    pub data: Option<DataDir>,
    /// The marker outside it.
    pub marker: Option<Unfinished>,
    /// The record kept on it.
    pub kept: Option<Record>,
    /// The promise kept on it.
    pub promise: Option<LeaseVersion>,
    /// The settings that postgres ran with here.
    pub accepted: Option<Accepted>,
}

impl Volume {
    /// The data that counts.
    pub fn counted(&self) -> Option<&DataDir> {
        self.data.as_ref().filter(|_| self.marker.is_none())
    }
}

/// The local postgres.
#[derive(Clone, Debug)]
pub enum Postgres {
    /// No process.
    Down,
    /// The postmaster is there, recovery has not come to a consistent point.
    Starting {
        /// When it will answer.
        until: u64,
        /// What it will be.
        process: Box<Process>,
    },
    /// It answers.
    Running(Box<Process>),
    /// A fast stop.
    Stopping {
        /// Since when.
        since: u64,
        /// It.
        process: Box<Process>,
    },
}

impl Postgres {
    /// The postmaster, while there is one.
    pub fn process(&self) -> Option<&Process> {
        match self {
            Self::Down => None,
            Self::Starting { process, .. } | Self::Running(process) | Self::Stopping { process, .. } => {
                Some(process)
            }
        }
    }
}

/// A running postmaster with its children.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its identity.
    pub id: u64,
    /// Out of recovery.
    pub primary: bool,
    /// Names in its files.
    pub names: String,
    /// Names that some backends still have, and until when.
    pub names_before: Option<(String, u64)>,
    /// From when the checkpointer knows that names are defined at all (A17).
    pub defined_from: u64,
    /// Confirmed names.
    pub in_force: Option<InForce>,
    /// A confirmation that runs: names, with checkpoint, when it ends.
    pub confirming: Option<(String, bool, u64)>,
    /// Clients are let in.
    pub gate_open: bool,
    /// primary_conninfo.
    pub upstream: Option<Upstream>,
    /// The end of the walreceiver was verified.
    pub detached: bool,
    /// The walreceiver.
    pub receiver: Option<Receiver>,
    /// When the startup process tries to connect again.
    pub connect_at: u64,
    /// Walsenders, by the pod that they send to.
    pub senders: BTreeMap<usize, Sender>,
    /// Records replayed.
    pub replayed: usize,
    /// Records that have to be replayed before the position is known.
    pub replay_goal: usize,
    /// Promotion goes on until then.
    pub promoting_until: Option<u64>,
    /// A checkpoint has completed since promotion.
    pub checkpointed: bool,
    /// The document that its files were rendered from.
    pub rendered: Option<Acknowledged>,
    /// The wish that this one stands in for.
    pub instead_of: Option<FailedStarts>,
    /// Restart counter of the wish that it was started with.
    pub started_with: u64,
    /// Commits that wait: record number, position after it, the client.
    pub waiting: Vec<(u64, usize, usize)>,
}

/// A walreceiver's connection.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// The pod that it streams from.
    pub from: usize,
    /// The postmaster there.
    pub process: u64,
    /// When it last heard from there.
    pub heard_at: u64,
}

/// A walsender.
#[derive(Clone, Debug)]
pub struct Sender {
    /// Its process.
    pub pid: i32,
    /// The standby's member.
    pub member: MemberId,
    /// The postmaster there.
    pub process: u64,
    /// Records flushed there.
    pub flushed: usize,
    /// When it last replied.
    pub replied_at: u64,
}

impl Process {
    /// So many records are confirmed by these names.
    fn confirmed_by(&self, names: &str) -> usize {
        let number = names.split_whitespace().nth(1).and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
        let Some((_, list)) = names.split_once('(') else { return usize::MAX };
        let list = list.trim_end_matches(')');
        let flushed_by = |name: &str| {
            let of_it = self.senders.values().filter(|sender| sender.member.as_str() == name);
            of_it.map(|sender| sender.flushed).max()
        };
        let mut flushed: Vec<usize> = list.split(',').map(str::trim).filter_map(flushed_by).collect();
        flushed.sort_unstable_by(|one, other| other.cmp(one));
        match number.checked_sub(1) {
            Some(last) => flushed.get(last).copied().unwrap_or(0),
            None => usize::MAX,
        }
    }

    /// Up to how many records any backend may return from its wait: those of a reload are not all there yet, so the laxer of the
    /// two counts.
    pub fn returns_up_to(&self, now: u64) -> usize {
        if now < self.defined_from {
            return usize::MAX;
        }
        let before = self.names_before.as_ref().filter(|(_, until)| now < *until);
        let before = before.map_or(0, |(names, _)| self.confirmed_by(names));
        before.max(self.confirmed_by(&self.names))
    }

    /// Local WAL was replayed to its end once since the start.
    pub fn replayed_to_end(&self) -> bool {
        self.replayed >= self.replay_goal
    }
}

/// What pg_rewind does: it compares timeline histories, never content.
///
/// Returns whether it changed anything.
pub fn rewind(target: &mut DataDir, source: &DataDir, source_checkpointed: bool) -> bool {
    // Until its first checkpoint after promotion the source's control file names the old timeline.
    let known =
        if source_checkpointed { source.history.len() } else { source.history.len().saturating_sub(1) };
    let history = &source.history[..known.max(1)];
    let common = target.history.iter().zip(history).take_while(|(one, other)| one == other).count();
    if common == target.history.len() && common == history.len() {
        return false;
    }
    let end =
        |history: &[(u32, usize)], length: usize| history.get(common).map_or(length, |(_, start)| *start);
    let fork = end(&target.history, target.wal.len()).min(end(history, source.wal.len()));
    if common == target.history.len() && target.wal.len() <= fork {
        return false;
    }
    target.wal.truncate(fork);
    target.wal.extend(source.wal.get(fork..).unwrap_or_default());
    target.history.clone_from(&source.history);
    target.highest_timeline = target.highest_timeline.max(source.highest_timeline);
    target.control = ControlState::InRecovery;
    target.checkpoint = fork.min(target.wal.len());
    target.removed = target.removed.min(target.checkpoint);
    true
}
