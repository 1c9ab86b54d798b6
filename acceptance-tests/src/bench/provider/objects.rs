//! A cluster's objects, read from one place and made again in another.

use anyhow::{Context as _, Result};
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::{Api, Client};
use serde_json::Value as Json;

/// Group, version, kind and plural of what a cluster consists of, the anchor's kind first. Secrets apart: a refresh never reads them.
pub const KINDS: [Kind; 8] = [
    Kind("", "v1", "ConfigMap", "configmaps"),
    Kind("", "v1", "ServiceAccount", "serviceaccounts"),
    Kind("", "v1", "Service", "services"),
    Kind("rbac.authorization.k8s.io", "v1", "Role", "roles"),
    Kind("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
    Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    Kind("coordination.k8s.io", "v1", "Lease", "leases"),
    Kind("apps", "v1", "StatefulSet", "statefulsets"),
];
/// What pods mount and refreshes don't read.
pub const SECRETS: Kind = Kind("", "v1", "Secret", "secrets");

/// Group, version, kind and plural.
#[derive(Clone, Copy)]
pub struct Kind(&'static str, &'static str, &'static str, &'static str);

impl Kind {
    /// As requests need it.
    fn resource(self) -> ApiResource {
        let Self(group, version, kind, plural) = self;
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version,
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        }
    }
}

/// An object, and where its kind is served.
pub type Object = (ApiResource, Json);

/// One namespace.
#[derive(Clone)]
pub struct Place {
    /// The connection.
    pub client: Client,
    /// Its name.
    pub namespace: String,
}

impl Place {
    /// The objects of these kinds.
    ///
    /// # Errors
    /// When a kind can't be listed.
    pub async fn read(&self, kinds: &[Kind]) -> Result<Vec<Object>> {
        let mut objects = Vec::new();
        for kind in kinds {
            let resource = kind.resource();
            let listed = self.api(&resource).list(&Default::default()).await;
            for object in listed.with_context(|| format!("list {}", resource.plural))? {
                objects.push((resource.clone(), serde_json::to_value(object)?));
            }
        }
        Ok(objects)
    }

    /// Makes an object.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn create(&self, resource: &ApiResource, object: Json) -> Result<DynamicObject> {
        let object: DynamicObject = serde_json::from_value(object)?;
        let name = object.metadata.name.clone().unwrap_or_default();
        let made = self.api(resource).create(&PostParams::default(), &object).await;
        made.with_context(|| format!("make {} {name}", resource.kind))
    }

    /// All objects of a kind.
    pub fn api(&self, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, resource)
    }
}

/// Its name.
pub fn name(object: &Json) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// The same object with other words, wherever they occur, and without what the server gave it.
///
/// # Errors
/// When the words don't leave an object.
pub fn copy(object: &Json, words: &[(&str, &str)]) -> Result<Json> {
    let text = words.iter().fold(object.to_string(), |text, (old, new)| text.replace(old, new));
    let mut copy: Json = serde_json::from_str(&text)?;
    copy.as_object_mut().context("an object")?.remove("status");
    let metadata = copy["metadata"].as_object_mut().context("an object has metadata")?;
    for given in
        ["uid", "resourceVersion", "creationTimestamp", "managedFields", "generation", "ownerReferences"]
    {
        metadata.remove(given);
    }
    if let Some(spec) = copy.get_mut("spec").and_then(Json::as_object_mut)
        && spec.get("clusterIP").is_some_and(|address| address != "None")
    {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
    Ok(copy)
}
