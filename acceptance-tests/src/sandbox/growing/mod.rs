//! Disks that grow while they are in use: a storage driver of our own (CSI), with the real provisioner, resizer and kubelet at work.
//!
//! ```text
//!   new claim ── provisioner ── CreateVolume ──> driver makes a disk on the node that the scheduler chose
//!   claim asks for more ── resizer ── ControllerExpandVolume ──> driver grants it; volume and claim say so
//!                             kubelet ── NodeExpandVolume ──> driver grows what is mounted
//!                             kubelet ── the claim's capacity
//!   claim is gone ── provisioner ── DeleteVolume ──> driver removes the disk
//! ```
//! What a disk holds is a tmpfs of just its size: the root of a sandbox may not be allowed to grow a mounted ext4
//! ([why](../../../../docs/decisions/0055-volumes-that-really-grow.md)).

mod controller;
mod driver;
mod identity;
mod node;
mod pb;
mod registration;
mod sidecars;
mod volumes;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::PersistentVolume;
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, StorageClass};
use kube::Api;
use kube::api::ListParams;
use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};
use tokio::process::Child;
use tokio::task::JoinSet;

use super::layout::Node;
use super::{Sandbox, assets};
use crate::poll::{Seen, until};
use crate::progress::Progress;

/// Storage class of the disks that grow.
pub const GROWING_DISK_CLASS: &str = "growing";
/// What one holds at first in the tests, in bytes: a new PostgreSQL and a few segments of WAL.
pub const GROWING_DISK_BYTES: u64 = 256 << 20;
/// Beyond this a node's driver refuses to grow one.
pub const GROWING_DISK_MOST_BYTES: u64 = 3 * GROWING_DISK_BYTES;
/// Beyond this the driver refuses it before a node hears of it.
pub const GROWING_DISK_GRANTED_BYTES: u64 = 4 * GROWING_DISK_BYTES;
/// The driver's name, and so the provisioner's and the resizer's.
pub const GROWING_DISK_DRIVER: &str = "growing.sandbox.pgha";
use GROWING_DISK_DRIVER as DRIVER;

/// How long kubelets take to find the driver.
const FOUND: Duration = Duration::from_secs(60);
/// How long disks may take to go once their claims do.
const GONE: Duration = Duration::from_secs(90);

/// Driver, provisioner and resizer at work. Kubelets need the driver as long as a pod has such a disk: to let go of it, too.
#[derive(Debug)]
pub struct GrowingDisks {
    // They end with this value, in this order: who calls the driver before the driver.
    _sidecars: [Child; 2],
    _tasks: JoinSet<Result<()>>,
}

impl Sandbox {
    /// Makes the storage class, and starts what makes its disks and lets them grow. Disks whose claims are gone meanwhile go.
    ///
    /// # Errors
    /// When provisioner and resizer can't be built or started, a socket not be opened, or the API server refuses.
    pub async fn make_growing_disks(&self, progress: &Progress) -> Result<GrowingDisks> {
        let (layout, shown) = (self.layout().clone(), progress.clone());
        let programs = tokio::task::spawn_blocking(move || assets::storage(&layout, &shown)).await??;
        self.put::<CSIDriver>(DRIVER, &driver_object()).await?;
        self.put::<StorageClass>(GROWING_DISK_CLASS, &class()).await?;
        let mut tasks = JoinSet::new();
        for node in Node::all() {
            driver::serve_node(&mut tasks, self.layout(), node)
                .with_context(|| format!("start the storage driver on {node}"))?;
        }
        let socket = driver::serve_cluster(&mut tasks, self.layout()).context("start the storage driver")?;
        let sidecars = sidecars::start(self.layout(), &programs, &socket)?;
        until("all kubelets to know the storage driver", FOUND, || self.driver_is_known()).await?;
        Ok(GrowingDisks { _sidecars: sidecars, _tasks: tasks })
    }

    async fn driver_is_known(&self) -> Result<Seen<()>> {
        let nodes = Api::<CSINode>::all(self.client()).list(&ListParams::default()).await?.items;
        let knows = |node: &&CSINode| node.spec.drivers.iter().any(|driver| driver.name == DRIVER);
        let know = nodes.iter().filter(knows).count();
        Ok(Seen::when(know == Node::all().count(), format!("{know} of {} know it", nodes.len())))
    }

    /// Waits until the disks of claims that are gone, or go, are gone too: what removes them has to be at work until then.
    ///
    /// # Errors
    /// When they stay.
    pub async fn until_growing_disks_are_gone(&self) -> Result<()> {
        until("the disks that grow to be gone", GONE, || async {
            let volumes = self.growing_disks().await?;
            Ok(Seen::when(volumes.is_empty(), volumes.join(", ")))
        })
        .await
    }

    /// Names of the volumes there are.
    async fn growing_disks(&self) -> Result<Vec<String>> {
        let volumes = Api::<PersistentVolume>::all(self.client()).list(&ListParams::default()).await?.items;
        let is_one = |volume: &PersistentVolume| {
            let class = volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
            class == Some(GROWING_DISK_CLASS)
        };
        Ok(volumes.into_iter().filter(is_one).filter_map(|volume| volume.metadata.name).collect())
    }
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
        "reclaimPolicy": "Delete",
    })
}
