//! What people ask of the holder: taken up once, carried by the record, answered there (A31).
//!
//! ```text
//!   REST, desired state ─> open ─> fits? ─no─> answer: refused, and why
//!                                    └─> record.switchover / restart / reinit / pause ─> settle ─> answer
//! ```
//!
//! The record outlives the holder, so a request that is answered or under way there is never begun a second time, by
//! whomever it is sent again.

use pgha_schema::desired::REQUESTS_KEPT;
use pgha_schema::record::{Pause, Record, Switchover};
use pgha_schema::request::{Answer, Asked, Outcome, Request};
use pgha_schema::status::AgentReport;

use crate::cycle::Cycle;
use crate::observation::{Gate, Observation, PrimarySeen};
use crate::{pause, reinit, restart, switchover};

/// A request that nobody could take up for so long is forgotten: who asked has given up by then.
const COUNTS_MS: u64 = 30_000;
/// Answers kept: more than the desired document can have requests.
const ANSWERS_KEPT: usize = 2 * REQUESTS_KEPT;

/// A request that came to this agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The request.
    pub request: Request,
    /// When it came last.
    pub at_ms: u64,
}

/// What an answer has to say.
pub(crate) type Told = (Outcome, String);

/// What the desired document asks for.
pub(crate) fn wished(seen: &Observation) -> &[Request] {
    seen.wish().map_or(&[], |wish| wish.requested())
}

/// Requests that this record neither answers nor carries.
fn open(cycle: &Cycle<'_>, record: &Record) -> Vec<Request> {
    let seen = cycle.seen;
    let received = seen
        .signals
        .requests
        .iter()
        .filter(|received| cycle.elapsed_ms(received.at_ms) < COUNTS_MS)
        .map(|received| received.request.clone());
    let all = wished(seen).iter().cloned().chain(received);
    all.filter(|request| !record.knows(&request.id)).collect()
}

/// What goes on already, in words.
fn under_way(record: &Record) -> Option<String> {
    if let Some(switchover) = &record.switchover {
        let to = switchover.target_pod.as_deref().unwrap_or("the best standby");
        return Some(format!("a switchover to {to} is under way ({})", switchover.reason));
    }
    if let Some(reinit) = &record.reinit {
        return Some(format!("{} is being cloned anew", reinit.pod));
    }
    let permit = record.restart.as_ref()?;
    let pod = record.pod_of(&permit.member).unwrap_or("an instance");
    Some(format!("{pod} is being restarted"))
}

/// Pause and its end concern the record alone: whatever postgres does here.
pub(crate) fn take_up_pause(cycle: &mut Cycle<'_>, record: &Record, next: &mut Record) {
    let seen = cycle.seen;
    for request in open(cycle, record) {
        let told = match (&request.asked, &next.pause) {
            (Asked::Pause, Some(_)) => (Outcome::Done, "the cluster is paused already".to_owned()),
            (Asked::Pause, None) => match under_way(next) {
                Some(what) => (Outcome::Refused, format!("{what}; ask again when it is over")),
                None => {
                    next.pause = Some(Pause { id: request.id.clone() });
                    (Outcome::Done, "paused: renewals and fencing go on, and nobody takes over".to_owned())
                }
            },
            (Asked::Resume, None) => (Outcome::Done, "the cluster is not paused".to_owned()),
            (Asked::Resume, Some(_)) => {
                next.pause = None;
                (Outcome::Done, "the cluster is no longer paused".to_owned())
            }
            (Asked::Switchover { .. } | Asked::Restart { .. } | Asked::Reinit { .. }, _) => continue,
        };
        answer(seen, next, request.id, request.asked.name(), told);
    }
    pause::lift(seen, next);
}

/// Everything else is for a primary that serves.
pub(crate) fn take_up(cycle: &mut Cycle<'_>, record: &Record, primary: &PrimarySeen, next: &mut Record) {
    if primary.gate != Gate::Open {
        return;
    }
    for request in open(cycle, record) {
        if next.knows(&request.id) {
            continue;
        }
        let name = request.asked.name();
        if let Err(why) = begin(cycle, record, primary, next, &request) {
            answer(cycle.seen, next, request.id, name, (Outcome::Refused, why));
        }
    }
}

fn begin(
    cycle: &mut Cycle<'_>,
    record: &Record,
    primary: &PrimarySeen,
    next: &mut Record,
    request: &Request,
) -> Result<(), String> {
    let seen = cycle.seen;
    if matches!(request.asked, Asked::Pause | Asked::Resume) {
        return Ok(());
    }
    if pause::binds(seen, next) {
        return Err("the cluster is paused; `pgha-agent resume` ends that".to_owned());
    }
    if let Some(what) = under_way(next) {
        return Err(format!("{what}; ask again when it is over"));
    }
    let id = request.id.clone();
    match &request.asked {
        Asked::Switchover { to } => {
            switchover::target_while_serving(seen, record, primary, to.as_deref())?;
            cycle.memory.handover_failed_ms = None;
            next.switchover = Some(Switchover {
                target_pod: to.clone(),
                reason: "requested".to_owned(),
                from: seen.member().cloned(),
                id: Some(id),
            });
        }
        Asked::Restart { pod } => next.restart = Some(restart::permit(seen, pod, id)?),
        Asked::Reinit { pod } => next.reinit = Some(reinit::permit(seen, record, primary, pod, id)?),
        Asked::Pause | Asked::Resume => {}
    }
    Ok(())
}

/// What has come to its end is answered.
pub(crate) fn settle(cycle: &mut Cycle<'_>, record: &Record, primary: &PrimarySeen, next: &mut Record) {
    let seen = cycle.seen;
    cycle.memory.watched.retain(|id, _| record.carries(id));
    if primary.gate != Gate::Open {
        return;
    }
    if let Some(switchover) = &record.switchover
        && !switchover.is_of(seen.member())
    {
        let told = match &switchover.target_pod {
            Some(pod) if *pod != seen.me.pod => {
                (Outcome::Failed, format!("{pod} did not take over; {} leads now", seen.me.pod))
            }
            Some(_) | None => (Outcome::Done, format!("{} is the primary now", seen.me.pod)),
        };
        end_switchover(seen, next, told);
    }
    if let Some((id, told)) = restart::settled(cycle, record, primary) {
        next.restart = None;
        answer(seen, next, id, "restart", told);
    }
    if let Some((id, told)) = reinit::settled(cycle, record, primary) {
        next.reinit = None;
        answer(seen, next, id, "reinit", told);
    }
}

/// A switchover is over, and answered if a person asked for it.
pub(crate) fn end_switchover(seen: &Observation, next: &mut Record, told: Told) {
    if let Some(id) = next.switchover.take().and_then(|switchover| switchover.id) {
        answer(seen, next, id, "switchover", told);
    }
}

/// The old primary leads again in another life of its container: what it had begun to hand over is still here.
pub(crate) fn revert(seen: &Observation, next: &mut Record) {
    let own = next.switchover.as_ref().is_some_and(|under_way| under_way.is_of(seen.member()));
    if own {
        let text = format!("{} was restarted before it had handed over, and leads again", seen.me.pod);
        end_switchover(seen, next, (Outcome::Reverted, text));
    }
}

/// The next holder's record: a switchover is answered when it serves; what the old holder watched over ends here.
pub(crate) fn carry_over(seen: &Observation, next: &mut Record) {
    let told = || (Outcome::Failed, format!("{} took the lead meanwhile; ask again", seen.me.pod));
    let restart = next.restart.take().and_then(|permit| permit.asked);
    if let Some(asked) = restart {
        answer(seen, next, asked.id, "restart", told());
    }
    if let Some(reinit) = next.reinit.take() {
        answer(seen, next, reinit.id, "reinit", told());
    }
    pause::lift(seen, next);
}

/// The record is made again from an older one: what is open in it may have been carried out and answered in the one that is
/// lost, and nothing is carried out twice: what the desired document asks for, and what people asked this agent for. A pause or its
/// end may be told twice.
pub(crate) fn give_up_open(seen: &Observation, next: &mut Record) {
    let received = seen.signals.requests.iter().map(|received| &received.request);
    let received = received.filter(|request| !matches!(request.asked, Asked::Pause | Asked::Resume));
    for request in wished(seen).iter().chain(received) {
        if next.knows(&request.id) {
            continue;
        }
        let text = "the Lease was lost: whether this was done is not known; ask again".to_owned();
        answer(seen, next, request.id.clone(), request.asked.name(), (Outcome::Failed, text));
    }
}

fn answer(seen: &Observation, next: &mut Record, id: String, asked: &str, (outcome, text): Told) {
    next.answers.push(Answer { id, asked: asked.to_owned(), outcome, text });
    // A request of the desired document stands there as long as it likes: its answer is what keeps it from being tried again.
    let stands = |answer: &Answer| wished(seen).iter().any(|request| request.id == answer.id);
    while next.answers.len() > ANSWERS_KEPT {
        let oldest = next.answers.iter().position(|answer| !stands(answer)).unwrap_or(0);
        next.answers.remove(oldest);
    }
}

impl Observation {
    /// What a pod's agent said, or why there is nothing, for people.
    pub(crate) fn heard_or_why(&self, pod: &str) -> Result<&AgentReport, String> {
        if let Some(report) = self.heard(pod) {
            return Ok(report);
        }
        if self.pods.contains_key(pod) || self.peers.contains_key(pod) {
            return Err(format!("{pod} does not answer"));
        }
        let known: Vec<&str> = self.pods.keys().map(String::as_str).collect();
        Err(format!("there is no instance {pod}; there are {}", known.join(", ")))
    }
}
