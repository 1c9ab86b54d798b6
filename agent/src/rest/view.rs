//! The whole cluster as one agent sees it, for `pgha-agent status` (A32).

use std::collections::BTreeMap;

use pgha_agent_core::observation::Peer;
use pgha_schema::record::Record;
use pgha_schema::status::AgentReport;
use serde::{Deserialize, Serialize};

use super::server::Board;

/// At `GET /cluster`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct View {
    /// The agent that tells it.
    pub instance: AgentReport,
    /// The record as it read it last.
    pub record: Option<Record>,
    /// What it heard from the others.
    pub peers: BTreeMap<String, Heard>,
    /// How long ago the record was first seen as it is: its holder renews it every few seconds.
    pub record_age_ms: Option<u64>,
    /// How long ago the holder's last heartbeat came; `None`: none ever did, or this is the holder.
    pub heartbeat_age_ms: Option<u64>,
    /// How long ago the API server answered anything.
    pub api_age_ms: Option<u64>,
    /// Since when writes go on without a confirming standby, if this is the holder.
    pub degraded_since: Option<String>,
}

/// One other instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Heard {
    /// How long it has been silent; `None`: it answers.
    pub silent_ms: Option<u64>,
    /// What it said last.
    pub report: Option<AgentReport>,
}

impl View {
    /// From what the loop put up.
    pub fn of(board: &Board) -> Self {
        let seen = board.seen.as_deref();
        let now_ms = seen.map_or(0, |seen| seen.now_ms);
        let ago = |at_ms: u64| now_ms.saturating_sub(at_ms);
        let peers = seen.map(|seen| &seen.peers).into_iter().flatten();
        let heard = |peer: &Peer| match peer {
            Peer::Heard { report, .. } => Heard { silent_ms: None, report: Some((**report).clone()) },
            Peer::Silent { since_ms, last } => {
                Heard { silent_ms: Some(ago(*since_ms)), report: last.as_deref().cloned() }
            }
        };
        Self {
            instance: board.report.clone(),
            record: board.record.clone(),
            peers: peers.map(|(pod, peer)| (pod.clone(), heard(peer))).collect(),
            record_age_ms: seen.and_then(|seen| seen.lease()).map(|read| ago(read.first_seen_ms)),
            heartbeat_age_ms: seen
                .and_then(|seen| seen.holder_heard.last.as_ref())
                .map(|last| ago(last.at_ms)),
            api_age_ms: seen.and_then(|seen| seen.api_answered_ms).map(ago),
            degraded_since: board.degraded_since.clone(),
        }
    }

    /// Every report, this agent's included; `None` for an instance that never answered. With how long it has been silent.
    pub fn instances(&self) -> BTreeMap<&str, (Option<u64>, Option<&AgentReport>)> {
        let others =
            self.peers.iter().map(|(pod, heard)| (pod.as_str(), (heard.silent_ms, heard.report.as_ref())));
        others.chain([(self.instance.pod.as_str(), (None, Some(&self.instance)))]).collect()
    }
}
