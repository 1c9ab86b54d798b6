//! The one big match: whose the record is decides what this member does.

use pgha_schema::record::Bootstrap;

use crate::cycle::Cycle;
use crate::decision::{Action, Decision, Memory, Reason, StopMode};
use crate::lease::{self, Standing};
use crate::observation::{Observation, PostgresSeen};
use crate::timing::Timing;
use crate::{bootstrap, failover, failsafe, fencing, following, leading, promise, switchover};

/// What to do now. Total and pure: the same three values always give the same decision.
pub fn decide(timing: &Timing, memory: &Memory, seen: &Observation) -> Decision {
    let mut cycle = Cycle::new(timing, memory, seen);
    if let Some(reason) = fencing::due(&cycle) {
        cycle.push(Action::Fence);
        cycle.guard();
        cycle.wake_in(50);
        return cycle.finish(reason);
    }
    promise::tidy(&mut cycle);
    match lease::standing(seen) {
        Standing::Unread => no_record(cycle, Reason::LeaseUnread),
        Standing::Unusable(why) => no_record(cycle, Reason::LeaseUnusable(why.to_owned())),
        Standing::Missing { since_ms } => missing(cycle, since_ms),
        Standing::Mine(read) if is_pending(&read.record) => bootstrap::lead_pending(cycle, read),
        Standing::Mine(read) => leading::lead(cycle, read),
        Standing::Free(read) | Standing::MineBefore(read) | Standing::Others(read, _)
            if is_pending(&read.record) =>
        {
            bootstrap::pending(cycle, read)
        }
        Standing::MineBefore(read) => following::take_again(cycle, read),
        Standing::Free(read) | Standing::Others(read, _) => following::follow(cycle, read),
    }
}

fn is_pending(record: &pgha_schema::record::Record) -> bool {
    record.bootstrap == Bootstrap::Pending
}

fn no_record(mut cycle: Cycle<'_>, reason: Reason) -> Decision {
    if cycle.seen.signals.terminate_ms.is_some() {
        return terminate(cycle);
    }
    cycle.guard();
    cycle.push(Action::ReadLease);
    cycle.wake_in(500);
    cycle.finish(reason)
}

fn missing(mut cycle: Cycle<'_>, since_ms: u64) -> Decision {
    let seen = cycle.seen;
    if seen.signals.terminate_ms.is_some() {
        return terminate(cycle);
    }
    let leads = lease::fence_at_ms(cycle.timing, &cycle.memory).is_some_and(|at_ms| seen.now_ms < at_ms);
    if leads && seen.member().is_some() {
        cycle.guard();
        if failsafe::may_recreate(&cycle.memory, seen, since_ms) {
            failover::recreate(&mut cycle);
        }
        cycle.push(Action::ReadLease);
        cycle.wake_in(200);
        return cycle.finish(Reason::RecreateLease);
    }
    cycle.push(Action::ReadLease);
    cycle.wake_in(500);
    following::start_to_find_position(&mut cycle);
    failover::lost(cycle, since_ms)
}

/// Told to stop, and not the holder: stop postgres, end.
pub(crate) fn terminate(mut cycle: Cycle<'_>) -> Decision {
    match &cycle.seen.postgres {
        PostgresSeen::Down if switchover::lingers(&mut cycle) => return cycle.finish(Reason::Released),
        PostgresSeen::Down => cycle.push(Action::Exit),
        PostgresSeen::Stopping { since_ms, .. } => {
            let overdue = cycle.elapsed_ms(*since_ms) > 20_000;
            if overdue {
                cycle.push(Action::Fence);
            }
        }
        PostgresSeen::Unknown => {}
        PostgresSeen::Starting { .. }
        | PostgresSeen::Unresponsive { .. }
        | PostgresSeen::Standby(_)
        | PostgresSeen::Primary(_) => cycle.push(Action::StopPostgres { mode: StopMode::Fast }),
    }
    cycle.guard();
    cycle.wake_in(100);
    cycle.finish(Reason::Terminating)
}
