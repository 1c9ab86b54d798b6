//! Copies of one cluster's objects under other names.

use anyhow::{Context as _, Result};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ApiResource, ListParams, Patch, PatchParams};
use pgha_schema::desired::document_sha256;
use pgha_schema::names::{KEY_DESIRED, KEY_STATUS, Names, agent_head, agent_head_of};
use pgha_schema::status::ClusterStatus;
use serde_json::{Value as Json, json};

use super::objects::{self, KINDS, Object, Place};
use crate::cluster::Cluster;

/// The cluster that is copied: a name that occurs in no object but as this name.
pub const ORIGINAL: &str = "thecopiedcluster";
/// Copies that are made at a time.
const AT_ONCE: usize = 8;
/// What keeps the copies' pods from being scheduled.
const GATE: &str = "pgha/no-pods-of-copies";

/// The copies.
pub struct Clones {
    /// Their namespace.
    pub namespace: String,
    /// Their names.
    pub names: Vec<String>,
}

impl Clones {
    /// Copies a cluster so many times.
    ///
    /// # Errors
    /// When an object can't be read or made.
    pub async fn make(original: &Cluster, count: u32) -> Result<Self> {
        let source = Source::read(original).await?;
        let names: Vec<String> = (0..count).map(|number| format!("copy-{number:03}")).collect();
        let copies: Vec<_> = names.iter().map(|name| source.copy(name)).collect();
        let anchors = stream::iter(copies).buffer_unordered(AT_ONCE).try_collect::<Vec<Json>>().await?;
        source.share(&anchors).await?;
        Ok(Self { namespace: original.namespace.clone(), names })
    }
}

/// What is copied.
struct Source {
    place: Place,
    anchor_uid: String,
    anchor: Object,
    others: Vec<Object>,
}

impl Source {
    async fn read(original: &Cluster) -> Result<Self> {
        let place = Place { client: original.client().clone(), namespace: original.namespace.clone() };
        let mut objects = place.read(&KINDS).await?;
        objects.retain(|(_, object)| objects::name(object).starts_with(ORIGINAL));
        let anchor_name = original.names.anchor();
        let at = objects.iter().position(|(_, object)| objects::name(object) == anchor_name);
        let anchor = objects.swap_remove(at.context("the cluster has an anchor")?);
        let anchor_uid = anchor.1["metadata"]["uid"].as_str().context("the anchor has a uid")?.to_owned();
        Ok(Self { place, anchor_uid, anchor, others: objects })
    }

    /// The copies own the agent's head too, as clusters do.
    async fn share(&self, anchors: &[Json]) -> Result<()> {
        let maps: Api<ConfigMap> = Api::namespaced(self.place.client.clone(), &self.place.namespace);
        let listed = maps.list_metadata(&ListParams::default()).await?;
        let mut names = listed.into_iter().filter_map(|one| one.metadata.name);
        let head = names.find(|name| name.starts_with(&agent_head("")) && agent_head_of(name) == name);
        let head = head.context("the agent has a head")?;
        let patch = json!({"metadata": {"ownerReferences": anchors}});
        maps.patch_metadata(&head, &PatchParams::default(), &Patch::Strategic(&patch))
            .await
            .with_context(|| format!("give {head} its owners"))
            .map(drop)
    }

    /// Gives a reference to the copy's anchor.
    async fn copy(&self, name: &str) -> Result<Json> {
        let (resource, anchor) = &self.anchor;
        let made = self.place.create(resource, renamed(anchor, name, None)?).await?;
        let uid = made.metadata.uid.context("the copied anchor has a uid")?;
        let uids = Some((self.anchor_uid.as_str(), uid.as_str()));
        // What it remembers speaks of its own uid, which is known only now.
        let patch = json!({"data": renamed(anchor, name, uids)?["data"]});
        let anchor = Names::new(name).anchor();
        self.place
            .api(resource)
            .patch(&anchor, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .context("patch the anchor")?;
        let mut copies = Vec::new();
        for (resource, object) in &self.others {
            copies.push((resource, renamed(object, name, uids)?));
        }
        acknowledge(&Names::new(name), &mut copies)?;
        for (resource, object) in copies {
            self.place.create(resource, object).await?;
        }
        Ok(json!({"apiVersion": "v1", "kind": "ConfigMap", "name": anchor, "uid": uids.map(|(_, uid)| uid)}))
    }
}

/// The same object under another name and, wherever it is spoken of, of another anchor; its pods are not scheduled.
fn renamed(object: &Json, name: &str, uids: Option<(&str, &str)>) -> Result<Json> {
    let words: Vec<_> = [(ORIGINAL, name)].into_iter().chain(uids).collect();
    let mut copy = objects::copy(object, &words)?;
    if let Some(pods) = copy.pointer_mut("/spec/template/spec") {
        pods["schedulingGates"] = json!([{ "name": GATE }]);
    }
    Ok(copy)
}

/// The status says that the copied desired document is in force, as it says of the original one.
fn acknowledge(names: &Names, copies: &mut [(&ApiResource, Json)]) -> Result<()> {
    let find = |copies: &[(&ApiResource, Json)], name: &str| {
        copies
            .iter()
            .position(|(_, object)| objects::name(object) == name)
            .with_context(|| format!("{name} is copied"))
    };
    let desired = &copies[find(copies, &names.desired())?].1;
    let text = desired["data"][KEY_DESIRED].as_str().context("the desired document is there")?;
    let sha256 = document_sha256(text);
    let at = find(copies, &names.status())?;
    let status = &mut copies[at].1["data"][KEY_STATUS];
    let mut document: ClusterStatus = serde_json::from_str(status.as_str().context("the status is there")?)?;
    document.acknowledged.as_mut().context("the original is acknowledged")?.sha256 = sha256;
    *status = json!(serde_json::to_string(&document)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_goes_by_its_own_name_and_anchor_and_starts_no_pod() {
        let original = json!({
            "metadata": {"name": format!("{ORIGINAL}-rw"), "uid": "u", "resourceVersion": "5",
                "annotations": {"pgha/anchor-uid": "old"}},
            "spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "template": {"spec": {"containers": []}}},
            "status": {"replicas": 3},
        });
        let copy = renamed(&original, "copy-007", Some(("old", "new"))).unwrap();
        assert_eq!(
            copy,
            json!({
                "metadata": {"name": "copy-007-rw", "annotations": {"pgha/anchor-uid": "new"}},
                "spec": {"template": {"spec": {"containers": [], "schedulingGates": [{"name": GATE}]}}},
            })
        );
        let headless = renamed(&json!({"metadata": {}, "spec": {"clusterIP": "None"}}), "x", None).unwrap();
        assert_eq!(headless["spec"]["clusterIP"], "None");
    }
}
