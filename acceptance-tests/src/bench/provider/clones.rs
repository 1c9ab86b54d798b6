//! Copies of one cluster's objects under other names.

use anyhow::{Context as _, Result};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use pgha_schema::desired::document_sha256;
use pgha_schema::names::{KEY_DESIRED, KEY_STATUS, Names};
use pgha_schema::status::ClusterStatus;
use serde_json::{Value as Json, json};

use crate::cluster::Cluster;

/// The cluster that is copied: a name that occurs in no object but as this name.
pub const ORIGINAL: &str = "thecopiedcluster";
/// Copies that are made at a time.
const AT_ONCE: usize = 8;
/// What keeps the copies' pods from being scheduled.
const GATE: &str = "pgha/no-pods-of-copies";

/// Group, version, kind and plural of what a cluster consists of, the anchor's kind first. Its Secrets are not copied: a refresh
/// never reads them.
const KINDS: [(&str, &str, &str, &str); 8] = [
    ("", "v1", "ConfigMap", "configmaps"),
    ("", "v1", "ServiceAccount", "serviceaccounts"),
    ("", "v1", "Service", "services"),
    ("rbac.authorization.k8s.io", "v1", "Role", "roles"),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
    ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    ("coordination.k8s.io", "v1", "Lease", "leases"),
    ("apps", "v1", "StatefulSet", "statefulsets"),
];

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
    client: Client,
    namespace: String,
    anchor_uid: String,
    anchor: (ApiResource, Json),
    others: Vec<(ApiResource, Json)>,
}

impl Source {
    async fn read(original: &Cluster) -> Result<Self> {
        let mut objects = Vec::new();
        for (group, version, kind, plural) in KINDS {
            let resource = resource(group, version, kind, plural);
            let api: Api<DynamicObject> =
                Api::namespaced_with(original.client().clone(), &original.namespace, &resource);
            for object in api.list(&Default::default()).await.with_context(|| format!("list {plural}"))? {
                if object.metadata.name.as_deref().unwrap_or_default().starts_with(ORIGINAL) {
                    objects.push((resource.clone(), serde_json::to_value(object)?));
                }
            }
        }
        let anchor_name = original.names.anchor();
        let at = objects.iter().position(|(_, object)| object["metadata"]["name"] == anchor_name.as_str());
        let anchor = objects.swap_remove(at.context("the cluster has an anchor")?);
        let anchor_uid = anchor.1["metadata"]["uid"].as_str().context("the anchor has a uid")?.to_owned();
        let (client, namespace) = (original.client().clone(), original.namespace.clone());
        Ok(Self { client, namespace, anchor_uid, anchor, others: objects })
    }

    /// The copies own the parts of the agent too, as clusters do.
    async fn share(&self, anchors: &[Json]) -> Result<()> {
        let chunks: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let patch = json!({"metadata": {"ownerReferences": anchors}});
        for chunk in chunks.list_metadata(&ListParams::default()).await? {
            let name = chunk.metadata.name.unwrap_or_default();
            if !name.starts_with("pgha-agent-") {
                continue;
            }
            chunks
                .patch_metadata(&name, &PatchParams::default(), &Patch::Strategic(&patch))
                .await
                .with_context(|| format!("give {name} its owners"))?;
        }
        Ok(())
    }

    /// Gives a reference to the copy's anchor.
    async fn copy(&self, name: &str) -> Result<Json> {
        let (resource, anchor) = &self.anchor;
        let made = self.create(resource, renamed(anchor, name, None)?).await?;
        let uid = made.metadata.uid.context("the copied anchor has a uid")?;
        let uids = Some((self.anchor_uid.as_str(), uid.as_str()));
        // What it remembers speaks of its own uid, which is known only now.
        let patch = json!({"data": renamed(anchor, name, uids)?["data"]});
        let anchor = Names::new(name).anchor();
        self.api(resource)
            .patch(&anchor, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .context("patch the anchor")?;
        let mut copies = Vec::new();
        for (resource, object) in &self.others {
            copies.push((resource, renamed(object, name, uids)?));
        }
        acknowledge(&Names::new(name), &mut copies)?;
        for (resource, object) in copies {
            self.create(resource, object).await?;
        }
        Ok(json!({"apiVersion": "v1", "kind": "ConfigMap", "name": anchor, "uid": uids.map(|(_, uid)| uid)}))
    }

    fn api(&self, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, resource)
    }

    async fn create(&self, resource: &ApiResource, object: Json) -> Result<DynamicObject> {
        let object: DynamicObject = serde_json::from_value(object)?;
        let name = object.metadata.name.clone().unwrap_or_default();
        self.api(resource)
            .create(&PostParams::default(), &object)
            .await
            .with_context(|| format!("copy {} {name}", resource.kind))
    }
}

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version,
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

/// The same object under another name and, wherever it is spoken of, of another anchor; without what the server gave it.
fn renamed(object: &Json, name: &str, uids: Option<(&str, &str)>) -> Result<Json> {
    let mut text = object.to_string().replace(ORIGINAL, name);
    if let Some((old, new)) = uids {
        text = text.replace(old, new);
    }
    let mut copy: Json = serde_json::from_str(&text)?;
    copy.as_object_mut().context("an object")?.remove("status");
    let metadata = copy["metadata"].as_object_mut().context("an object has metadata")?;
    for given in
        ["uid", "resourceVersion", "creationTimestamp", "managedFields", "generation", "ownerReferences"]
    {
        metadata.remove(given);
    }
    if let Some(spec) = copy.get_mut("spec").and_then(Json::as_object_mut) {
        if spec.get("clusterIP").is_some_and(|address| address != "None") {
            spec.remove("clusterIP");
            spec.remove("clusterIPs");
        }
        if let Some(pods) = spec.get_mut("template").and_then(|template| template.get_mut("spec")) {
            pods["schedulingGates"] = json!([{ "name": GATE }]);
        }
    }
    Ok(copy)
}

/// The status says that the copied desired document is in force, as it says of the original one.
fn acknowledge(names: &Names, copies: &mut [(&ApiResource, Json)]) -> Result<()> {
    let find = |copies: &[(&ApiResource, Json)], name: &str| {
        copies
            .iter()
            .position(|(_, object)| object["metadata"]["name"] == name)
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
