//! What agents tell: the status document in ConfigMap `<name>-status` (written by the holder, A32), and each agent's
//! own report at `GET /status`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::desired::SyncMode;
use crate::ids::{BootId, ContainerNonce, Era, MemberId, SystemIdentifier};
use crate::lsn::{Lsn, TimelineId};
use crate::peer::RecordVersion;
use crate::request::Answer;

/// Format of the documents that this build writes.
pub const STATUS_FORMAT: u32 = 1;

/// The cluster as its holder sees it; written on change and at most every 5 s. For reading, never for safety.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// Format number, [`STATUS_FORMAT`].
    pub format: u32,
    /// The newest desired document that every reachable member has in force (P8); never withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledged>,
    /// PostgreSQL's system identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_identifier: Option<SystemIdentifier>,
    /// Whether the primary accepts writes.
    pub accepts_writes: bool,
    /// The cluster was stopped cleanly because the desired state says so (P21).
    #[serde(default)]
    pub stopped: bool,
    /// The pod that leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<String>,
    /// Its era.
    pub era: Era,
    /// Its timeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<TimelineId>,
    /// The mode in force.
    pub mode: SyncMode,
    /// `synchronous_standby_names` in force.
    #[serde(default)]
    pub synchronous_standby_names: String,
    /// Writes go on without a confirming standby.
    pub degraded: bool,
    /// Since when, by the wall clock of the holder that saw it begin (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded_since: Option<String>,
    /// V: the pods that may take over without loss. Empty in sync: only the primary may lead.
    #[serde(default)]
    pub voters: BTreeSet<String>,
    /// q: how many of V a taker must hear.
    #[serde(default)]
    pub quorum: u32,
    /// A person holds the cluster as it is (A31).
    #[serde(default)]
    pub paused: bool,
    /// What came of the desired document's requests, by their ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answer>,
    /// What the holder works at or waits for, in plain words; empty when there is nothing.
    #[serde(default)]
    pub activity: Vec<String>,
    /// Every instance, by pod name.
    pub instances: BTreeMap<String, InstanceStatus>,
    /// Version of the holder's agent.
    pub agent_version: String,
    /// A newer agent that did not come up healthy in one of the pods, so that no further one gets it (A8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_refused: Option<PodRefusal>,
}

/// An agent's binary that was tried in a container and taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRefusal {
    /// SHA-256 of the binary.
    pub sha256: String,
    /// Generation of the desired document that asked for it: the same binary is tried again only for a newer one.
    pub generation: u64,
    /// What was wrong with it, for people.
    pub why: String,
}

/// The same with its pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRefusal {
    /// Where it was tried.
    pub pod: String,
    /// What.
    #[serde(flatten)]
    pub refusal: AgentRefusal,
}

impl ClusterStatus {
    /// What takes the place of `stored`; `None` when that is a later holder's. The acknowledgement is kept where this one has
    /// none or an older one, so that it is never withdrawn (P8), however little its writer had read before.
    pub fn over(mut self, stored: &Self) -> Option<Self> {
        if stored.era > self.era {
            return None;
        }
        let generation = |status: &Self| status.acknowledged.as_ref().map(|one| one.generation);
        if generation(stored) > generation(&self) {
            self.acknowledged.clone_from(&stored.acknowledged);
        }
        if self.degraded && stored.degraded && stored.degraded_since.is_some() {
            self.degraded_since.clone_from(&stored.degraded_since);
        }
        Some(self)
    }
}

/// A desired document that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Its generation.
    pub generation: u64,
    /// SHA-256 of its text.
    pub sha256: String,
}

/// One instance in [`ClusterStatus`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// Its data's identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<MemberId>,
    /// What it is.
    pub role: Role,
    /// What it does.
    pub state: InstanceState,
    /// Whether it confirms commits.
    #[serde(default)]
    pub synchronous: bool,
    /// Bytes of WAL that it has yet to flush.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_bytes: Option<u64>,
    /// Its node.
    #[serde(default)]
    pub node: String,
    /// Version of its agent; empty while nothing is heard from it.
    #[serde(default)]
    pub agent_version: String,
    /// SHA-256 of that agent's binary.
    #[serde(default)]
    pub agent_sha256: String,
    /// Bytes of WAL that it has and has yet to replay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_backlog_bytes: Option<u64>,
    /// Bytes of WAL that the primary keeps for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot_retained_bytes: Option<u64>,
    /// How full its volume is, in percent, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_used_percent: Option<u8>,
    /// Settings that somebody gave here by ALTER SYSTEM; a text, which may be secret, only as how long it is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub altered: BTreeMap<String, String>,
    /// What PostgreSQL does not take of the desired document; nobody acknowledges that document meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings_refused: Option<RefusedSettings>,
    /// Its postgres ends at every start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_failed: Option<FailedStarts>,
}

/// Settings of a desired document that PostgreSQL does not take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedSettings {
    /// The document that asks for them.
    #[serde(flatten)]
    pub document: Acknowledged,
    /// PostgreSQL's words, by the setting's name in lower case; never empty.
    pub settings: BTreeMap<String, String>,
}

/// Starts in a row that ended by themselves before postgres answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedStarts {
    /// The desired document that its configuration was rendered from: with another one, counting begins anew.
    #[serde(flatten)]
    pub document: Acknowledged,
    /// How many, at least 1.
    pub starts: u32,
    /// The exit code of the last one.
    pub exit_code: i32,
    /// The earlier document whose parameters it is started with instead, since these were in force there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<Acknowledged>,
}

/// How full a volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeFill {
    /// Its size.
    pub size_bytes: u64,
    /// Of that, what can't be written to any more.
    pub used_bytes: u64,
}

impl VolumeFill {
    /// In percent, rounded up.
    pub fn percent(self) -> u8 {
        let percent = self.used_bytes.saturating_mul(100).div_ceil(self.size_bytes.max(1));
        u8::try_from(percent.min(100)).unwrap_or(100)
    }
}

/// PostgreSQL's role of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It serves writes.
    Primary,
    /// It follows.
    Standby,
    /// Nothing yet.
    Unknown,
}

/// What an instance does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstanceState {
    /// It serves writes.
    Serving,
    /// It streams from the primary.
    Streaming,
    /// It runs but does not stream.
    Behind,
    /// It is being made: initdb, clone or rewind.
    Building,
    /// Its postgres is down.
    Down,
    /// Nothing is heard from it.
    Silent,
}

/// One agent's report of itself, at `GET /status`; peers compare positions with it (A11, A15).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentReport {
    /// Format number, [`STATUS_FORMAT`].
    pub format: u32,
    /// Uid of the anchor that this agent belongs to.
    pub anchor_uid: String,
    /// Its pod.
    pub pod: String,
    /// Its container's life.
    pub nonce: ContainerNonce,
    /// Its node.
    #[serde(default)]
    pub node: String,
    /// That node's boot, as this agent reads it in /proc: another one than the record's proves a death (A10).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<BootId>,
    /// Its data's identity; `None` while it is empty or being made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<MemberId>,
    /// A clone or rewind of its data was begun and has not ended: there is no data here, and nothing is only here.
    #[serde(default)]
    pub unfinished: bool,
    /// The version of the Lease for which this member has promised not to confirm commits for its holder: the promise
    /// is fsynced, and the stream left, so that `position` never grows while it holds (A12).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promise: Option<RecordVersion>,
    /// System identifier of its data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_identifier: Option<SystemIdentifier>,
    /// The last era that its data lived in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub era: Option<Era>,
    /// What it is.
    pub role: Role,
    /// What it does.
    pub state: InstanceState,
    /// Timeline of its data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<TimelineId>,
    /// Position = max(received, replayed), once local WAL was replayed to its end (A15); `None`: not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Lsn>,
    /// What is replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed: Option<Lsn>,
    /// Streams now from this member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams_from: Option<MemberId>,
    /// It leads and has checkpointed since its promotion: pg_rewind can use it as its source (A23).
    #[serde(default)]
    pub rewind_source: bool,
    /// It leads and lets clients in (A9).
    #[serde(default)]
    pub serving: bool,
    /// Told to stop: never chosen as a target (A21).
    #[serde(default)]
    pub stopping: bool,
    /// Its volume has no room for another segment of WAL: it is no way out of the same trouble (A26).
    #[serde(default)]
    pub disk_full: bool,
    /// The newest desired document that is in force here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Acknowledged>,
    /// Parameters are set that only a restart puts in force.
    #[serde(default)]
    pub pending_restart: bool,
    /// Settings that somebody gave here by ALTER SYSTEM; a text, which may be secret, only as how long it is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub altered: BTreeMap<String, String>,
    /// What PostgreSQL does not take here of the desired document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings_refused: Option<RefusedSettings>,
    /// The postgres here ends at every start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_failed: Option<FailedStarts>,
    /// Hash of the pod template that this pod was made from.
    #[serde(default)]
    pub template_hash: String,
    /// The postmaster that runs; with the nonce it names one life of this postgres.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postmaster: Option<u64>,
    /// How full its volume is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeFill>,
    /// Bytes of WAL that are kept here for other members, by their ordinal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub slots: BTreeMap<u32, u64>,
    /// What the agent does or waits for, in plain words, newest last (A32).
    #[serde(default)]
    pub activity: Vec<String>,
    /// Version of the agent.
    pub agent_version: String,
    /// SHA-256 of the agent's binary.
    #[serde(default)]
    pub agent_sha256: String,
    /// The newer agent that was tried here and taken back, for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_refused: Option<AgentRefusal>,
    /// Highest format of the record that this agent reads; one that does not say reads the first (A8).
    #[serde(default = "first_format")]
    pub reads_record: u32,
}

fn first_format() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(era: u64, acknowledged: Option<(u64, &str)>) -> ClusterStatus {
        ClusterStatus {
            format: STATUS_FORMAT,
            acknowledged: acknowledged
                .map(|(generation, sha256)| Acknowledged { generation, sha256: sha256.to_owned() }),
            system_identifier: None,
            accepts_writes: true,
            stopped: false,
            primary: None,
            era: Era(era),
            timeline: None,
            mode: SyncMode::Sync,
            synchronous_standby_names: String::new(),
            degraded: false,
            degraded_since: None,
            voters: BTreeSet::new(),
            quorum: 1,
            paused: false,
            answers: Vec::new(),
            activity: Vec::new(),
            instances: BTreeMap::new(),
            agent_version: "0.1.0".to_owned(),
            agent_refused: None,
        }
    }

    #[test]
    fn a_new_holder_does_not_withdraw_what_it_has_not_read() {
        let stored = status(1, Some((8, "b")));
        let said = |ours| {
            status(2, ours).over(&stored).unwrap().acknowledged.map(|one| (one.generation, one.sha256))
        };
        assert_eq!(said(None), Some((8, "b".to_owned())));
        assert_eq!(said(Some((7, "a"))), Some((8, "b".to_owned())));
        assert_eq!(said(Some((8, "c"))), Some((8, "c".to_owned())), "a hand edit that was put in force");
        assert_eq!(said(Some((9, "d"))), Some((9, "d".to_owned())));
    }

    #[test]
    fn since_when_it_is_degraded_outlives_the_writer() {
        let degraded = |since: Option<&str>| {
            let mut status = status(2, None);
            status.degraded = true;
            status.degraded_since = since.map(str::to_owned);
            status
        };
        let said = |stored| degraded(Some("later")).over(&stored).unwrap().degraded_since;
        assert_eq!(said(degraded(Some("earlier"))), Some("earlier".to_owned()));
        assert_eq!(said(status(2, None)), Some("later".to_owned()));
    }

    #[test]
    fn a_volume_is_full_only_when_nothing_is_left() {
        let percent = |used_bytes, size_bytes| VolumeFill { size_bytes, used_bytes }.percent();
        assert_eq!((percent(0, 10), percent(1, 1_000), percent(10, 10), percent(0, 0)), (0, 1, 100, 0));
    }

    #[test]
    fn what_older_agents_do_not_tell_is_nothing_and_what_newer_ones_tell_comes_back() {
        let told = serde_json::json!({"role": "standby", "state": "down"});
        let mut instance: InstanceStatus = serde_json::from_value(told).unwrap();
        assert_eq!((&instance.settings_refused, &instance.starts_failed), (&None, &None));
        let document = Acknowledged { generation: 7, sha256: "abc".to_owned() };
        let settings = BTreeMap::from([("work_mem".to_owned(), "invalid value".to_owned())]);
        instance.settings_refused = Some(RefusedSettings { document: document.clone(), settings });
        instance.starts_failed = Some(FailedStarts { document, starts: 3, exit_code: 1, instead: None });
        let text = serde_json::to_value(&instance).unwrap();
        assert_eq!(text["settings_refused"]["generation"], 7);
        assert_eq!(serde_json::from_value::<InstanceStatus>(text).unwrap(), instance);
    }

    #[test]
    fn a_holder_that_was_replaced_writes_nothing() {
        assert_eq!(status(2, Some((9, "d"))).over(&status(3, None)), None);
    }
}
