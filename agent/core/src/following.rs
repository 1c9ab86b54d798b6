//! What a member does that does not lead: stand for election when there is a ground, else follow, rewind or clone.

use pgha_schema::desired::RunState;
use pgha_schema::record::Record;

use crate::cycle::Cycle;
use crate::decision::{Action, Bar, Decision, Reason, StartAs, StopMode};
use crate::divergence::{self, Course};
use crate::failover::Ground;
use crate::observation::{
    Complaints, DataSeen, LeaseRead, PostgresSeen, StandbySeen, StreamSeen, Unfinished, Upstream,
};
use crate::sync_names::Names;
use crate::{
    acknowledge, bootstrap, break_glass, decide, failover, pause, promise, reinit, restart, room, slots,
    switchover, upgrade,
};

/// How long a standby that was told to stop waits to be out of V (A21).
const LEAVE_VOTERS_MS: u64 = 2_000;
/// A standby that does not answer for this long is killed and started again.
const HUNG_AFTER_MS: u64 = 60_000;
/// A promotion that takes longer is not waited for with a start.
const PROMOTION_MS: u64 = 1_000;
/// Between starts of a postgres that does not come up, by the number of failures.
const START_BACKOFF_MS: u64 = 500;

/// This member held the record in an earlier life of its container (A11).
pub(crate) fn take_again(mut cycle: Cycle<'_>, read: &LeaseRead) -> Decision {
    let seen = cycle.seen;
    if seen.signals.terminate_ms.is_some() {
        return decide::terminate(cycle);
    }
    let Some(wish) = seen.wish() else { return cycle.finish(Reason::DesiredUnread) };
    if wish.state == RunState::Stopped {
        return cycle.finish(Reason::Stopped);
    }
    if wrong_major(&cycle) {
        return cycle.finish(Reason::WrongMajor);
    }
    failover::take_again(&mut cycle, read);
    cycle.finish(Reason::TakeAgain)
}

/// Somebody else leads, or led last.
pub(crate) fn follow(mut cycle: Cycle<'_>, read: &LeaseRead) -> Decision {
    let seen = cycle.seen;
    if seen.signals.terminate_ms.is_some() {
        return leave(cycle, &read.record);
    }
    cycle.memory.leaving_since_ms = None;
    let grounds = failover::grounds(&mut cycle, read);
    let mut bar = None;
    if grounds.is_empty() {
        cycle.memory.candidate_since_ms = None;
        refresh(&mut cycle, read);
    } else {
        cycle.wake_in(100);
        match stand(&mut cycle, read, &grounds) {
            Ok(reason) => return cycle.finish(reason),
            Err(why) => bar = Some(why),
        }
        // The Lease may be gone by now, and no watch tells that (A4).
        refresh(&mut cycle, read);
    }
    promise::answer(&mut cycle, read, grounds.contains(&Ground::Proven));
    let reason = match put_in_place(&mut cycle, read, bar.is_some()) {
        Reason::Following | Reason::WaitsForEra | Reason::WaitsForSource if bar.is_some() => {
            Reason::MayNotLead(bar.unwrap_or(Bar::HolderAlive))
        }
        reason => reason,
    };
    if grounds.is_empty() {
        upgrade::obey(&mut cycle, &read.record);
    }
    cycle.finish(reason)
}

/// A pause bars everybody but whom a person names.
fn stand(cycle: &mut Cycle<'_>, read: &LeaseRead, grounds: &[Ground]) -> Result<Reason, Bar> {
    let stood = if pause::binds(cycle.seen, &read.record) {
        Err(Bar::Paused)
    } else {
        failover::stand(cycle, read, grounds)
    };
    match stood {
        Ok(reason) => Ok(reason),
        Err(why) => break_glass::stand(cycle, read, grounds).unwrap_or(Err(why)),
    }
}

/// A watch can die silently: read at least once per renewal interval.
fn refresh(cycle: &mut Cycle<'_>, read: &LeaseRead) {
    let interval_ms = cycle.timing.renew_interval_ms();
    let stale = read.fresh_ms.is_none_or(|fresh_ms| cycle.elapsed_ms(fresh_ms) >= interval_ms);
    if stale {
        cycle.read_lease();
    }
}

fn put_in_place(cycle: &mut Cycle<'_>, read: &LeaseRead, leaderless: bool) -> Reason {
    let seen = cycle.seen;
    if seen.jobs.clone.is_running() {
        return Reason::Cloning;
    }
    if seen.jobs.rewind.is_running() {
        return Reason::Rewinding;
    }
    if seen.jobs.initdb.is_running() || seen.data == DataSeen::Unknown {
        return Reason::DataUnknown;
    }
    if wrong_major(cycle) {
        return Reason::WrongMajor;
    }
    match &seen.postgres {
        PostgresSeen::Standby(_) => cycle.memory.answers(seen.now_ms),
        PostgresSeen::Unresponsive { since_ms, .. } if cycle.elapsed_ms(*since_ms) >= HUNG_AFTER_MS => {
            cycle.push(Action::Fence);
            return Reason::Restarting;
        }
        _ => {}
    }
    if seen.local_data().is_some() {
        keep_record(cycle, &read.record);
    }
    let paused = pause::binds(seen, &read.record);
    if let Some(reason) = (!paused).then(|| reinit::follow(cycle, read)).flatten() {
        return reason;
    }
    match divergence::course(seen, read, &cycle.memory) {
        Course::Clone(..) | Course::Rewind(..) if paused => {
            upkeep(cycle);
            Reason::HeldByPause
        }
        Course::Refuse => Reason::ForeignData,
        Course::Clone(from, permit) => {
            if bootstrap::may_try(&seen.jobs.clone, seen.now_ms) {
                cycle.push(Action::Clone { from, permit });
            }
            Reason::Cloning
        }
        Course::Rewind(from, permit) => {
            if bootstrap::may_try(&seen.jobs.rewind, seen.now_ms) {
                cycle.push(Action::Rewind { from, permit });
            }
            Reason::Rewinding
        }
        Course::Follow(upstream) => stream(cycle, read, upstream, leaderless),
        Course::FindPosition => {
            start_to_find_position(cycle);
            if let Some(StandbySeen { stream: StreamSeen::Streaming { .. }, .. }) = seen.standby() {
                cycle.push(Action::LeaveStream);
            }
            Reason::FindingPosition
        }
        Course::WaitForEra => {
            wait_for_era(cycle, read, leaderless);
            upkeep(cycle);
            Reason::WaitsForEra
        }
        Course::WaitForSource => {
            cycle.wake_in(250);
            if leaderless {
                start_to_find_position(cycle);
            }
            Reason::WaitsForSource
        }
    }
}

/// Whoever took is promoting. A start here would compete with that, and has to be led to the new stream afterwards; a standby that
/// still tries the old one would come to the new one only between two of its tries.
fn wait_for_era(cycle: &mut Cycle<'_>, read: &LeaseRead, leaderless: bool) {
    let until_ms = read.first_seen_ms.saturating_add(PROMOTION_MS);
    let soon = !leaderless && cycle.seen.now_ms < until_ms;
    if soon {
        cycle.wake_at(until_ms);
    } else {
        start_to_find_position(cycle);
    }
    if let Some(StandbySeen { stream: StreamSeen::Waiting { upstream: Some(_) }, .. }) = cycle.seen.standby()
    {
        cycle.push(Action::LeaveStream);
    }
}

fn stream(cycle: &mut Cycle<'_>, read: &LeaseRead, upstream: Upstream, leaderless: bool) -> Reason {
    let seen = cycle.seen;
    let Some(data) = seen.local_data() else { return Reason::DataUnknown };
    let promised = promise::binds(seen) || gives_promise(cycle);
    let persist = (data.era != Some(upstream.era)).then_some(Action::PersistEra { era: upstream.era });
    match &seen.postgres {
        // Obeyed at start too: postgres never runs with the stream that this member promised to stay out of (A12).
        PostgresSeen::Down if promised => start_to_find_position(cycle),
        PostgresSeen::Down if switchover::makes_way(cycle, &read.record) => {}
        PostgresSeen::Down => {
            if may_start(cycle) {
                cycle.actions.extend(persist);
                start(cycle, Some(upstream));
            }
        }
        PostgresSeen::Standby(standby) if promised => {
            if standby.stream != StreamSeen::Detached && !cycle.actions.contains(&Action::LeaveStream) {
                cycle.push(Action::LeaveStream);
            }
            upkeep(cycle);
            return Reason::HoldsPromise;
        }
        PostgresSeen::Standby(standby) => {
            let current = match &standby.stream {
                StreamSeen::Detached => None,
                StreamSeen::Waiting { upstream } => upstream.as_ref(),
                StreamSeen::Streaming { upstream } => Some(upstream),
            };
            let settled = current == Some(&upstream) && persist.is_none();
            // Who stands for election must not go back into the stream that it left.
            if !settled && !leaderless {
                cycle.actions.extend(persist);
                cycle.push(Action::Follow { upstream });
                cycle.wake_in(100);
            }
            upkeep(cycle);
            if restart_is_due(cycle, &read.record, standby) {
                cycle.push(Action::StopPostgres { mode: StopMode::Fast });
                return Reason::Restarting;
            }
        }
        PostgresSeen::Unknown
        | PostgresSeen::Starting { .. }
        | PostgresSeen::Stopping { .. }
        | PostgresSeen::Unresponsive { .. }
        | PostgresSeen::Primary(_) => {}
    }
    Reason::Following
}

fn gives_promise(cycle: &Cycle<'_>) -> bool {
    cycle.actions.iter().any(|action| matches!(action, Action::GivePromise { .. }))
}

/// What a running standby keeps in order whomever it follows.
fn upkeep(cycle: &mut Cycle<'_>) {
    let seen = cycle.seen;
    let Some(standby) = seen.standby() else { return };
    if settings_differ(cycle, &standby.settings) {
        cycle.push(Action::ApplySettings);
    }
    slots::on_standby(cycle, standby);
    room::make(cycle);
}

/// Keeps what the record says for the day that the Lease is lost (A4); not each renewal of it.
pub(crate) fn keep_record(cycle: &mut Cycle<'_>, record: &Record) {
    let ordered = cycle.actions.iter().any(|action| matches!(action, Action::KeepRecord { .. }));
    if !ordered && cycle.seen.kept.as_ref().is_none_or(|kept| crate::record::differs(kept, record)) {
        cycle.push(Action::KeepRecord { record: Box::new(record.clone()) });
    }
}

/// What postgres has refused it is not given over and over: it would refuse it again, twenty times a second. Nor what it does not
/// start with, where it runs with earlier settings: that would only wait for the next restart.
pub(crate) fn settings_differ(cycle: &Cycle<'_>, settings: &crate::observation::SettingsSeen) -> bool {
    let Some(desired) = &cycle.seen.desired else { return false };
    let wished = acknowledge::identity(desired);
    let Complaints { refused, starts_failed, .. } = &cycle.seen.complaints;
    let same = settings.rendered.as_ref() == Some(&wished);
    let given = same
        || refused.as_ref().is_some_and(|refused| refused.document == wished)
        || starts_failed.as_ref().is_some_and(|failed| failed.document == wished);
    !given || settings.tampered
}

fn restart_is_due(cycle: &mut Cycle<'_>, record: &Record, standby: &StandbySeen) -> bool {
    if restart::is_asked(cycle.seen, record) {
        return restart::may_begin(cycle, record);
    }
    let permitted = record.restart.as_ref().is_some_and(|permit| {
        Some(&permit.member) == cycle.seen.member()
            && standby.settings.rendered.as_ref().is_some_and(|at| at.generation == permit.generation)
    });
    permitted && standby.settings.pending_restart
}

/// Starts data that has an unknown position as a standby that follows nobody, to replay what it has.
pub(crate) fn start_to_find_position(cycle: &mut Cycle<'_>) {
    let data_counts = cycle.seen.local_data().is_some();
    if data_counts && cycle.seen.postgres == PostgresSeen::Down && !wrong_major(cycle) && may_start(cycle) {
        start(cycle, None);
    }
}

fn start(cycle: &mut Cycle<'_>, upstream: Option<Upstream>) {
    note_start(cycle, true);
    cycle.push(Action::StartPostgres {
        role: StartAs::Standby { upstream },
        names: Names::Nobody.to_string(),
    });
    cycle.wake_in(100);
}

/// Takes note of a start, for the pause before the next.
pub(crate) fn note_start(cycle: &mut Cycle<'_>, named: bool) {
    cycle.memory.started_ms = Some(cycle.seen.now_ms);
    cycle.memory.failed_starts = cycle.memory.failed_starts.saturating_add(1);
    cycle.memory.names_never_empty = named;
}

/// Whether a start may be tried now: not at once again when it does not come up.
pub(crate) fn may_start(cycle: &mut Cycle<'_>) -> bool {
    if cycle.seen.desired.is_none() {
        return false;
    }
    let pause_ms = START_BACKOFF_MS * u64::from(cycle.memory.failed_starts.min(20));
    let Some(started_ms) = cycle.memory.started_ms else { return true };
    let at_ms = started_ms.saturating_add(pause_ms);
    if cycle.memory.failed_starts > 0 && cycle.seen.now_ms < at_ms {
        cycle.wake_at(at_ms);
        return false;
    }
    true
}

/// PG_VERSION must match the binaries before every start (A26).
pub(crate) fn wrong_major(cycle: &Cycle<'_>) -> bool {
    let data = match &cycle.seen.data {
        DataSeen::Present(data) | DataSeen::Unfinished { what: Unfinished::Initdb, data: Some(data) } => data,
        DataSeen::Unknown | DataSeen::Empty | DataSeen::Unfinished { .. } => return false,
    };
    data.postgres_major != cycle.seen.me.postgres_major
}

/// A standby that was told to stop: out of V first, for two seconds at most.
fn leave(mut cycle: Cycle<'_>, record: &Record) -> Decision {
    let seen = cycle.seen;
    let since_ms = *cycle.memory.leaving_since_ms.get_or_insert(seen.now_ms);
    let votes = seen.member().is_some_and(|member| record.voters.contains(member));
    let holder_heard = record.holder.as_ref().is_some_and(|holder| seen.heard(&holder.pod).is_some());
    if votes && holder_heard && seen.standby().is_some() && cycle.elapsed_ms(since_ms) < LEAVE_VOTERS_MS {
        cycle.push(Action::ReadLease);
        cycle.wake_in(100);
        return cycle.finish(Reason::Terminating);
    }
    decide::terminate(cycle)
}
