//! A restart that a person asked for: of one postmaster, named by its container's life and its process, so that it happens
//! once however often anything is repeated (A31).

use pgha_schema::record::{AskedRestart, Record, RestartPermit};
use pgha_schema::request::Outcome;

use crate::cycle::Cycle;
use crate::observation::{Gate, Observation, PrimarySeen};
use crate::requests::Told;
use crate::rolling;

/// How long a standby that is to restart waits to be out of V, so that no commit waits for it.
const LEAVE_VOTERS_MS: u64 = 2_000;
/// Who has not come back by then is said to have failed.
const BACK_MS: u64 = 120_000;

/// The restart that this record carries.
pub(crate) fn asked_in(record: &Record) -> Option<&AskedRestart> {
    record.restart.as_ref().and_then(|permit| permit.asked.as_ref())
}

/// The postmaster that runs here is the one that is to end.
pub(crate) fn is_asked(seen: &Observation, record: &Record) -> bool {
    let own = record.restart.as_ref().is_some_and(|permit| Some(&permit.member) == seen.member());
    own && asked_in(record)
        .is_some_and(|asked| asked.nonce == seen.me.nonce && Some(asked.postmaster) == seen.postmaster)
}

/// Whether the standby here may stop its postgres now: out of V, or after it has waited for that.
pub(crate) fn may_begin(cycle: &mut Cycle<'_>, record: &Record) -> bool {
    let Some(asked) = asked_in(record) else { return false };
    let votes = cycle.seen.member().is_some_and(|member| record.voters.contains(member));
    let since_ms = cycle.watch(&asked.id);
    if votes && cycle.elapsed_ms(since_ms) < LEAVE_VOTERS_MS {
        cycle.wake_in(100);
        return false;
    }
    true
}

/// The permit, or why not.
pub(crate) fn permit(seen: &Observation, pod: &str, id: String) -> Result<RestartPermit, String> {
    let generation = seen.wish().map_or(0, |wish| wish.generation);
    let (member, nonce, postmaster) = if pod == seen.me.pod {
        (seen.member(), &seen.me.nonce, seen.postmaster)
    } else {
        let report = seen.heard_or_why(pod)?;
        (report.member.as_ref(), &report.nonce, report.postmaster)
    };
    let member = member.ok_or_else(|| format!("{pod} has no data yet"))?.clone();
    let postmaster = postmaster.ok_or_else(|| format!("no postgres runs in {pod}"))?;
    let asked = AskedRestart { id, nonce: nonce.clone(), postmaster };
    Ok(RestartPermit { member, generation, asked: Some(asked) })
}

/// The restart is over: another postmaster serves or streams, or none does for too long.
pub(crate) fn settled(
    cycle: &mut Cycle<'_>,
    record: &Record,
    primary: &PrimarySeen,
) -> Option<(String, Told)> {
    let seen = cycle.seen;
    let permit = record.restart.as_ref()?;
    let asked = permit.asked.as_ref()?;
    let pod = record.pod_of(&permit.member).unwrap_or_default();
    let own = Some(&permit.member) == seen.member();
    let life = if own {
        seen.postmaster.map(|postmaster| (&seen.me.nonce, postmaster))
    } else {
        seen.heard(pod).and_then(|report| Some((&report.nonce, report.postmaster?)))
    };
    let anew = life.is_some_and(|life| life != (&asked.nonce, asked.postmaster));
    let well = if own { primary.gate == Gate::Open } else { rolling::is_healthy(seen, primary, pod) };
    let since_ms = cycle.watch(&asked.id);
    if anew && well {
        return Some((asked.id.clone(), (Outcome::Done, format!("postgres in {pod} was restarted"))));
    }
    let overdue = cycle.elapsed_ms(since_ms) >= BACK_MS;
    let why = format!("{pod} is not back; `pgha-agent status` tells what it waits for");
    overdue.then(|| (asked.id.clone(), (Outcome::Failed, why)))
}
