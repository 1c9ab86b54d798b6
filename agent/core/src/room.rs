//! A standby whose disk has no room for more WAL (A26).

use crate::cycle::Cycle;
use crate::decision::Action;
use crate::leading;
use crate::observation::DiskSeen;

/// From one restartpoint that was asked for to the next.
const ASK_AGAIN_MS: u64 = 5_000;

/// Asks for a restartpoint, which removes the WAL that nobody needs any more. By itself PostgreSQL takes nine tenths of
/// `checkpoint_timeout` over one while replay stands still, and what slots kept when that began is removed by the one after it: a
/// standby without room would be without it for minutes, and commits without its confirmation.
pub(crate) fn make(cycle: &mut Cycle<'_>) {
    let job = &cycle.seen.jobs.checkpoint;
    let since_ms = cycle.seen.now_ms.saturating_sub(ASK_AGAIN_MS);
    if cycle.seen.disk == DiskSeen::Full && !job.is_running() && !leading::checkpointed_since(job, since_ms) {
        cycle.push(Action::Checkpoint);
    }
}
