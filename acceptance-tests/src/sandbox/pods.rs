//! Processes inside pods, seen from the machine: found through containerd and control groups, so that it works while the
//! API server is stopped or the node is cut off.

use std::ffi::OsStr;
use std::fs;
use std::process::Output;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;
use nix::sys::signal::Signal;

use super::cgroups;
use super::layout::Node;
use super::node::Containerd;
use super::{Sandbox, volumes};
use crate::process::{ProcessId, run};

/// Which processes of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// The first process of the container.
    Init,
    /// PostgreSQL's first process: named `postgres`, with a parent of another name.
    Postmaster,
    /// Processes of this name, as `ps` shows it (at most 15 characters).
    Named(&'a str),
    /// Processes whose command line holds this text, such as `walreceiver`.
    CommandHolds(&'a str),
    /// Every process of the container.
    All,
}

/// A process in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerProcess {
    /// On this machine.
    pub id: ProcessId,
    /// Inside the container; 1 is its first process.
    pub inner_pid: i32,
    /// Name.
    pub name: String,
    /// Name of the parent.
    pub parent_name: String,
    /// Command line with blanks between the words.
    pub command: String,
    /// Container's name.
    pub container: String,
    /// Where it runs.
    pub node: Node,
}

impl Sandbox {
    /// All processes of a pod's containers, whatever the API server says about it.
    ///
    /// # Errors
    /// When containerd does not answer.
    pub fn processes_in_pod(&self, namespace: &str, pod: &str) -> Result<Vec<ContainerProcess>> {
        let mut found = Vec::new();
        for node in Node::all() {
            let containerd = Containerd::of(self.layout(), node);
            let filter = format!(
                "labels.\"io.kubernetes.pod.name\"=={pod},labels.\"io.kubernetes.pod.namespace\"=={namespace},\
                 labels.\"io.cri-containerd.kind\"==container"
            );
            let listed = run(&mut containerd.ctr(&["containers", "list", "--quiet", &filter]))?;
            for id in listed.split_whitespace() {
                let Some(group) = cgroups::of_container(node, id) else { continue };
                let pids = cgroups::processes(&group);
                if pids.is_empty() {
                    continue;
                }
                let container = container_name(&containerd, id)?;
                found.extend(pids.into_iter().filter_map(|pid| describe(pid, &container, node)));
            }
        }
        Ok(found)
    }

    /// The processes of a pod that fit.
    ///
    /// # Errors
    /// When none does.
    pub fn find_in_pod(
        &self,
        namespace: &str,
        pod: &str,
        target: Target<'_>,
    ) -> Result<Vec<ContainerProcess>> {
        let all = self.processes_in_pod(namespace, pod)?;
        let hit: Vec<_> = all.iter().filter(|process| fits(process, target)).cloned().collect();
        if hit.is_empty() {
            let names: Vec<&str> = all.iter().map(|process| process.name.as_str()).collect();
            bail!("no process of pod {namespace}/{pod} is {target:?}; there are: {names:?}");
        }
        Ok(hit)
    }

    /// Sends a signal to processes of a pod; gives those that got it.
    ///
    /// # Errors
    /// When no process fits.
    pub fn signal_in_pod(
        &self,
        namespace: &str,
        pod: &str,
        target: Target<'_>,
        signal: Signal,
    ) -> Result<Vec<ContainerProcess>> {
        let hit = self.find_in_pod(namespace, pod, target)?;
        for process in &hit {
            process.id.signal(signal)?;
        }
        Ok(hit)
    }

    /// Kills processes of a pod at once.
    ///
    /// # Errors
    /// When no process fits.
    pub fn kill_in_pod(
        &self,
        namespace: &str,
        pod: &str,
        target: Target<'_>,
    ) -> Result<Vec<ContainerProcess>> {
        self.signal_in_pod(namespace, pod, target, Signal::SIGKILL)
    }

    /// Runs a command in the first running container of a pod as user 999, without the API server.
    ///
    /// # Errors
    /// When no container runs.
    pub async fn exec_in_pod<S: AsRef<OsStr>>(
        &self,
        namespace: &str,
        pod: &str,
        args: &[S],
    ) -> Result<Output> {
        let processes = self.processes_in_pod(namespace, pod)?;
        let init = processes
            .iter()
            .find(|process| process.inner_pid == 1)
            .with_context(|| format!("no container of pod {namespace}/{pod} runs"))?;
        let pid = init.id.pid;
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let variables: Vec<(String, String)> = String::from_utf8_lossy(&environment)
            .split('\0')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let nsenter = crate::process::on_path("nsenter").context("nsenter is not there")?;
        let mut command = tokio::process::Command::new(nsenter);
        command
            .args(["--target", &pid.to_string(), "--mount", "--uts", "--ipc", "--net", "--pid"])
            .args(["--root", "--wd", "--setuid", "999", "--setgid", "999", "--", "/usr/bin/env"])
            .args(args)
            .env_clear()
            .envs(variables)
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true);
        command.output().await.context("enter the pod")
    }

    /// Deletes a pod: gracefully, or by force, which does not wait for its end.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn delete_pod(&self, namespace: &str, pod: &str, force: bool) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client(), namespace);
        let params = if force { DeleteParams::default().grace_period(0) } else { DeleteParams::default() };
        pods.delete(pod, &params).await.with_context(|| format!("delete pod {namespace}/{pod}"))?;
        Ok(())
    }

    /// Removes all that is in the volume of a claim, whoever uses it.
    ///
    /// # Errors
    /// When the claim has no volume.
    pub async fn wipe_volume(&self, namespace: &str, claim: &str) -> Result<()> {
        volumes::empty(&volumes::folder_of_claim(&self.client(), namespace, claim).await?)
    }
}

fn fits(process: &ContainerProcess, target: Target<'_>) -> bool {
    match target {
        Target::Init => process.inner_pid == 1,
        Target::Postmaster => process.name == "postgres" && process.parent_name != "postgres",
        Target::Named(name) => process.name == name,
        Target::CommandHolds(text) => process.command.contains(text),
        Target::All => true,
    }
}

fn container_name(containerd: &Containerd, id: &str) -> Result<String> {
    let info: serde_json::Value =
        serde_json::from_str(&run(&mut containerd.ctr(&["containers", "info", id]))?)?;
    Ok(info["Labels"]["io.kubernetes.container.name"].as_str().unwrap_or_default().to_owned())
}

/// A process that ended meanwhile is none.
fn describe(pid: i32, container: &str, node: Node) -> Option<ContainerProcess> {
    let id = ProcessId::of(pid)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).map(|rest| rest.trim().to_owned())
    };
    let parent = field("PPid:")?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(ContainerProcess {
        id,
        inner_pid: field("NSpid:")?.split_whitespace().last()?.parse().ok()?,
        name: field("Name:")?,
        parent_name: fs::read_to_string(format!("/proc/{parent}/comm")).unwrap_or_default().trim().to_owned(),
        command: String::from_utf8_lossy(&command).replace('\0', " ").trim().to_owned(),
        container: container.to_owned(),
        node,
    })
}
