//! The first start: who runs initdb, and that nobody ever does beside data (A4).

use pgha_schema::desired::{Desired, Durability, RunState, SyncMode};
use pgha_schema::ids::Era;
use pgha_schema::lsn::Lsn;
use pgha_schema::record::{Bootstrap, EraEntry, MemberEntry};

use crate::cycle::Cycle;
use crate::decision::{Action, Decision, Reason};
use crate::lease;
use crate::observation::{DataSeen, Job, LeaseRead, LocalData, Observation, Unfinished};
use crate::{failover, leading, record};

/// Between a failed initdb and the next, by the number of failures.
const RETRY_MS: u64 = 2_000;

/// Proof that initdb may run: pending record held by this container, no data known anywhere. Only this module makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitdbPermit {
    sealed: (),
}

/// Nothing anywhere tells of data: no identifier on a claim or the StatefulSet, and every member heard is empty.
fn nothing_anywhere(seen: &Observation) -> bool {
    let unmarked = seen.stateful_set_identifier.is_none()
        && seen.volumes.values().all(|volume| volume.system_identifier.is_none() || volume.never_initialised);
    let heard_empty = seen.reports().all(|report| report.member.is_none());
    seen.listed && unmarked && heard_empty
}

fn counts_as_empty(seen: &Observation) -> bool {
    matches!(seen.data, DataSeen::Empty | DataSeen::Unfinished { .. })
}

/// The record is pending and not this container's: take it, or wait.
pub(crate) fn pending(mut cycle: Cycle<'_>, read: &LeaseRead) -> Decision {
    let seen = cycle.seen;
    let Some(wish) = seen.wish() else { return cycle.finish(Reason::DesiredUnread) };
    let may = counts_as_empty(seen)
        && nothing_anywhere(seen)
        && wish.state == RunState::Running
        && seen.me.ordinal <= wish.replicas
        && seen.signals.terminate_ms.is_none();
    let free = match &read.record.holder {
        None => true,
        Some(holder) => {
            (holder.pod == seen.me.pod && counts_as_empty(seen))
                || !failover::grounds(&mut cycle, read).is_empty()
        }
    };
    if !(may && free) {
        cycle.wake_in(500);
        return cycle.finish(Reason::WaitsForBootstrap);
    }
    let mut next = record::held_by(&read.record, seen, cycle.timing);
    next.release = None;
    cycle.write(read, next);
    cycle.finish(Reason::TakePending)
}

/// This container holds the pending record: make the data, then say so in the record.
pub(crate) fn lead_pending(mut cycle: Cycle<'_>, read: &LeaseRead) -> Decision {
    let seen = cycle.seen;
    cycle.guard();
    let Some(wish) = seen.wish() else { return cycle.finish(Reason::DesiredUnread) };
    match &seen.data {
        DataSeen::Unfinished { what: Unfinished::Initdb, data: Some(data) }
            if !seen.jobs.initdb.is_running() =>
        {
            let record = initialised(cycle.seen, read, wish, data, cycle.timing);
            cycle.write(read, record);
        }
        DataSeen::Empty | DataSeen::Unfinished { .. } => {
            let alive = lease::fence_at_ms(cycle.timing, &cycle.memory).is_some_and(|at| seen.now_ms < at);
            if alive && nothing_anywhere(seen) && may_try(&seen.jobs.initdb, seen.now_ms) {
                cycle.push(Action::Initdb { permit: InitdbPermit { sealed: () } });
            }
            let next = record::held_by(&read.record, seen, cycle.timing);
            leading::renew(&mut cycle, read, next);
        }
        // Data that was here before the record: never touched, never led with.
        DataSeen::Present(_) => return cycle.finish(Reason::ForeignData),
        DataSeen::Unknown => {}
    }
    cycle.wake_in(250);
    cycle.finish(Reason::Bootstrapping)
}

pub(crate) fn may_try(job: &Job, now_ms: u64) -> bool {
    match job {
        Job::Idle | Job::Done { .. } => true,
        Job::Running { .. } => false,
        Job::Failed { at_ms, failures, .. } => {
            now_ms >= at_ms.saturating_add(RETRY_MS.saturating_mul(u64::from((*failures).min(10))))
        }
    }
}

fn initialised(
    seen: &Observation,
    read: &LeaseRead,
    wish: &Desired,
    data: &LocalData,
    timing: &crate::timing::Timing,
) -> pgha_schema::record::Record {
    let mut next = record::held_by(&read.record, seen, timing);
    if let Some(holder) = &mut next.holder {
        holder.member = Some(data.member.clone());
    }
    next.bootstrap = Bootstrap::Done;
    next.system_identifier = Some(data.system_identifier);
    next.eras =
        vec![EraEntry { era: Era(1), parent: None, timeline: Some(data.timeline), start: Some(Lsn::ZERO) }];
    next.mode = wish.sync_mode;
    next.voters.clear();
    // Nobody can confirm yet: `preferred` says so from the start, `required` makes the first commits wait.
    next.degraded = wish.sync_mode != SyncMode::Async && wish.durability == Durability::Preferred;
    next.members
        .insert(data.member.clone(), MemberEntry { pod: seen.me.pod.clone(), node: seen.me.node.clone() });
    next
}
