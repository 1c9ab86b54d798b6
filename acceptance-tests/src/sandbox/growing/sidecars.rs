//! Provisioner and resizer of the Kubernetes project, as processes beside the control plane.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result};
use tokio::process::{Child, Command};

use super::GROWING_DISK_CLASS;
use crate::sandbox::layout::{CONTROL_PLANE, Layout};
use crate::sandbox::network::command_in;

/// Runs a program until standard input ends: with the value that holds the other end, and however this process ends. That they lose the
/// driver they notice only when they call it.
const UNTIL_INPUT_ENDS: &str = "\"$0\" \"$@\" </dev/null & cat >/dev/null; kill -9 $!; wait";

/// Starts both on the driver's socket. They end with the values.
///
/// # Errors
/// When one can't be started.
pub fn start(layout: &Layout, programs: &Path, socket: &Path) -> Result<[Child; 2]> {
    let provisioner = [
        // The node that the scheduler chose, and no other that would do.
        "--strict-topology",
        "--snapshot-orphan-sweep-interval=0",
        &format!("--volume-name-prefix={GROWING_DISK_CLASS}"),
    ];
    Ok([
        start_one(layout, programs, socket, "csi-provisioner", &provisioner)?,
        start_one(layout, programs, socket, "csi-resizer", &[])?,
    ])
}

fn start_one(layout: &Layout, programs: &Path, socket: &Path, name: &str, more: &[&str]) -> Result<Child> {
    let path = layout.daemons().log(name);
    let log = fs::OpenOptions::new().create(true).append(true).open(&path);
    let log = log.with_context(|| format!("open {}", path.display()))?;
    let mut command = Command::from(command_in(CONTROL_PLANE, "sh"));
    command
        .args(["-c", UNTIL_INPUT_ENDS])
        .arg(programs.join(name))
        .arg(format!("--csi-address={}", socket.display()))
        .arg(format!("--kubeconfig={}", layout.run().join("direct.kubeconfig").display()))
        // The longest is left as it is: that a refused growth is quiet for minutes is what a user meets.
        .arg("--retry-interval-start=200ms")
        .arg("--v=4")
        .args(more)
        // The provisioner would heed it before its option.
        .env_remove("KUBECONFIG")
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .current_dir("/");
    command.spawn().with_context(|| format!("start {name}"))
}
