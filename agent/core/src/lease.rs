//! Whose the record is, and until when the own lead is good (A1, A6).

use pgha_schema::record::{Bootstrap, Holder};

use crate::decision::Memory;
use crate::failsafe;
use crate::observation::{DataSeen, LeaseRead, LeaseSeen, Observation, PostgresSeen};
use crate::timing::Timing;

/// Whose the record is, seen from here.
pub(crate) enum Standing<'a> {
    /// Not read yet.
    Unread,
    /// There is none.
    Missing { since_ms: u64 },
    /// It can't be used.
    Unusable(&'a str),
    /// Nobody ever held it.
    Free(&'a LeaseRead),
    /// This life of the container holds it.
    Mine(&'a LeaseRead),
    /// This member, or while bootstrap is pending this pod, held it in an earlier life (A11).
    MineBefore(&'a LeaseRead),
    /// Somebody else holds it, or held it last.
    Others(&'a LeaseRead, &'a Holder),
}

/// Whose the record is.
pub(crate) fn standing(seen: &Observation) -> Standing<'_> {
    let read = match &seen.lease {
        LeaseSeen::Unread => return Standing::Unread,
        LeaseSeen::Missing { since_ms } => return Standing::Missing { since_ms: *since_ms },
        LeaseSeen::Unusable { why } => return Standing::Unusable(why),
        LeaseSeen::Read(read) => read,
    };
    let Some(holder) = &read.record.holder else { return Standing::Free(read) };
    if holder.nonce == seen.me.nonce {
        return Standing::Mine(read);
    }
    let mine_before = match (&holder.member, &seen.data) {
        (Some(member), DataSeen::Present(data) | DataSeen::Unfinished { data: Some(data), .. }) => {
            *member == data.member
        }
        // The volume lock is held here (A5), and nothing of a pending record was ever served.
        (None, DataSeen::Empty | DataSeen::Unfinished { .. }) => {
            read.record.bootstrap == Bootstrap::Pending && holder.pod == seen.me.pod
        }
        (Some(_), DataSeen::Unknown | DataSeen::Empty | DataSeen::Unfinished { data: None, .. })
        | (None, DataSeen::Unknown | DataSeen::Present(_)) => false,
    };
    if mine_before { Standing::MineBefore(read) } else { Standing::Others(read, holder) }
}

/// Takes note of an own write that has landed: the lead is good from before it was sent.
pub(crate) fn note_renewal(memory: &Memory, seen: &Observation) -> Memory {
    let mut memory = memory.clone();
    let (Some(read), Some(attempt)) = (seen.lease(), &memory.attempt) else { return memory };
    let landed = read.record.renewals == attempt.record.renewals
        && read.record.holder.as_ref().is_some_and(|holder| holder.nonce == seen.me.nonce);
    if landed {
        memory.renewed_ms = Some(attempt.at_ms);
        memory.led = Some(read.record.clone());
        memory.led_version = Some(read.version.clone());
        // The version has moved on: nothing that was tried on an older one can land any more.
        memory.unsettled.clear();
    }
    memory
}

/// Takes note of the members that vouch for this lead (A20). A lead that is over is not brought back.
pub(crate) fn note_vouched(timing: &Timing, memory: &mut Memory, seen: &Observation) {
    let Standing::Mine(read) = standing(seen) else { return };
    if fence_at_ms(timing, memory).is_none_or(|at_ms| seen.now_ms >= at_ms) {
        return;
    }
    memory.vouched_ms = memory.vouched_ms.max(failsafe::vouched_ms(memory, seen, &read.record));
}

/// Once postgres is down and the deadline is past, the lead that it counted for is over: what is started later, as a
/// standby or after a new renewal, is not judged by it.
pub(crate) fn forget_what_is_over(timing: &Timing, memory: &mut Memory, seen: &Observation) {
    let over = fence_at_ms(timing, memory).is_some_and(|at_ms| seen.now_ms >= at_ms);
    if over && seen.postgres == PostgresSeen::Down {
        memory.renewed_ms = None;
        memory.vouched_ms = None;
        memory.attempt = None;
    }
}

/// When the fence begins: counted from before the last good renewal, or what vouches for it since, was sent. While the wish changes, the shorter of
/// the recorded and the wished time counts, so that no candidate's count can end before it.
pub(crate) fn fence_at_ms(timing: &Timing, memory: &Memory) -> Option<u64> {
    let recorded = memory.led.as_ref().map_or(0, |record| record.fence_after_ms);
    let fence_after_ms = match recorded {
        0 => timing.fence_after_ms(),
        recorded => recorded.min(timing.fence_after_ms()),
    };
    let renewed_ms = memory.renewed_ms?;
    let good_ms = renewed_ms.max(memory.vouched_ms.unwrap_or_default());
    Some(good_ms.saturating_add(fence_after_ms))
}

/// How long a candidate has to see this record unchanged.
pub(crate) fn lease_duration_ms(timing: &Timing, read: &LeaseRead) -> u64 {
    timing.lease_duration_ms().max(read.record.lease_duration_ms)
}
