//! How far a wait is, and whether it can still come true (P18).

mod growth;
mod refusal;
mod trouble;

use pgha_schema::desired::SyncMode;
use pgha_schema::names::Names;
use pgha_schema::status::{ClusterStatus, InstanceState, InstanceStatus, Role};
use serde_json::Value as Json;

use crate::live::{LiveCluster, Seen};
use crate::object::{self, Kind, ObjectKey};
use crate::step::{Progress, Wish};
use trouble::Trouble;

pub use trouble::pods_that_end;

/// How far `wish` is in the snapshot `now`.
///
/// `start` is the snapshot at the wait's start, so that events of an earlier attempt are told from new ones; `waited_ms`
/// is how long the wait has lasted: some troubles mend themselves within seconds and are failures only after that.
pub fn progress(wish: &Wish, start: &LiveCluster, now: &LiveCluster, waited_ms: u64) -> Progress {
    if let Some(progress) = told_by_objects(wish, start, now, waited_ms) {
        return progress;
    }
    let status = now.status();
    if status.as_ref().is_some_and(|status| told_by_status(wish, status)) {
        return Progress::Done;
    }
    let troubles = trouble::troubles(start, now);
    if let Some(refused) = status.as_ref().and_then(|status| refused_agent(wish, status)) {
        return Progress::Failed(refused);
    }
    if let Some(refused) = status.as_ref().and_then(|status| refusal::refused_settings(wish, status, now)) {
        return Progress::Failed(refused);
    }
    let fatal = match wish {
        // Any one pod is enough for a primary.
        Wish::Primary => {
            let wanted = now.wanted_pods().unwrap_or(1) as usize;
            (troubles.len() >= wanted || trouble::nobody_can_lead(&troubles)).then_some(&troubles)
        }
        Wish::Acknowledged { .. } | Wish::Streaming { .. } => Some(&troubles),
        Wish::Stopped
        | Wish::Answered { .. }
        | Wish::PodsGone { .. }
        | Wish::Grown { .. }
        | Wish::ClaimsGone { .. }
        | Wish::ObjectsGone { .. } => None,
    };
    let failed = fatal.and_then(|troubles| troubles.iter().find(|one| waited_ms >= one.kind.patience_ms()));
    match failed {
        Some(trouble) => Progress::Failed(trouble.text.clone()),
        None => Progress::Working(working(status.as_ref(), now, &troubles)),
    }
}

/// What a wish is fulfilled by: little enough to look at several times a second, where everything that tells why it takes long is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// These objects.
    pub keys: Vec<ObjectKey>,
    /// The cluster's pods.
    pub pods: bool,
    /// Its volume claims.
    pub claims: bool,
    /// Events about any of them, and the logs of containers that crash.
    pub events: bool,
}

impl Signs {
    /// Those of `wish` for the cluster with these names.
    pub fn of(wish: &Wish, names: &Names) -> Self {
        match wish {
            Wish::Primary | Wish::Acknowledged { .. } | Wish::Streaming { .. } | Wish::Stopped => {
                Self { keys: vec![ObjectKey::new(Kind::ConfigMap, names.status())], ..Self::default() }
            }
            Wish::Answered { .. } => {
                Self { keys: vec![ObjectKey::new(Kind::Lease, names.cluster())], ..Self::default() }
            }
            Wish::PodsGone { .. } => Self { pods: true, ..Self::default() },
            Wish::Grown { .. } | Wish::ClaimsGone { .. } => Self { claims: true, ..Self::default() },
            Wish::ObjectsGone { keys } => Self { keys: keys.clone(), ..Self::default() },
        }
    }

    /// These, and what tells why it takes long: all that [`progress`] looks at.
    pub fn thorough(wish: &Wish, names: &Names) -> Self {
        let telling = [
            ObjectKey::new(Kind::ConfigMap, names.desired()),
            ObjectKey::new(Kind::ConfigMap, names.status()),
            ObjectKey::new(Kind::Lease, names.cluster()),
            ObjectKey::new(Kind::StatefulSet, names.cluster()),
        ];
        let Self { mut keys, .. } = Self::of(wish, names);
        let others: Vec<_> = telling.into_iter().filter(|key| !keys.contains(key)).collect();
        keys.extend(others);
        Self { keys, pods: true, claims: true, events: true }
    }
}

/// Whether `wish` has come true, by a snapshot that holds its [`Signs`] at least.
pub fn is_fulfilled(wish: &Wish, start: &LiveCluster, now: &LiveCluster) -> bool {
    match told_by_objects(wish, start, now, 0) {
        Some(progress) => progress == Progress::Done,
        None => now.status().is_some_and(|status| told_by_status(wish, &status)),
    }
}

/// What the last snapshot of a wait that ran out of time says: who waits for whom.
pub fn last_words(start: &LiveCluster, now: &LiveCluster) -> String {
    working(now.status().as_ref(), now, &trouble::troubles(start, now))
}

fn told_by_status(wish: &Wish, status: &ClusterStatus) -> bool {
    match wish {
        Wish::Primary => status.accepts_writes && status.primary.is_some(),
        Wish::Acknowledged { generation, sha256 } => is_acknowledged(status, *generation, sha256),
        Wish::Streaming { standbys } => {
            let streams =
                |one: &&InstanceStatus| one.role == Role::Standby && one.state == InstanceState::Streaming;
            status.instances.values().filter(streams).count() >= *standbys as usize
                && is_as_safe_as_asked(status)
        }
        Wish::Stopped => status.stopped,
        Wish::Answered { .. }
        | Wish::PodsGone { .. }
        | Wish::Grown { .. }
        | Wish::ClaimsGone { .. }
        | Wish::ObjectsGone { .. } => false,
    }
}

/// Standbys stream some moments before commits wait for them, and who reads `degraded` right after an apply asks for the end of
/// these. `required` is never degraded: without voters its commits wait.
fn is_as_safe_as_asked(status: &ClusterStatus) -> bool {
    status.mode == SyncMode::Async || !(status.degraded || status.voters.is_empty())
}

/// Agents that refuse the wished one do not change their mind: waiting would be in vain (A8).
fn refused_agent(wish: &Wish, status: &ClusterStatus) -> Option<String> {
    let Wish::Acknowledged { generation, .. } = wish else { return None };
    let refused =
        status.agent_refused.as_ref().filter(|refused| refused.refusal.generation >= *generation)?;
    Some(format!(
        "the new agent did not become healthy in pod {} and was taken back: {}. PostgreSQL was not touched, and agent {} \
         goes on there; no further pod was given the new one. `kubectl logs` of that pod tells more. The next apply tries once \
         more; so does one with another version of the provider",
        refused.pod, refused.refusal.why, status.agent_version
    ))
}

/// The document of this generation, or a later one, is in force.
pub fn is_acknowledged(status: &ClusterStatus, generation: u64, sha256: &str) -> bool {
    status.acknowledged.as_ref().is_some_and(|acknowledged| {
        acknowledged.generation > generation
            || (acknowledged.generation == generation && acknowledged.sha256 == sha256)
    })
}

/// The wishes that objects alone fulfil.
fn told_by_objects(wish: &Wish, start: &LiveCluster, now: &LiveCluster, waited_ms: u64) -> Option<Progress> {
    let left: Vec<String> = match wish {
        Wish::PodsGone { from_ordinal } => now
            .pods_by_ordinal()
            .range(from_ordinal..)
            .map(|(_, pod)| format!("Pod {}{}", object::name(pod), finalizers(pod)))
            .collect(),
        Wish::ClaimsGone { names } => {
            let claims = now.claims.known().map(Vec::as_slice).unwrap_or_default();
            let named = claims.iter().filter(|claim| names.iter().any(|name| name == object::name(claim)));
            named
                .map(|claim| format!("PersistentVolumeClaim {}{}", object::name(claim), finalizers(claim)))
                .collect()
        }
        Wish::ObjectsGone { keys } => keys.iter().filter_map(|key| still_there(now, key)).collect(),
        Wish::Grown { size } => return Some(growth::grown(start, now, size, waited_ms)),
        Wish::Answered { id } => return answered(now, id),
        Wish::Primary | Wish::Acknowledged { .. } | Wish::Streaming { .. } | Wish::Stopped => return None,
    };
    Some(match left.as_slice() {
        [] => Progress::Done,
        left => Progress::Working(format!("waiting for the end of {}", left.join(", "))),
    })
}

/// Answered in the record; lost when neither the record nor the desired document knows of it any more.
fn answered(now: &LiveCluster, id: &str) -> Option<Progress> {
    let record = now.record();
    if record.as_ref().is_some_and(|record| record.answer_to(id).is_some()) {
        return Some(Progress::Done);
    }
    let under_way = record.is_some_and(|record| record.carries(id));
    let asked = now.desired().is_none_or(|desired| desired.requests.iter().any(|one| one.id == id));
    let lost = "another write of the desired state took the request out before the primary had taken it up. Run the action again";
    (!under_way && !asked).then(|| Progress::Failed(lost.to_owned()))
}

fn still_there(now: &LiveCluster, key: &ObjectKey) -> Option<String> {
    match now.object(key) {
        Seen::Known(object) => Some(format!("{key}{}", finalizers(object))),
        Seen::Missing | Seen::Forbidden(_) => None,
    }
}

fn finalizers(object: &Json) -> String {
    let finalizers = object.pointer("/metadata/finalizers").and_then(Json::as_array);
    let names: Vec<_> = finalizers.into_iter().flatten().filter_map(Json::as_str).collect();
    if names.is_empty() { String::new() } else { format!(" (finalizers: {})", names.join(", ")) }
}

fn working(status: Option<&ClusterStatus>, now: &LiveCluster, troubles: &[Trouble]) -> String {
    let mut words: Vec<String> = troubles.iter().map(|trouble| trouble.text.clone()).collect();
    if let Some(status) = status {
        words.extend(status.activity.iter().cloned());
        let primary = status.primary.as_deref().unwrap_or("none yet");
        let streaming = status.instances.values().filter(|one| one.state == InstanceState::Streaming).count();
        words.push(format!("primary {primary}, {streaming} standbys streaming"));
    } else {
        let phases: Vec<_> = now
            .pods_by_ordinal()
            .into_values()
            .map(|pod| {
                let phase = pod.pointer("/status/phase").and_then(Json::as_str).unwrap_or("Unknown");
                format!("{} {phase}", object::name(pod))
            })
            .collect();
        words.push(if phases.is_empty() { "no pod yet".to_owned() } else { phases.join(", ") });
    }
    words.join("; ")
}
