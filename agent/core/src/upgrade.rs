//! The agent's own exchange under a running postgres (A8): whose agent gives way when, and what a new one has to have
//! seen before it may stay.
//!
//! ```text
//!   holder: all well? ── permit in the record ──> standby: fetch, exchange ──> healthy: next / refused: no further one
//!           no standby left ── right after a renewal ──> exchange of its own
//! ```
//!
//! An exchange is a restart of the agent, which every other rule allows for at any time; nothing of safety rests on the order.

use pgha_schema::desired::{AgentBinary, Desired};
use pgha_schema::record::{ExchangePermit, Record};
use pgha_schema::status::{AgentRefusal, AgentReport, PodRefusal};

use crate::bootstrap::may_try;
use crate::cycle::Cycle;
use crate::decision::Action;
use crate::lease::{self, Standing};
use crate::observation::{DataSeen, Job, Observation, PostgresSeen, PrimarySeen, ordinal_of};
use crate::rolling::{all_healthy, is_healthy, votes};
use crate::{heartbeat, pause, promise};

/// How long a standby's new agent may take until it is well. The kubelet's liveness probe waits for longer.
const STANDBY_WITHIN_MS: u64 = 15_000;
/// What the old agent of a holder needs to start and to renew, when the new one does not.
const WAY_BACK_MS: u64 = 800;
/// The shortest time that makes sense to give a new agent.
const LEAST_WITHIN_MS: u64 = 1_000;
/// A holder's new agent has so little time that a busy machine may be what kept it: so often it may be late.
const HOLDER_TRIES: u32 = 3;
/// Between two tries of one binary.
const BETWEEN_TRIES_MS: u64 = 10_000;

/// What this container knows of its agents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentSeen {
    /// SHA-256 of the running binary.
    pub sha256: String,
    /// The guard knows how to exchange it.
    pub exchangeable: bool,
    /// SHA-256 of the binary that lies fetched beside it.
    pub fetched: Option<String>,
    /// The fetching.
    pub fetch: Job,
    /// This agent is new, and the guard waits to hear that it is well.
    pub on_trial: bool,
    /// The last binary that was taken back in this life of the container.
    pub refused: Option<RefusedAgent>,
}

/// A binary that was taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedAgent {
    /// What and why.
    pub refusal: AgentRefusal,
    /// When.
    pub at_ms: u64,
    /// It is not tried again for the same document.
    pub for_good: bool,
}

impl AgentSeen {
    fn refused(&self, wish: &Desired) -> Option<&RefusedAgent> {
        self.refused.as_ref().filter(|one| concerns(&one.refusal, wish))
    }
}

fn concerns(refusal: &AgentRefusal, wish: &Desired) -> bool {
    refusal.generation == wish.generation
        && wish.agent.as_ref().is_some_and(|binary| binary.sha256 == refusal.sha256)
}

/// What was tried in this container, and is not tried again, for the agent's report.
pub(crate) fn refused_here(seen: &Observation) -> Option<AgentRefusal> {
    let refused = seen.agent.refused.as_ref().filter(|one| one.for_good)?;
    Some(refused.refusal.clone())
}

/// Where the wished agent was refused for good: then nobody else gets it.
pub(crate) fn refused_anywhere(seen: &Observation, wish: &Desired) -> Option<PodRefusal> {
    let own = seen.agent.refused(wish).filter(|one| one.for_good).map(|one| (&seen.me.pod, &one.refusal));
    let others = seen
        .reports()
        .filter_map(|report| Some((&report.pod, report.agent_refused.as_ref()?)))
        .find(|(_, refusal)| concerns(refusal, wish));
    own.or(others).map(|(pod, refusal)| PodRefusal { pod: pod.clone(), refusal: refusal.clone() })
}

/// Every wanted member that is heard runs the wished agent.
pub(crate) fn in_force(seen: &Observation, record: &Record, wish: &Desired) -> bool {
    let Some(binary) = &wish.agent else { return true };
    let others = wanted_reports(seen, wish).all(|report| report.agent_sha256 == binary.sha256);
    others && seen.agent.sha256 == binary.sha256 && record.exchange.is_none()
}

fn wanted_reports<'a>(seen: &'a Observation, wish: &'a Desired) -> impl Iterator<Item = &'a AgentReport> {
    seen.reports().filter(|report| ordinal_of(&report.pod).is_some_and(|at| at <= wish.replicas))
}

/// One step of the holder. Returns whether work goes on.
pub(crate) fn advance(
    cycle: &mut Cycle<'_>,
    record: &Record,
    primary: &PrimarySeen,
    next: &mut Record,
    settled: bool,
) -> bool {
    let seen = cycle.seen;
    let Some(wish) = seen.wish().filter(|_| seen.listed) else { return false };
    let Some(binary) = &wish.agent else {
        next.exchange = None;
        return false;
    };
    if let Some(permit) = &record.exchange {
        if is_over(seen, permit, wish) {
            next.exchange = None;
        }
        return true;
    }
    if pause::binds(seen, record) {
        return false;
    }
    let old: Vec<&AgentReport> =
        wanted_reports(seen, wish).filter(|report| report.agent_sha256 != binary.sha256).collect();
    let own = seen.agent.sha256 != binary.sha256;
    if (old.is_empty() && !own) || refused_anywhere(seen, wish).is_some() {
        return false;
    }
    // What does not work anyway loses nothing, and the new agent may be its cure.
    let broken = old
        .iter()
        .find(|report| !is_healthy(seen, primary, &report.pod) && !votes(seen, record, &report.pod));
    let healthy = settled && all_healthy(seen, primary, wish);
    let first = old
        .iter()
        .min_by_key(|report| (votes(seen, record, &report.pod), std::cmp::Reverse(ordinal_of(&report.pod))));
    match broken.or(first.filter(|_| healthy)) {
        Some(report) => {
            next.exchange = Some(ExchangePermit { pod: report.pod.clone(), sha256: binary.sha256.clone() });
        }
        None if healthy && old.is_empty() => exchange_holder(cycle, record, wish, binary),
        None => {}
    }
    true
}

/// The permitted pod has the wished agent, has refused it, is gone or leads now; or another agent is wished.
fn is_over(seen: &Observation, permit: &ExchangePermit, wish: &Desired) -> bool {
    let wished = wish.agent.as_ref().is_some_and(|binary| binary.sha256 == permit.sha256);
    let there = seen.pods.contains_key(&permit.pod)
        && ordinal_of(&permit.pod).is_some_and(|at| at <= wish.replicas)
        && permit.pod != seen.me.pod;
    let settled = seen.heard(&permit.pod).is_some_and(|report| {
        report.agent_sha256 == permit.sha256
            || report.agent_refused.as_ref().is_some_and(|refusal| concerns(refusal, wish))
    });
    !wished || !there || settled
}

/// The holder goes last, right after a renewal: the new agent has until shortly before the voters would take it for dead
/// (A13), and in any case until shortly before the fence.
fn exchange_holder(cycle: &mut Cycle<'_>, record: &Record, wish: &Desired, binary: &AgentBinary) {
    let interval_ms = cycle.timing.renew_interval_ms();
    let Some(renewed_ms) = cycle.memory.renewed_ms else { return };
    let elapsed_ms = cycle.elapsed_ms(renewed_ms);
    if elapsed_ms > interval_ms / 4 {
        fetch(cycle, binary);
        return;
    }
    let fence_ms = lease::fence_at_ms(cycle.timing, &cycle.memory).unwrap_or(renewed_ms);
    let fence_ms = fence_ms.saturating_sub(cycle.seen.now_ms).saturating_sub(2 * WAY_BACK_MS);
    let silent_ms = if record.voters.is_empty() {
        u64::MAX
    } else {
        (interval_ms + promise::UNRENEWED_MARGIN_MS)
            .max(heartbeat::SILENT_AFTER_MS)
            .saturating_sub(elapsed_ms + WAY_BACK_MS)
    };
    exchange(cycle, wish, binary, fence_ms.min(silent_ms).max(LEAST_WITHIN_MS), HOLDER_TRIES);
}

/// A member that follows obeys the holder's permit.
pub(crate) fn obey(cycle: &mut Cycle<'_>, record: &Record) {
    let seen = cycle.seen;
    let Some(wish) = seen.wish() else { return };
    let Some(binary) = wish.agent.as_ref().filter(|binary| binary.sha256 != seen.agent.sha256) else {
        return;
    };
    let permitted = record
        .exchange
        .as_ref()
        .is_some_and(|permit| permit.pod == seen.me.pod && permit.sha256 == binary.sha256);
    if permitted && !promise::binds(seen) && !pause::binds(seen, record) {
        exchange(cycle, wish, binary, STANDBY_WITHIN_MS, 1);
    }
}

fn fetch(cycle: &mut Cycle<'_>, binary: &AgentBinary) -> bool {
    let seen = cycle.seen;
    if seen.agent.fetched.as_ref() == Some(&binary.sha256) {
        return true;
    }
    if may_try(&seen.agent.fetch, seen.now_ms) {
        cycle.push(Action::FetchAgent { binary: binary.clone() });
    }
    cycle.wake_in(500);
    false
}

fn exchange(cycle: &mut Cycle<'_>, wish: &Desired, binary: &AgentBinary, within_ms: u64, tries: u32) {
    let seen = cycle.seen;
    let too_soon = seen
        .agent
        .refused(wish)
        .is_some_and(|one| one.for_good || cycle.elapsed_ms(one.at_ms) < BETWEEN_TRIES_MS);
    if !seen.agent.exchangeable || seen.agent.on_trial || too_soon || !fetch(cycle, binary) {
        return;
    }
    if is_quiet(cycle) {
        cycle.push(Action::ExchangeAgent {
            sha256: binary.sha256.clone(),
            generation: wish.generation,
            within_ms,
            tries,
        });
    }
}

/// Nothing is under way, and nothing was ordered in this cycle, that the end of this process would cut off.
fn is_quiet(cycle: &Cycle<'_>) -> bool {
    let jobs = &cycle.seen.jobs;
    let idle =
        [&jobs.initdb, &jobs.clone, &jobs.rewind, &jobs.checkpoint].iter().all(|job| !job.is_running());
    let upkeep = |action: &Action| {
        action.is_best_effort()
            || matches!(action, Action::ReadLease | Action::KeepRecord { .. } | Action::SetSlots { .. })
    };
    idle && cycle.actions.iter().all(upkeep)
}

/// What follows from a trial: an agent on trial that has seen the world stays, and a refused one is told of.
pub(crate) fn after_trial(cycle: &mut Cycle<'_>) {
    let seen = cycle.seen;
    if seen.agent.on_trial && has_seen_the_world(cycle) {
        cycle.push(Action::StayAgent);
        cycle.push(Action::EmitEvent {
            warning: false,
            reason: "AgentExchanged",
            message: format!("agent {} runs now, under the same postgres", seen.me.agent_version),
        });
    }
    let refused = seen.wish().and_then(|wish| seen.agent.refused(wish));
    if let Some(refused) = refused.filter(|one| cycle.memory.told_taken_back_ms != Some(one.at_ms)) {
        cycle.memory.told_taken_back_ms = Some(refused.at_ms);
        cycle.push(Action::EmitEvent {
            warning: true,
            reason: "AgentRefused",
            message: told(&refused.refusal, seen),
        });
    }
}

fn told(refusal: &AgentRefusal, seen: &Observation) -> String {
    let wished =
        seen.wish().and_then(|wish| wish.agent.as_ref()).map_or("", |binary| binary.version.as_str());
    format!(
        "the newer agent {wished} was taken back: {}; agent {} goes on",
        refusal.why, seen.me.agent_version
    )
}

/// It has read the wish and, uncached, the record, knows volume, postgres and pods, and has renewed if it leads.
fn has_seen_the_world(cycle: &Cycle<'_>) -> bool {
    let seen = cycle.seen;
    let leads = matches!(lease::standing(seen), Standing::Mine(_));
    seen.wish().is_some()
        && seen.listed
        && seen.lease().is_some_and(|read| read.fresh_ms.is_some())
        && seen.data != DataSeen::Unknown
        && seen.postgres != PostgresSeen::Unknown
        && (!leads || cycle.memory.renewed_ms.is_some())
}
