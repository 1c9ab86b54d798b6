//! The agent's chunks: a namespace's clusters share them (P24). One small ConfigMap, the head, owns them, and the anchors of all clusters
//! that run the agent own the head. In clusters of older providers the anchors own each chunk.

use std::collections::BTreeSet;

use pgha_schema::names::agent_head_of;
use serde_json::{Value as Json, json};

use super::Job;
use crate::object::{self, Kind, ObjectKey};
use crate::render;
use crate::step::Step;

/// Makes them, or becomes one of their owners.
pub(super) fn share(job: &Job<'_>, anchor_uid: &str) -> Option<Step> {
    let chunks = render::chunks(job.agent, job.gzipped, &job.spec.namespace);
    (!chunks.is_empty()).then(|| Step::ShareAgent {
        head: render::head(job.agent, &job.spec.namespace),
        chunks,
        owner: owner(&job.names().anchor(), anchor_uid),
    })
}

/// A ConfigMap as an owner of others.
pub fn owner(name: &str, uid: &str) -> Json {
    json!({"apiVersion": Kind::ConfigMap.api_version(), "kind": Kind::ConfigMap.name(), "name": name, "uid": uid})
}

/// The head of the agent that the cluster gets.
pub(super) fn kept(job: &Job<'_>) -> Option<String> {
    (job.agent.chunks > 0).then(|| job.agent.head_name())
}

/// A head, or a chunk of an older provider, that this cluster needs no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// Others own it too: only the reference goes.
    Reference(ObjectKey),
    /// Nobody else does: it goes, if it still is in this version, since another cluster may just be becoming an owner.
    Whole {
        /// Which.
        key: ObjectKey,
        /// Its uid.
        uid: String,
        /// Its version.
        resource_version: String,
    },
}

/// Those of `parts`, heads and chunks, that the owner owns, that are not of the `kept` agent, and of whose agent none of `pods` names a
/// chunk: a pod is made from an older template than the newest for as long as nothing rolls it, and its node's next start mounts what
/// that template names. A head takes its chunks along.
pub fn given_up(parts: &[Json], pods: &[Json], kept: Option<&str>, owner_uid: &str) -> Vec<GivenUp> {
    let named: BTreeSet<&str> = pods.iter().flat_map(named_by).map(agent_head_of).chain(kept).collect();
    let unused = parts.iter().filter(|part| !named.contains(agent_head_of(object::name(part))));
    unused.filter_map(|part| give_up(part, owner_uid)).collect()
}

fn give_up(part: &Json, owner_uid: &str) -> Option<GivenUp> {
    let key = ObjectKey::new(Kind::ConfigMap, object::name(part));
    let owners = part.pointer("/metadata/ownerReferences")?.as_array()?;
    let (ours, others): (Vec<_>, Vec<_>) = owners.iter().partition(|owner| owner["uid"] == owner_uid);
    if ours.is_empty() {
        return None;
    }
    if !others.is_empty() {
        return Some(GivenUp::Reference(key));
    }
    let resource_version = part.pointer("/metadata/resourceVersion")?.as_str()?.to_owned();
    Some(GivenUp::Whole { key, uid: object::uid(part)?.to_owned(), resource_version })
}

/// The ConfigMaps that a pod's volumes name.
fn named_by(pod: &Json) -> impl Iterator<Item = &str> {
    let volumes = pod.pointer("/spec/volumes").and_then(Json::as_array).into_iter().flatten();
    let sources = volumes.flat_map(|volume| {
        volume.pointer("/projected/sources").and_then(Json::as_array).into_iter().flatten()
    });
    sources.filter_map(|source| source.pointer("/configMap/name")?.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(name: &str, owners: &[&str]) -> Json {
        let owners: Vec<Json> = owners.iter().map(|uid| json!({"uid": uid})).collect();
        json!({"metadata": {"name": name, "uid": format!("uid-{name}"), "resourceVersion": "7", "ownerReferences": owners}})
    }

    #[test]
    fn what_a_pod_or_another_cluster_needs_stays() {
        let hash = |letter: &str| format!("pgha-agent-{}", letter.repeat(16));
        let [new, of_a_pod, shared, theirs, old] = ["a", "b", "c", "d", "1"].map(hash);
        let older = format!("{old}-0");
        let chunks = [
            chunk(&new, &["us"]),
            chunk(&of_a_pod, &["us"]),
            chunk(&shared, &["them", "us"]),
            chunk(&theirs, &["them"]),
            chunk(&old, &["us"]),
            // Of a provider that had no heads.
            chunk(&older, &["us"]),
            json!({"metadata": {"name": "of-nobody"}}),
        ];
        let pods = [json!({"spec": {"volumes": [
            {"name": "tmp", "emptyDir": {}},
            {"name": "agent-chunks", "projected": {"sources": [{"configMap": {"name": format!("{of_a_pod}-3")}}]}},
        ]}})];
        let key = |name: &str| ObjectKey::new(Kind::ConfigMap, name);
        let whole = |name: &str| GivenUp::Whole {
            key: key(name),
            uid: format!("uid-{name}"),
            resource_version: "7".to_owned(),
        };
        let kept = Some(new.as_str());
        assert_eq!(
            given_up(&chunks, &pods, kept, "us"),
            [GivenUp::Reference(key(&shared)), whole(&old), whole(&older)]
        );
        assert_eq!(given_up(&chunks, &[], kept, "us").len(), 4);
        assert_eq!(given_up(&chunks, &pods, None, "another"), []);
    }
}
