//! What agents leave in the API while all goes well, and while it doesn't: the other end of the provider's waits, where no
//! cluster runs. It knows the documents that provider and agents exchange, and nothing of PostgreSQL.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use pgha_schema::desired::{Desired, RunState, SyncMode, document_sha256};
use pgha_schema::ids::{BootId, ContainerNonce, Era, MemberId, SystemIdentifier};
use pgha_schema::names::{ANNOTATION_RECORD, ANNOTATION_SYSTEM_IDENTIFIER, KEY_DESIRED, KEY_STATUS, Names};
use pgha_schema::record::{Bootstrap, EraEntry, Holder, Record};
use pgha_schema::status::{Acknowledged, ClusterStatus, InstanceState, InstanceStatus, Role, STATUS_FORMAT};
use serde_json::{Value as Json, json};

use super::kubernetes::{Objects, Reaction};

/// The data's identity.
pub const SYSTEM_IDENTIFIER: u64 = 7_445_566_778_899_001_122;

/// How agents are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mood {
    /// They carry everything out at once.
    Obey,
    /// The primary accepts writes; nothing is acknowledged.
    Serve,
    /// There are none.
    Dead,
}

/// Agents whose mood can be changed, and a storage driver beside them.
#[derive(Debug, Clone)]
pub struct Agents {
    mood: Arc<AtomicU8>,
    grows: Arc<AtomicBool>,
}

impl Default for Agents {
    fn default() -> Self {
        Self { mood: Arc::new(AtomicU8::new(Mood::Obey as u8)), grows: Arc::new(AtomicBool::new(true)) }
    }
}

impl Agents {
    /// From now on they are like this.
    pub fn set(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::Relaxed);
    }

    /// From now on volumes grow when they are asked to, or it fails.
    pub fn grow(&self, grows: bool) {
        self.grows.store(grows, Ordering::Relaxed);
    }

    /// What they do after each write.
    #[must_use]
    pub fn reaction(&self) -> Reaction {
        let agents = self.clone();
        Box::new(move |objects| {
            resize(objects, agents.grows.load(Ordering::Relaxed));
            match agents.mood.load(Ordering::Relaxed) {
                mood if mood == Mood::Obey as u8 => react(objects, true),
                mood if mood == Mood::Serve as u8 => react(objects, false),
                _ => {}
            }
        })
    }
}

/// The leadership of every cluster goes on to a pod: what is live moves, and nothing that was applied differs.
pub fn fail_over(objects: &mut Objects, cluster: &str, to_ordinal: u32) {
    let names = Names::new(cluster);
    for (path, object) in objects.iter_mut() {
        if path.ends_with(&format!("/configmaps/{}", names.status())) {
            change_status(object, |status| {
                status.era = Era(status.era.0 + 1);
                status.primary = Some(names.pod(to_ordinal));
                status.degraded = !status.degraded;
            });
        }
        if path.ends_with(&format!("/leases/{cluster}")) {
            change_record(object, |record| {
                record.renewals += 1;
                record.holder = Some(holder(&names.pod(to_ordinal)));
            });
        }
    }
}

/// Volumes get what their claims ask for; where that is refused the claim and an event say so.
fn resize(objects: &mut Objects, grows: bool) {
    let mut events = Objects::new();
    let told_so_far = objects.keys().filter(|path| path.contains("/events/resize-")).count();
    for (path, claim) in objects.iter_mut() {
        let Some((namespace, name)) = path.split_once("/persistentvolumeclaims/") else { continue };
        let asked = claim["spec"]["resources"]["requests"]["storage"].clone();
        if asked.is_null() || claim["status"]["capacity"]["storage"] == asked {
            continue;
        }
        if grows {
            claim["status"] = json!({ "capacity": { "storage": asked } });
            continue;
        }
        claim["status"]["allocatedResources"] = json!({ "storage": asked });
        claim["status"]["allocatedResourceStatuses"] = json!({ "storage": "ControllerResizeInfeasible" });
        let why = "the pool is full";
        claim["status"]["conditions"] =
            json!([{ "type": "ControllerResizeError", "status": "True", "message": why }]);
        // Each try is told of anew.
        let told = format!("resize-{name}-{}", told_so_far + events.len());
        let about = json!({ "kind": "PersistentVolumeClaim", "name": name });
        let event = json!({ "kind": "Event", "apiVersion": "v1", "metadata": { "name": told, "uid": told },
            "involvedObject": about, "reason": "VolumeResizeFailed", "type": "Warning", "count": 1,
            "message": why });
        events.insert(format!("{namespace}/events/{told}"), event);
    }
    objects.extend(events);
}

fn react(objects: &mut Objects, acknowledges: bool) {
    let desired: Vec<(String, String)> = objects
        .iter()
        .filter_map(|(path, object)| {
            let (place, cluster) = path.strip_suffix("-desired")?.split_once("/configmaps/")?;
            let text = object["data"][KEY_DESIRED].as_str()?.to_owned();
            let namespace = place.rsplit('/').next()?;
            Some((format!("{namespace}/{cluster}"), text))
        })
        .collect();
    for (id, text) in desired {
        let Some((namespace, cluster)) = id.split_once('/') else { continue };
        let Ok(document) = serde_json::from_str::<Desired>(&text) else { continue };
        carry_out(objects, namespace, &Names::new(cluster), &document, acknowledges.then_some(&text));
    }
}

fn carry_out(
    objects: &mut Objects,
    namespace: &str,
    names: &Names,
    desired: &Desired,
    acknowledged: Option<&String>,
) {
    let lease = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{}", names.cluster());
    let set = format!("/apis/apps/v1/namespaces/{namespace}/statefulsets/{}", names.cluster());
    let status = format!("/api/v1/namespaces/{namespace}/configmaps/{}", names.status());
    let all_there = [&lease, &set, &status].iter().all(|path| objects.contains_key(*path));
    if !all_there {
        return;
    }
    if let Some(lease) = objects.get_mut(&lease) {
        change_record(lease, |record| {
            record.bootstrap = Bootstrap::Done;
            record.system_identifier = Some(SystemIdentifier(SYSTEM_IDENTIFIER));
            record.holder.get_or_insert_with(|| holder(&names.pod(0)));
            if record.eras.is_empty() {
                record.eras = vec![EraEntry { era: Era(1), parent: None, timeline: None, start: None }];
            }
        });
    }
    if let Some(set) = objects.get_mut(&set) {
        set["metadata"]["annotations"][ANNOTATION_SYSTEM_IDENTIFIER] = json!(SYSTEM_IDENTIFIER.to_string());
    }
    if let Some(status) = objects.get_mut(&status) {
        change_status(status, |status| {
            status.accepts_writes = desired.state == RunState::Running;
            status.stopped = desired.state == RunState::Stopped;
            status.mode = desired.sync_mode;
            status.primary.get_or_insert_with(|| names.pod(0));
            if let Some(text) = acknowledged {
                status.instances = instances(names, desired, &status.instances);
                let confirm = if desired.sync_mode == SyncMode::Async { 0 } else { desired.sync_replicas };
                let standbys = status.instances.iter().filter(|(_, one)| one.role == Role::Standby);
                let voters = standbys.map(|(pod, _)| pod).take(confirm as usize);
                status.voters = voters.cloned().collect();
                status.degraded = false;
                let sha256 = document_sha256(text);
                status.acknowledged = Some(Acknowledged { generation: desired.generation, sha256 });
            }
        });
    }
}

/// A primary and standbys that stream, each less what is ruled of the settings that somebody gave it.
fn instances(
    names: &Names,
    desired: &Desired,
    before: &BTreeMap<String, InstanceStatus>,
) -> BTreeMap<String, InstanceStatus> {
    let ruled = desired.ruled();
    let one = |ordinal: u32| {
        let pod = names.pod(ordinal);
        let mut altered = before.get(&pod).map(|one| one.altered.clone()).unwrap_or_default();
        altered.retain(|name, _| !ruled.contains(name));
        let role = if ordinal == 0 { Role::Primary } else { Role::Standby };
        let state = if ordinal == 0 { InstanceState::Serving } else { InstanceState::Streaming };
        (pod, InstanceStatus { role, state, altered, ..streaming() })
    };
    (0..=desired.replicas).map(one).collect()
}

fn change_record(lease: &mut Json, change: impl FnOnce(&mut Record)) {
    let slot = &mut lease["metadata"]["annotations"][ANNOTATION_RECORD];
    let record = slot.as_str().and_then(|text| serde_json::from_str::<Record>(text).ok());
    if let Some(mut record) = record {
        change(&mut record);
        *slot = json!(serde_json::to_string(&record).unwrap_or_default());
    }
}

fn change_status(config_map: &mut Json, change: impl FnOnce(&mut ClusterStatus)) {
    let stored = config_map["data"][KEY_STATUS].as_str().and_then(|text| serde_json::from_str(text).ok());
    let mut status = stored.unwrap_or_else(first_status);
    change(&mut status);
    config_map["data"][KEY_STATUS] = json!(serde_json::to_string(&status).unwrap_or_default());
}

fn first_status() -> ClusterStatus {
    ClusterStatus {
        format: STATUS_FORMAT,
        acknowledged: None,
        system_identifier: Some(SystemIdentifier(SYSTEM_IDENTIFIER)),
        accepts_writes: true,
        stopped: false,
        primary: None,
        era: Era(1),
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

fn holder(pod: &str) -> Holder {
    Holder {
        pod: pod.to_owned(),
        member: Some(MemberId::new("m0")),
        nonce: ContainerNonce::new("n"),
        node: "node-1".to_owned(),
        boot_id: BootId::new("b"),
        address: "10.1.0.2".to_owned(),
    }
}

fn streaming() -> InstanceStatus {
    InstanceStatus {
        member: None,
        role: Role::Standby,
        state: InstanceState::Streaming,
        synchronous: false,
        lag_bytes: None,
        node: String::new(),
        agent_version: String::new(),
        agent_sha256: String::new(),
        replay_backlog_bytes: None,
        slot_retained_bytes: None,
        volume_used_percent: None,
        altered: BTreeMap::new(),
        settings_refused: None,
        starts_failed: None,
    }
}
