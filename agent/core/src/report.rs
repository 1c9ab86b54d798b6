//! The agent's report of itself, at `GET /status` (A11, A32).

use pgha_schema::record::RECORD_FORMAT;
use pgha_schema::status::{AgentReport, InstanceState, Role, STATUS_FORMAT};

use crate::decision::Decision;
use crate::observation::{
    DataSeen, DiskSeen, Gate, Observation, PostgresSeen, SettingsSeen, StreamSeen, Unfinished,
};
use crate::{acknowledge, promise, upgrade};

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
        pending_restart: settings.pending_restart,
        template_hash: seen.me.template_hash.clone(),
        activity: activity(seen, decision),
        agent_version: seen.me.agent_version.clone(),
        agent_sha256: seen.agent.sha256.clone(),
        agent_refused: upgrade::refused_here(seen),
        reads_record: RECORD_FORMAT,
    }
}

/// In plain words, newest last (A32).
fn activity(seen: &Observation, decision: &Decision) -> Vec<String> {
    let full = (seen.disk == DiskSeen::Full).then(|| "the volume has no room for more WAL".to_owned());
    full.into_iter().chain([decision.reason.to_string()]).collect()
}
