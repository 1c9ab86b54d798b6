//! The one record: what the Lease's annotation [`ANNOTATION_RECORD`](crate::names::ANNOTATION_RECORD) holds (A1).
//!
//! Written only by compare-and-swap (uid and resourceVersion of the Lease), and only by the holder or by a taker.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::desired::SyncMode;
use crate::ids::{BootId, ContainerNonce, Era, MemberId, SystemIdentifier};
use crate::lsn::{Lsn, TimelineId};
use crate::request::Answer;

/// Highest format of the record that this build reads and can write; a reader refuses a higher one. A holder writes it
/// only once every recorded member's agent says that it reads it (A8).
pub const RECORD_FORMAT: u32 = 1;
/// How many eras the record keeps; a member of an older one is re-cloned (A3).
pub const ERAS_KEPT: usize = 32;

/// The record of who leads, who may follow, and which positions count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Format number, at most [`RECORD_FORMAT`].
    pub format: u32,
    /// Uid of the cluster's anchor: which cluster this record belongs to.
    pub anchor_uid: String,
    /// Whether a client was ever let in (A4).
    pub bootstrap: Bootstrap,
    /// PostgreSQL's system identifier, once initdb has run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_identifier: Option<SystemIdentifier>,
    /// Who leads, or led last: kept after a release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    /// Set by the holder after it has verified that its postgres stopped: a hand-over (A21). Cleared by the taker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
    /// The last [`ERAS_KEPT`] eras, oldest first (A3). Empty while no member ever led.
    pub eras: Vec<EraEntry>,
    /// The holder's WAL position when it wrote this, for the lag bound of A14 and for people.
    pub position: Lsn,
    /// Highest position that the voters had confirmed when it was written.
    pub confirmed: Lsn,
    /// The mode in force; never told by an empty voter set (A11).
    pub mode: SyncMode,
    /// V: the members any of which may hold every acknowledged commit (A11, A16). Empty in sync: only the holder may lead.
    pub voters: BTreeSet<MemberId>,
    /// q: how many members of V a taker must hear; 1 in sync.
    pub quorum: u32,
    /// `preferred` goes on without a confirming standby (A18).
    pub degraded: bool,
    /// A planned hand-over that was asked for and is not done yet (A31).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switchover: Option<Switchover>,
    /// The one member that may restart its postgres now, for a parameter that needs it (P23).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartPermit>,
    /// The one pod whose agent may be exchanged now (A8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<ExchangePermit>,
    /// The standby whose data is to be cloned anew (A31).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reinit: Option<Reinit>,
    /// A person holds the cluster as it is (A31).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// The newest answers to requests, oldest first: a request that is answered here is never taken up again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answer>,
    /// Every member that the holder knows, by identity of its data.
    pub members: BTreeMap<MemberId, MemberEntry>,
    /// What the holder keeps to (A6): a candidate waits this long; 0 in a record that nobody ever held.
    #[serde(default)]
    pub lease_duration_ms: u64,
    /// What the holder keeps to (A6): its fence begins this long after it sent its last good renewal.
    #[serde(default)]
    pub fence_after_ms: u64,
    /// Counts the holder's renewals, so that each one changes the record.
    pub renewals: u64,
}

/// Whether the cluster was ever initialised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bootstrap {
    /// No client was ever let in: an empty member may take a holderless record at once.
    Pending,
    /// Data exists: nobody runs initdb any more.
    Done,
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The pod's name.
    pub pod: String,
    /// Identity of its data. `None` only while bootstrap is pending and initdb has not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<MemberId>,
    /// The container's life.
    pub nonce: ContainerNonce,
    /// Its node.
    pub node: String,
    /// That node's boot.
    pub boot_id: BootId,
    /// The pod's address, where standbys stream from.
    pub address: String,
}

/// A hand-over after a verified stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// End of the shutdown checkpoint: who has received this has everything.
    pub position: Lsn,
    /// Who was chosen; others may take it only after a lease duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<MemberId>,
}

/// One era: one leadership (A3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EraEntry {
    /// Its number.
    pub era: Era,
    /// The taker's last era before; `None` for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Era>,
    /// Its timeline, once promotion was seen; nobody follows an era without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<TimelineId>,
    /// Where it forks from its parent, once promotion was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Lsn>,
}

impl EraEntry {
    /// Timeline and start are known, so it can be followed.
    pub fn is_complete(&self) -> bool {
        self.timeline.is_some() && self.start.is_some()
    }
}

/// A planned hand-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switchover {
    /// The pod that is to lead; `None`: the best one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_pod: Option<String>,
    /// Why, for people: `requested`, `rolling`, `scale-down`.
    pub reason: String,
    /// Who hands over: once another leads, it has come to its end. `None` in records of older agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<MemberId>,
    /// The request that is to be answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl Switchover {
    /// Whether it is this member that hands over.
    pub fn is_of(&self, member: Option<&MemberId>) -> bool {
        self.from.as_ref().is_none_or(|from| Some(from) == member)
    }
}

/// A person holds the cluster as it is (A31).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// The request that began it.
    pub id: String,
}

/// A standby's data is to be cloned anew; the entry is the holder's word that nothing is only there (A23).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reinit {
    /// The data that is given up.
    pub member: MemberId,
    /// Its pod.
    pub pod: String,
    /// The request that is to be answered.
    pub id: String,
}

/// A restart that a person asked for: of this one postmaster, and never of the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedRestart {
    /// The request that is to be answered.
    pub id: String,
    /// The container's life in which it runs.
    pub nonce: ContainerNonce,
    /// The postmaster, as its agent tells it.
    pub postmaster: u64,
}

/// Permission to restart one postgres.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartPermit {
    /// Whose.
    pub member: MemberId,
    /// For which desired generation.
    pub generation: u64,
    /// Not for a setting, but since a person asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<AskedRestart>,
}

/// Permission to exchange one pod's agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangePermit {
    /// Whose.
    pub pod: String,
    /// SHA-256 of the binary that it shall run.
    pub sha256: String,
}

/// What the holder knows of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberEntry {
    /// The pod that mounted the data last.
    pub pod: String,
    /// The node that it ran on.
    #[serde(default)]
    pub node: String,
}

impl Record {
    /// The record that the provider POSTs at create: era 0, bootstrap pending, no holder (A4).
    pub fn initial(anchor_uid: &str, mode: SyncMode) -> Self {
        Self {
            format: RECORD_FORMAT,
            anchor_uid: anchor_uid.to_owned(),
            bootstrap: Bootstrap::Pending,
            system_identifier: None,
            holder: None,
            release: None,
            eras: Vec::new(),
            position: Lsn::ZERO,
            confirmed: Lsn::ZERO,
            mode,
            voters: BTreeSet::new(),
            quorum: 1,
            degraded: false,
            switchover: None,
            restart: None,
            exchange: None,
            reinit: None,
            pause: None,
            answers: Vec::new(),
            members: BTreeMap::new(),
            lease_duration_ms: 0,
            fence_after_ms: 0,
            renewals: 0,
        }
    }

    /// The current era's entry.
    pub fn current(&self) -> Option<&EraEntry> {
        self.eras.last()
    }

    /// The pod that mounted a member's data last.
    pub fn pod_of(&self, member: &MemberId) -> Option<&str> {
        self.members.get(member).map(|entry| entry.pod.as_str())
    }

    /// The answer to a request, while it is kept.
    pub fn answer_to(&self, id: &str) -> Option<&Answer> {
        self.answers.iter().find(|answer| answer.id == id)
    }

    /// A request is under way.
    pub fn carries(&self, id: &str) -> bool {
        let restart = self.restart.as_ref().and_then(|permit| permit.asked.as_ref());
        self.switchover.as_ref().is_some_and(|under_way| under_way.id.as_deref() == Some(id))
            || self.reinit.as_ref().is_some_and(|under_way| under_way.id == id)
            || restart.is_some_and(|asked| asked.id == id)
    }

    /// A request was taken up: it is under way or answered.
    pub fn knows(&self, id: &str) -> bool {
        self.answer_to(id).is_some() || self.carries(id)
    }

    /// The current era, 0 when nobody ever led.
    pub fn era(&self) -> Era {
        self.current().map_or(Era(0), |entry| entry.era)
    }
}
