//! A Kubernetes that does what steps say: server-side apply with defaults, uids, and agents that obey at once.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};

use pgha_provider_core::anchor::Anchor;
use pgha_provider_core::live::{LiveCluster, Seen, cluster_id};
use pgha_provider_core::object::{self, Kind, ObjectKey};
use pgha_provider_core::progress::{Signs, is_fulfilled, progress};
use pgha_provider_core::render::{Component, labels};
use pgha_provider_core::step::{Progress, Step, Taken, Wish};
use pgha_schema::desired::{SyncMode, document_sha256};
use pgha_schema::ids::{BootId, ContainerNonce, Era, MemberId, SystemIdentifier};
use pgha_schema::names::{ANNOTATION_RECORD, ANNOTATION_SYSTEM_IDENTIFIER, KEY_STATUS, MANAGER};
use pgha_schema::record::{Bootstrap, EraEntry, Holder, Record};
use pgha_schema::status::{Acknowledged, ClusterStatus, InstanceState, InstanceStatus, Role, STATUS_FORMAT};
use serde_json::{Value as Json, json};

pub const SYSTEM: u64 = 7_445_566_778_899_001_122;

#[derive(Clone)]
pub struct Fake {
    pub live: LiveCluster,
    pub anchor: Anchor,
    pub secrets: BTreeMap<String, usize>,
    pub shared: usize,
    /// What was done, in short.
    pub log: Vec<String>,
    uids: u64,
}

impl Fake {
    pub fn new(cluster: &str) -> Self {
        let mut live = LiveCluster::nothing(cluster);
        live.cluster_id = Some(cluster_id("a certificate"));
        Self {
            live,
            anchor: Anchor::new(json!({})),
            secrets: BTreeMap::new(),
            shared: 0,
            log: Vec::new(),
            uids: 0,
        }
    }

    fn uid(&mut self) -> String {
        self.uids += 1;
        format!("uid-{}", self.uids)
    }

    pub fn get(&self, kind: Kind, name: &str) -> &Json {
        self.live.objects[&ObjectKey::new(kind, name)].known().expect("is there")
    }

    /// Somebody's edit, as `kubectl edit` makes it.
    pub fn edit(&mut self, kind: Kind, name: &str, pointer: &str, value: Json) {
        let Some(Seen::Known(object)) = self.live.objects.get_mut(&ObjectKey::new(kind, name)) else {
            panic!("{kind} {name} is not there")
        };
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
        object.pointer_mut(parent).expect("a parent")[field.replace("~1", "/")] = value;
    }

    pub fn remove(&mut self, kind: Kind, name: &str) {
        self.live.objects.insert(ObjectKey::new(kind, name), Seen::Missing);
    }

    pub fn run(&mut self, steps: Vec<Step>) {
        for step in steps {
            self.step(step);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Create { object, taken } => self.create(object, &taken),
            Step::ShareAgent { head, chunks, owner } => {
                let of_head = json!({"uid": "uid-of-the-head"});
                let owners = std::iter::once(owner).chain(std::iter::repeat(of_head));
                for (mut object, owner) in std::iter::once(head).chain(chunks).zip(owners) {
                    object["metadata"]["ownerReferences"] = json!([owner]);
                    object["metadata"]["uid"] = json!("uid-of-the-head");
                    let metadata = json!({"metadata": object["metadata"]});
                    self.live.chunks.insert(object::name(&object).to_owned(), Seen::Known(metadata));
                }
                self.shared += 1;
            }
            Step::CreateSecret(secret) => {
                *self.secrets.entry(object::name(&secret.object).to_owned()).or_default() += 1;
            }
            Step::WriteSecret(secret) => {
                self.log.push(format!("write Secret {}", object::name(&secret.object)));
                *self.secrets.entry(object::name(&secret.object).to_owned()).or_default() += 1;
            }
            Step::Apply { object, expect_uid, remember, .. } => self.apply(object, expect_uid, remember),
            Step::Patch { key, body, .. } => self.patch(&key, &body),
            Step::Delete { key, uid } => self.delete(&key, uid.as_deref()),
            Step::Wait(wait) => self.wait(&wait.wish),
            Step::GiveUpChunks { owner_uid, .. } => {
                assert_eq!(Some(owner_uid.as_str()), self.live.anchor_uid());
            }
            Step::SaveAnchor => {
                self.log.push("save anchor".to_owned());
                let key = ObjectKey::new(Kind::ConfigMap, self.live.names.anchor());
                let metadata = json!({"labels": labels(self.live.names.cluster(), Component::State)});
                let new = self.anchor.object(&self.live.names, "shop", &metadata);
                let Some(Seen::Known(object)) = self.live.objects.get_mut(&key) else { panic!("no anchor") };
                object["data"] = new["data"].clone();
            }
        }
    }

    fn create(&mut self, mut object: Json, taken: &Taken) {
        let key = ObjectKey::of(&object).expect("a key");
        assert!(!matches!(self.live.objects[&key], Seen::Known(_)), "{key} is taken: {taken:?}");
        self.log.push(format!("create {key}"));
        object["metadata"]["uid"] = json!(self.uid());
        if key.name == self.live.names.anchor() {
            self.anchor = Anchor::parse(&object).expect("an anchor");
        }
        self.live.objects.insert(key, Seen::Known(object));
    }

    fn apply(&mut self, object: Json, expect_uid: Option<String>, remember: bool) {
        let key = ObjectKey::of(&object).expect("a key");
        let before = self.live.objects[&key].known().cloned();
        assert_eq!(before.as_ref().and_then(object::uid), expect_uid.as_deref(), "{key}");
        let replicas =
            object.pointer("/spec/replicas").map(|pods| format!(" with {pods} pods")).unwrap_or_default();
        self.log.push(format!("apply {key}{replicas}"));
        let mut answer = before.unwrap_or_else(|| json!({}));
        self.let_go(&key, &object, &mut answer);
        merge(&mut answer, &object);
        if answer["metadata"]["uid"].is_null() {
            answer["metadata"]["uid"] = json!(self.uid());
        }
        server_defaults(key.kind, &mut answer);
        if remember {
            self.anchor.remember(&object, &answer);
        }
        self.live.objects.insert(key, Seen::Known(answer));
        self.pods();
    }

    /// Labels and annotations that we applied before and apply no more go, since nobody else owns them here.
    fn let_go(&self, key: &ObjectKey, object: &Json, answer: &mut Json) {
        for map in ["/metadata/labels", "/metadata/annotations"] {
            let before = self.anchor.objects.get(key).and_then(|owned| owned.pointer(map)?.as_object());
            let Some(answer) = answer.pointer_mut(map).and_then(Json::as_object_mut) else { continue };
            let applied = |name: &str| object.pointer(map).is_some_and(|map| map.get(name).is_some());
            answer.retain(|name, _| applied(name) || !before.is_some_and(|before| before.contains_key(name)));
        }
    }

    fn patch(&mut self, key: &ObjectKey, body: &Json) {
        self.log.push(format!("patch {key}"));
        let target = if key.kind == Kind::PersistentVolumeClaim {
            let Seen::Known(claims) = &mut self.live.claims else { panic!("claims") };
            claims.iter_mut().find(|claim| object::name(claim) == key.name)
        } else {
            match self.live.objects.get_mut(key) {
                Some(Seen::Known(object)) => Some(object),
                _ => None,
            }
        };
        let Some(target) = target else { return };
        assert_eq!(object::uid(body), object::uid(target), "{key}: the precondition");
        json_merge(target, body);
        self.pods();
    }

    fn delete(&mut self, key: &ObjectKey, uid: Option<&str>) {
        self.log.push(format!("delete {key}"));
        self.anchor.forget(key);
        match key.kind {
            Kind::Secret => {
                self.secrets.remove(&key.name);
            }
            Kind::PersistentVolumeClaim => {
                let Seen::Known(claims) = &mut self.live.claims else { panic!("claims") };
                claims.retain(|claim| object::name(claim) != key.name || object::uid(claim) != uid);
            }
            _ => {
                assert_eq!(self.live.objects[key].known().and_then(object::uid), uid, "{key}");
                self.live.objects.insert(key.clone(), Seen::Missing);
            }
        }
        self.pods();
    }

    /// Pods and claims follow the StatefulSet.
    fn pods(&mut self) {
        let wanted = self.live.wanted_pods().unwrap_or(0) as u32;
        let names = self.live.names.clone();
        let pods = (0..wanted).map(|ordinal| json!({"metadata": {"name": names.pod(ordinal)}})).collect();
        self.live.pods = Seen::Known(pods);
        let template = "/spec/volumeClaimTemplates/0/spec/resources/requests/storage";
        let set = self.live.stateful_set();
        let size = set.known().and_then(|set| set.pointer(template)).cloned().unwrap_or_default();
        for ordinal in 0..wanted {
            let name = names.claim(ordinal);
            let uid = self.uid();
            let Seen::Known(claims) = &mut self.live.claims else { panic!("claims") };
            if !claims.iter().any(|claim| object::name(claim) == name) {
                claims.push(json!({
                    "metadata": {"name": name, "uid": uid},
                    "spec": {"resources": {"requests": {"storage": size}}},
                }));
            }
        }
    }

    fn wait(&mut self, wish: &Wish) {
        self.log.push(format!("wait {}", format!("{wish:?}").split([' ', '{']).next().unwrap_or_default()));
        match wish {
            Wish::Primary => self.serve(),
            Wish::Acknowledged { generation, sha256 } => {
                let text = self.live.desired_text().expect("a desired document").to_owned();
                let desired = self.live.desired().expect("a desired document");
                assert_eq!((desired.generation, document_sha256(&text)), (*generation, sha256.clone()));
                let pods: Vec<_> = (0..=desired.replicas).map(|pod| self.live.names.pod(pod)).collect();
                self.status(|status| {
                    for pod in pods {
                        status.instances.entry(pod).or_insert_with(streaming);
                    }
                    status.acknowledged =
                        Some(Acknowledged { generation: *generation, sha256: document_sha256(&text) });
                    for instance in status.instances.values_mut() {
                        instance.altered.retain(|name, _| !desired.ruled().contains(name));
                    }
                });
            }
            Wish::Streaming { standbys } => {
                let names = self.live.names.clone();
                self.status(|status| {
                    for ordinal in 1..=*standbys {
                        status.instances.insert(names.pod(ordinal), streaming());
                        status.voters.insert(names.pod(ordinal));
                    }
                });
            }
            Wish::Stopped => self.status(|status| status.stopped = true),
            Wish::Grown { size } => {
                let Seen::Known(claims) = &mut self.live.claims else { panic!("claims") };
                for claim in claims {
                    claim["status"] = json!({"capacity": {"storage": size}});
                }
            }
            Wish::Answered { .. }
            | Wish::PodsGone { .. }
            | Wish::ClaimsGone { .. }
            | Wish::ObjectsGone { .. } => {}
        }
        assert_eq!(progress(wish, &self.live, &self.live, 0), Progress::Done, "{wish:?}");
        let names = &self.live.names;
        assert!(
            is_fulfilled(wish, &self.live, &self.glance(Signs::of(wish, names))),
            "its signs tell it: {wish:?}"
        );
        let thorough = self.glance(Signs::thorough(wish, names));
        assert_eq!(
            progress(wish, &self.live, &thorough, 0),
            Progress::Done,
            "told by what a wait looks at: {wish:?}"
        );
    }

    /// What a look at the signs of a wish shows.
    fn glance(&self, signs: Signs) -> LiveCluster {
        let mut now = LiveCluster::unseen(&self.live.names);
        now.objects = signs
            .keys
            .into_iter()
            .map(|key| {
                let seen = self.live.objects.get(&key).cloned().unwrap_or(Seen::Missing);
                (key, seen)
            })
            .collect();
        if signs.pods {
            now.pods = self.live.pods.clone();
        }
        if signs.claims {
            now.claims = self.live.claims.clone();
        }
        now
    }

    /// ALTER SYSTEM on the instance with this ordinal.
    pub fn alter_system(&mut self, ordinal: u32, name: &str, value: &str) {
        self.instance(ordinal, |instance| {
            instance.altered.insert(name.to_owned(), value.to_owned());
        });
    }

    /// Changes what the agents say of the instance with this ordinal.
    pub fn instance(&mut self, ordinal: u32, change: impl FnOnce(&mut InstanceStatus)) {
        let pod = self.live.names.pod(ordinal);
        self.status(|status| change(status.instances.entry(pod).or_insert_with(streaming)));
    }

    fn status(&mut self, change: impl FnOnce(&mut ClusterStatus)) {
        let mut status = self.live.status().unwrap_or_else(|| ClusterStatus {
            format: STATUS_FORMAT,
            acknowledged: None,
            system_identifier: Some(SystemIdentifier(SYSTEM)),
            accepts_writes: true,
            stopped: false,
            primary: Some(self.live.names.pod(0)),
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
        });
        change(&mut status);
        let text = serde_json::to_string(&status).expect("JSON");
        let key = ObjectKey::new(Kind::ConfigMap, self.live.names.status());
        let Some(Seen::Known(object)) = self.live.objects.get_mut(&key) else { panic!("no status") };
        object["data"] = json!({KEY_STATUS: text});
    }

    /// The agents initialise (or resume) and serve.
    fn serve(&mut self) {
        self.status(|_| ());
        let record = self.live.record().expect("a record");
        let record = Record {
            bootstrap: Bootstrap::Done,
            system_identifier: Some(SystemIdentifier(SYSTEM)),
            holder: Some(holder(&self.live.names.pod(0))),
            eras: vec![EraEntry { era: Era(record.era().0 + 1), parent: None, timeline: None, start: None }],
            ..record
        };
        let text = serde_json::to_string(&record).expect("JSON");
        let cluster = self.live.names.cluster().to_owned();
        self.edit(
            Kind::Lease,
            &cluster,
            &format!("/metadata/annotations/{}", pointer(ANNOTATION_RECORD)),
            json!(text),
        );
        let annotation = format!("/metadata/annotations/{}", pointer(ANNOTATION_SYSTEM_IDENTIFIER));
        self.edit(Kind::StatefulSet, &cluster, &annotation, json!(SYSTEM.to_string()));
        let Seen::Known(claims) = &mut self.live.claims else { panic!("claims") };
        for claim in claims {
            json_merge(
                claim,
                &json!({"metadata": {"annotations": {ANNOTATION_SYSTEM_IDENTIFIER: SYSTEM.to_string()}}}),
            );
        }
    }
}

fn pointer(key: &str) -> String {
    key.replace('/', "~1")
}

pub fn holder(pod: &str) -> Holder {
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

/// What an API server adds that nobody asked for.
fn server_defaults(kind: Kind, object: &mut Json) {
    object["metadata"]["resourceVersion"] = json!("1");
    object["metadata"]["managedFields"] = json!([{"manager": MANAGER, "operation": "Apply", "fieldsV1": {}}]);
    match kind {
        Kind::Service => {
            object["spec"]["sessionAffinity"] = json!("None");
            object["spec"]["internalTrafficPolicy"] = json!("Cluster");
        }
        Kind::StatefulSet => {
            object["spec"]["template"]["spec"]["dnsPolicy"] = json!("ClusterFirst");
            object["spec"]["template"]["spec"]["containers"][0]["terminationMessagePolicy"] = json!("File");
            object["spec"]["volumeClaimTemplates"][0]["status"] = json!({"phase": "Pending"});
        }
        _ => {}
    }
}

/// A crude server-side apply: maps merge, everything else is replaced.
fn merge(into: &mut Json, from: &Json) {
    match (into, from) {
        (Json::Object(into), Json::Object(from)) => {
            for (key, value) in from {
                // Atomic, as the API server has it.
                if key == "selector" {
                    into.insert(key.clone(), value.clone());
                } else {
                    merge(into.entry(key.clone()).or_insert(Json::Null), value);
                }
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// JSON merge patch: null removes.
fn json_merge(into: &mut Json, patch: &Json) {
    let Json::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            into.as_object_mut().expect("an object").remove(key);
        } else {
            json_merge(&mut into[key], value);
        }
    }
}
