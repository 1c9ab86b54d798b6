//! What the sandbox needs from Debian, installed when it is missing. Nothing else on the machine is touched.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process::{on_path, run, run_args};
use crate::progress::Progress;

/// A package and the file that shows it is there.
const NEEDED: &[(&str, &str)] = &[
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("containernetworking-plugins", CNI_BRIDGE),
    ("debootstrap", "debootstrap"),
    ("iproute2", "ip"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
    ("ethtool", "ethtool"),
    ("socat", "socat"),
    ("unzip", "unzip"),
    ("mount", "mount"),
    ("e2fsprogs", "mkfs.ext4"),
    ("kmod", "modprobe"),
    // What the drift job of the examples needs.
    ("jq", "jq"),
    ("ca-certificates", "/etc/ssl/certs/ca-certificates.crt"),
];

/// Folder of Debian's CNI plugins.
pub const CNI_FOLDER: &str = "/usr/lib/cni";
const CNI_BRIDGE: &str = "/usr/lib/cni/bridge";

/// Installs what is missing.
///
/// # Errors
/// When this is not Linux with root rights and `apt-get`, or an installation fails.
pub fn ensure(progress: &Progress) -> Result<()> {
    if !cfg!(target_os = "linux") || !nix::unistd::geteuid().is_root() {
        bail!(
            "the sandbox needs Linux and root, for network namespaces and containers. \
             With a cluster of your own (kind, k3s, a cloud) set KUBECONFIG and run the same command."
        );
    }
    let missing: Vec<&str> =
        NEEDED.iter().filter(|(_, proof)| !is_there(proof)).map(|(package, _)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    install(&missing, progress)
}

/// Installs the given packages.
///
/// # Errors
/// When there is no `apt-get` or it fails.
pub fn install(packages: &[&str], progress: &Progress) -> Result<()> {
    if on_path("apt-get").is_none() {
        bail!("these packages are missing and there is no apt-get to install them: {}", packages.join(" "));
    }
    let stage = progress.stage(format!("install {}", packages.join(" ")));
    if try_install(packages).is_err() {
        // Package lists may be old or were never fetched.
        run(apt().arg("update")).context("apt-get update")?;
        try_install(packages)?;
    }
    stop_system_containerd(packages);
    stage.done();
    Ok(())
}

fn try_install(packages: &[&str]) -> Result<String> {
    run(apt().args(["install", "-y", "--no-install-recommends"]).args(packages))
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").arg("-q");
    command
}

/// The package starts a containerd of its own; the sandbox runs one per node and needs no other.
fn stop_system_containerd(packages: &[&str]) {
    if packages.contains(&"containerd") && Path::new("/run/systemd/system").exists() {
        // Only what our own installation started; that there is nothing to stop is fine.
        let _ = run_args("systemctl", &["disable", "--now", "containerd"]);
    }
}

fn is_there(proof: &str) -> bool {
    if proof.starts_with('/') { Path::new(proof).exists() } else { on_path(proof).is_some() }
}
