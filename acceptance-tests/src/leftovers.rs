//! What is in a namespace, of every kind that the API server knows.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use kube::api::{DynamicObject, ListParams};
use kube::discovery::{Discovery, Scope, verbs};
use kube::{Api, Client};

/// Kinds that say what happened, not what is; and one that mirrors another.
const NOT_OBJECTS: [&str; 3] = ["Event", "PodMetrics", "Endpoints"];
/// What Kubernetes itself puts into every namespace.
const EVERYWHERE: [&str; 2] = ["ConfigMap/kube-root-ca.crt", "ServiceAccount/default"];

/// Every object in a namespace, as `Kind/name`, but for what Kubernetes itself puts there.
///
/// # Errors
/// When a kind can't be listed.
pub async fn in_namespace(client: &Client, namespace: &str) -> Result<BTreeSet<String>> {
    let discovery = Discovery::new(client.clone()).run().await.context("ask the API server for its kinds")?;
    let mut found = BTreeSet::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            let listed =
                capabilities.scope == Scope::Namespaced && capabilities.supports_operation(verbs::LIST);
            if !listed || NOT_OBJECTS.contains(&resource.kind.as_str()) {
                continue;
            }
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
            let objects = api
                .list(&ListParams::default())
                .await
                .with_context(|| format!("list {}", resource.plural))?;
            found.extend(
                objects
                    .items
                    .into_iter()
                    .map(|object| format!("{}/{}", resource.kind, object.metadata.name.unwrap_or_default())),
            );
        }
    }
    found.retain(|name| !EVERYWHERE.contains(&name.as_str()));
    Ok(found)
}
