//! The agent's chunks: a namespace's clusters share them, and the anchors of all that use them own them (P24).

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::Job;
use crate::object::{self, Kind, ObjectKey};
use crate::render;
use crate::step::Step;

/// Makes them, or becomes one of their owners.
pub(super) fn share(job: &Job<'_>, anchor_uid: &str) -> Vec<Step> {
    let owner = json!({
        "apiVersion": Kind::ConfigMap.api_version(),
        "kind": Kind::ConfigMap.name(),
        "name": job.names().anchor(),
        "uid": anchor_uid,
    });
    let chunks = render::chunks(job.agent, job.gzipped, &job.spec.namespace);
    let share = |mut object: Json| {
        object["metadata"]["ownerReferences"] = json!([owner]);
        Step::Share { object, owner: owner.clone() }
    };
    chunks.into_iter().map(share).collect()
}

/// A chunk that this cluster needs no more.
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

/// Those of `chunks` that the owner owns, that are not `kept`, and that none of `pods` names: a pod is made from an older template
/// than the newest for as long as nothing rolls it, and its node's next start mounts what that template names.
pub fn given_up(chunks: &[Json], pods: &[Json], kept: &[String], owner_uid: &str) -> Vec<GivenUp> {
    let named: BTreeSet<&str> = pods.iter().flat_map(named_by).collect();
    let unused = chunks.iter().filter(|chunk| {
        let name = object::name(chunk);
        !kept.iter().any(|one| one == name) && !named.contains(name)
    });
    unused.filter_map(|chunk| give_up(chunk, owner_uid)).collect()
}

fn give_up(chunk: &Json, owner_uid: &str) -> Option<GivenUp> {
    let key = ObjectKey::new(Kind::ConfigMap, object::name(chunk));
    let owners = chunk.pointer("/metadata/ownerReferences")?.as_array()?;
    let (ours, others): (Vec<_>, Vec<_>) = owners.iter().partition(|owner| owner["uid"] == owner_uid);
    if ours.is_empty() {
        return None;
    }
    if !others.is_empty() {
        return Some(GivenUp::Reference(key));
    }
    let resource_version = chunk.pointer("/metadata/resourceVersion")?.as_str()?.to_owned();
    Some(GivenUp::Whole { key, uid: object::uid(chunk)?.to_owned(), resource_version })
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
        let chunks = [
            chunk("new", &["us"]),
            chunk("of-a-pod", &["us"]),
            chunk("shared", &["them", "us"]),
            chunk("theirs", &["them"]),
            chunk("old", &["us"]),
            json!({"metadata": {"name": "of-nobody"}}),
        ];
        let pods = [json!({"spec": {"volumes": [
            {"name": "tmp", "emptyDir": {}},
            {"name": "agent-chunks", "projected": {"sources": [{"configMap": {"name": "of-a-pod"}}]}},
        ]}})];
        let key = |name: &str| ObjectKey::new(Kind::ConfigMap, name);
        let whole = |name: &str| GivenUp::Whole {
            key: key(name),
            uid: format!("uid-{name}"),
            resource_version: "7".to_owned(),
        };
        let kept = ["new".to_owned()];
        assert_eq!(given_up(&chunks, &pods, &kept, "us"), [GivenUp::Reference(key("shared")), whole("old")]);
        assert_eq!(given_up(&chunks, &[], &kept, "us").len(), 3);
        assert_eq!(given_up(&chunks, &pods, &[], "another"), []);
    }
}
