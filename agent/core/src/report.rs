//! The agent's report of itself, at `GET /status` (A11, A32).

use std::collections::BTreeMap;

use pgha_schema::record::RECORD_FORMAT;
use pgha_schema::status::{AgentReport, InstanceState, Role, STATUS_FORMAT};

use crate::decision::{Bar, Decision, Reason};
use crate::observation::{
    DataSeen, DiskSeen, Gate, Observation, PostgresSeen, SettingsSeen, SlotSeen, StreamSeen, Unfinished,
};
use crate::words::bytes;
use crate::{acknowledge, break_glass, marks, promise, restart, upgrade};

/// What this agent tells its peers, after this decision.
pub fn report(seen: &Observation, decision: &Decision) -> AgentReport {
    let data = seen.local_data();
    let building =
        seen.jobs.initdb.is_running() || seen.jobs.clone.is_running() || seen.jobs.rewind.is_running();
    let no_settings = SettingsSeen::default();
    let (role, state, settings) = match &seen.postgres {
        _ if building => (Role::Unknown, InstanceState::Building, &no_settings),
        PostgresSeen::Primary(primary) => (
            Role::Primary,
            if primary.gate == Gate::Open { InstanceState::Serving } else { InstanceState::Building },
            &primary.settings,
        ),
        PostgresSeen::Standby(standby) => (
            Role::Standby,
            match standby.stream {
                StreamSeen::Streaming { .. } => InstanceState::Streaming,
                StreamSeen::Detached | StreamSeen::Waiting { .. } => InstanceState::Behind,
            },
            &standby.settings,
        ),
        PostgresSeen::Unknown
        | PostgresSeen::Down
        | PostgresSeen::Starting { .. }
        | PostgresSeen::Stopping { .. }
        | PostgresSeen::Unresponsive { .. } => (Role::Unknown, InstanceState::Down, &no_settings),
    };
    let (standby, primary) = (seen.standby(), seen.primary());
    let streams_from = standby.and_then(|standby| match &standby.stream {
        StreamSeen::Streaming { upstream } => Some(upstream.member.clone()),
        StreamSeen::Detached | StreamSeen::Waiting { .. } => None,
    });
    AgentReport {
        format: STATUS_FORMAT,
        anchor_uid: seen.me.anchor_uid.clone(),
        pod: seen.me.pod.clone(),
        nonce: seen.me.nonce.clone(),
        node: seen.me.node.clone(),
        boot_id: Some(seen.me.boot_id.clone()),
        member: data.map(|data| data.member.clone()),
        unfinished: matches!(
            seen.data,
            DataSeen::Unfinished { what: Unfinished::Clone | Unfinished::Rewind, .. }
        ),
        promise: promise::reported(seen),
        system_identifier: data.map(|data| data.system_identifier),
        era: data.and_then(|data| data.era),
        role,
        state,
        timeline: standby
            .map(|standby| standby.timeline)
            .or(primary.map(|primary| primary.timeline))
            .or(data.map(|data| data.timeline)),
        position: standby
            .and_then(|standby| standby.position())
            .or(primary.map(|primary| primary.current_lsn)),
        replayed: standby.map(|standby| standby.replayed_lsn).or(primary.map(|primary| primary.current_lsn)),
        streams_from,
        rewind_source: primary.is_some_and(|primary| primary.checkpoint_since_promotion),
        serving: primary.is_some_and(|primary| primary.gate == Gate::Open),
        stopping: seen.signals.terminate_ms.is_some(),
        disk_full: seen.disk == DiskSeen::Full,
        applied: acknowledge::applied(settings),
        pending_restart: settings.pending_restart
            || seen.record().is_some_and(|record| restart::is_asked(seen, record)),
        altered: settings.altered.clone(),
        settings_refused: seen.complaints.refused.clone(),
        starts_failed: seen.complaints.starts_failed.clone(),
        template_hash: seen.me.template_hash.clone(),
        postmaster: seen.postmaster,
        volume: None,
        slots: retained(seen),
        activity: activity(seen, decision),
        agent_version: seen.me.agent_version.clone(),
        agent_sha256: seen.agent.sha256.clone(),
        agent_refused: upgrade::refused_here(seen),
        reads_record: RECORD_FORMAT,
    }
}

/// WAL that the slots here keep, by the ordinal that they are for.
fn retained(seen: &Observation) -> BTreeMap<u32, u64> {
    let (slots, end) = match (seen.primary(), seen.standby()) {
        (Some(primary), _) => (&primary.slots, primary.current_lsn),
        (None, Some(standby)) => (&standby.slots, standby.replayed_lsn),
        (None, None) => return BTreeMap::new(),
    };
    let kept = |slot: &SlotSeen| slot.restart_lsn.map(|from| from.behind(end).0);
    slots.iter().filter_map(|(ordinal, slot)| Some((*ordinal, kept(slot)?))).collect()
}

/// What it does, and, when it may not lead, what a person could decide.
fn activity(seen: &Observation, decision: &Decision) -> Vec<String> {
    let full = (seen.disk == DiskSeen::Full).then(|| "the volume has no room for more WAL".to_owned());
    let refused = seen.complaints.refused.iter().flat_map(|refused| &refused.settings);
    let refused = refused.map(|(name, words)| format!("PostgreSQL does not take {name}: {words}"));
    let fell_back = seen.complaints.starts_failed.as_ref().and_then(|failed| {
        let instead = failed.instead.as_ref()?.generation;
        let (starts, wished) = (failed.starts, failed.document.generation);
        Some(format!("PostgreSQL ended at {starts} starts with the settings of generation {wished}, and is started with those of {instead}"))
    });
    let unmarked = marks::refusal(seen, &decision.memory);
    let mut activity: Vec<String> = full
        .into_iter()
        .chain(refused)
        .chain(fell_back)
        .chain(unmarked)
        .chain([decision.reason.to_string()])
        .collect();
    let given_up =
        |bar: &Bar| !matches!(bar, Bar::HolderAlive | Bar::NotExpired | Bar::Stopped | Bar::Paused);
    if let (Reason::MayNotLead(bar), Some(record), Some(standby)) =
        (&decision.reason, seen.record(), seen.standby())
        && given_up(bar)
        && let Some(position) = standby.position()
    {
        let last = record.position.max(record.confirmed);
        activity.push(format!(
            "the last recorded position is {last}, confirmed {}; here is {position}: at least {} are at risk if this \
             instance leads nevertheless (`pgha-agent break-glass`)",
            record.confirmed,
            bytes(position.behind(last).0)
        ));
        if break_glass::is_named(seen, record) {
            activity.push(
                "break-glass allows this instance to take the lead once the Lease has expired".to_owned(),
            );
        }
    }
    activity
}
