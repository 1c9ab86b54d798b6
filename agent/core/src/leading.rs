//! What the holder does: renew, bring its postgres up as primary, let clients in, keep everything in place.

use pgha_schema::desired::{OnPostgresCrash, RunState, SyncMode};
use pgha_schema::record::{MemberEntry, Record};

use crate::cycle::Cycle;
use crate::decision::{Action, Bar, Decision, Reason, Settling, StartAs, StopMode};
use crate::divergence::{self, Place};
use crate::labels::{self, Which};
use crate::observation::{
    ControlState, DataSeen, DiskSeen, Gate, Job, LeaseRead, LocalData, PostgresSeen, PrimarySeen,
    StandbySeen, StreamSeen, Unfinished,
};
use crate::sync_names::Names;
use crate::{
    acknowledge, following, lease, marks, passwords, pause, record, requests, rolling, slots, switchover,
    sync_standbys, upgrade,
};

/// A crashed primary with more WAL than this to replay hands over rather than restart in place (A25).
const REPLAY_IN_PLACE_BYTES: u64 = 1 << 30;
/// Starts in a row that may fail before another member is let lead.
const FAILED_STARTS: u32 = 4;
/// Between a failed write of the record and the next.
const RETRY_MS: u64 = 200;
/// For so long after its promotion a primary does only what lets clients commit.
const SETTLE_MS: u64 = 1_000;

/// This container holds the record, and data exists.
pub(crate) fn lead(mut cycle: Cycle<'_>, read: &LeaseRead) -> Decision {
    cycle.guard();
    let seen = cycle.seen;
    cycle.memory.candidate_since_ms = None;
    let mut next = record::held_by(&read.record, seen, cycle.timing);
    next.format = record::format_to_write(seen, &read.record);
    requests::take_up_pause(&mut cycle, &read.record, &mut next);
    let holder_member = read.record.holder.as_ref().and_then(|holder| holder.member.as_ref());
    let reason = match &seen.data {
        DataSeen::Unknown => Reason::DataUnknown,
        DataSeen::Present(data) if Some(&data.member) == holder_member => {
            run(&mut cycle, read, data, &mut next)
        }
        DataSeen::Unfinished { what: Unfinished::Initdb, data: Some(data) }
            if Some(&data.member) == holder_member =>
        {
            // Kept before the data counts: from then on a lost Lease can be made again.
            following::keep_record(&mut cycle, &read.record);
            cycle.push(Action::AdoptData { member: data.member.clone() });
            cycle.wake_in(50);
            Reason::Bootstrapping
        }
        // The data that made this container the holder is gone: it does not renew, so that V may take after expiry.
        DataSeen::Present(_) | DataSeen::Empty | DataSeen::Unfinished { .. } => {
            return cycle.finish(Reason::MayNotLead(Bar::NotOnChain));
        }
    };
    if renews(&reason) {
        renew(&mut cycle, read, next);
    }
    let told = |primary: &PrimarySeen| {
        let waits = matches!(reason, Reason::LeadingSettling(Settling::Gate | Settling::SyncSet));
        reason_serves(&reason) && !(waits && is_just_promoted(&cycle, primary))
    };
    if let Some(primary) = seen.primary().filter(|primary| told(primary)) {
        acknowledge::report(&mut cycle, &read.record, primary, &reason);
    } else if reason == Reason::Stopped {
        acknowledge::report_stopped(&mut cycle, &read.record);
    } else if reason == Reason::LeadingSettling(Settling::Starting) {
        acknowledge::report_unable(&mut cycle, &read.record, &reason);
    }
    cycle.finish(reason)
}

/// A released record is left alone, so that the taker's swap does not meet a newer version.
fn renews(reason: &Reason) -> bool {
    !matches!(reason, Reason::Released | Reason::Stopped | Reason::WrongMajor | Reason::Terminating)
}

fn reason_serves(reason: &Reason) -> bool {
    matches!(reason, Reason::Leading | Reason::LeadingSettling(_) | Reason::HandingOver)
}

/// Renews when it is due or when something changed; never while the disk hangs (A26).
pub(crate) fn renew(cycle: &mut Cycle<'_>, read: &LeaseRead, next: Record) {
    let seen = cycle.seen;
    if matches!(seen.disk, DiskSeen::Hung { .. }) {
        return;
    }
    let interval_ms = cycle.timing.renew_interval_ms();
    let renewed_ms = cycle.memory.renewed_ms;
    let gate_waits = seen.primary().is_some_and(|primary| {
        primary.gate == Gate::Closed && renewed_ms.is_none_or(|at_ms| at_ms < primary.primary_since_ms)
    });
    let due = gate_waits || renewed_ms.is_none_or(|at_ms| cycle.elapsed_ms(at_ms) >= interval_ms);
    if !due && !record::differs(&read.record, &next) {
        cycle.wake_at(renewed_ms.unwrap_or(seen.now_ms).saturating_add(interval_ms));
        return;
    }
    let last_failed_ms = seen
        .last_write
        .as_ref()
        .filter(|last| last.outcome != crate::observation::WriteOutcome::Written)
        .map(|last| last.at_ms);
    if last_failed_ms.is_some_and(|at_ms| cycle.elapsed_ms(at_ms) < RETRY_MS) {
        cycle.wake_in(RETRY_MS);
        return;
    }
    cycle.write(read, next);
    cycle.wake_in(interval_ms);
}

fn run(cycle: &mut Cycle<'_>, read: &LeaseRead, data: &LocalData, next: &mut Record) -> Reason {
    let seen = cycle.seen;
    match &seen.postgres {
        PostgresSeen::Unknown => Reason::LeadingSettling(Settling::Starting),
        PostgresSeen::Down => down(cycle, read, data, next),
        PostgresSeen::Starting { .. } => {
            if seen.signals.terminate_ms.is_some() {
                cycle.push(Action::StopPostgres { mode: StopMode::Fast });
            }
            cycle.wake_in(100);
            Reason::LeadingSettling(Settling::Starting)
        }
        PostgresSeen::Stopping { since_ms, walsenders } => {
            switchover::while_stopping(cycle, &read.record, *since_ms, walsenders)
        }
        PostgresSeen::Unresponsive { .. } => Reason::LeadingSettling(Settling::Starting),
        PostgresSeen::Standby(standby) => promote(cycle, &read.record, data, standby),
        PostgresSeen::Primary(primary) => serve(cycle, read, data, primary, next),
    }
}

fn is_alive(cycle: &Cycle<'_>) -> bool {
    lease::fence_at_ms(cycle.timing, &cycle.memory).is_some_and(|at_ms| cycle.seen.now_ms < at_ms)
}

fn down(cycle: &mut Cycle<'_>, read: &LeaseRead, data: &LocalData, next: &mut Record) -> Reason {
    let seen = cycle.seen;
    if let Some(reason) = switchover::while_down(cycle, &read.record, data, next) {
        return reason;
    }
    if seen.signals.terminate_ms.is_some() {
        cycle.push(Action::Exit);
        return Reason::Terminating;
    }
    if following::wrong_major(cycle) {
        return Reason::WrongMajor;
    }
    if gives_way(cycle, &read.record, data) {
        // The container's end proves this life's death (A10): V takes at once.
        cycle.push(Action::Exit);
        return Reason::Restarting;
    }
    if is_alive(cycle) && following::may_start(cycle) {
        let role = match data.control {
            ControlState::ShutDown | ControlState::InProduction => StartAs::Primary,
            // It took the record as a standby and was not promoted: never out of recovery on the same timeline.
            ControlState::ShutDownInRecovery | ControlState::InRecovery => {
                StartAs::Standby { upstream: None }
            }
        };
        let names = match role {
            StartAs::Primary => sync_standbys::names_at_start(cycle.seen, &cycle.memory, &read.record),
            StartAs::Standby { .. } => Names::Nobody,
        };
        following::note_start(cycle, names != Names::Empty);
        cycle.push(Action::StartPostgres { role, names: names.to_string() });
    }
    cycle.wake_in(100);
    Reason::LeadingSettling(Settling::Starting)
}

/// Postgres died alone: whether another member should lead rather than a restart in place (A25).
fn gives_way(cycle: &Cycle<'_>, record: &Record, data: &LocalData) -> bool {
    let Some(wish) = cycle.seen.wish().filter(|_| !pause::binds(cycle.seen, record)) else { return false };
    let crashed = matches!(data.control, ControlState::InProduction);
    let wanted = match wish.failover.on_postgres_crash {
        OnPostgresCrash::Restart => false,
        OnPostgresCrash::Failover => crashed,
        OnPostgresCrash::Auto => crashed && data.replay_bytes > REPLAY_IN_PLACE_BYTES,
    };
    // It would start, and stop at the next segment of WAL, again and again (A26).
    let no_room = crashed && cycle.seen.disk == DiskSeen::Full;
    let hopeless = cycle.memory.failed_starts >= FAILED_STARTS;
    (wanted || no_room || hopeless) && wish.state == RunState::Running && somebody_fits(cycle, record)
}

fn somebody_fits(cycle: &Cycle<'_>, record: &Record) -> bool {
    cycle.seen.reports().any(|report| {
        let Some(member) = &report.member else { return false };
        !report.stopping
            && !report.disk_full
            && report.position.is_some()
            && report.era == Some(record.era())
            && (record.mode == SyncMode::Async || record.voters.contains(member))
    })
}

/// This member took the record as a standby: promote it. The record has named holder, era and V before (A22).
fn promote(cycle: &mut Cycle<'_>, record: &Record, data: &LocalData, standby: &StandbySeen) -> Reason {
    cycle.memory.answers(cycle.seen.now_ms);
    cycle.wake_in(50);
    if cycle.seen.signals.terminate_ms.is_some() {
        cycle.push(Action::StopPostgres { mode: StopMode::Fast });
        return Reason::Terminating;
    }
    if !is_alive(cycle) {
        return Reason::Promoting;
    }
    if standby.stream != StreamSeen::Detached && !cycle.memory.predecessor_gone {
        cycle.push(Action::LeaveStream);
        return Reason::LeavesStream;
    }
    // The end of the old primary's pod changes endpoints too, and kube-proxy applies such changes once a second. One that handed over
    // and whose pod stays leaves time, and who changes labels first competes with the promotion.
    let handed_over = standby.stream != StreamSeen::Detached;
    let leaves_time = handed_over && labels::another_is_primary(cycle.seen);
    if !leaves_time {
        labels::keep(cycle, Which::Roles);
    }
    if standby.replay_paused {
        cycle.push(Action::ResumeReplay);
    }
    if data.era != Some(record.era()) {
        // First the record that tells of the era: a Lease that is lost is made again from it, and no era twice.
        following::keep_record(cycle, record);
        cycle.push(Action::PersistEra { era: record.era() });
    }
    let names = sync_standbys::names_at_promotion(cycle.seen, record);
    cycle.push(Action::SetSyncNames { names: names.to_string() });
    cycle.push(Action::Promote);
    if leaves_time {
        labels::keep(cycle, Which::Roles);
    }
    Reason::Promoting
}

fn serve(
    cycle: &mut Cycle<'_>,
    read: &LeaseRead,
    data: &LocalData,
    primary: &PrimarySeen,
    next: &mut Record,
) -> Reason {
    let seen = cycle.seen;
    let record = &read.record;
    cycle.memory.answers(cycle.seen.now_ms);
    cycle.memory.released_ms = None;
    if primary.names_shown.is_empty() {
        cycle.memory.names_never_empty = false;
    } else if primary.in_force.as_ref().is_some_and(|in_force| in_force.names == primary.names_shown) {
        // Confirmed with a checkpoint, if one was due: the checkpointer knows of names until there are none again (A17).
        cycle.memory.names_never_empty = true;
    }
    if data.era != Some(record.era()) {
        following::keep_record(cycle, record);
        cycle.push(Action::PersistEra { era: record.era() });
    }
    complete_era(primary, next);
    next.release = None;
    next.position = primary.current_lsn;
    keep_members(cycle, record, next);
    if following::settings_differ(cycle, &primary.settings) {
        cycle.push(Action::ApplySettings);
    }
    let settled = sync_standbys::advance(cycle, record, primary, next);
    slots::on_primary(cycle, primary);
    end_strangers(cycle, record, primary);
    marks::keep(cycle, record, primary);
    requests::settle(cycle, record, primary, next);
    requests::take_up(cycle, record, primary, next);
    if let Some(reason) = switchover::while_serving(cycle, record, primary, next) {
        return reason;
    }
    if primary.gate == Gate::Closed {
        open_gate(cycle, record, primary);
        labels::keep(cycle, Which::Roles);
        return Reason::LeadingSettling(Settling::Gate);
    }
    let calm = settled || !is_just_promoted(cycle, primary);
    labels::keep(cycle, if calm { Which::All } else { Which::Roles });
    let rotating = calm && passwords::keep(cycle);
    // Not before clients are let in: the volume may be slow.
    following::keep_record(cycle, record);
    marks::remember(cycle, record);
    let awaited = calm || !somebody_follows(cycle, record);
    if awaited && !primary.checkpoint_since_promotion && !seen.jobs.checkpoint.is_running() {
        cycle.push(Action::Checkpoint);
    }
    if rolling::advance(cycle, record, primary, next) {
        return Reason::LeadingSettling(Settling::Rolling);
    }
    if upgrade::advance(cycle, record, primary, next, settled) {
        return Reason::LeadingSettling(Settling::Agents);
    }
    match (settled, rotating) {
        (false, _) => Reason::LeadingSettling(Settling::SyncSet),
        (true, true) => Reason::LeadingSettling(Settling::Passwords),
        (true, false) => Reason::Leading,
    }
}

/// Until a standby confirms clients wait, and what is for others can wait for as long: endpoints that change take kube-proxy's
/// next turn (A27), a checkpoint the disk.
fn is_just_promoted(cycle: &Cycle<'_>, primary: &PrimarySeen) -> bool {
    cycle.elapsed_ms(primary.primary_since_ms) < SETTLE_MS
}

/// Whether anybody can follow as it is. Who can't is rewound, and a rewind waits for the first checkpoint on the new timeline.
fn somebody_follows(cycle: &Cycle<'_>, record: &Record) -> bool {
    cycle.seen.reports().any(|report| {
        report.member.as_ref().is_some_and(|member| record.members.contains_key(member))
            && divergence::place(record, divergence::reported_era(record, report), report.position)
                == Place::OnChain
    })
}

/// Timeline and start of the current era, once promotion was seen: nobody follows it before (A3).
fn complete_era(primary: &PrimarySeen, next: &mut Record) {
    if let Some(current) = next.eras.last_mut() {
        if current.start.is_none() {
            current.start = Some(primary.timeline_start_lsn);
        }
        current.timeline = Some(primary.timeline);
    }
}

/// A9: clients are let in after a renewal that was sent after promotion or start.
fn open_gate(cycle: &mut Cycle<'_>, record: &Record, primary: &PrimarySeen) {
    let renewed = cycle.memory.renewed_ms.is_some_and(|at_ms| at_ms >= primary.primary_since_ms);
    let complete = record.current().is_some_and(|era| era.is_complete());
    let confirmed = record.mode == SyncMode::Async || record.degraded || !primary.names_shown.is_empty();
    if renewed && complete && confirmed && is_alive(cycle) && marks::allow_clients(cycle.seen, record) {
        // After a failover clients wait: only the era goes before it (A3). At first nobody does.
        let first = record.current().is_none_or(|era| era.parent.is_none());
        let era = cycle.actions.iter().rposition(|action| matches!(action, Action::PersistEra { .. }));
        marks::remember(cycle, record);
        let at = if first { cycle.actions.len() } else { era.map_or(0, |at| at + 1) };
        cycle.actions.insert(at, Action::OpenGate);
    }
    cycle.wake_in(50);
}

/// Every member that answers with this cluster's data; one per pod; voters stay whatever they answer.
fn keep_members(cycle: &Cycle<'_>, record: &Record, next: &mut Record) {
    for report in cycle.seen.reports() {
        let ours = report.system_identifier == record.system_identifier;
        let Some(member) = report.member.as_ref().filter(|_| ours) else { continue };
        next.members
            .retain(|id, entry| entry.pod != report.pod || id == member || record.voters.contains(id));
        next.members
            .insert(member.clone(), MemberEntry { pod: report.pod.clone(), node: report.node.clone() });
    }
    let Some(wish) = cycle.seen.wish().filter(|_| cycle.seen.listed) else { return };
    next.members.retain(|id, entry| {
        record.voters.contains(id)
            || cycle.seen.pods.contains_key(&entry.pod)
            || crate::observation::ordinal_of(&entry.pod).is_some_and(|ordinal| ordinal <= wish.replicas)
    });
}

/// Streams of our own role that are no member's are ended (A24), once every wanted pod was heard.
fn end_strangers(cycle: &mut Cycle<'_>, record: &Record, primary: &PrimarySeen) {
    let seen = cycle.seen;
    let all_heard = seen.peers.keys().all(|pod| seen.heard(pod).is_some());
    if !all_heard {
        return;
    }
    let is_member = |name: &str| {
        record.members.keys().any(|member| member.as_str() == name)
            || seen.reports().any(|report| report.member.as_ref().is_some_and(|m| m.as_str() == name))
    };
    let pids: std::collections::BTreeSet<i32> = primary
        .walsenders
        .iter()
        .filter(|sender| sender.ours && sender.streaming)
        // pg_basebackup's own stream goes by its name, member ids have no underscore.
        .filter(|sender| !sender.application_name.contains('_') && !is_member(&sender.application_name))
        .map(|sender| sender.pid)
        .collect();
    if !pids.is_empty() {
        cycle.push(Action::EndWalsenders { pids });
    }
}

/// A checkpoint that was started at or after this time has ended.
pub(crate) fn checkpointed_since(job: &Job, since_ms: u64) -> bool {
    match job {
        Job::Done { since_ms: started_ms, .. } => *started_ms >= since_ms,
        Job::Failed { at_ms, .. } => *at_ms >= since_ms,
        Job::Idle | Job::Running { .. } => false,
    }
}
