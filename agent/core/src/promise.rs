//! Promises: a member says, durably, that it confirms nothing more for the holder of one version of the record; with those
//! of q of V, and that very version in its swap, a taker needs no time to run out (A11–A13).
//!
//! ```text
//!   asked ─> holder silent? ─> GivePromise (fsynced) ─> LeaveStream ─> told in the report, with the final position
//!                                  over only when an uncached read shows another version
//! ```
//!
//! Members outside V are asked too: theirs count for nobody, but tell who is ahead and should take (`election::turn`).

use std::collections::BTreeSet;

use pgha_schema::desired::SyncMode;
use pgha_schema::peer::RecordVersion;
use pgha_schema::record::Record;
use pgha_schema::status::AgentReport;

use crate::cycle::Cycle;
use crate::decision::Action;
use crate::divergence::{self, Place};
use crate::following;
use crate::heartbeat;
use crate::observation::{LeaseRead, LeaseVersion, Observation, StreamSeen};

/// A request for a promise older than this is over: its sender asks again.
const ASKED_COUNTS_MS: u64 = 1_000;
/// How much longer than a renewal interval a record has to be unchanged before its silent holder is pre-empted.
pub(crate) const UNRENEWED_MARGIN_MS: u64 = 500;

/// Promises, as far as this member has to do with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Promises {
    /// The version of the promise on this volume; one that can't be read makes the data unknown.
    pub given: Option<LeaseVersion>,
    /// The newest authenticated request for one.
    pub asked: Option<AskedSeen>,
}

/// Somebody asks for a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedSeen {
    /// For which version.
    pub version: LeaseVersion,
    /// When it came.
    pub at_ms: u64,
}

/// Whether a promise may be given now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Giving {
    /// It may.
    Allowed,
    /// First the record has to be read again.
    AfterARead,
    /// The holder is not silent.
    Refused,
}

/// A promise given here that binds: only an uncached read that shows another version ends it.
pub(crate) fn binds(seen: &Observation) -> bool {
    seen.promises.given.is_some() && !is_over(seen)
}

fn is_over(seen: &Observation) -> bool {
    match (&seen.promises.given, seen.lease()) {
        (Some(version), Some(read)) => read.version != *version && read.fresh_ms.is_some(),
        (Some(_) | None, _) => false,
    }
}

/// Removes a promise that is over, and reads the record when only the watch has told another version.
pub(crate) fn tidy(cycle: &mut Cycle<'_>) {
    if is_over(cycle.seen) {
        // What ended it outlives this process before it goes: should the Lease be lost, nobody vouches for the old holder.
        if let Some(read) = cycle.seen.lease().filter(|_| cycle.seen.local_data().is_some()) {
            following::keep_record(cycle, &read.record);
        }
        cycle.push(Action::DropPromise);
    } else if binds(cycle.seen) && cycle.seen.lease().is_some_and(|read| read.fresh_ms.is_none()) {
        cycle.read_lease();
    }
}

/// The promise for this version is given here.
pub(crate) fn is_given(seen: &Observation, read: &LeaseRead) -> bool {
    seen.promises.given.as_ref() == Some(&read.version)
}

/// Whether this member's promise is worth anything: where commits wait for V.
fn counts(seen: &Observation, record: &Record) -> bool {
    let recorded = |member| record.voters.contains(member) || record.members.contains_key(member);
    record.mode != SyncMode::Async
        && record.release.is_none()
        && !record.voters.is_empty()
        && seen.member().is_some_and(recorded)
}

/// Whether commits wait for this member.
pub(crate) fn votes(seen: &Observation, record: &Record) -> bool {
    seen.member().is_some_and(|member| record.voters.contains(member))
}

/// The rule of A12: an uncached read within the last renewal interval still shows the version, and the holder is silent,
/// or its live address refuses, or `proven` dead.
pub(crate) fn giving(cycle: &Cycle<'_>, read: &LeaseRead, proven: bool) -> Giving {
    let seen = cycle.seen;
    let silent = seen.now_ms >= heartbeat::silent_at_ms(seen, read);
    if !(proven || silent || heartbeat::refused_since_ms(seen, read).is_some()) {
        return Giving::Refused;
    }
    let interval_ms = cycle.timing.renew_interval_ms();
    match read.fresh_ms {
        Some(fresh_ms) if cycle.elapsed_ms(fresh_ms) < interval_ms => Giving::Allowed,
        Some(_) | None => Giving::AfterARead,
    }
}

/// Where commits wait for V, that time ran out is no reason while heartbeats arrive: the holder may be vouched for (A20).
pub(crate) fn heard_until_ms(seen: &Observation, read: &LeaseRead) -> Option<u64> {
    let silent_ms = heartbeat::silent_at_ms(seen, read);
    (read.record.mode != SyncMode::Async && seen.now_ms < silent_ms).then_some(silent_ms)
}

/// Somebody asks: give the promise if the rule allows it.
pub(crate) fn answer(cycle: &mut Cycle<'_>, read: &LeaseRead, proven: bool) {
    let seen = cycle.seen;
    let Some(asked) = &seen.promises.asked else { return };
    let due = asked.version == read.version
        && cycle.elapsed_ms(asked.at_ms) < ASKED_COUNTS_MS
        && counts(seen, &read.record)
        && !is_given(seen, read);
    if !due {
        return;
    }
    match giving(cycle, read, proven) {
        Giving::Allowed => give(cycle, read),
        Giving::AfterARead => cycle.read_lease(),
        Giving::Refused => {}
    }
    cycle.wake_in(50);
}

/// Promise first, then leave: the other way round a restart in between would go back into the stream.
pub(crate) fn give(cycle: &mut Cycle<'_>, read: &LeaseRead) {
    cycle.push(Action::GivePromise { version: read.version.clone() });
    if cycle.seen.standby().is_some_and(|standby| standby.stream != StreamSeen::Detached) {
        cycle.push(Action::LeaveStream);
    }
}

/// A13: whether the holder may be pre-empted now, with promises. Orders the uncached read when only that is missing.
pub(crate) fn may_preempt(cycle: &mut Cycle<'_>, read: &LeaseRead) -> bool {
    let seen = cycle.seen;
    if !counts(seen, &read.record) {
        return false;
    }
    let since_ms = match heartbeat::refused_since_ms(seen, read) {
        Some(refused_ms) => refused_ms,
        None => {
            let unrenewed_ms = cycle.timing.renew_interval_ms().saturating_add(UNRENEWED_MARGIN_MS);
            let at_ms =
                read.first_seen_ms.saturating_add(unrenewed_ms).max(heartbeat::silent_at_ms(seen, read));
            if seen.now_ms < at_ms {
                cycle.wake_at(at_ms);
                return false;
            }
            read.first_seen_ms.saturating_add(unrenewed_ms)
        }
    };
    if read.fresh_ms.is_none_or(|fresh_ms| fresh_ms < since_ms) {
        cycle.read_lease();
        cycle.wake_in(100);
        return false;
    }
    true
}

/// Whether enough of V have promised for this version and hold nothing that is not here: any q members of V have every
/// acknowledged commit between them, whether or not this member is one of them.
pub(crate) fn enough(seen: &Observation, read: &LeaseRead) -> bool {
    let record = &read.record;
    let (Some(position), Some(own)) = (divergence::local_position(seen), seen.member()) else { return false };
    let others = record
        .voters
        .iter()
        .filter(|voter| *voter != own)
        .filter(|voter| {
            seen.reports().any(|report| {
                report.member.as_ref() == Some(voter)
                    && is_told(report, read)
                    && report.position.is_some_and(|theirs| theirs <= position)
                    && divergence::place_to_lead(
                        record,
                        divergence::reported_era(record, report),
                        report.position,
                    ) == Place::OnChain
            })
        })
        .count();
    let own = usize::from(record.voters.contains(own));
    is_given(seen, read) && others + own >= record.quorum.max(1) as usize
}

/// Asks the other recorded members that have not told one: V for theirs, all for how far they have come.
pub(crate) fn ask(cycle: &mut Cycle<'_>, read: &LeaseRead) {
    let seen = cycle.seen;
    let holder = read.record.holder.as_ref().and_then(|holder| holder.member.as_ref());
    let pods: BTreeSet<String> = read
        .record
        .members
        .iter()
        .filter(|(member, _)| Some(*member) != seen.member() && Some(*member) != holder)
        .map(|(_, entry)| entry.pod.clone())
        .filter(|pod| !seen.heard(pod).is_some_and(|report| is_told(report, read)))
        .collect();
    if !pods.is_empty() {
        cycle.push(Action::AskPromises { version: read.version.clone(), pods });
    }
}

/// Whether this report tells of a promise for this version, and so of a final position.
pub(crate) fn is_told(report: &AgentReport, read: &LeaseRead) -> bool {
    report.promise.as_ref() == Some(&told(&read.version))
}

/// A version as it is told to others.
pub fn told(version: &LeaseVersion) -> RecordVersion {
    RecordVersion { uid: version.uid.clone(), resource_version: version.resource_version.clone() }
}

/// What the report says of this member's promise: nothing before the stream is left.
pub(crate) fn reported(seen: &Observation) -> Option<RecordVersion> {
    let left = seen.standby().is_some_and(|standby| standby.stream == StreamSeen::Detached);
    seen.promises.given.as_ref().filter(|_| left && binds(seen)).map(told)
}
