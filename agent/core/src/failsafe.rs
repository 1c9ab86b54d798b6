//! The API server is away: the primary stays while enough of V acknowledge its heartbeats, so that fewer than q are left
//! to take from it; with V empty nobody else may lead, so it stays unasked (A20). In async it stays while every recorded
//! member acknowledges: there an acknowledgement is a promise in time, not to take by expiry for a lease duration.
//!
//! Which V is in force is uncertain while a write of the record may still land, so every one that was tried has to vouch.

use std::collections::{BTreeMap, BTreeSet};

use pgha_schema::desired::SyncMode;
use pgha_schema::ids::{ContainerNonce, Era, MemberId};
use pgha_schema::record::Record;

use crate::decision::{Action, Decision, Memory};
use crate::observation::{LeaseRead, LeaseSeen, Observation};

/// Acknowledgements of this holder's heartbeats, by member.
pub type Acks = BTreeMap<MemberId, AckSeen>;

/// The newest acknowledgement of one member: it follows in this era, and has promised nothing to anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckSeen {
    /// The era that it acknowledges.
    pub era: Era,
    /// Taken before the heartbeat was sent.
    pub asked_ms: u64,
    /// The heartbeat asked to be vouched for: in async only such an acknowledgement counts.
    pub binds: bool,
}

/// Who may take over by one version of the record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rivals {
    sync: bool,
    voters: BTreeSet<MemberId>,
    quorum: u32,
    /// In async: every recorded member but the holder.
    others: BTreeSet<MemberId>,
}

/// Whom a member acknowledges, between two turns of its loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledges {
    /// The holder's life.
    pub nonce: ContainerNonce,
    /// Its era.
    pub era: Era,
    /// Who acknowledges.
    pub member: MemberId,
    /// Only a heartbeat that asks to be vouched for: it binds this member for a while.
    pub only_when_asked: bool,
}

/// Whom this member acknowledges after this decision: the holder in whose era it lives, unless it has promised somebody, or
/// is about to take, or tried to and that may still land.
pub fn acknowledges(seen: &Observation, decision: &Decision) -> Option<Acknowledges> {
    let (record, version) = match &seen.lease {
        LeaseSeen::Read(read) => (&read.record, Some(&read.version)),
        LeaseSeen::Missing { .. } => (seen.kept.as_ref()?, None),
        LeaseSeen::Unread | LeaseSeen::Unusable { .. } => return None,
    };
    let holder = record.holder.as_ref()?;
    let promised = seen.promises.given.is_some()
        || decision.actions.iter().any(|action| matches!(action, Action::GivePromise { .. }));
    let takes = takes(decision);
    let may_land = decision.memory.attempt.as_ref().is_some_and(|attempt| {
        attempt.if_version.as_ref() == version
            && attempt.record.holder.as_ref().is_some_and(|holder| holder.nonce == seen.me.nonce)
    });
    if promised || takes || may_land {
        return None;
    }
    Some(Acknowledges {
        nonce: holder.nonce.clone(),
        era: record.era(),
        member: seen.member()?.clone(),
        only_when_asked: record.mode == SyncMode::Async,
    })
}

/// Whether this decision writes the record.
pub fn takes(decision: &Decision) -> bool {
    decision
        .actions
        .iter()
        .any(|action| matches!(action, Action::WriteRecord { .. } | Action::CreateLease { .. }))
}

/// When this member last acknowledged that holder in async: it does not take by expiry for a lease duration from then.
pub(crate) fn vouched_for_ms(seen: &Observation, read: &LeaseRead) -> Option<u64> {
    let holder = read.record.holder.as_ref().filter(|_| read.record.mode == SyncMode::Async)?;
    let asks = seen.holder_heard.asks.as_ref()?;
    (asks.era == read.record.era() && asks.nonce == holder.nonce).then_some(asks.at_ms)
}

impl Rivals {
    /// By this version of the record.
    pub fn of(record: &Record) -> Self {
        let sync = record.mode != SyncMode::Async;
        let voters = if sync { record.voters.clone() } else { BTreeSet::new() };
        let holder = record.holder.as_ref().and_then(|holder| holder.member.as_ref());
        let others =
            record.members.keys().filter(|member| !sync && Some(*member) != holder).cloned().collect();
        Self { sync, voters, quorum: record.quorum.max(1), others }
    }

    /// Any `quorum` of these voters, in a mode in which commits wait.
    pub(crate) fn new(voters: BTreeSet<MemberId>, quorum: usize) -> Self {
        Self {
            sync: true,
            voters,
            quorum: u32::try_from(quorum.max(1)).unwrap_or(u32::MAX),
            others: BTreeSet::new(),
        }
    }

    /// V; none in async, and where only the holder may lead.
    pub(crate) fn voters(&self) -> &BTreeSet<MemberId> {
        &self.voters
    }

    /// q.
    pub(crate) fn quorum(&self) -> usize {
        self.quorum as usize
    }

    /// Since when it is known that too few of them are left.
    fn outvoted_ms(&self, seen: &Observation, era: Era) -> Option<u64> {
        if !self.sync {
            let acks = self
                .others
                .iter()
                .map(|member| seen.acks.get(member).filter(|ack| ack.binds && ack.era == era));
            return acks
                .map(|ack| ack.map(|ack| ack.asked_ms))
                .try_fold(seen.now_ms, |least_ms, asked_ms| Some(least_ms.min(asked_ms?)));
        }
        // Fewer than q are left when more than |V| - q acknowledge.
        let Some(needed) =
            (self.voters.len() + 1).checked_sub(self.quorum as usize).filter(|_| !self.voters.is_empty())
        else {
            return Some(seen.now_ms);
        };
        let Some(last) = needed.checked_sub(1) else { return Some(seen.now_ms) };
        let mut asked: Vec<u64> = self
            .voters
            .iter()
            .filter_map(|voter| seen.acks.get(voter))
            .filter(|ack| ack.era == era)
            .map(|ack| ack.asked_ms)
            .collect();
        asked.sort_unstable_by(|one, other| other.cmp(one));
        asked.get(last).copied()
    }
}

/// Whether a lost Lease is made again by its holder: nobody took it before it was lost. Those who can tell that are the
/// members that could have taken it, asked since; where time is the only way to take, the holder's own deadline says so.
pub(crate) fn may_recreate(memory: &Memory, seen: &Observation, lost_ms: u64) -> bool {
    let Some(led) = &memory.led else { return false };
    // It may have been released, taken and lost since.
    let releases = memory.attempt.as_ref().is_some_and(|attempt| attempt.record.release.is_some());
    if led.release.is_some() || releases {
        return false;
    }
    let by_time = led.mode == SyncMode::Async && memory.unsettled.iter().all(|rivals| !rivals.sync);
    by_time || vouched_ms(memory, seen, led).is_some_and(|at_ms| at_ms > lost_ms)
}

/// Since when this holder's lead by this record is vouched for without the API server.
pub(crate) fn vouched_ms(memory: &Memory, seen: &Observation, record: &Record) -> Option<u64> {
    if record.release.is_some() || record.holder.as_ref().is_none_or(|holder| holder.member.is_none()) {
        return None;
    }
    let era = record.era();
    let mut vouched_ms = Rivals::of(record).outvoted_ms(seen, era)?;
    for rivals in &memory.unsettled {
        vouched_ms = vouched_ms.min(rivals.outvoted_ms(seen, era)?);
    }
    Some(vouched_ms)
}
