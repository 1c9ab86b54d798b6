//! From the specification to Kubernetes objects: one file a kind (provider.md, P12, P17, P23, P24).
//!
//! Exactly the fields that are ours are rendered, defaults that matter for safety among them, so that server-side apply makes
//! them ours and drift in them shows. Pod labels `role` and `pgha/ro` are not in the template: the agents set them, and a
//! value here would fight theirs.

mod access;
mod agent;
mod claims;
mod desired;
mod disruption;
mod lease;
mod network;
mod pod;
mod secrets;
mod services;
mod set;

use std::collections::{BTreeMap, BTreeSet};

use pgha_schema::desired::{Credentials, RunState};
use pgha_schema::names::{
    ANNOTATION_ANCHOR_UID, APP_NAME, LABEL_COMPONENT, LABEL_INSTANCE, LABEL_MANAGED_BY, LABEL_NAME, MANAGER,
    Names,
};
use pgha_schema::request::Request;
use pgha_schema::resource::ClusterSpec;
use serde_json::{Map, Value as Json, json};

use crate::step::Sensitive;

pub use agent::{Agent, CHUNK_BYTES, chunk_selector, chunks, head};
pub(crate) use claims::{annotate, grow};
pub use desired::document;
pub use lease::{lease, lease_patch};
pub use pod::template_hash;
pub use secrets::{secret, secrets};

/// Everything that the objects are made from.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// What the user wants, defaults filled in.
    pub spec: &'a ClusterSpec,
    /// Uid of the anchor.
    pub anchor_uid: &'a str,
    /// The agent that the cluster gets.
    pub agent: &'a Agent,
    /// Generation of the desired document.
    pub generation: u64,
    /// Whether the cluster is to run.
    pub state: RunState,
    /// Pods of the StatefulSet: more than the desired ones while a scale-down waits for the agents (P23).
    pub pods: u32,
    /// The size in the live StatefulSet's claim template, which can't be changed; `None` for a new one.
    pub claim_size: Option<String>,
    /// Requests that the desired document carries: actions write them, and an apply leaves them alone.
    pub requests: Vec<Request>,
    /// Settings given by ALTER SYSTEM that this apply takes back.
    pub taken_back: BTreeSet<String>,
    /// Which writings of the Secrets are to be in force.
    pub credentials: Credentials,
    /// The superuser's password, when it is to be written now.
    pub superuser_password: Option<&'a Sensitive>,
}

impl<'a> Inputs<'a> {
    /// Inputs for a running cluster with all its pods.
    pub fn new(spec: &'a ClusterSpec, anchor_uid: &'a str, agent: &'a Agent, generation: u64) -> Self {
        let pods = spec.replicas + 1;
        Self {
            spec,
            anchor_uid,
            agent,
            generation,
            state: RunState::Running,
            pods,
            claim_size: None,
            requests: Vec::new(),
            taken_back: BTreeSet::new(),
            credentials: Credentials::default(),
            superuser_password: None,
        }
    }

    /// The names of the cluster's objects.
    pub fn names(&self) -> Names {
        Names::new(&self.spec.name)
    }

    /// Metadata of an object of ours.
    fn metadata(&self, name: &str, component: Component) -> Json {
        let mut metadata = own_metadata(self.spec, component);
        metadata["name"] = json!(name);
        metadata["namespace"] = json!(self.spec.namespace);
        metadata
    }

    /// The same with the anchor's uid (P16).
    fn metadata_with_anchor(&self, name: &str, component: Component) -> Json {
        let mut metadata = self.metadata(name, component);
        metadata["annotations"][ANNOTATION_ANCHOR_UID] = json!(self.anchor_uid);
        metadata
    }
}

/// The part that an object plays: value of the label `app.kubernetes.io/component`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// PostgreSQL: StatefulSet, pods, volumes, disruption budget.
    Database,
    /// The agents: rights, binary, Lease.
    Agent,
    /// The cluster's documents: anchor, desired, status.
    State,
    /// Services.
    Network,
    /// Secrets.
    Credentials,
}

impl Component {
    fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Agent => "agent",
            Self::State => "state",
            Self::Network => "network",
            Self::Credentials => "credentials",
        }
    }
}

/// The labels that every object carries.
pub fn labels(cluster: &str, component: Component) -> Json {
    json!({
        LABEL_NAME: APP_NAME,
        LABEL_INSTANCE: cluster,
        LABEL_COMPONENT: component.as_str(),
        LABEL_MANAGED_BY: MANAGER,
    })
}

/// Labels and annotations of an object: the user's, and ours, which win.
pub(crate) fn own_metadata(spec: &ClusterSpec, component: Component) -> Json {
    let mut metadata = json!({"labels": text_map(spec.labels.as_ref()).unwrap_or_else(|| json!({}))});
    if let (Some(all), Json::Object(ours)) =
        (metadata["labels"].as_object_mut(), labels(&spec.name, component))
    {
        all.extend(ours);
    }
    if let Some(annotations) = text_map(spec.annotations.as_ref()) {
        metadata["annotations"] = annotations;
    }
    metadata
}

/// The labels that select a cluster's pods.
fn pod_selector(cluster: &str) -> Json {
    json!({LABEL_NAME: APP_NAME, LABEL_INSTANCE: cluster})
}

/// The objects that are applied, in the order in which they are applied. Anchor, Lease, Secrets and the agent's chunks are
/// made by POST and are not among them.
pub fn objects(inputs: &Inputs<'_>) -> Vec<Json> {
    let mut objects = access::all(inputs);
    objects.extend(services::all(inputs));
    objects.push(desired::status(inputs));
    objects.push(desired::config_map(inputs));
    objects.push(set::stateful_set(inputs));
    objects.extend(disruption::budget(inputs));
    objects.extend(network::policy(inputs));
    objects
}

fn object(kind: crate::object::Kind, metadata: Json, rest: Json) -> Json {
    let mut object = json!({"apiVersion": kind.api_version(), "kind": kind.name(), "metadata": metadata});
    if let (Some(object), Json::Object(rest)) = (object.as_object_mut(), rest) {
        object.extend(rest);
    }
    object
}

/// JSON of a map of texts; none when it is empty or missing.
fn text_map(map: Option<&BTreeMap<String, String>>) -> Option<Json> {
    let map = map.filter(|map| !map.is_empty())?;
    Some(Json::Object(map.iter().map(|(key, value)| (key.clone(), json!(value))).collect()))
}

/// Leaves out what is null, so that we don't own what we don't set.
fn without_nulls(json: Json) -> Json {
    match json {
        Json::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            Json::Object(fields.map(|(name, value)| (name, without_nulls(value))).collect::<Map<_, _>>())
        }
        Json::Array(items) => Json::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}
