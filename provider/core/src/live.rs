//! What exists right now: one plain snapshot, taken by the I/O shell, judged here.

use std::collections::BTreeMap;

use pgha_schema::desired::Desired;
use pgha_schema::names::{
    ANNOTATION_ANCHOR_UID, ANNOTATION_RECORD, ANNOTATION_SYSTEM_IDENTIFIER, APP_NAME, KEY_DESIRED,
    KEY_STATUS, LABEL_INSTANCE, LABEL_MANAGED_BY, LABEL_NAME, MANAGER, Names, agent_head, short_hash,
};
use pgha_schema::record::Record;
use pgha_schema::status::ClusterStatus;
use serde_json::Value as Json;

use crate::object::{self, Kind, ObjectKey};

/// What a read gave. Not being allowed to look is not the same as nothing there.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen<T> {
    /// It is there.
    Known(T),
    /// The API server answered 404.
    Missing,
    /// The API server answered 403; its message.
    Forbidden(String),
}

impl<T> Seen<T> {
    /// Why it may not be looked at, when that is so.
    pub fn forbidden(&self) -> Option<&str> {
        match self {
            Self::Forbidden(why) => Some(why),
            Self::Known(_) | Self::Missing => None,
        }
    }

    /// It, when it is there.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Missing | Self::Forbidden(_) => None,
        }
    }

    /// It is proven that it is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }
}

/// One snapshot of a cluster's objects. The shell fills it: one GET for each of [`LiveCluster::keys`], one LIST for each of
/// pods, claims and (while waiting) events. Any other failure than 404 and 403 is the shell's error, and no snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveCluster {
    /// The names of the cluster's objects.
    pub names: Names,
    /// Which Kubernetes cluster this is: [`cluster_id`] of its root certificate; `None` when it could not be read.
    pub cluster_id: Option<String>,
    /// The objects of [`LiveCluster::keys`].
    pub objects: BTreeMap<ObjectKey, Seen<Json>>,
    /// The pods with the cluster's labels ([`LiveCluster::selector`]).
    pub pods: Seen<Vec<Json>>,
    /// The volume claims with the cluster's labels.
    pub claims: Seen<Vec<Json>>,
    /// The metadata of the ConfigMaps that hold the agent which the desired document names ([`LiveCluster::chunks_wished`],
    /// [`LiveCluster::head_wished`]), by their names; empty but in snapshots that drift is told from.
    pub chunks: BTreeMap<String, Seen<Json>>,
    /// Core v1 events about what has a name of the cluster's ([`LiveCluster::is_about`]), while waiting; else empty.
    pub events: Vec<Json>,
    /// Last lines of the container logs of pods that crash, by pod, while waiting; else empty.
    pub logs: BTreeMap<String, String>,
}

/// Identifies a Kubernetes cluster by the text of `ca.crt` in a namespace's ConfigMap `kube-root-ca.crt` (P15).
pub fn cluster_id(root_certificate: &str) -> String {
    pgha_schema::desired::document_sha256(root_certificate.trim())
}

impl LiveCluster {
    /// A snapshot in which nothing exists.
    pub fn nothing(cluster: &str) -> Self {
        let names = Names::new(cluster);
        Self {
            objects: Self::keys(&names).into_iter().map(|key| (key, Seen::Missing)).collect(),
            pods: Seen::Known(Vec::new()),
            claims: Seen::Known(Vec::new()),
            ..Self::unseen(&names)
        }
    }

    /// Nothing of the cluster is there, no pod and no volume either, and all of that may be looked at.
    pub fn is_bare(&self) -> bool {
        let none = |list: &Seen<Vec<Json>>| list.known().is_some_and(Vec::is_empty);
        self.objects.values().all(Seen::is_missing) && none(&self.pods) && none(&self.claims)
    }

    /// The same a moment later, when the anchor was made.
    pub fn with_anchor(mut self, anchor: Json) -> Self {
        let key = ObjectKey::new(Kind::ConfigMap, self.names.anchor());
        self.objects.insert(key, Seen::Known(anchor));
        self
    }

    /// Whether an event tells of the cluster, one of its pods or one of its volume claims.
    pub fn is_about(names: &Names, event: &Json) -> bool {
        let name = event["involvedObject"]["name"].as_str().unwrap_or_default();
        name == names.cluster() || names.ordinal(name).is_some()
    }

    /// A snapshot for which nothing was asked.
    pub fn unseen(names: &Names) -> Self {
        let unseen = || Seen::Forbidden("not asked for".to_owned());
        Self {
            names: names.clone(),
            cluster_id: None,
            objects: BTreeMap::new(),
            pods: unseen(),
            claims: unseen(),
            chunks: BTreeMap::new(),
            events: Vec::new(),
            logs: BTreeMap::new(),
        }
    }

    /// The objects that a snapshot reads. Secrets are never among them (P14).
    pub fn keys(names: &Names) -> Vec<ObjectKey> {
        let cluster = names.cluster();
        vec![
            ObjectKey::new(Kind::ConfigMap, names.anchor()),
            ObjectKey::new(Kind::ConfigMap, names.desired()),
            ObjectKey::new(Kind::ConfigMap, names.status()),
            ObjectKey::new(Kind::Lease, cluster),
            ObjectKey::new(Kind::NetworkPolicy, cluster),
            ObjectKey::new(Kind::PodDisruptionBudget, cluster),
            ObjectKey::new(Kind::Role, cluster),
            ObjectKey::new(Kind::RoleBinding, cluster),
            ObjectKey::new(Kind::Service, names.service_pods()),
            ObjectKey::new(Kind::Service, names.service_r()),
            ObjectKey::new(Kind::Service, names.service_ro()),
            ObjectKey::new(Kind::Service, names.service_rw()),
            ObjectKey::new(Kind::ServiceAccount, cluster),
            ObjectKey::new(Kind::StatefulSet, cluster),
        ]
    }

    /// The label selector of the cluster's pods and claims.
    pub fn selector(names: &Names) -> String {
        format!("{LABEL_NAME}={APP_NAME},{LABEL_INSTANCE}={}", names.cluster())
    }

    /// One of the objects; an object that was not asked for counts as not readable.
    pub fn object(&self, key: &ObjectKey) -> Seen<&Json> {
        match self.objects.get(key) {
            Some(Seen::Known(object)) => Seen::Known(object),
            Some(Seen::Missing) => Seen::Missing,
            Some(Seen::Forbidden(why)) => Seen::Forbidden(why.clone()),
            None => Seen::Forbidden(format!("{key} was not asked for")),
        }
    }

    /// The anchor.
    pub fn anchor(&self) -> Seen<&Json> {
        self.object(&ObjectKey::new(Kind::ConfigMap, self.names.anchor()))
    }

    /// The anchor's uid.
    pub fn anchor_uid(&self) -> Option<&str> {
        self.objects.get(&ObjectKey::new(Kind::ConfigMap, self.names.anchor()))?.known().and_then(object::uid)
    }

    /// The StatefulSet.
    pub fn stateful_set(&self) -> Seen<&Json> {
        self.object(&ObjectKey::new(Kind::StatefulSet, self.names.cluster()))
    }

    /// The Lease.
    pub fn lease(&self) -> Seen<&Json> {
        self.object(&ObjectKey::new(Kind::Lease, self.names.cluster()))
    }

    /// The NetworkPolicy, when it is this cluster's: another one may have its name while the cluster has none.
    pub fn network_policy(&self) -> Option<&Json> {
        let policy = self.objects.get(&ObjectKey::new(Kind::NetworkPolicy, self.names.cluster()))?.known()?;
        let label = |key: &str| policy.get("metadata")?.get("labels")?.get(key)?.as_str();
        let ours = label(LABEL_MANAGED_BY) == Some(MANAGER);
        (ours && label(LABEL_INSTANCE) == Some(self.names.cluster())).then_some(policy)
    }

    /// The record on the Lease, when it is there and can be read.
    pub fn record(&self) -> Option<Record> {
        record_of(self.lease().known()?)
    }

    /// The anchor's uid that StatefulSet or Lease carry.
    pub fn carried_anchor_uid(&self) -> Option<&str> {
        [Kind::StatefulSet, Kind::Lease].into_iter().find_map(|kind| {
            let object = self.objects.get(&ObjectKey::new(kind, self.names.cluster()))?.known()?;
            object::annotation(object, ANNOTATION_ANCHOR_UID)
        })
    }

    /// The text of the desired document.
    pub fn desired_text(&self) -> Option<&str> {
        let key = ObjectKey::new(Kind::ConfigMap, self.names.desired());
        self.objects.get(&key)?.known().and_then(|object| object::data(object, KEY_DESIRED))
    }

    /// The desired document, when it is there and can be read.
    pub fn desired(&self) -> Option<Desired> {
        serde_json::from_str(self.desired_text()?).ok()
    }

    /// The names of the ConfigMaps that hold the agent which the pods are to run; they belong to all clusters of the namespace that run it.
    pub fn chunks_wished(&self) -> Vec<String> {
        self.desired().and_then(|desired| desired.agent).map(|agent| agent.chunks).unwrap_or_default()
    }

    /// The name of the ConfigMap that owns those.
    pub fn head_wished(&self) -> Option<String> {
        let agent = self.desired()?.agent?;
        (!agent.chunks.is_empty()).then(|| agent_head(short_hash(&agent.sha256)))
    }

    /// The agents' status document, when it is there and can be read.
    pub fn status(&self) -> Option<ClusterStatus> {
        let key = ObjectKey::new(Kind::ConfigMap, self.names.status());
        let text = self.objects.get(&key)?.known().and_then(|object| object::data(object, KEY_STATUS))?;
        serde_json::from_str(text).ok()
    }

    /// The number of pods that the StatefulSet asks for.
    pub fn wanted_pods(&self) -> Option<u64> {
        self.stateful_set().known()?.pointer("/spec/replicas")?.as_u64()
    }

    /// PostgreSQL's system identifier, from record, StatefulSet or status.
    pub fn system_identifier(&self) -> Option<String> {
        let stateful_set = self.stateful_set();
        let annotated =
            stateful_set.known().and_then(|set| object::annotation(set, ANNOTATION_SYSTEM_IDENTIFIER));
        self.record()
            .and_then(|record| record.system_identifier)
            .map(|identifier| identifier.to_string())
            .or_else(|| annotated.map(str::to_owned))
            .or_else(|| self.status()?.system_identifier.map(|identifier| identifier.to_string()))
    }

    /// The pods by ordinal.
    pub fn pods_by_ordinal(&self) -> BTreeMap<u32, &Json> {
        self.by_ordinal(&self.pods)
    }

    /// The volume claims by ordinal.
    pub fn claims_by_ordinal(&self) -> BTreeMap<u32, &Json> {
        self.by_ordinal(&self.claims)
    }

    /// The volume claims of the pods that the StatefulSet asks for.
    pub fn wanted_claims(&self) -> impl Iterator<Item = &Json> {
        let pods = self.wanted_pods().unwrap_or_default();
        let claims = self.claims_by_ordinal().into_iter();
        claims.filter(move |(ordinal, _)| u64::from(*ordinal) < pods).map(|(_, claim)| claim)
    }

    fn by_ordinal<'a>(&self, list: &'a Seen<Vec<Json>>) -> BTreeMap<u32, &'a Json> {
        let items = list.known().map(Vec::as_slice).unwrap_or_default();
        items.iter().filter_map(|item| Some((self.names.ordinal(object::name(item))?, item))).collect()
    }
}

/// The record that a Lease or a volume claim carries.
pub fn record_of(object: &Json) -> Option<Record> {
    serde_json::from_str(object::annotation(object, ANNOTATION_RECORD)?).ok()
}
