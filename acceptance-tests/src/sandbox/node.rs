//! A node: containerd, kubelet and kube-proxy in the node's namespace, each with folders of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::control_plane::{proxied_server, start_service_proxy};
use super::layout::{DNS_SERVICE_ADDRESS, Layout, Node, PAUSE_IMAGE};
use super::packages::CNI_FOLDER;
use super::pki::Authority;
use crate::poll::Seen;
use crate::process::{Daemon, on_path, run};

const START_DEADLINE: Duration = Duration::from_mins(1);
/// containerd's own namespace for what Kubernetes runs.
pub const CONTAINERD_NAMESPACE: &str = "k8s.io";

/// Folders and names of one containerd.
pub struct Containerd {
    /// Name of its daemon.
    pub name: String,
    /// Network namespace; none is the machine's own.
    pub namespace: Option<String>,
    /// Images and snapshots.
    pub root: PathBuf,
    /// Socket, small files.
    pub run: PathBuf,
    /// Network of its pods.
    pub pod_network: String,
}

/// Gives every node an image from an archive, unless it has one of this name.
///
/// # Errors
/// When one can't be given it.
pub fn import(layout: &Layout, tag: &str, archive: &Path) -> Result<()> {
    for node in Node::all() {
        let containerd = Containerd::of(layout, node);
        let known = run(&mut containerd.ctr(&["images", "list", "--quiet", &format!("name=={tag}")]))?;
        if known.trim().is_empty() {
            run(containerd.ctr(&["images", "import"]).arg(archive))
                .with_context(|| format!("import {tag} on {node}"))?;
        }
    }
    Ok(())
}

impl Containerd {
    /// The one of a node.
    pub fn of(layout: &Layout, node: Node) -> Self {
        Self {
            name: format!("containerd-{node}"),
            namespace: Some(node.namespace()),
            root: layout.node_state(node).join("containerd"),
            run: layout.node_run(node),
            pod_network: node.pod_network(),
        }
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.run.join("containerd.sock")
    }

    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// When it does not come up; the message holds the end of its log.
    pub fn start(&self, layout: &Layout) -> Result<()> {
        let cni = self.run.join("cni");
        for folder in [&self.root, &cni] {
            fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        }
        fs::write(cni.join("10-pods.conflist"), serde_json::to_vec_pretty(&self.cni_config())?)?;
        let config = self.run.join("containerd.toml");
        fs::write(&config, self.config(&cni))?;
        let program = on_path("containerd").context("containerd is not there")?;
        layout.daemons().start(&Daemon {
            name: &self.name,
            namespace: self.namespace.as_deref(),
            program: &program,
            args: vec!["--config".to_owned(), config.display().to_string()],
            env: Vec::new(),
        })?;
        layout.daemons().await_ready(&self.name, START_DEADLINE, || {
            let output = self.ctr(&["version"]).output()?;
            Ok(Seen::when(output.status.success(), crate::process::both(&output)))
        })
    }

    /// A call of containerd's own client.
    pub fn ctr(&self, args: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(on_path("ctr").unwrap_or_else(|| "ctr".into()));
        command.arg("--address").arg(self.socket()).args(["--namespace", CONTAINERD_NAMESPACE]).args(args);
        command
    }

    fn config(&self, cni: &Path) -> String {
        let (root, run) = (self.root.display(), self.run.display());
        let socket = self.socket();
        let (socket, cni) = (socket.display(), cni.display());
        format!(
            r#"version = 2
root = "{root}"
state = "{run}/containerd"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{socket}"
[ttrpc]
  address = "{run}/containerd.ttrpc.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # Root without CAP_SYS_RESOURCE may not lower it.
  restrict_oom_score_adj = true
  disable_tcp_service = true
  netns_mounts_under_state_dir = true
  # Images that a test names and that do not exist must fail at once, not after a search for registries.
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = ""
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_FOLDER}"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        Root = "{run}/runc"
        SystemdCgroup = false
"#
        )
    }

    fn cni_config(&self) -> serde_json::Value {
        json!({
            "cniVersion": "0.4.0",
            "name": self.cni_network(),
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": "cni0",
                    "isGateway": true,
                    "ipMasq": false,
                    "hairpinMode": true,
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{ "subnet": self.pod_network }]],
                        "routes": [{ "dst": "0.0.0.0/0" }],
                        "dataDir": self.run.join("addresses"),
                    },
                },
                { "type": "portmap", "capabilities": { "portMappings": true } },
            ],
        })
    }

    /// Name of the pods' network, which begins the names of the plugins' cached results.
    pub fn cni_network(&self) -> String {
        format!("{}{}", super::layout::PREFIX, self.name)
    }
}

/// Starts the kubelet and kube-proxy of a node.
///
/// # Errors
/// When one can't be started.
pub fn start(layout: &Layout, programs: &Path, authority: &Authority, node: Node) -> Result<()> {
    let (run, name) = (layout.node_run(node), node.name());
    let root = layout.kubelet(node);
    fs::create_dir_all(&root)?;
    fs::create_dir_all(run.join("manifests"))?;
    let client = run.join("kubelet.kubeconfig");
    authority.kubeconfig(&client, &proxied_server(), &format!("system:node:{name}"), &["system:nodes"])?;
    let config = run.join("kubelet.json");
    fs::write(&config, serde_json::to_vec_pretty(&kubelet_config(layout, node))?)?;
    let args = vec![
        format!("--config={}", config.display()),
        format!("--kubeconfig={}", client.display()),
        format!("--root-dir={}", root.display()),
        format!("--cert-dir={}", root.join("certificates").display()),
        format!("--hostname-override={name}"),
        format!("--node-ip={}", node.address()),
    ];
    layout.daemons().start(&Daemon {
        name: &format!("kubelet-{name}"),
        namespace: Some(&node.namespace()),
        program: &programs.join("kubelet"),
        args,
        env: Vec::new(),
    })?;
    start_service_proxy(layout, programs, authority, &name, &node.namespace())
}

fn kubelet_config(layout: &Layout, node: Node) -> serde_json::Value {
    let (state, run, pki) = (layout.node_state(node), layout.node_run(node), layout.pki());
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": pki.join("ca.crt") },
        },
        "authorization": { "mode": "Webhook" },
        "address": "0.0.0.0",
        "tlsCertFile": pki.join(format!("kubelet-server-{node}.crt")),
        "tlsPrivateKeyFile": pki.join(format!("kubelet-server-{node}.key")),
        "containerRuntimeEndpoint": format!("unix://{}", layout.containerd_socket(node).display()),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", node.namespace()),
        "failCgroupV1": false,
        "cgroupsPerQOS": true,
        "enforceNodeAllocatable": [],
        "localStorageCapacityIsolation": false,
        // A disk that is nearly full is the machine's business: no pod is thrown out and no image removed for it.
        "evictionHard": {},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "failSwapOn": false,
        "oomScoreAdj": 0,
        "resolvConf": "/dev/null",
        "clusterDNS": [DNS_SERVICE_ADDRESS],
        "clusterDomain": "cluster.local",
        "podLogsDir": state.join("pod-logs"),
        "staticPodPath": run.join("manifests"),
        "volumePluginDir": run.join("volume-plugins"),
        "registerNode": true,
        // 2 processors carry three nodes: what a pod asks for is not what there is.
        "maxPods": 60,
        "serializeImagePulls": false,
        "runtimeRequestTimeout": "2m",
    })
}
