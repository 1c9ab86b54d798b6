//! What a new cluster needs inside: rights of the DNS server, the DNS Service, the storage class and its volumes.

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{PersistentVolume, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::layout::{DNS_ADDRESS, DNS_SERVICE_ADDRESS, Layout};
use super::volumes::{self, STORAGE_CLASS};

/// Makes them all; those that exist are left as they should be.
///
/// # Errors
/// When the API server refuses one.
pub async fn apply(layout: &Layout, client: &Client) -> Result<()> {
    let roles: Api<ClusterRole> = Api::all(client.clone());
    apply_one(&roles, "system:coredns", &dns_role()).await?;
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    apply_one(&bindings, "system:coredns", &dns_binding()).await?;
    let services: Api<Service> = Api::namespaced(client.clone(), "kube-system");
    apply_one(&services, "kube-dns", &dns_service()).await?;
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), "kube-system");
    apply_one(&slices, "kube-dns", &dns_endpoints()).await?;
    let classes: Api<StorageClass> = Api::all(client.clone());
    apply_one(&classes, STORAGE_CLASS, &storage_class()).await?;
    let api: Api<PersistentVolume> = Api::all(client.clone());
    futures::stream::iter(volumes::objects(layout))
        .map(|(name, object)| {
            let api = &api;
            async move { apply_one(api, &name, &object).await }
        })
        .buffer_unordered(16)
        .try_collect::<()>()
        .await
}

async fn apply_one<K>(api: &Api<K>, name: &str, object: &Value) -> Result<()>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let params = PatchParams::apply("sandbox").force();
    api.patch(name, &params, &Patch::Apply(object)).await.with_context(|| format!("apply {name}"))?;
    Ok(())
}

fn dns_role() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": { "name": "system:coredns" },
        "rules": [
            { "apiGroups": [""], "resources": ["services", "pods", "namespaces", "endpoints"], "verbs": ["list", "watch"] },
            { "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"] },
        ],
    })
}

fn dns_binding() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": { "name": "system:coredns" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:coredns" }],
    })
}

fn dns_ports() -> Value {
    json!([
        { "name": "dns", "port": 53, "protocol": "UDP" },
        { "name": "dns-tcp", "port": 53, "protocol": "TCP" },
    ])
}

/// Without a selector: the server is no pod.
fn dns_service() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": "kube-dns", "namespace": "kube-system" },
        "spec": { "clusterIP": DNS_SERVICE_ADDRESS, "ports": dns_ports() },
    })
}

fn dns_endpoints() -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kube-dns",
            "namespace": "kube-system",
            "labels": { "kubernetes.io/service-name": "kube-dns" },
        },
        "addressType": "IPv4",
        "endpoints": [{ "addresses": [DNS_ADDRESS], "conditions": { "ready": true } }],
        "ports": dns_ports(),
    })
}

fn storage_class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": { "storageclass.kubernetes.io/is-default-class": "true" },
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    })
}
