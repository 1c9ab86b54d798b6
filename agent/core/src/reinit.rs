//! A standby's data is cloned anew because a person asks (A31), with the proofs of A23: never the primary's, never a
//! voter's, never the last copy.
//!
//! ```text
//!   holder:  record.reinit = member ─> named in V only when there is nobody else ─> (another id streams) ─> answer
//!   member:  out of V ─> leaves the stream ─> an uncached read after that still says so ─> clone
//! ```

use pgha_schema::record::{Record, Reinit};
use pgha_schema::request::Outcome;
use pgha_schema::status::Role;

use crate::bootstrap;
use crate::cycle::Cycle;
use crate::decision::{Action, Reason};
use crate::divergence;
use crate::observation::{LeaseRead, Observation, PostgresSeen, PrimarySeen, StandbySeen, StreamSeen};
use crate::requests::Told;
use crate::rolling;

/// A voter that nobody can replace in this time stays what it is.
const LEAVE_VOTERS_MS: u64 = 20_000;
/// A clone that has not ended by then is no longer waited for.
const CLONED_MS: u64 = 3_600_000;

/// The holder's word, or why not.
pub(crate) fn permit(
    seen: &Observation,
    record: &Record,
    primary: &PrimarySeen,
    pod: &str,
    id: String,
) -> Result<Reinit, String> {
    if pod == seen.me.pod {
        return Err(format!("{pod} is the primary; `pgha-agent switchover` makes another one first"));
    }
    let report = seen.heard_or_why(pod)?;
    if report.role == Role::Primary {
        return Err(format!("{pod} says that it is a primary too; it is fenced or rewound by itself"));
    }
    let member =
        report.member.as_ref().ok_or_else(|| format!("{pod} has no data; it is cloned by itself"))?;
    if !record.members.contains_key(member) {
        return Err(format!("{pod} is not recorded as a member yet"));
    }
    let streams = |wanted: &dyn Fn(&str) -> bool| {
        primary
            .walsenders
            .iter()
            .any(|sender| sender.ours && sender.streaming && wanted(&sender.application_name))
    };
    let here = |name: &str| name == member.as_str();
    let elsewhere = |name: &str| !here(name) && record.members.keys().any(|other| other.as_str() == name);
    if streams(&here) && !streams(&elsewhere) {
        return Err(format!("{pod} holds the only other copy of the data, and a good one"));
    }
    Ok(Reinit { member: member.clone(), pod: pod.to_owned(), id })
}

/// The re-clone is over, or can't be begun.
pub(crate) fn settled(
    cycle: &mut Cycle<'_>,
    record: &Record,
    primary: &PrimarySeen,
) -> Option<(String, Told)> {
    let seen = cycle.seen;
    let reinit = record.reinit.as_ref()?;
    let (pod, id) = (&reinit.pod, reinit.id.clone());
    let since_ms = cycle.watch(&id);
    let member = seen.heard(pod).and_then(|report| report.member.as_ref());
    if member.is_some_and(|member| *member != reinit.member) && rolling::is_healthy(seen, primary, pod) {
        return Some((id, (Outcome::Done, format!("{pod} was cloned anew and streams"))));
    }
    // Given up only while the record names it in V: whoever reads any version without it there may have begun.
    let votes = record.voters.contains(&reinit.member);
    if votes && cycle.elapsed_ms(since_ms) >= LEAVE_VOTERS_MS {
        let why = format!("{pod} confirms commits, and no other standby can take its place");
        return Some((id, (Outcome::Refused, why)));
    }
    let overdue = cycle.elapsed_ms(since_ms) >= CLONED_MS;
    overdue.then(|| (id, (Outcome::Failed, format!("{pod} was not cloned within an hour"))))
}

/// The member's part. `None`: nothing is asked of it.
pub(crate) fn follow(cycle: &mut Cycle<'_>, read: &LeaseRead) -> Option<Reason> {
    let seen = cycle.seen;
    if divergence::asked_anew(seen, &read.record).is_none() {
        cycle.memory.left_for_clone_ms = None;
        return None;
    }
    cycle.wake_in(100);
    let left_ms = match &seen.postgres {
        PostgresSeen::Standby(StandbySeen { stream: StreamSeen::Detached, .. }) | PostgresSeen::Down => {
            *cycle.memory.left_for_clone_ms.get_or_insert(seen.now_ms)
        }
        PostgresSeen::Standby(_) => {
            cycle.memory.left_for_clone_ms = None;
            cycle.push(Action::LeaveStream);
            return Some(Reason::Cloning);
        }
        PostgresSeen::Unknown
        | PostgresSeen::Starting { .. }
        | PostgresSeen::Stopping { .. }
        | PostgresSeen::Unresponsive { .. }
        | PostgresSeen::Primary(_) => return None,
    };
    match divergence::asked_clone(seen, read, left_ms) {
        Some((from, permit)) if bootstrap::may_try(&seen.jobs.clone, seen.now_ms) => {
            cycle.push(Action::Clone { from, permit });
        }
        Some(_) => {}
        None => cycle.read_lease(),
    }
    Some(Reason::Cloning)
}
