//! Everything that a decision may look at. One value is one snapshot; not knowing is a value of its own.
//!
//! All times are milliseconds of the observer's own CLOCK_BOOTTIME; no time of another machine enters.

use std::collections::{BTreeMap, BTreeSet};

use pgha_schema::desired::{Credentials, Desired};
use pgha_schema::ids::{BootId, ContainerNonce, Era, MemberId, SystemIdentifier};
use pgha_schema::lsn::{Lsn, TimelineId};
use pgha_schema::record::Record;
use pgha_schema::status::AgentReport;

mod data;
mod objects;
mod settings;

pub use data::{ControlState, DataSeen, LocalData, Marks, Unfinished};
pub use objects::{PodSeen, VolumeSeen};
pub use settings::{Complaints, SettingsSeen};

pub use crate::failsafe::{AckSeen, Acks};
pub use crate::heartbeat::{HeartbeatSeen, HolderHeard, RefusedSeen};
pub use crate::promise::{AskedSeen, Promises};
pub use crate::requests::Received;
pub use crate::upgrade::{AgentSeen, RefusedAgent};

/// One snapshot of the world, as one agent sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// Now, taken **before** anything of this snapshot's own reads was sent; never goes back.
    pub now_ms: u64,
    /// Who observes.
    pub me: Identity,
    /// The desired document as last read; `None`: never read in this process.
    pub desired: Option<DesiredSeen>,
    /// The record.
    pub lease: LeaseSeen,
    /// Outcome of this process's last attempt to write the record; `None`: none yet.
    pub last_write: Option<WriteSeen>,
    /// When the API server last answered anything; `None`: never in this process.
    pub api_answered_ms: Option<u64>,
    /// The local volume.
    pub data: DataSeen,
    /// The record as this member last kept it on its volume ([`Action::KeepRecord`](crate::decision::Action::KeepRecord)).
    pub kept: Option<Record>,
    /// The local postgres.
    pub postgres: PostgresSeen,
    /// What keeps the wished settings from being in force, or postgres from starting.
    pub complaints: Complaints,
    /// The postmaster that runs: with the container's nonce it names one life of it.
    pub postmaster: Option<u64>,
    /// The writings of the Secrets whose passwords the roles have, as far as this process has set or compared them since it let
    /// clients in; `None`: not yet, or other ones lie mounted by now.
    pub credentials: Option<Credentials>,
    /// Long actions.
    pub jobs: Jobs,
    /// Every other pod of the cluster that was ever asked, by pod name.
    pub peers: BTreeMap<String, Peer>,
    /// All pods of the cluster, this one included, by name; from the watch, empty while it has not synced.
    pub pods: BTreeMap<String, PodSeen>,
    /// Whether [`Self::pods`] and [`Self::volumes`] were ever listed completely.
    pub listed: bool,
    /// Volume claims by ordinal.
    pub volumes: BTreeMap<u32, VolumeSeen>,
    /// The system identifier in the StatefulSet's annotation.
    pub stateful_set_identifier: Option<SystemIdentifier>,
    /// What was heard of the holder beside its record.
    pub holder_heard: HolderHeard,
    /// Who acknowledged this holder's heartbeats.
    pub acks: Acks,
    /// Promises given and asked for.
    pub promises: Promises,
    /// What people and the kubelet asked of this process.
    pub signals: Signals,
    /// The disk's health.
    pub disk: DiskSeen,
    /// The agent's own binary.
    pub agent: AgentSeen,
}

/// Who this agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The pod's name.
    pub pod: String,
    /// The pod's uid.
    pub pod_uid: String,
    /// The pod's ordinal.
    pub ordinal: u32,
    /// Its address; standbys stream from it.
    pub address: String,
    /// Its node.
    pub node: String,
    /// That node's boot, read by this agent in /proc.
    pub boot_id: BootId,
    /// This life of the container, made by the guard.
    pub nonce: ContainerNonce,
    /// Hash of the template that the pod was made from.
    pub template_hash: String,
    /// Uid of the cluster's anchor.
    pub anchor_uid: String,
    /// Version of this agent.
    pub agent_version: String,
    /// PostgreSQL's major version of the binaries in this image.
    pub postgres_major: u32,
}

/// The desired document with its fingerprint.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredSeen {
    /// The document.
    pub document: Desired,
    /// SHA-256 of its text.
    pub sha256: String,
}

/// What is known of the Lease.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one of it lives in a snapshot, and it is nearly always the large one"
)]
pub enum LeaseSeen {
    /// Not read yet in this process.
    Unread,
    /// The newest read said that there is none. Not a free one (A4).
    Missing {
        /// Since when it is known to be missing.
        since_ms: u64,
    },
    /// It can't be used: another anchor's uid, a higher format, or text that is no record.
    Unusable {
        /// Why, for people.
        why: String,
    },
    /// Read.
    Read(LeaseRead),
}

/// The Lease as last read (by GET, by watch, or in the answer to an own write).
#[derive(Clone, Debug, PartialEq)]
pub struct LeaseRead {
    /// Precondition of a write on top of it.
    pub version: LeaseVersion,
    /// What it says.
    pub record: Record,
    /// When this record (its content) was first seen: taken **after** that answer came. Expiry counts from here (A6).
    pub first_seen_ms: u64,
    /// Taken **before** the newest uncached GET (or own write) that answered with this version was sent; `None`: only
    /// the watch has told it (A1).
    pub fresh_ms: Option<u64>,
}

/// One version of the Lease.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseVersion {
    /// Uid of the object.
    pub uid: String,
    /// Its resourceVersion: opaque.
    pub resource_version: String,
}

/// Outcome of a write of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteSeen {
    /// When its outcome was known.
    pub at_ms: u64,
    /// The outcome.
    pub outcome: WriteOutcome,
}

/// How a write of the record went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The server said that it is written; [`LeaseSeen::Read`] shows it.
    Written,
    /// The version was no longer the newest (or, for a creation, one exists).
    Conflict,
    /// The server no longer lets this agent write: a pod whose object is gone has a token that is worth nothing.
    Refused,
    /// No answer within the deadline, or an error that says nothing: it may have been written.
    Unknown,
}

/// The local postgres.
#[derive(Clone, Debug, PartialEq)]
pub enum PostgresSeen {
    /// Not known yet, as just after the agent started.
    Unknown,
    /// No process of it is left, not an orphaned backend either.
    Down,
    /// The postmaster runs and does not accept the agent's connection yet.
    Starting {
        /// Since when.
        since_ms: u64,
    },
    /// It was told to stop and has not ended yet.
    Stopping {
        /// Since when.
        since_ms: u64,
        /// Walsenders still running, as far as they can be seen: application names and sent positions.
        walsenders: Vec<Walsender>,
    },
    /// It runs, did answer before, and does not answer now. "Too many clients" is not this: it counts as running as before.
    Unresponsive {
        /// Since when.
        since_ms: u64,
        /// What it was when it last answered.
        was_primary: bool,
    },
    /// In recovery.
    Standby(StandbySeen),
    /// Out of recovery.
    Primary(PrimarySeen),
}

/// A running standby.
#[derive(Clone, Debug, PartialEq)]
pub struct StandbySeen {
    /// When this postmaster was first seen: its identity.
    pub started_ms: u64,
    /// Local WAL has been replayed to its end once since this start (A15); until then the position is unknown.
    pub replayed_to_end: bool,
    /// Replay waits for more WAL at this moment: `replayed_lsn` is the end of the last whole record.
    pub replay_idle: bool,
    /// What the walreceiver has flushed; zero when none ever ran since the start.
    pub received_lsn: Lsn,
    /// What is replayed.
    pub replayed_lsn: Lsn,
    /// Timeline of the replayed WAL.
    pub timeline: TimelineId,
    /// Where it streams from.
    pub stream: StreamSeen,
    /// The upstream said that the WAL this standby needs is gone: only a clone helps.
    pub upstream_lacks_wal: bool,
    /// Replay was paused by hand.
    pub replay_paused: bool,
    /// Settings as they stand.
    pub settings: SettingsSeen,
    /// Our own slots, by the ordinal that they are for.
    pub slots: BTreeMap<u32, SlotSeen>,
}

/// The walreceiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamSeen {
    /// primary_conninfo is empty **in force** and it was verified twice that no walreceiver runs (A12).
    Detached,
    /// primary_conninfo is set, or was until now, and no walreceiver streams.
    Waiting {
        /// Whom it is set to; `None`: empty, but the walreceiver's end is not verified.
        upstream: Option<Upstream>,
    },
    /// It streams.
    Streaming {
        /// From whom.
        upstream: Upstream,
    },
}

/// Whom a standby streams from: everything that primary_conninfo and primary_slot_name need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The holder's pod.
    pub pod: String,
    /// Its address.
    pub address: String,
    /// Its data.
    pub member: MemberId,
    /// The era in which it leads.
    pub era: Era,
    /// Its pod has a certificate: it is reached encrypted or not at all.
    pub encrypted: bool,
}

/// A running primary.
#[derive(Clone, Debug, PartialEq)]
pub struct PrimarySeen {
    /// When this postmaster was first seen: its identity.
    pub started_ms: u64,
    /// `now_ms` of the first observation that showed it out of recovery.
    pub primary_since_ms: u64,
    /// Its timeline.
    pub timeline: TimelineId,
    /// Where that timeline forks from its parent, from its history file; 0 for timeline 1.
    pub timeline_start_lsn: Lsn,
    /// Current insert or flush position.
    pub current_lsn: Lsn,
    /// pg_stat_replication.
    pub walsenders: Vec<Walsender>,
    /// `synchronous_standby_names` as a new connection shows it.
    pub names_shown: String,
    /// The names that were confirmed to be in force by [`Action::ConfirmInForce`](crate::decision::Action::ConfirmInForce).
    pub in_force: Option<InForce>,
    /// The client gate: the agent-owned part of pg_hba (A9).
    pub gate: Gate,
    /// A checkpoint has completed since promotion, so pg_rewind can use it as its source.
    pub checkpoint_since_promotion: bool,
    /// Settings as they stand.
    pub settings: SettingsSeen,
    /// Our own slots, by the ordinal that they are for.
    pub slots: BTreeMap<u32, SlotSeen>,
}

/// Names in force by A17.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// The whole text.
    pub names: String,
    /// Current position, read after they were in force: a standby that has flushed this has every commit that was
    /// acknowledged without it.
    pub from_lsn: Lsn,
}

/// The client gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Only the agent's and the replication role's sessions are let in.
    Closed,
    /// Clients are let in.
    Open,
}

/// A walsender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walsender {
    /// Its process.
    pub pid: i32,
    /// Whose it is: the standby's member id.
    pub application_name: String,
    /// Physical, and of our replication role; others are left alone (A24).
    pub ours: bool,
    /// It is in state `streaming`.
    pub streaming: bool,
    /// Sent to it.
    pub sent_lsn: Lsn,
    /// Flushed by it.
    pub flushed_lsn: Lsn,
    /// Age of its last reply, by this clock.
    pub reply_age_ms: u64,
}

/// A physical slot of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotSeen {
    /// From where it keeps WAL; `None`: never used.
    pub restart_lsn: Option<Lsn>,
    /// A walsender uses it.
    pub active: bool,
    /// wal_status is lost: it is to be made anew.
    pub lost: bool,
}

/// Long actions; each is started by its [`Action`](crate::decision::Action) and goes on over many cycles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Jobs {
    /// initdb.
    pub initdb: Job,
    /// pg_basebackup.
    pub clone: Job,
    /// pg_rewind.
    pub rewind: Job,
    /// CHECKPOINT.
    pub checkpoint: Job,
}

/// State of a long action in this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Job {
    /// Never started.
    #[default]
    Idle,
    /// It runs.
    Running {
        /// Since when.
        since_ms: u64,
    },
    /// The last run succeeded.
    Done {
        /// When it was started.
        since_ms: u64,
        /// When it ended.
        at_ms: u64,
    },
    /// The last run failed.
    Failed {
        /// When.
        at_ms: u64,
        /// Why, for people.
        why: String,
        /// Runs failed in a row.
        failures: u32,
    },
}

impl Job {
    /// It runs now.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }
}

/// What another agent said.
#[derive(Clone, Debug, PartialEq)]
pub enum Peer {
    /// It answered.
    Heard {
        /// Taken **before** the request was sent.
        asked_ms: u64,
        /// Its answer.
        report: Box<AgentReport>,
    },
    /// It did not answer the last request.
    Silent {
        /// Since when: its last answer, or the first request.
        since_ms: u64,
        /// Its last answer, for people; never for safety.
        last: Option<Box<AgentReport>>,
    },
}

/// What is asked of this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// SIGTERM came (pod deletion, node shutdown): when.
    pub terminate_ms: Option<u64>,
    /// What people asked this agent for, each with its id.
    pub requests: Vec<Received>,
    /// Pauses that people ended at this agent while no holder could be reached to record it.
    pub lifted: BTreeSet<String>,
    /// When the guard last fenced without being asked to, in this life of the container.
    pub fenced_alone_ms: Option<u64>,
}

/// Health of the disk: the newest write + fsync probe (A26).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskSeen {
    /// It came back in time.
    Healthy,
    /// The probe hangs.
    Hung {
        /// Since when it has not come back.
        since_ms: u64,
    },
    /// There is no room for another segment of WAL.
    Full,
}

impl Observation {
    /// The Lease, when it was read and can be used.
    pub fn lease(&self) -> Option<&LeaseRead> {
        match &self.lease {
            LeaseSeen::Read(read) => Some(read),
            LeaseSeen::Unread | LeaseSeen::Missing { .. } | LeaseSeen::Unusable { .. } => None,
        }
    }

    /// The record, when it was read and can be used.
    pub fn record(&self) -> Option<&Record> {
        self.lease().map(|read| &read.record)
    }

    /// The data that counts: a complete directory without a marker.
    pub fn local_data(&self) -> Option<&LocalData> {
        match &self.data {
            DataSeen::Present(data) => Some(data),
            DataSeen::Unknown | DataSeen::Empty | DataSeen::Unfinished { .. } => None,
        }
    }

    /// The identity of the data that counts.
    pub fn member(&self) -> Option<&MemberId> {
        self.local_data().map(|data| &data.member)
    }

    /// The desired document.
    pub fn wish(&self) -> Option<&Desired> {
        self.desired.as_ref().map(|seen| &seen.document)
    }

    /// The primary, when postgres runs as one and answers.
    pub fn primary(&self) -> Option<&PrimarySeen> {
        match &self.postgres {
            PostgresSeen::Primary(primary) => Some(primary),
            _ => None,
        }
    }

    /// The standby, when postgres runs as one and answers.
    pub fn standby(&self) -> Option<&StandbySeen> {
        match &self.postgres {
            PostgresSeen::Standby(standby) => Some(standby),
            _ => None,
        }
    }

    /// What a peer said, when it answered the last request.
    pub fn heard(&self, pod: &str) -> Option<&AgentReport> {
        match self.peers.get(pod) {
            Some(Peer::Heard { report, .. }) => Some(report),
            Some(Peer::Silent { .. }) | None => None,
        }
    }

    /// Everything that peers said.
    pub fn reports(&self) -> impl Iterator<Item = &AgentReport> {
        self.peers.values().filter_map(|peer| match peer {
            Peer::Heard { report, .. } => Some(&**report),
            Peer::Silent { .. } => None,
        })
    }
}

impl StandbySeen {
    /// The position that counts in elections; `None` while it is not known (A15).
    ///
    /// When replay is idle this is the end of the last whole record: the part of a record behind it was never
    /// acknowledged, and a new timeline overwrites it.
    pub fn position(&self) -> Option<Lsn> {
        if !self.replayed_to_end {
            return None;
        }
        Some(if self.replay_idle { self.replayed_lsn } else { self.received_lsn.max(self.replayed_lsn) })
    }
}

/// The ordinal at the end of a pod's name.
pub fn ordinal_of(pod: &str) -> Option<u32> {
    pod.rsplit_once('-')?.1.parse().ok()
}
