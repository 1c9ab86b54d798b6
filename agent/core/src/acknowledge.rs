//! The holder's status document, and when it says that the wish is in force (P8, A32).

use std::collections::{BTreeMap, BTreeSet};

use pgha_schema::desired::{Desired, Durability, SyncMode};
use pgha_schema::record::Record;
use pgha_schema::request::Answer;
use pgha_schema::status::{
    Acknowledged, AgentReport, ClusterStatus, InstanceState, InstanceStatus, Role, STATUS_FORMAT, VolumeFill,
};

use crate::cycle::Cycle;
use crate::decision::{Action, Reason};
use crate::observation::{DesiredSeen, Gate, Observation, PrimarySeen, SettingsSeen, ordinal_of};
use crate::sync_names::Pair;
use crate::{marks, passwords, requests, upgrade};

/// So many starts must have failed before a holder without a primary tells of them: the first ones may mend themselves.
const TOLD_STARTS: u32 = 3;

/// The identity of a desired document.
pub(crate) fn identity(desired: &DesiredSeen) -> Acknowledged {
    Acknowledged { generation: desired.document.generation, sha256: desired.sha256.clone() }
}

/// The document that is wholly in force here: rendered, nothing waits for a restart, nothing is held back.
pub(crate) fn applied(settings: &SettingsSeen) -> Option<Acknowledged> {
    settings
        .rendered
        .clone()
        .filter(|_| !settings.pending_restart && !settings.held_back && !settings.tampered)
}

/// Writes the status, with the acknowledgement once there is one.
pub(crate) fn report(cycle: &mut Cycle<'_>, record: &Record, primary: &PrimarySeen, reason: &Reason) {
    let seen = cycle.seen;
    remember(cycle, |wish| in_force(seen, record, primary, wish));
    let status = ClusterStatus {
        accepts_writes: primary.gate == Gate::Open,
        stopped: false,
        primary: Some(seen.me.pod.clone()),
        timeline: Some(primary.timeline),
        synchronous_standby_names: primary.names_shown.clone(),
        activity: marks::refusal(seen, &cycle.memory).into_iter().chain(activity(reason)).collect(),
        instances: instances(seen, record, Some(primary)),
        agent_refused: seen.wish().and_then(|wish| upgrade::refused_anywhere(seen, wish)),
        ..of_nobody(cycle, record)
    };
    cycle.push(Action::WriteStatus { status: Box::new(status) });
}

/// The cluster is stopped because the wish says so (P21).
pub(crate) fn report_stopped(cycle: &mut Cycle<'_>, record: &Record) {
    remember(cycle, |_| true);
    let status = of_nobody(cycle, record);
    cycle.push(Action::WriteStatus { status: Box::new(status) });
}

/// Postgres does not come up here, and why is known: told while nobody serves, or whoever waits for a primary would wait in vain.
pub(crate) fn report_unable(cycle: &mut Cycle<'_>, record: &Record, reason: &Reason) {
    let seen = cycle.seen;
    let complaints = &seen.complaints;
    let starts = complaints.starts_failed.as_ref().map_or(0, |failed| failed.starts);
    if starts < TOLD_STARTS && complaints.refused.is_none() {
        return;
    }
    let status = ClusterStatus {
        stopped: false,
        activity: activity(reason),
        instances: instances(seen, record, None),
        ..of_nobody(cycle, record)
    };
    cycle.push(Action::WriteStatus { status: Box::new(status) });
}

/// What the record tells, while nobody serves.
fn of_nobody(cycle: &Cycle<'_>, record: &Record) -> ClusterStatus {
    let seen = cycle.seen;
    ClusterStatus {
        format: STATUS_FORMAT,
        acknowledged: cycle.memory.acknowledged.clone(),
        system_identifier: record.system_identifier,
        accepts_writes: false,
        stopped: true,
        primary: None,
        era: record.era(),
        timeline: record.current().and_then(|era| era.timeline),
        mode: record.mode,
        synchronous_standby_names: String::new(),
        degraded: record.degraded,
        degraded_since: None,
        voters: voters(record),
        quorum: record.quorum,
        paused: record.pause.is_some(),
        answers: answers(seen, record),
        activity: Vec::new(),
        instances: BTreeMap::new(),
        agent_version: seen.me.agent_version.clone(),
        agent_refused: None,
    }
}

fn voters(record: &Record) -> BTreeSet<String> {
    record.voters.iter().map(|voter| record.pod_of(voter).unwrap_or(voter.as_str()).to_owned()).collect()
}

/// What came of the desired document's requests.
fn answers(seen: &Observation, record: &Record) -> Vec<Answer> {
    requests::wished(seen).iter().filter_map(|request| record.answer_to(&request.id).cloned()).collect()
}

/// Only this holder's own word, about the document that is there; [`ClusterStatus::over`] keeps every other.
fn remember(cycle: &mut Cycle<'_>, in_force: impl FnOnce(&Desired) -> bool) {
    let Some(desired) = &cycle.seen.desired else { return };
    let identity = identity(desired);
    if cycle.memory.acknowledged.as_ref() == Some(&identity) {
        return;
    }
    cycle.memory.acknowledged = in_force(&desired.document).then_some(identity);
}

fn activity(reason: &Reason) -> Vec<String> {
    if *reason == Reason::Leading { Vec::new() } else { vec![reason.to_string()] }
}

/// Whether every reachable member has the wish in force.
fn in_force(seen: &Observation, record: &Record, primary: &PrimarySeen, wish: &Desired) -> bool {
    let identity = seen.desired.as_ref().map(identity);
    let members = seen
        .reports()
        .filter(|report| {
            report.member.is_some() && ordinal_of(&report.pod).is_some_and(|at| at <= wish.replicas)
        })
        .all(|report| report.applied == identity);
    let rolled = seen.listed
        && seen
            .pods
            .values()
            .filter(|pod| pod.ordinal <= wish.replicas)
            .all(|pod| pod.template_hash == wish.template_hash);
    primary.gate == Gate::Open
        && seen.me.ordinal <= wish.replicas
        && applied(&primary.settings) == identity
        && members
        && rolled
        && record.restart.is_none()
        && upgrade::in_force(seen, record, wish)
        && passwords::in_force(seen, wish)
        && sync_in_force(record, primary, wish)
}

fn sync_in_force(record: &Record, primary: &PrimarySeen, wish: &Desired) -> bool {
    if record.mode != wish.sync_mode {
        return false;
    }
    let full = Pair::is_wished(wish, &record.voters, record.quorum, &primary.names_shown);
    full || (wish.durability == Durability::Preferred && wish.sync_mode != SyncMode::Async && record.degraded)
}

/// `primary`: the one here; `None` while it does not come up.
fn instances(
    seen: &Observation,
    record: &Record,
    primary: Option<&PrimarySeen>,
) -> BTreeMap<String, InstanceStatus> {
    let mut instances = BTreeMap::new();
    let names = seen.pods.keys().chain(seen.peers.keys()).chain([&seen.me.pod]);
    for pod in names {
        let status = if *pod == seen.me.pod { own(seen, primary) } else { other(seen, record, primary, pod) };
        instances.insert(pod.clone(), status);
    }
    instances
}

fn own(seen: &Observation, primary: Option<&PrimarySeen>) -> InstanceStatus {
    let (role, state) = match primary {
        Some(primary) if primary.gate == Gate::Open => (Role::Primary, InstanceState::Serving),
        Some(_) => (Role::Primary, InstanceState::Building),
        None => (Role::Unknown, InstanceState::Down),
    };
    InstanceStatus {
        member: seen.member().cloned(),
        role,
        state,
        synchronous: false,
        lag_bytes: None,
        node: seen.me.node.clone(),
        agent_version: seen.me.agent_version.clone(),
        agent_sha256: seen.agent.sha256.clone(),
        replay_backlog_bytes: None,
        slot_retained_bytes: None,
        volume_used_percent: None,
        altered: primary.map(|primary| primary.settings.altered.clone()).unwrap_or_default(),
        settings_refused: seen.complaints.refused.clone(),
        starts_failed: seen.complaints.starts_failed.clone(),
    }
}

fn other(seen: &Observation, record: &Record, primary: Option<&PrimarySeen>, pod: &str) -> InstanceStatus {
    let report: Option<&AgentReport> = seen.heard(pod);
    let member = report.and_then(|report| report.member.clone());
    let sender = member.as_ref().and_then(|member| {
        primary?.walsenders.iter().find(|sender| sender.application_name == member.as_str())
    });
    let state = match (report, sender) {
        (None, _) => InstanceState::Silent,
        (Some(_), Some(sender)) if sender.streaming => InstanceState::Streaming,
        (Some(report), _) => report.state,
    };
    InstanceStatus {
        synchronous: member.as_ref().is_some_and(|member| record.voters.contains(member)),
        member,
        role: report.map_or(Role::Unknown, |report| report.role),
        state,
        lag_bytes: sender
            .zip(primary)
            .map(|(sender, primary)| sender.flushed_lsn.behind(primary.current_lsn).0),
        node: seen.pods.get(pod).and_then(|at| at.node.clone()).unwrap_or_default(),
        agent_version: report.map(|report| report.agent_version.clone()).unwrap_or_default(),
        agent_sha256: report.map(|report| report.agent_sha256.clone()).unwrap_or_default(),
        replay_backlog_bytes: report.and_then(|report| Some(report.replayed?.behind(report.position?).0)),
        slot_retained_bytes: ordinal_of(pod).and_then(|ordinal| {
            let from = primary?.slots.get(&ordinal)?.restart_lsn?;
            Some(from.behind(primary?.current_lsn).0)
        }),
        volume_used_percent: report.and_then(|report| report.volume).map(VolumeFill::percent),
        altered: report.map(|report| report.altered.clone()).unwrap_or_default(),
        settings_refused: report.and_then(|report| report.settings_refused.clone()),
        starts_failed: report.and_then(|report| report.starts_failed.clone()),
    }
}
