//! Where everything of the sandbox is: folders, names, addresses. Each is spelled here only.

use std::path::{Path, PathBuf};

use crate::process::Daemons;

/// How many nodes there are.
pub const NODE_COUNT: u8 = 3;
/// Local volumes on each node.
pub const VOLUMES_PER_NODE: u8 = 24;
/// Begin of the name of everything that the sandbox makes on the machine.
pub const PREFIX: &str = "pgha-";
/// Namespace of the control plane and of the bridge between the nodes.
pub const CONTROL_PLANE: &str = "pgha-cp";
/// Namespace of an application outside the nodes.
pub const CLIENT: &str = "pgha-client";
/// Address that the API server listens on.
pub const API_ADDRESS: &str = "10.97.0.1";
/// Address that nodes and pods know: the faulty proxy in front of the API server.
pub const API_PROXY_ADDRESS: &str = "10.97.0.2";
/// Address of CoreDNS.
pub const DNS_ADDRESS: &str = "10.97.0.3";
/// Address of the client namespace.
pub const CLIENT_ADDRESS: &str = "10.97.0.100";
/// Port of the API server, at each of its addresses.
pub const API_PORT: u16 = 6443;
/// Network of the machines: control plane, nodes, client.
pub const MACHINE_NETWORK: &str = "10.97.0.0/24";
/// Network of all pods.
pub const POD_NETWORK: &str = "10.98.0.0/16";
/// Network of the Services.
pub const SERVICE_NETWORK: &str = "10.96.0.0/16";
/// The Service `kubernetes`.
pub const API_SERVICE_ADDRESS: &str = "10.96.0.1";
/// The Service `kube-dns`.
pub const DNS_SERVICE_ADDRESS: &str = "10.96.0.10";
/// Image that holds a pod's namespaces.
pub const PAUSE_IMAGE: &str = "docker.io/library/pgha-pause:1";

/// One of the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node(u8);

impl Node {
    /// All nodes.
    pub fn all() -> impl Iterator<Item = Node> {
        (1..=NODE_COUNT).map(Node)
    }

    /// The node of this name in Kubernetes, if it is one of ours.
    pub fn named(name: &str) -> Option<Node> {
        Node::all().find(|node| node.name() == name)
    }

    /// 1 to [`NODE_COUNT`].
    pub fn number(self) -> u8 {
        self.0
    }

    /// Name in Kubernetes: `node1`.
    pub fn name(self) -> String {
        format!("node{}", self.0)
    }

    /// Network namespace, and top-level control group.
    pub fn namespace(self) -> String {
        format!("{PREFIX}node{}", self.0)
    }

    /// Address on the bridge.
    pub fn address(self) -> String {
        format!("10.97.0.{}", 10 + self.0)
    }

    /// Network of the node's pods.
    pub fn pod_network(self) -> String {
        format!("10.98.{}.0/24", self.0)
    }
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}

/// The sandbox's folders.
#[derive(Debug, Clone)]
pub struct Layout {
    run: PathBuf,
    cache: PathBuf,
}

impl Layout {
    /// The one sandbox of this machine. What is expensive to make is kept under `PGHA_CACHE`, else in the user's cache folder.
    pub fn new() -> Self {
        let cache = std::env::var_os("PGHA_CACHE").map_or_else(
            || {
                let base = std::env::var_os("XDG_CACHE_HOME").map_or_else(
                    || {
                        PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into()))
                            .join(".cache")
                    },
                    PathBuf::from,
                );
                base.join("terraform-provider-postgres")
            },
            PathBuf::from,
        );
        Self { run: PathBuf::from("/run/pgha-sandbox"), cache }
    }

    /// Pid files, sockets, logs, certificates, kubeconfigs. Gone after `down`.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// What is expensive to make. Stays.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// Data of the running cluster: images, volumes, etcd. Beside the cache, so that images are hard links. Gone after `down`.
    pub fn state(&self) -> PathBuf {
        // A `down` with another cache folder set must find what `up` used.
        std::fs::read_to_string(self.run.join("state-folder"))
            .map_or_else(|_| self.cache.join("state"), |text| PathBuf::from(text.trim()))
    }

    /// Writes down which folder [`Layout::state`] is, for later calls.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn record_state(&self) -> std::io::Result<()> {
        let state = self.state();
        std::fs::create_dir_all(&state)?;
        std::fs::create_dir_all(&self.run)?;
        std::fs::write(self.run.join("state-folder"), state.display().to_string())
    }

    /// Data of one node.
    pub fn node_state(&self, node: Node) -> PathBuf {
        self.state().join(node.name())
    }

    /// Sockets and small files of one node.
    pub fn node_run(&self, node: Node) -> PathBuf {
        self.run.join(node.name())
    }

    /// containerd's socket on a node.
    pub fn containerd_socket(&self, node: Node) -> PathBuf {
        self.node_run(node).join("containerd.sock")
    }

    /// Root folder of a node's kubelet.
    pub fn kubelet(&self, node: Node) -> PathBuf {
        self.node_state(node).join("kubelet")
    }

    /// A node's local volumes.
    pub fn volumes(&self, node: Node) -> PathBuf {
        self.node_state(node).join("volumes")
    }

    /// Certificates and keys.
    pub fn pki(&self) -> PathBuf {
        self.run.join("pki")
    }

    /// The administrator's kubeconfig for programs on this machine.
    pub fn kubeconfig(&self) -> PathBuf {
        self.run.join("kubeconfig")
    }

    /// What `resolv.conf` is in the client namespace.
    pub fn client_resolv_conf(&self) -> PathBuf {
        self.run.join("client-resolv.conf")
    }

    /// Socket on which the forwarder takes faults.
    pub fn fault_socket(&self) -> PathBuf {
        self.run.join("api-faults.sock")
    }

    /// Port on 127.0.0.1 at which this machine's programs reach the API server.
    pub fn api_port_file(&self) -> PathBuf {
        self.run.join("api-port")
    }

    /// Files of a second Kubernetes ([`super::SecondKubernetes`]).
    pub fn second(&self) -> Layout {
        Layout { run: self.run.join("second"), cache: self.cache.clone() }
    }

    /// The daemons of the sandbox.
    pub fn daemons(&self) -> Daemons {
        Daemons {
            pids: self.run.join("pids"),
            logs: self.run.join("logs"),
            cgroup: daemon_hierarchy().join(format!("{PREFIX}daemons")),
        }
    }
}

impl Default for Layout {
    fn default() -> Self {
        Self::new()
    }
}

/// Root of the control group tree in which daemons are only counted, not limited.
fn daemon_hierarchy() -> PathBuf {
    let v1 = Path::new("/sys/fs/cgroup/pids");
    if v1.join("cgroup.procs").exists() { v1.to_owned() } else { PathBuf::from("/sys/fs/cgroup") }
}
