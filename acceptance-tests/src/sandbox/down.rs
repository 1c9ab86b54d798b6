//! Taking the sandbox down: from what is found, not from what is remembered, so that it works after a crash too.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::Signal;

use super::cgroups;
use super::layout::{Layout, PREFIX};
use super::machine;
use crate::poll::{Seen, until_blocking};
use crate::process::{ProcessId, run_args};
use crate::progress::Progress;

const NAMESPACES: &str = "/run/netns";
/// Where plugins of pod networks keep results, whatever containerd is told.
const CNI_RESULTS: &str = "/var/lib/cni/results";
/// Where kubelets put links to logs, whatever they are told.
const LOG_LINKS: &str = "/var/log/containers";

/// Ends everything that belongs to the sandbox and removes what it made.
///
/// # Errors
/// When something resists; the message names it.
pub fn down(layout: &Layout, progress: &Progress) -> Result<()> {
    if leftovers(layout).is_empty() {
        return Ok(());
    }
    let stage = progress.stage("take the sandbox down");
    let sockets = shim_sockets(layout);
    // First what would start others again.
    for name in layout.daemons().names().iter().filter(|name| name.starts_with("kubelet")) {
        layout.daemons().stop(name, Duration::ZERO)?;
    }
    stage.update("processes");
    until_blocking("the end of the sandbox's processes", Duration::from_secs(30), || {
        let alive = processes(layout);
        for process in &alive {
            process.signal(Signal::SIGKILL)?;
            process.collect();
        }
        Ok(Seen::when(alive.is_empty(), format!("{} processes: {}", alive.len(), names(&alive))))
    })?;
    stage.update("mounts, namespaces, control groups");
    for mount in mounts(layout).iter().rev() {
        umount2(mount.as_path(), MntFlags::MNT_DETACH)
            .with_context(|| format!("unmount {}", mount.display()))?;
    }
    for namespace in namespaces() {
        run_args("ip", &["netns", "delete", &namespace])?;
    }
    for group in cgroups::ours() {
        // The kernel needs a moment after the last process.
        until_blocking("the control group to be empty", Duration::from_secs(10), || {
            cgroups::remove(&group).map(Seen::Yes)
        })?;
    }
    machine::restore(layout)?;
    stage.update("files");
    for file in sockets.iter().chain(&cni_results()).chain(&log_links(layout)) {
        remove(file)?;
    }
    for folder in &machine::folders(layout) {
        remove(folder)?;
    }
    // The last one holds what this function works from.
    for folder in [layout.state(), layout.run().to_owned()] {
        remove(&folder)?;
    }
    stage.done();
    Ok(())
}

/// Everything of a sandbox that is on the machine, one line each. Empty after `down`.
pub fn leftovers(layout: &Layout) -> Vec<String> {
    let mut found = Vec::new();
    for process in processes(layout) {
        found.push(format!("process {} {}", process.pid, command_line(process.pid)));
    }
    found.extend(mounts(layout).iter().map(|mount| format!("mount {}", mount.display())));
    found.extend(namespaces().iter().map(|name| format!("network namespace {name}")));
    found.extend(cgroups::ours().iter().map(|group| format!("control group {}", group.display())));
    found.extend(cni_results().iter().map(|file| format!("file {}", file.display())));
    found.extend(log_links(layout).iter().map(|file| format!("link {}", file.display())));
    for folder in [layout.state(), layout.run().to_owned()] {
        if folder.exists() {
            found.push(format!("folder {}", folder.display()));
        }
    }
    found.extend(on_host_network());
    found
}

/// Links, routes and rules in the machine's own namespace, where the sandbox never makes any.
fn on_host_network() -> Vec<String> {
    let ours = ["10.96.0.", "10.97.0.", "10.98.", PREFIX, "KUBE-"];
    let mut found = Vec::new();
    for (what, program, args) in [
        ("link", "ip", &["-o", "link"][..]),
        ("route", "ip", &["route"][..]),
        ("rule", "iptables-save", &[][..]),
    ] {
        let text = run_args(program, args).unwrap_or_default();
        let lines = text.lines().filter(|line| ours.iter().any(|part| line.contains(part)));
        found.extend(lines.map(|line| format!("{what} {line}")));
    }
    found
}

/// Every process of the sandbox: daemons by their files, the rest by control group and by network namespace.
fn processes(layout: &Layout) -> Vec<ProcessId> {
    let daemons = layout.daemons();
    let mut found: BTreeSet<i32> =
        daemons.names().iter().filter_map(|name| daemons.find(name)).map(|id| id.pid).collect();
    for group in cgroups::ours() {
        found.extend(cgroups::processes(&group));
    }
    let namespaces: BTreeSet<u64> = namespaces()
        .iter()
        .filter_map(|name| fs::metadata(Path::new(NAMESPACES).join(name)).ok())
        .map(|metadata| metadata.ino())
        .collect();
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    for pid in all_pids() {
        let inside =
            fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|ns| namespaces.contains(&ns.ino()));
        if inside {
            found.insert(pid);
        }
    }
    found.remove(&own);
    found.into_iter().filter_map(ProcessId::of).filter(ProcessId::is_alive).collect()
}

fn all_pids() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_string_lossy().parse().ok()).collect()
}

fn command_line(pid: i32) -> String {
    fs::read(format!("/proc/{pid}/cmdline"))
        .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " ").chars().take(120).collect())
        .unwrap_or_default()
}

fn names(processes: &[ProcessId]) -> String {
    processes.iter().take(5).map(|process| command_line(process.pid)).collect::<Vec<_>>().join("; ")
}

/// Mounts below our folders, in the order they were made.
fn mounts(layout: &Layout) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let folders = [layout.state(), layout.run().to_owned()];
    text.lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| PathBuf::from(path.replace("\\040", " ")))
        .filter(|path| folders.iter().any(|folder| path.starts_with(folder)))
        .collect()
}

fn namespaces() -> Vec<String> {
    let Ok(entries) = fs::read_dir(NAMESPACES) else { return Vec::new() };
    entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(PREFIX))
        .collect()
}

/// Sockets of containers' parents, which lie outside our folders; each container's folder names its own.
fn shim_sockets(layout: &Layout) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(nodes) = fs::read_dir(layout.run()) else { return found };
    for node in nodes.flatten() {
        let tasks = node.path().join("containerd/io.containerd.runtime.v2.task/k8s.io");
        let Ok(containers) = fs::read_dir(tasks) else { continue };
        for container in containers.flatten() {
            let Ok(address) = fs::read_to_string(container.path().join("address")) else { continue };
            found.push(PathBuf::from(address.trim().trim_start_matches("unix://")));
        }
    }
    found
}

fn cni_results() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(CNI_RESULTS) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).filter(|path| is_ours(path)).collect()
}

/// Results of our networks have our names; those of loopback devices name a pod's namespace, which lies in our folder.
fn is_ours(result: &Path) -> bool {
    let named = result.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
    named || fs::read_to_string(result).is_ok_and(|text| text.contains("/run/pgha-sandbox/"))
}

fn log_links(layout: &Layout) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(LOG_LINKS) else { return Vec::new() };
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| fs::read_link(path).is_ok_and(|to| to.starts_with(layout.state())))
        .collect()
}

fn remove(path: &Path) -> Result<()> {
    let removed =
        if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
