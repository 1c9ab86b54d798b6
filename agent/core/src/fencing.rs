//! When everything that could write has to be killed (A6, A7, A26).

use crate::cycle::Cycle;
use crate::decision::Reason;
use crate::lease::{self, Standing};
use crate::observation::{DiskSeen, PostgresSeen};

/// A postmaster that leads and does not answer for this long is killed and started again.
const HUNG_AFTER_MS: u64 = 30_000;

/// Why to fence now, if at all.
pub(crate) fn due(cycle: &Cycle<'_>) -> Option<Reason> {
    let seen = cycle.seen;
    let (may_write, runs) = match &seen.postgres {
        PostgresSeen::Primary(_) | PostgresSeen::Unresponsive { was_primary: true, .. } => (true, true),
        PostgresSeen::Starting { .. } | PostgresSeen::Stopping { .. } => (false, true),
        PostgresSeen::Unknown
        | PostgresSeen::Down
        | PostgresSeen::Standby(_)
        | PostgresSeen::Unresponsive { was_primary: false, .. } => (false, false),
    };
    let overdue =
        runs && lease::fence_at_ms(cycle.timing, &cycle.memory).is_some_and(|at_ms| seen.now_ms >= at_ms);
    match lease::standing(seen) {
        // The deadline that this process does not know is kept by the guard.
        Standing::Unread | Standing::Missing { .. } | Standing::Unusable(_) => overdue.then(|| why(cycle)),
        Standing::Mine(read) => {
            let other_data = seen.member().is_some_and(|member| {
                read.record.holder.as_ref().is_some_and(|holder| holder.member.as_ref() != Some(member))
            });
            if overdue || (may_write && other_data) {
                return Some(why(cycle));
            }
            match &seen.postgres {
                PostgresSeen::Unresponsive { since_ms, .. }
                    if cycle.elapsed_ms(*since_ms) >= HUNG_AFTER_MS =>
                {
                    Some(Reason::Restarting)
                }
                _ => None,
            }
        }
        Standing::Others(_, holder) => may_write.then(|| Reason::LeaseTaken(holder.pod.clone())),
        Standing::Free(_) | Standing::MineBefore(_) => may_write.then(|| Reason::LeaseTaken(String::new())),
    }
}

fn why(cycle: &Cycle<'_>) -> Reason {
    match cycle.seen.disk {
        DiskSeen::Hung { .. } => Reason::DiskHung,
        DiskSeen::Healthy | DiskSeen::Full => Reason::RenewalOverdue,
    }
}
