//! What the holder does to the other pods, one at a time: template rolls, ordered restarts, crash loops (P23, A29).

use pgha_schema::desired::Desired;
use pgha_schema::record::{Record, RestartPermit, Switchover};
use pgha_schema::status::AgentReport;

use crate::cycle::Cycle;
use crate::decision::Action;
use crate::observation::{Observation, PodSeen, PrimarySeen};
use crate::{acknowledge, pause};

/// Between two deletions of a roll: the watch has to show the first.
const BETWEEN_DELETIONS_MS: u64 = 3_000;
/// So long its own restart has to be due before the holder is first: until then a standby may not have told that its own is due too.
const OWN_RESTART_MS: u64 = 3_000;
/// Between two deletions of pods in crash-loop back-off.
const CRASH_LOOP_MS: u64 = 60_000;

/// One step. Returns whether work goes on.
pub(crate) fn advance(
    cycle: &mut Cycle<'_>,
    record: &Record,
    primary: &PrimarySeen,
    next: &mut Record,
) -> bool {
    let seen = cycle.seen;
    let paused = pause::binds(seen, record);
    let Some(wish) = seen.wish().filter(|_| seen.listed && !paused) else { return false };
    free_crash_loops(cycle);
    roll(cycle, record, primary, next, wish) || restart(cycle, record, primary, next, wish)
}

/// A pod whose container is killed again and again waits for minutes: a new pod does not.
fn free_crash_loops(cycle: &mut Cycle<'_>) {
    let seen = cycle.seen;
    if cycle.memory.deleted_pod_ms.is_some_and(|at_ms| cycle.elapsed_ms(at_ms) < CRASH_LOOP_MS) {
        return;
    }
    let looping = seen
        .pods
        .iter()
        .find(|(name, pod)| pod.crash_loop_by_signal && !pod.deleting && **name != seen.me.pod);
    if let Some((name, pod)) = looping {
        delete(cycle, name, pod);
    }
}

fn delete(cycle: &mut Cycle<'_>, name: &str, pod: &PodSeen) {
    cycle.memory.deleted_pod_ms = Some(cycle.seen.now_ms);
    cycle.push(Action::DeletePod { pod: name.to_owned(), uid: pod.uid.clone() });
}

fn wanted<'a>(seen: &'a Observation, wish: &'a Desired) -> impl Iterator<Item = (&'a String, &'a PodSeen)> {
    seen.pods.iter().filter(move |(_, pod)| pod.ordinal <= wish.replicas)
}

/// The pod answers and streams.
pub(crate) fn is_healthy(seen: &Observation, primary: &PrimarySeen, pod: &str) -> bool {
    let Some(member) = seen.heard(pod).and_then(|report| report.member.as_ref()) else { return false };
    primary.walsenders.iter().any(|sender| sender.streaming && sender.application_name == member.as_str())
}

/// Every wanted standby is there, answers and streams.
pub(crate) fn all_healthy(seen: &Observation, primary: &PrimarySeen, wish: &Desired) -> bool {
    let mut standbys = 0;
    for (name, pod) in wanted(seen, wish).filter(|(name, _)| **name != seen.me.pod) {
        if pod.deleting || !is_healthy(seen, primary, name) {
            return false;
        }
        standbys += 1;
    }
    standbys >= wish.replicas
}

pub(crate) fn votes(seen: &Observation, record: &Record, pod: &str) -> bool {
    seen.heard(pod)
        .and_then(|report| report.member.as_ref())
        .is_some_and(|member| record.voters.contains(member))
}

fn roll(
    cycle: &mut Cycle<'_>,
    record: &Record,
    primary: &PrimarySeen,
    next: &mut Record,
    wish: &Desired,
) -> bool {
    let seen = cycle.seen;
    let stale = |pod: &PodSeen| pod.template_hash != wish.template_hash;
    let old: Vec<(&String, &PodSeen)> =
        wanted(seen, wish).filter(|(name, pod)| stale(pod) && **name != seen.me.pod).collect();
    let own = seen.pods.get(&seen.me.pod).filter(|pod| stale(pod));
    if old.is_empty() && own.is_none() {
        return false;
    }
    if cycle.memory.deleted_pod_ms.is_some_and(|at_ms| cycle.elapsed_ms(at_ms) < BETWEEN_DELETIONS_MS) {
        return true;
    }
    let broken = old
        .iter()
        .find(|(name, pod)| !pod.deleting && !is_healthy(seen, primary, name) && !votes(seen, record, name));
    let healthy = all_healthy(seen, primary, wish);
    // Non-voters first, then the highest ordinal.
    let first =
        old.iter().min_by_key(|(name, pod)| (votes(seen, record, name), std::cmp::Reverse(pod.ordinal)));
    match (broken, first) {
        // What does not work anyway loses nothing; a new pod may be its cure.
        (Some((name, pod)), _) => delete(cycle, name, pod),
        (None, Some((name, pod))) if healthy => delete(cycle, name, pod),
        (None, Some(_)) => {}
        (None, None) => {
            if let Some(own) = own.filter(|own| healthy && !own.deleting) {
                if wish.replicas == 0 {
                    let name = seen.me.pod.clone();
                    delete(cycle, &name, own);
                } else if record.switchover.is_none() {
                    next.switchover = Some(Switchover {
                        target_pod: None,
                        reason: "rolling".to_owned(),
                        from: seen.member().cloned(),
                        id: None,
                    });
                }
            }
        }
    }
    true
}

/// Whether the wished settings have ended a postgres at its start: it may run with earlier ones by now, and the next that restarts would
/// only be an outage more.
fn ends_somewhere(seen: &Observation) -> bool {
    let wished = seen.desired.as_ref().map(acknowledge::identity);
    let told = seen.reports().filter_map(|report| report.starts_failed.as_ref());
    told.chain(&seen.complaints.starts_failed).any(|failed| wished.as_ref() == Some(&failed.document))
}

/// Ordered restarts for settings that need one: standbys one by one, the primary last. The order for lowered limits
/// follows by itself: a standby's file holds the larger of the wanted and its control file's value, so nothing is
/// pending there until the primary has restarted.
fn restart(
    cycle: &mut Cycle<'_>,
    record: &Record,
    primary: &PrimarySeen,
    next: &mut Record,
    wish: &Desired,
) -> bool {
    let seen = cycle.seen;
    let due = primary.settings.pending_restart;
    let due_ms = due.then(|| cycle.memory.restart_due_ms.unwrap_or(seen.now_ms));
    cycle.memory.restart_due_ms = due_ms;
    let pending = |report: &&AgentReport| {
        let rendered = crate::observation::ordinal_of(&report.pod).is_some_and(|at| at <= wish.replicas);
        report.pending_restart && rendered
    };
    // One that a person asked for is watched over elsewhere.
    if let Some(permit) = record.restart.as_ref().filter(|permit| permit.asked.is_none()) {
        let own = Some(&permit.member) == seen.member();
        let report = seen.reports().find(|report| report.member.as_ref() == Some(&permit.member));
        let done = match report {
            _ if own => !primary.settings.pending_restart,
            Some(report) => !report.pending_restart && is_healthy(seen, primary, &report.pod),
            None => !record.members.contains_key(&permit.member),
        };
        if done || permit.generation != wish.generation {
            next.restart = None;
        }
        return true;
    }
    if next.restart.is_some() {
        return true;
    }
    if ends_somewhere(seen) {
        return false;
    }
    let mut standbys: Vec<&AgentReport> = seen.reports().filter(pending).collect();
    standbys.sort_by_key(|report| (votes(seen, record, &report.pod), report.pod.clone()));
    let member = match standbys.first() {
        Some(report) => report.member.clone(),
        None => {
            let Some(due_ms) = due_ms else { return false };
            let first_ms = if wish.replicas == 0 { due_ms } else { due_ms.saturating_add(OWN_RESTART_MS) };
            if seen.now_ms < first_ms {
                cycle.wake_at(first_ms);
                return true;
            }
            seen.member().cloned()
        }
    };
    if all_healthy(seen, primary, wish) {
        next.restart =
            member.map(|member| RestartPermit { member, generation: wish.generation, asked: None });
    }
    true
}
