//! Disks that grow while they are in use: a storage driver of our own (CSI) on each node, with the real kubelet at work.
//!
//! ```text
//!   claim asks for more ── resizer (the controller's part) ──> volume and claim say so
//!                             kubelet ── NodeExpandVolume ──> driver grows what is mounted
//!                             kubelet ── the claim's capacity
//! ```
//! What a disk holds is a tmpfs of just its size: the root of a sandbox may not be allowed to grow a mounted ext4
//! ([why](../../../../docs/decisions/0055-a-storage-driver-of-our-own.md)).

mod driver;
mod pb;
mod registration;
mod resizer;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::PersistentVolume;
use k8s_openapi::api::storage::v1::{CSIDriver, StorageClass};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use nix::mount::{MntFlags, MsFlags, mount};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::disks::unmount;
use super::layout::{Layout, Node};
use super::{Sandbox, volumes};

/// Storage class of the disks that grow, one on each node.
pub const GROWING_DISK_CLASS: &str = "growing";
/// What each holds at first, in bytes: a new PostgreSQL and a few segments of WAL.
pub const GROWING_DISK_BYTES: u64 = 256 << 20;
/// Beyond this the driver refuses to grow one.
pub const GROWING_DISK_MOST_BYTES: u64 = 2 * GROWING_DISK_BYTES;
const DRIVER: &str = "growing.sandbox.pgha";

/// The driver at work. Kubelets need it as long as a pod has such a disk: to let go of it, too.
#[derive(Debug)]
pub struct GrowingDisks {
    // They end with this value.
    _tasks: JoinSet<Result<()>>,
}

impl Sandbox {
    /// Makes the storage class, starts the driver, and makes a new disk on each node; those of an earlier call go.
    ///
    /// # Errors
    /// When a disk can't be mounted, a socket not be opened, or the API server refuses.
    pub async fn make_growing_disks(&self) -> Result<GrowingDisks> {
        let mut tasks = JoinSet::new();
        for node in Node::all() {
            driver::start(&mut tasks, DRIVER, self.layout(), node)
                .with_context(|| format!("start the storage driver on {node}"))?;
        }
        tasks.spawn(resizer::run(self.client(), GROWING_DISK_CLASS));
        self.put::<CSIDriver>(DRIVER, &driver_object()).await?;
        self.put::<StorageClass>(GROWING_DISK_CLASS, &class()).await?;
        self.forget_growing_disks().await?;
        for node in Node::all() {
            let number = uuid::Uuid::new_v4().simple().to_string();
            let name = format!("{GROWING_DISK_CLASS}-{node}-{}", &number[..6]);
            let folder = disks(self.layout(), node).join(&name);
            fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
            set_size(&folder, GROWING_DISK_BYTES, MsFlags::MS_NOATIME)?;
            let source = ("csi", json!({ "driver": DRIVER, "volumeHandle": name }));
            let capacity = GROWING_DISK_BYTES.to_string();
            let volume = volumes::object(&name, node, GROWING_DISK_CLASS, &capacity, source);
            self.put::<PersistentVolume>(&name, &volume).await?;
        }
        Ok(GrowingDisks { _tasks: tasks })
    }

    /// What earlier calls made.
    async fn forget_growing_disks(&self) -> Result<()> {
        let api: Api<PersistentVolume> = Api::all(self.client());
        for volume in api.list(&ListParams::default()).await?.items {
            let class = volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
            let Some(name) = volume.metadata.name.filter(|_| class == Some(GROWING_DISK_CLASS)) else {
                continue;
            };
            api.delete(&name, &DeleteParams::default()).await.with_context(|| format!("delete {name}"))?;
        }
        for node in Node::all() {
            let Ok(entries) = fs::read_dir(disks(self.layout(), node)) else { continue };
            for folder in entries.flatten().map(|entry| entry.path()) {
                // A pod of an old namespace may still have it: it goes on with what nobody else sees any more.
                unmount(&folder, MntFlags::MNT_DETACH)?;
            }
        }
        Ok(())
    }
}

fn disks(layout: &Layout, node: Node) -> PathBuf {
    layout.node_state(node).join("growing-disks")
}

/// Mounts a disk of so many bytes there, or changes the size of the one that is, by these flags.
fn set_size(folder: &Path, bytes: u64, flags: MsFlags) -> Result<()> {
    mount(Some("tmpfs"), folder, Some("tmpfs"), flags, Some(format!("size={bytes}").as_str()))
        .with_context(|| format!("a disk of {bytes} bytes at {}", folder.display()))
}

fn driver_object() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSIDriver",
        "metadata": { "name": DRIVER },
        "spec": { "attachRequired": false, "fsGroupPolicy": "File", "volumeLifecycleModes": ["Persistent"] },
    })
}

fn class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": { "name": GROWING_DISK_CLASS },
        "provisioner": DRIVER,
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": true,
        "reclaimPolicy": "Retain",
    })
}
