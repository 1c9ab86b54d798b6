//! Small disks: volumes on file systems of their own, which can fill up, or hang, without the machine's doing so.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::PersistentVolume;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::core::ClusterResourceScope;
use kube::{Api, Resource};
use nix::mount::{MntFlags, umount2};
use nix::sys::statvfs::statvfs;
use serde_json::{Value, json};

use super::layout::{Layout, Node};
use super::{Sandbox, volumes};
use crate::process::{run, run_args};

/// Storage class of the small disks, one on each node.
pub const SMALL_DISK_CLASS: &str = "small";
/// What each says it holds.
const CAPACITY: &str = "1Gi";
/// What each really holds: a new PostgreSQL and a few segments of WAL.
const SIZE_BYTES: u64 = 512 << 20;
/// The file that takes the room away.
const BALLAST: &str = "ballast";

impl Sandbox {
    /// Makes the storage class and a new small disk on each node; those of an earlier call go.
    ///
    /// # Errors
    /// When a file system can't be made or mounted, or the API server refuses.
    pub async fn make_small_disks(&self) -> Result<()> {
        let class = json!({
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": { "name": SMALL_DISK_CLASS },
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
            "reclaimPolicy": "Delete",
        });
        self.put::<StorageClass>(SMALL_DISK_CLASS, &class).await?;
        for node in Node::all() {
            let name =
                format!("{SMALL_DISK_CLASS}-{node}-{}", &uuid::Uuid::new_v4().simple().to_string()[..6]);
            self.forget_small_disks(node).await?;
            let folder = small_disks(self.layout(), node).join(&name);
            make_file_system(&folder)?;
            let source = ("local", json!({ "path": folder }));
            let volume = volumes::object(&name, node, SMALL_DISK_CLASS, CAPACITY, source);
            self.put::<PersistentVolume>(&name, &volume).await?;
        }
        Ok(())
    }

    /// Makes an object of the whole cluster, or changes it to this.
    pub(super) async fn put<K>(&self, name: &str, object: &Value) -> Result<()>
    where
        K: Resource<Scope = ClusterResourceScope> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
        K::DynamicType: Default,
    {
        let api: Api<K> = Api::all(self.client());
        let by = PatchParams::apply("pgha-sandbox").force();
        api.patch(name, &by, &Patch::Apply(object)).await.with_context(|| format!("make {name}"))?;
        Ok(())
    }

    /// What earlier calls made on a node.
    async fn forget_small_disks(&self, node: Node) -> Result<()> {
        let Ok(entries) = fs::read_dir(small_disks(self.layout(), node)) else { return Ok(()) };
        let api: Api<PersistentVolume> = Api::all(self.client());
        for folder in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
            let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            match api.delete(&name, &DeleteParams::default()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error).with_context(|| format!("delete volume {name}")),
            }
            // A pod of an old namespace may still have it: it goes on with what nobody else sees any more.
            unmount(&folder, MntFlags::MNT_DETACH)?;
            fs::remove_file(image_of(&folder))?;
        }
        Ok(())
    }

    /// The disk behind a claim.
    ///
    /// # Errors
    /// When the claim has no local volume, or not one of the small ones.
    pub async fn small_disk_of_claim(&self, namespace: &str, claim: &str) -> Result<SmallDisk> {
        let folder = volumes::folder_of_claim(&self.client(), namespace, claim).await?;
        anyhow::ensure!(is_mount_point(&folder), "{} is no disk of its own", folder.display());
        Ok(SmallDisk { folder })
    }
}

/// A small disk in use. Dropping it makes room and lets it go on, whatever was done to it.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Takes all room but so many bytes.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn fill(&self, but_bytes: u64) -> Result<()> {
        let taken = self.free_bytes()?.saturating_sub(but_bytes);
        run(Command::new("fallocate").arg("-l").arg(taken.to_string()).arg(self.folder.join(BALLAST)))?;
        Ok(())
    }

    /// What users that are not root may still write.
    ///
    /// # Errors
    /// When the file system does not say.
    pub fn free_bytes(&self) -> Result<u64> {
        let seen = statvfs(&self.folder)?;
        Ok(seen.blocks_available() * seen.fragment_size())
    }

    /// Gives the room back.
    ///
    /// # Errors
    /// When the file can't be removed.
    pub fn make_room(&self) -> Result<()> {
        match fs::remove_file(self.folder.join(BALLAST)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Every write hangs from now on, in a sleep that no signal ends.
    ///
    /// # Errors
    /// When it hangs already.
    pub fn hang(&self) -> Result<()> {
        run(Command::new("fsfreeze").arg("--freeze").arg(&self.folder)).map(drop)
    }

    /// Writes go on.
    ///
    /// # Errors
    /// When it does not hang.
    pub fn resume(&self) -> Result<()> {
        run(Command::new("fsfreeze").arg("--unfreeze").arg(&self.folder)).map(drop)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Neither may be needed, and there is nobody to tell.
        let _ = self.resume();
        let _ = self.make_room();
    }
}

fn small_disks(layout: &Layout, node: Node) -> PathBuf {
    layout.node_state(node).join("small-disks")
}

fn image_of(folder: &Path) -> PathBuf {
    folder.with_extension("img")
}

fn make_file_system(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let image = image_of(folder);
    fs::File::create(&image)?.set_len(SIZE_BYTES)?;
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-E", "lazy_itable_init=0"]).arg(&image))?;
    run(Command::new("mount").args(["-o", "loop,noatime"]).arg(&image).arg(folder))?;
    // What PostgreSQL's image would find strange.
    run_args("rmdir", &[folder.join("lost+found")])?;
    Ok(())
}

/// Whether another file system begins here.
pub(super) fn is_mount_point(folder: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|seen| seen.dev()).ok();
    device(folder).is_some_and(|own| folder.parent().and_then(device).is_some_and(|parents| parents != own))
}

/// Removes a folder, and first what is mounted there.
pub(super) fn unmount(folder: &Path, flags: MntFlags) -> Result<()> {
    if is_mount_point(folder) {
        umount2(folder, flags).with_context(|| format!("unmount {}", folder.display()))?;
    }
    fs::remove_dir(folder).with_context(|| format!("remove {}", folder.display()))
}
