//! The API server is away: the primary stays while enough of V acknowledge its heartbeats, so that fewer than q are left
//! to take from it; with V empty nobody else may lead, so it stays unasked (A20). In async only renewals count.
//!
//! Which V is in force is uncertain while a write of the record may still land, so every one that was tried has to vouch.

use std::collections::{BTreeMap, BTreeSet};

use pgha_schema::desired::SyncMode;
use pgha_schema::ids::{Era, MemberId};
use pgha_schema::record::Record;

use crate::decision::Memory;
use crate::observation::{LeaseRead, Observation};

/// Acknowledgements of this holder's heartbeats, by member.
pub type Acks = BTreeMap<MemberId, AckSeen>;

/// The newest acknowledgement of one member: it follows in this era, and has promised nothing to anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckSeen {
    /// The era that it acknowledges.
    pub era: Era,
    /// Taken before the heartbeat was sent.
    pub asked_ms: u64,
}

/// Who may take over by one version of the record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rivals {
    sync: bool,
    voters: BTreeSet<MemberId>,
    quorum: u32,
}

impl Rivals {
    /// By this version of the record.
    pub fn of(record: &Record) -> Self {
        let sync = record.mode != SyncMode::Async;
        let voters = if sync { record.voters.clone() } else { BTreeSet::new() };
        Self { sync, voters, quorum: record.quorum.max(1) }
    }

    /// Those that confirm every commit while this version is in force.
    pub(crate) fn voters(&self) -> &BTreeSet<MemberId> {
        &self.voters
    }

    /// Since when it is known that too few of them are left.
    fn outvoted_ms(&self, seen: &Observation, era: Era) -> Option<u64> {
        if !self.sync {
            return None;
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

/// Since when this holder's lead is vouched for without the API server.
pub(crate) fn vouched_ms(memory: &Memory, seen: &Observation, read: &LeaseRead) -> Option<u64> {
    if read.record.release.is_some()
        || read.record.holder.as_ref().is_none_or(|holder| holder.member.is_none())
    {
        return None;
    }
    let era = read.record.era();
    let mut vouched_ms = Rivals::of(&read.record).outvoted_ms(seen, era)?;
    for rivals in &memory.unsettled {
        vouched_ms = vouched_ms.min(rivals.outvoted_ms(seen, era)?);
    }
    Some(vouched_ms)
}
