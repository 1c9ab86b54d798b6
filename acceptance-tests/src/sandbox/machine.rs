//! What the cluster's programs change on the whole machine whatever they are told: kernel settings, and folders at fixed places.
//! `up` writes down what was there before, `down` puts it back.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::layout::Layout;

const SETTINGS: &[&str] = &[
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// Folders that containerd, its network plugins and kubelets make.
const FOLDERS: &[&str] = &[
    "/run/containerd",
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/usr/libexec/kubernetes",
];

fn settings_file(layout: &Layout) -> PathBuf {
    layout.run().join("kernel-settings.json")
}

fn folders_file(layout: &Layout) -> PathBuf {
    layout.run().join("folders-of-ours.json")
}

/// Writes down the settings and which folders are not there, once per sandbox.
///
/// # Errors
/// When a file can't be written.
pub fn remember(layout: &Layout) -> Result<()> {
    if settings_file(layout).exists() {
        return Ok(());
    }
    let absent: Vec<&&str> = FOLDERS.iter().filter(|folder| !Path::new(folder).exists()).collect();
    fs::write(folders_file(layout), serde_json::to_vec_pretty(&absent)?).context("write down the folders")?;
    let values: BTreeMap<&str, String> = SETTINGS
        .iter()
        .filter_map(|name| {
            Some((*name, fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().to_owned()))
        })
        .collect();
    fs::write(settings_file(layout), serde_json::to_vec_pretty(&values)?)
        .context("write down the kernel's settings")
}

/// Folders on the machine that were not there before the sandbox.
pub fn folders(layout: &Layout) -> Vec<PathBuf> {
    let Ok(text) = fs::read(folders_file(layout)) else { return Vec::new() };
    let listed: Vec<PathBuf> = serde_json::from_slice(&text).unwrap_or_default();
    // Whatever the file says: nothing else is ever removed.
    listed.into_iter().filter(|folder| FOLDERS.iter().any(|known| folder == Path::new(known))).collect()
}

/// Puts the settings back.
///
/// # Errors
/// When one can't be set.
pub fn restore(layout: &Layout) -> Result<()> {
    let Ok(text) = fs::read(settings_file(layout)) else { return Ok(()) };
    let values: BTreeMap<String, String> =
        serde_json::from_slice(&text).context("read the kernel's settings")?;
    for (name, value) in values {
        let path = format!("/proc/sys/{name}");
        if fs::read_to_string(&path).is_ok_and(|now| now.trim() != value) {
            fs::write(&path, &value).with_context(|| format!("set {name} back to {value}"))?;
        }
    }
    Ok(())
}
