//! Local volumes: folders on each node behind a storage class without a provisioner.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::layout::{Layout, Node, VOLUMES_PER_NODE};

/// The storage class, which is the cluster's default.
pub const STORAGE_CLASS: &str = "local";
/// What each volume says it holds. Nothing enforces it.
const CAPACITY: &str = "10Gi";

/// Makes the folders of a node's volumes.
///
/// # Errors
/// When one can't be made.
pub fn create_folders(layout: &Layout, node: Node) -> Result<()> {
    for number in 0..VOLUMES_PER_NODE {
        let folder = layout.volumes(node).join(format!("{number:02}"));
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    }
    Ok(())
}

/// The volumes as Kubernetes objects: name and content.
pub fn objects(layout: &Layout) -> Vec<(String, Value)> {
    let of_node = |node: Node| {
        let folder = layout.volumes(node);
        (0..VOLUMES_PER_NODE).map(move |number| {
            let name = format!("{node}-{number:02}");
            let source = ("local", json!({ "path": folder.join(format!("{number:02}")) }));
            let object = object(&name, node, STORAGE_CLASS, CAPACITY, source);
            (name, object)
        })
    };
    Node::all().flat_map(of_node).collect()
}

/// A volume on a node as a Kubernetes object: its class, what it says it holds, and where that comes from.
pub(super) fn object(name: &str, node: Node, class: &str, capacity: &str, source: (&str, Value)) -> Value {
    let (kind, source) = source;
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": { "name": name },
        "spec": {
            "capacity": { "storage": capacity },
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": class,
            "persistentVolumeReclaimPolicy": "Retain",
            kind: source,
            "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [
                { "key": "kubernetes.io/hostname", "operator": "In", "values": [node.name()] }] }] } },
        },
    })
}

/// Empties volumes whose claim is gone and offers them again; gives how many.
///
/// # Errors
/// When the API server refuses.
pub async fn recycle(layout: &Layout, client: &Client) -> Result<usize> {
    let api: Api<PersistentVolume> = Api::all(client.clone());
    let mut recycled = 0;
    for volume in api.list(&ListParams::default()).await?.items {
        let released = is_released(&volume);
        let (Some(name), Some(folder)) = (volume.metadata.name.as_deref(), local_path(&volume)) else {
            continue;
        };
        // After a forced deletion on a node that is cut off, the pod may still write.
        if !released || !folder.starts_with(layout.state()) || is_mounted(&folder) {
            continue;
        }
        empty(&folder)?;
        let available = json!({ "spec": { "claimRef": null } });
        api.patch(name, &PatchParams::default(), &Patch::Merge(&available)).await?;
        recycled += 1;
    }
    Ok(recycled)
}

/// Whether its claim is gone, and it is not emptied yet.
pub fn is_released(volume: &PersistentVolume) -> bool {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Released")
}

/// The folder behind a claim.
///
/// # Errors
/// When the claim has no local volume.
pub async fn folder_of_claim(client: &Client, namespace: &str, claim: &str) -> Result<PathBuf> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let name = claims
        .get(claim)
        .await?
        .spec
        .and_then(|spec| spec.volume_name)
        .with_context(|| format!("claim {namespace}/{claim} has no volume"))?;
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    local_path(&volumes.get(&name).await?).with_context(|| format!("volume {name} is not local"))
}

/// Removes what is in a folder, and keeps the folder.
///
/// # Errors
/// When something can't be removed.
pub fn empty(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?.flatten() {
        let removed = if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())
        } else {
            fs::remove_file(entry.path())
        };
        match removed {
            // A server that still runs removes files of its own meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            other => other.with_context(|| format!("remove {}", entry.path().display()))?,
        }
    }
    Ok(())
}

fn local_path(volume: &PersistentVolume) -> Option<PathBuf> {
    Some(PathBuf::from(&volume.spec.as_ref()?.local.as_ref()?.path))
}

/// Whether a folder is mounted somewhere: a bind mount names it as its root.
fn is_mounted(folder: &Path) -> bool {
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else { return true };
    // The root is named from its file system's own top, which may lie below ours: compare ends.
    mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(3))
        .any(|root| root != "/" && folder.ends_with(root.trim_start_matches('/')))
}
