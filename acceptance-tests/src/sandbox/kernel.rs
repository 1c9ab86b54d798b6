//! Settings of the whole machine that kubelets change when they start. `up` writes down what was there, `down` puts it back.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

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

fn file(layout: &Layout) -> PathBuf {
    layout.run().join("kernel-settings.json")
}

/// Writes down the settings, once per sandbox.
///
/// # Errors
/// When the file can't be written.
pub fn remember(layout: &Layout) -> Result<()> {
    if file(layout).exists() {
        return Ok(());
    }
    let values: BTreeMap<&str, String> = SETTINGS
        .iter()
        .filter_map(|name| {
            Some((*name, fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().to_owned()))
        })
        .collect();
    fs::write(file(layout), serde_json::to_vec_pretty(&values)?).context("write down the kernel's settings")
}

/// Puts the settings back.
///
/// # Errors
/// When one can't be set.
pub fn restore(layout: &Layout) -> Result<()> {
    let Ok(text) = fs::read(file(layout)) else { return Ok(()) };
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
