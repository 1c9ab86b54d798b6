//! Planned: the holder stops cleanly and hands over, or stays stopped (A21, P21, P23).

use pgha_schema::desired::{RunState, SyncMode};
use pgha_schema::ids::MemberId;
use pgha_schema::record::{Record, Release};
use pgha_schema::request::Outcome;
use pgha_schema::status::{AgentReport, Role};

use crate::cycle::Cycle;
use crate::decision::{Action, Reason, StopMode};
use crate::divergence::{self, Place};
use crate::leading;
use crate::observation::{
    ControlState, LocalData, Observation, PrimarySeen, Walsender, WriteOutcome, ordinal_of,
};
use crate::requests;
use crate::words::bytes;
use crate::{pause, restart};

/// A checkpoint while serving may take this long before the stop begins anyway: the kubelet's grace runs.
const CHECKPOINT_TERMINATING_MS: u64 = 5_000;
/// The same when nobody waits.
const CHECKPOINT_MS: u64 = 60_000;
/// After this the stop no longer waits for standbys beside the target.
const OTHERS_MS: u64 = 2_000;
/// After this it waits for none.
const TARGET_MS: u64 = 8_000;
/// After this it is no clean stop any more.
const STOP_MS: u64 = 20_000;
/// How long the target may take to take.
const TAKE_MS: u64 = 3_000;
/// Between a hand-over that failed and the next.
const RETRY_MS: u64 = 30_000;
/// A pod's deletion is itself a change of endpoints, and kube-proxy applies them once a second: so long the primary serves on
/// after SIGTERM, that the new primary's label comes just before the next time (A27). Measured from SIGTERM to the label: 0.25 s
/// beyond this.
const SERVE_ON_MS: u64 = 600;
/// After the release the pod stays this long: until kube-proxy knows the new primary, a client that comes to the old one's
/// address is refused at once, where it would wait for an address that is gone (A27).
const LINGER_MS: u64 = 1_500;
/// Who has handed over starts its postgres at the latest so long after its release.
const MAKE_WAY_MS: u64 = 1_500;
/// A target must be this near when the stop begins.
const NEAR_BYTES: u64 = 16 << 20;

/// Why the primary goes down on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Trigger {
    /// SIGTERM.
    Terminate,
    /// The desired state is `stopped`.
    Stop,
    /// Another member is to lead: that of this pod, or the best.
    Move(Option<String>),
}

fn trigger(cycle: &Cycle<'_>, record: &Record) -> Option<Trigger> {
    let seen = cycle.seen;
    if seen.signals.terminate_ms.is_some() {
        return Some(Trigger::Terminate);
    }
    let wish = seen.wish()?;
    if wish.state == RunState::Stopped {
        return Some(Trigger::Stop);
    }
    if pause::binds(seen, record) {
        return None;
    }
    let resting = cycle.memory.handover_failed_ms.is_some_and(|at_ms| cycle.elapsed_ms(at_ms) < RETRY_MS);
    if resting {
        return None;
    }
    if let Some(switchover) = record.switchover.as_ref().filter(|under_way| under_way.is_of(seen.member())) {
        return Some(Trigger::Move(switchover.target_pod.clone()));
    }
    (seen.me.ordinal > wish.replicas).then_some(Trigger::Move(None))
}

/// While the primary serves: checkpoint, then stop. `None`: there is nothing to hand over.
pub(crate) fn while_serving(
    cycle: &mut Cycle<'_>,
    record: &Record,
    primary: &PrimarySeen,
    next: &mut Record,
) -> Option<Reason> {
    let Some(trigger) = trigger(cycle, record) else {
        return restart_in_place(cycle, record, primary);
    };
    let (bound_ms, serve_ms) = match &trigger {
        Trigger::Terminate => {
            let serve_on = !pause::binds(cycle.seen, record)
                && target_while_serving(cycle.seen, record, primary, None).is_ok();
            (CHECKPOINT_TERMINATING_MS, if serve_on { SERVE_ON_MS } else { 0 })
        }
        Trigger::Stop => (CHECKPOINT_MS, 0),
        Trigger::Move(pod) => {
            if let Err(why) = target_while_serving(cycle.seen, record, primary, pod.as_deref()) {
                refuse(cycle, record, next, why);
                return None;
            }
            (CHECKPOINT_MS, 0)
        }
    };
    checkpoint_then_stop(cycle, bound_ms, serve_ms);
    Some(Reason::HandingOver)
}

/// A request that nobody can take is dropped and answered; a move that the number of replicas asks for waits.
fn refuse(cycle: &mut Cycle<'_>, record: &Record, next: &mut Record, why: String) {
    cycle.memory.handover_since_ms = None;
    if record.switchover.is_some() {
        cycle.memory.handover_failed_ms = Some(cycle.seen.now_ms);
        requests::end_switchover(cycle.seen, next, (Outcome::Refused, why));
    }
}

/// The primary's own restart, for a setting that needs one (last of all, P23) or because a person asked: in place.
fn restart_in_place(cycle: &mut Cycle<'_>, record: &Record, primary: &PrimarySeen) -> Option<Reason> {
    let permitted = record.restart.as_ref().is_some_and(|permit| {
        Some(&permit.member) == cycle.seen.member()
            && primary.settings.rendered.as_ref().is_some_and(|at| at.generation == permit.generation)
    });
    let asked = restart::is_asked(cycle.seen, record);
    if !(asked || (permitted && primary.settings.pending_restart)) {
        cycle.memory.handover_since_ms = None;
        return None;
    }
    checkpoint_then_stop(cycle, CHECKPOINT_MS, 0);
    Some(Reason::Restarting)
}

/// Stops once a checkpoint has returned or `bound_ms` have passed, and not before `serve_ms`.
fn checkpoint_then_stop(cycle: &mut Cycle<'_>, bound_ms: u64, serve_ms: u64) {
    let since_ms = *cycle.memory.handover_since_ms.get_or_insert(cycle.seen.now_ms);
    let job = &cycle.seen.jobs.checkpoint;
    let elapsed_ms = cycle.elapsed_ms(since_ms);
    let checkpointed = leading::checkpointed_since(job, since_ms);
    if (checkpointed || elapsed_ms >= bound_ms) && elapsed_ms >= serve_ms {
        cycle.push(Action::StopPostgres { mode: StopMode::Fast });
    } else if !(checkpointed || job.is_running()) {
        cycle.push(Action::Checkpoint);
    }
    cycle.wake_in(50);
}

/// While postgres stops: it waits for every walsender, so those that hold it up are ended, the target last.
pub(crate) fn while_stopping(
    cycle: &mut Cycle<'_>,
    record: &Record,
    since_ms: u64,
    walsenders: &[Walsender],
) -> Reason {
    cycle.wake_in(50);
    let elapsed_ms = cycle.elapsed_ms(since_ms);
    let keep: Vec<&MemberId> =
        if elapsed_ms < TARGET_MS { record.voters.iter().collect() } else { Vec::new() };
    if elapsed_ms >= OTHERS_MS {
        let pids: std::collections::BTreeSet<i32> = walsenders
            .iter()
            .filter(|sender| sender.ours)
            .filter(|sender| !keep.iter().any(|member| member.as_str() == sender.application_name))
            .map(|sender| sender.pid)
            .collect();
        if !pids.is_empty() {
            cycle.push(Action::EndWalsenders { pids });
        }
    }
    if elapsed_ms >= STOP_MS {
        cycle.push(Action::Fence);
    }
    Reason::HandingOver
}

/// Once postgres is down: release, or take again when nobody took. `None`: no hand-over, so start it.
pub(crate) fn while_down(
    cycle: &mut Cycle<'_>,
    record: &Record,
    data: &LocalData,
    next: &mut Record,
) -> Option<Reason> {
    let trigger = trigger(cycle, record);
    cycle.memory.handover_since_ms = None;
    if record.release.is_some() {
        return Some(released(cycle, record, trigger, next));
    }
    let (ControlState::ShutDown, Some(position)) = (data.control, data.shutdown_lsn) else {
        return None;
    };
    match trigger? {
        // Its pod was deleted by force, so that it can't release: its end is what the others notice (A13).
        Trigger::Terminate if may_not_write(cycle.seen) => {
            cycle.push(Action::Exit);
            return Some(Reason::Terminating);
        }
        Trigger::Terminate => {
            // In a pause nobody takes over: it stops cleanly, and leaves itself as the holder (A31).
            let paused = pause::binds(cycle.seen, record);
            let target = (!paused).then(|| target_while_down(cycle.seen, record, position, None)).flatten();
            next.release = Some(Release { position, target });
        }
        Trigger::Stop => next.release = Some(Release { position, target: None }),
        Trigger::Move(pod) => {
            let target = target_while_down(cycle.seen, record, position, pod.as_deref());
            if target.is_none() {
                let text =
                    "after the stop nobody was left to take over; the old primary starts again".to_owned();
                requests::end_switchover(cycle.seen, next, (Outcome::Reverted, text));
                cycle.memory.handover_failed_ms = Some(cycle.seen.now_ms);
                return None;
            }
            next.release = Some(Release { position, target });
        }
    }
    next.position = position;
    cycle.memory.released_ms = Some(cycle.seen.now_ms);
    cycle.wake_in(50);
    Some(Reason::HandingOver)
}

fn may_not_write(seen: &Observation) -> bool {
    seen.last_write.as_ref().is_some_and(|last| last.outcome == WriteOutcome::Refused)
}

fn released(cycle: &mut Cycle<'_>, record: &Record, trigger: Option<Trigger>, next: &mut Record) -> Reason {
    match trigger {
        Some(Trigger::Terminate) => {
            let handed_over = record.release.as_ref().is_some_and(|release| release.target.is_some());
            if handed_over && lingers(cycle) {
                return Reason::Released;
            }
            cycle.push(Action::Exit);
            Reason::Terminating
        }
        Some(Trigger::Stop) => Reason::Stopped,
        Some(Trigger::Move(_)) | None => {
            let since_ms = *cycle.memory.released_ms.get_or_insert(cycle.seen.now_ms);
            let stopped_before = record.release.as_ref().is_some_and(|release| release.target.is_none());
            if !stopped_before && cycle.elapsed_ms(since_ms) < TAKE_MS {
                cycle.push(Action::ReadLease);
                cycle.wake_in(100);
                return Reason::Released;
            }
            // Nobody took it: the old primary starts again. A swap, so never beside a taker.
            next.release = None;
            let whom = record.release.as_ref().and_then(|release| release.target.as_ref());
            let whom = whom.and_then(|member| record.pod_of(member)).unwrap_or("the chosen standby");
            let text = format!(
                "{whom} did not take over within {} s; the old primary starts again",
                TAKE_MS / 1_000
            );
            requests::end_switchover(cycle.seen, next, (Outcome::Reverted, text));
            cycle.memory.handover_failed_ms = Some(cycle.seen.now_ms);
            cycle.memory.released_ms = None;
            cycle.wake_in(50);
            Reason::TakeAgain
        }
    }
}

/// Whether this container, which has released the lead and is to end, stays to refuse whoever still comes.
pub(crate) fn lingers(cycle: &mut Cycle<'_>) -> bool {
    let lingers = cycle.memory.released_ms.is_some_and(|at_ms| cycle.elapsed_ms(at_ms) < LINGER_MS);
    if lingers {
        cycle.wake_in(100);
    }
    lingers
}

/// Whether this container, which has released the lead and lives on, starts its postgres later: the new primary and the standby
/// that is to confirm for it come first. Where there is no other standby, this is the one.
pub(crate) fn makes_way(cycle: &mut Cycle<'_>, record: &Record) -> bool {
    let Some(released_ms) = cycle.memory.released_ms else { return false };
    let until_ms = released_ms.saturating_add(MAKE_WAY_MS);
    let awaited = record.mode != SyncMode::Async && !record.degraded && record.voters.is_empty();
    let makes_way = awaited && record.members.len() > 2 && cycle.seen.now_ms < until_ms;
    if makes_way {
        cycle.wake_at(until_ms);
    }
    makes_way
}

fn may_take<'a>(
    seen: &'a Observation,
    record: &'a Record,
    pod: Option<&'a str>,
) -> impl Iterator<Item = &'a AgentReport> {
    seen.reports().filter(move |report| {
        let wanted =
            seen.wish().zip(ordinal_of(&report.pod)).is_some_and(|(wish, ordinal)| ordinal <= wish.replicas);
        let known = report.member.as_ref().is_some_and(|member| record.members.contains_key(member));
        wanted
            && known
            && !report.stopping
            && report.role == Role::Standby
            && report.position.is_some()
            && divergence::place(record, divergence::reported_era(record, report), report.position)
                == Place::OnChain
            && pod.is_none_or(|pod| pod == report.pod)
            && !seen.pods.get(&report.pod).is_some_and(|at| at.deleting)
    })
}

/// The member that is to take over, while the primary still serves: it streams and is near; voters first. Or why there is
/// none, in words.
pub(crate) fn target_while_serving(
    seen: &Observation,
    record: &Record,
    primary: &PrimarySeen,
    pod: Option<&str>,
) -> Result<MemberId, String> {
    if let Some(pod) = pod {
        return fit(seen, record, primary, pod);
    }
    let wanted = seen.wish().map_or(0, |wish| wish.replicas);
    let others: std::collections::BTreeSet<&String> = seen
        .pods
        .keys()
        .chain(seen.peers.keys())
        .filter(|pod| **pod != seen.me.pod && ordinal_of(pod).is_some_and(|ordinal| ordinal <= wanted))
        .collect();
    if others.is_empty() {
        return Err(format!("{} is alone: there is no standby to hand over to", seen.me.pod));
    }
    let mut unfit = Vec::new();
    let mut fits = Vec::new();
    for pod in others {
        match fit(seen, record, primary, pod) {
            Ok(member) => fits.push((!record.voters.contains(&member), pod, member)),
            Err(why) => unfit.push(why),
        }
    }
    fits.into_iter()
        .min()
        .map(|(.., member)| member)
        .ok_or_else(|| format!("no standby fits: {}", unfit.join("; ")))
}

/// Whether this pod's member can take over from the primary that serves here.
fn fit(seen: &Observation, record: &Record, primary: &PrimarySeen, pod: &str) -> Result<MemberId, String> {
    if pod == seen.me.pod {
        return Err(format!("{pod} is the primary already"));
    }
    let report = seen.heard_or_why(pod)?;
    let Some(wish) = seen.wish() else { return Err("the desired state was not read yet".to_owned()) };
    if ordinal_of(pod).is_none_or(|ordinal| ordinal > wish.replicas) {
        return Err(format!("{pod} is beyond the wanted number of replicas ({})", wish.replicas));
    }
    if report.stopping || seen.pods.get(pod).is_some_and(|at| at.deleting) {
        return Err(format!("{pod} is shutting down"));
    }
    let Some(member) = &report.member else { return Err(format!("{pod} has no data yet")) };
    if !record.members.contains_key(member) || report.role != Role::Standby {
        return Err(format!("{pod} is no standby of this primary (yet)"));
    }
    let sender =
        primary.walsenders.iter().find(|one| one.streaming && one.application_name == member.as_str());
    let Some(sender) = sender else { return Err(format!("{pod} does not stream from {}", seen.me.pod)) };
    let behind = sender.flushed_lsn.behind(primary.current_lsn).0;
    if behind > NEAR_BYTES {
        let (behind, near) = (bytes(behind), bytes(NEAR_BYTES));
        return Err(format!("{pod} is {behind} behind, and more than {near} would make clients wait"));
    }
    let era = divergence::reported_era(record, report);
    if report.position.is_none() || divergence::place(record, era, report.position) != Place::OnChain {
        return Err(format!("{pod} has not replayed its own WAL yet, or left the primary's history"));
    }
    Ok(member.clone())
}

/// The member that is to take over, after the stop: whoever has everything, else a voter, which was being sent it.
fn target_while_down(
    seen: &Observation,
    record: &Record,
    position: pgha_schema::lsn::Lsn,
    pod: Option<&str>,
) -> Option<MemberId> {
    may_take(seen, record, pod)
        .filter_map(|report| {
            let member = report.member.as_ref()?;
            let has_all = report.position.is_some_and(|theirs| theirs >= position);
            Some((!has_all, !record.voters.contains(member), report.pod.clone(), member.clone()))
        })
        .min()
        .map(|(.., member)| member)
}
