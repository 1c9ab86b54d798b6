//! The agent's binary on its way into the cluster: gzipped, in immutable ConfigMaps named by its hash (design.md, section 6).

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pgha_schema::desired::AgentBinary;
use pgha_schema::names::{
    APP_NAME, LABEL_COMPONENT, LABEL_MANAGED_BY, LABEL_NAME, MANAGER, PREFIX, agent_chunk, agent_head,
    short_hash,
};
use pgha_schema::resource::ClusterSpec;
use serde_json::{Value as Json, json};

use super::{Component, object};
use crate::object::Kind;

/// Bytes in one chunk: a ConfigMap holds 1 MiB.
pub const CHUNK_BYTES: usize = 1_000_000;

/// The agent that a cluster gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its version, as in `agent_version`; empty when an image holds it.
    pub version: String,
    /// SHA-256 of the binary (not of its gzipped form), in lower-case hexadecimal; empty when an image holds it.
    pub sha256: String,
    /// How many chunks the gzipped binary has.
    pub chunks: usize,
    /// Architectures that it runs on, in Kubernetes' words (`amd64`); empty when nothing is known of that.
    pub architectures: Vec<String>,
    /// The image that holds it; `None`: the provider carries it.
    pub image: Option<String>,
}

impl Agent {
    /// From the embedded binary's facts; `gzipped_bytes` is the length of what [`chunks`] will cut.
    pub fn new(version: &str, sha256: &str, gzipped_bytes: usize, architectures: &[&str]) -> Self {
        Self {
            version: version.to_owned(),
            sha256: sha256.to_owned(),
            chunks: gzipped_bytes.div_ceil(CHUNK_BYTES),
            architectures: architectures.iter().map(|one| (*one).to_owned()).collect(),
            image: None,
        }
    }

    /// The one that this cluster gets, and its gzipped binary: the carried one, unless an image holds another.
    pub fn of<'a>(spec: &ClusterSpec, carried: &'a Self, gzipped: &'a [u8]) -> (Cow<'a, Self>, &'a [u8]) {
        match &spec.agent_image {
            // Of which nothing else is known here.
            Some(image) => {
                (Cow::Owned(Self { image: Some(image.clone()), ..Self::new("", "", 0, &[]) }), &[])
            }
            None => (Cow::Borrowed(carried), gzipped),
        }
    }

    /// The part of the hash that names the chunks.
    pub fn short_hash(&self) -> &str {
        short_hash(&self.sha256)
    }

    /// As the desired document names it: what an image holds is in the pods, and none is wished for instead.
    pub(super) fn binary(&self) -> Option<AgentBinary> {
        let binary = || AgentBinary {
            version: self.version.clone(),
            sha256: self.sha256.clone(),
            chunks: self.chunk_names(),
        };
        self.image.is_none().then(binary)
    }

    /// What tells it from other agents on a pod.
    pub fn mark(&self) -> &str {
        self.image.as_deref().unwrap_or(&self.sha256)
    }

    /// Nothing of it but where it can run: what remains of a pod template when the agent is exchanged in place.
    pub(super) fn any(&self) -> Self {
        Self {
            architectures: self.architectures.clone(),
            image: self.image.clone(),
            ..Self::new("", "", 0, &[])
        }
    }

    /// The name of the ConfigMap that owns the chunks.
    pub fn head_name(&self) -> String {
        agent_head(self.short_hash())
    }

    /// The names of the chunks' ConfigMaps, in order.
    pub fn chunk_names(&self) -> Vec<String> {
        (0..self.chunks).map(|index| agent_chunk(self.short_hash(), index)).collect()
    }
}

/// The file that a chunk becomes in the pod: padded, so that the shell's order is the chunks' order.
pub(super) fn chunk_file(index: usize) -> String {
    format!("part-{index:03}")
}

/// The label selector under which the heads and chunks of all agents of a namespace are found.
pub fn chunk_selector() -> String {
    let (label, value) = chunk_label();
    format!("{label}={value}")
}

fn chunk_label() -> (String, &'static str) {
    (format!("{PREFIX}part"), "agent-binary")
}

fn labels(agent: &Agent) -> BTreeMap<String, &str> {
    let (label, value) = chunk_label();
    [
        (LABEL_NAME.to_owned(), APP_NAME),
        (LABEL_COMPONENT.to_owned(), Component::Agent.as_str()),
        (LABEL_MANAGED_BY.to_owned(), MANAGER),
        // Not one cluster's: this is the instance of the agent.
        (pgha_schema::names::LABEL_INSTANCE.to_owned(), agent.short_hash()),
        (label, value),
    ]
    .into()
}

/// The ConfigMap that owns the chunks. It belongs to no cluster alone: the anchors of all that run this agent own it, and becoming an
/// owner of something small costs the API server next to nothing, however many clusters a namespace has.
pub fn head(agent: &Agent, namespace: &str) -> Json {
    let metadata = json!({"name": agent.head_name(), "namespace": namespace, "labels": labels(agent)});
    let data = json!({"version": agent.version, "sha256": agent.sha256, "parts": agent.chunks.to_string()});
    object(Kind::ConfigMap, metadata, json!({"immutable": true, "data": data}))
}

/// The ConfigMaps with the gzipped binary.
pub fn chunks(agent: &Agent, gzipped: &[u8], namespace: &str) -> Vec<Json> {
    let labels = labels(agent);
    let parts = gzipped.chunks(CHUNK_BYTES).enumerate();
    parts
        .map(|(index, part)| {
            let metadata =
                json!({"name": agent_chunk(agent.short_hash(), index), "namespace": namespace, "labels": labels});
            let rest = json!({"immutable": true, "binaryData": {chunk_file(index): STANDARD.encode(part)}});
            object(Kind::ConfigMap, metadata, rest)
        })
        .collect()
}
