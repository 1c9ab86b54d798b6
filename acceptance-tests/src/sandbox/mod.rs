//! The sandbox: a real Kubernetes with three nodes on this machine, without a registry and without a way out.
//!
//! `up` is: packages, cached builds ([`assets`], [`images`], [`store`]), [`network`], [`control_plane`], [`node`]s, [`objects`].
//! `down` works from what is found on the machine ([`down`]). Faults are in [`faults`].

mod agent_image;
pub mod assets;
mod audit;
pub mod cgroups;
mod clocks;
pub mod control_plane;
pub mod disks;
pub mod down;
pub mod faults;
pub mod forwarder;
mod growing;
pub mod images;
mod layers;
pub mod layout;
pub mod limits;
pub mod machine;
pub mod netns;
pub mod network;
pub mod node;
pub mod objects;
pub mod packages;
mod patroni_image;
pub mod pki;
pub mod pods;
mod second;
pub mod selfcheck;
pub mod store;
mod up;
pub mod volumes;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

pub use self::audit::Request;
pub use self::disks::{SMALL_DISK_CLASS, SmallDisk};
pub use self::faults::Cut;
pub use self::forwarder::{ApiFault, Who};
pub use self::growing::{GROWING_DISK_BYTES, GROWING_DISK_CLASS, GROWING_DISK_DRIVER, GrowingDisks};
pub use self::layout::{CLIENT_ADDRESS, Layout, Node};
pub use self::limits::Limit;
pub use self::netns::{dial, in_client_namespace};
pub use self::patroni_image::PATRONI;
pub use self::pods::Target;
pub use self::second::SecondKubernetes;
pub use self::volumes::STORAGE_CLASS;
use crate::progress::Progress;

/// A running sandbox. Cheap to clone.
#[derive(Clone)]
pub struct Sandbox {
    layout: Layout,
    client: Client,
}

impl Sandbox {
    /// Brings the sandbox up; one that is up is left as it is.
    ///
    /// # Errors
    /// When a part can't be had or does not come up; the message says which, with the end of its log.
    pub async fn up(progress: &Progress) -> Result<Self> {
        up::up(&Layout::new(), progress).await?;
        Self::connect().await
    }

    /// The sandbox that is up.
    ///
    /// # Errors
    /// When none is.
    pub async fn connect() -> Result<Self> {
        let layout = Layout::new();
        let client =
            client_of(&layout.kubeconfig()).await.context("no sandbox is up; `cargo dev up` starts it")?;
        Ok(Self { layout, client })
    }

    /// Builds and fetches everything that the sandbox starts from, and what tests start in it later; starts nothing.
    ///
    /// # Errors
    /// When a part can't be had.
    pub fn prepare(progress: &Progress) -> Result<()> {
        let layout = Layout::new();
        up::prepare(&layout, progress)?;
        assets::storage(&layout, progress)?;
        // What the preparation itself needed; a sandbox that is up stays.
        if layout.daemons().names().is_empty() { Self::down(&Progress::quiet()) } else { Ok(()) }
    }

    /// Takes the sandbox down, whatever state it is in.
    ///
    /// # Errors
    /// When something resists.
    pub fn down(progress: &Progress) -> Result<()> {
        let layout = Layout::new();
        let _lock = up::lock(&layout)?;
        down::down(&layout, progress)
    }

    /// What a sandbox left on this machine, one line each.
    pub fn leftovers() -> Vec<String> {
        down::leftovers(&Layout::new())
    }

    /// Whether a sandbox is up and answers.
    pub async fn is_up() -> bool {
        up::is_complete(&Layout::new()).await
    }

    /// Where its files are.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The administrator's kubeconfig, for programs on this machine.
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.kubeconfig()
    }

    /// The administrator's client.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The nodes.
    pub fn nodes(&self) -> Vec<Node> {
        Node::all().collect()
    }

    /// The node that a pod runs on.
    ///
    /// # Errors
    /// When there is no such pod or it is on no node yet.
    pub async fn node_of(&self, namespace: &str, pod: &str) -> Result<Node> {
        let pods: Api<Pod> = Api::namespaced(self.client(), namespace);
        let name = pods.get(pod).await?.spec.and_then(|spec| spec.node_name);
        name.as_deref().and_then(Node::named).with_context(|| format!("pod {namespace}/{pod} is on no node"))
    }

    /// `kubectl` of the cluster's own version, as the administrator.
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(self.layout.run().join("bin/kubectl"));
        command.arg("--kubeconfig").arg(self.kubeconfig());
        command
    }

    /// A command that runs where an application would run: it resolves names of Services and reaches their addresses.
    pub fn client_command(&self, program: impl AsRef<OsStr>) -> Command {
        network::client_command(&self.layout, program.as_ref())
    }

    /// Runs a command in the client namespace to its end. `psql` and `pgbench` are found.
    ///
    /// # Errors
    /// When it can't be started.
    pub async fn client_exec<S: AsRef<OsStr>>(&self, program: &str, args: &[S]) -> Result<Output> {
        let own = self.postgres_programs().join(program);
        let program = if own.exists() { own } else { PathBuf::from(program) };
        let mut command = tokio::process::Command::from(self.client_command(program));
        command.args(args).stdin(std::process::Stdio::null()).kill_on_drop(true);
        command.output().await.context("start a command in the client namespace")
    }

    /// Folder with psql, pgbench and the others of PostgreSQL 18, for this machine and the client namespace.
    pub fn postgres_programs(&self) -> PathBuf {
        assets::client_programs(&self.layout)
    }

    /// Empties volumes whose claim is gone and offers them again. The sandbox does so by itself every two seconds.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn recycle_volumes(&self) -> Result<usize> {
        volumes::recycle(&self.layout, &self.client).await
    }

    /// Makes a namespace with a new name that begins with `prefix`.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn create_namespace(&self, prefix: &str) -> Result<String> {
        let name = format!("{prefix}-{}", &uuid::Uuid::new_v4().simple().to_string()[..6]);
        let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": name } }))?;
        let api: Api<Namespace> = Api::all(self.client());
        api.create(&PostParams::default(), &namespace).await?;
        Ok(name)
    }

    /// Deletes a namespace with all that is in it, without waiting for the end.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn delete_namespace(&self, name: &str) -> Result<()> {
        let api: Api<Namespace> = Api::all(self.client());
        match api.delete(name, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Pods, events and the last log lines of a namespace: what one wants to see when a test has failed.
    pub async fn describe_namespace(&self, namespace: &str) -> String {
        let mut text = String::new();
        for args in [
            &["get", "pods,pvc,services,leases,statefulsets", "-o", "wide"][..],
            &["get", "events", "--sort-by=.lastTimestamp"][..],
        ] {
            text += &self.kubectl_text(namespace, args);
        }
        let pods: Api<Pod> = Api::namespaced(self.client(), namespace);
        for pod in pods.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
            let name = pod.metadata.name.unwrap_or_default();
            text += &format!("--- log of {name}\n");
            text += &self.kubectl_text(namespace, &["logs", &name, "--all-containers", "--tail=40"]);
        }
        text
    }

    fn kubectl_text(&self, namespace: &str, args: &[&str]) -> String {
        self.kubectl()
            .args(["--namespace", namespace, "--request-timeout=10s"])
            .args(args)
            .output()
            .map_or_else(|error| error.to_string(), |output| crate::process::both(&output))
    }

    /// What the pods of a service account have asked of the API server since the sandbox is up, oldest first.
    ///
    /// # Errors
    /// When there is no log of it.
    pub fn requests_of(&self, namespace: &str, account: &str) -> Result<Vec<Request>> {
        self.requests_since(0, namespace, account)
    }

    /// How far the log of requests has come.
    ///
    /// # Errors
    /// When there is none.
    pub fn end_of_requests(&self) -> Result<u64> {
        audit::end(&self.layout)
    }

    /// What the pods of a service account have asked since the log was there.
    ///
    /// # Errors
    /// When there is no log of it.
    pub fn requests_since(&self, end: u64, namespace: &str, account: &str) -> Result<Vec<Request>> {
        audit::requests_of(&self.layout, &format!("system:serviceaccount:{namespace}:{account}"), end)
    }

    /// The same of the user of [`Sandbox::restricted_kubeconfig`].
    ///
    /// # Errors
    /// When there is no log of it.
    pub fn requests_with(&self, kubeconfig: &Path) -> Result<Vec<Request>> {
        let user = kubeconfig.file_stem().context("a kubeconfig has a name")?;
        audit::requests_of(&self.layout, &user.to_string_lossy(), 0)
    }

    /// A kubeconfig of a new user who has just these rights, in this namespace only.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn restricted_kubeconfig(&self, namespace: &str, rules: &[PolicyRule]) -> Result<PathBuf> {
        let user = format!("user-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let role: Role = serde_json::from_value(json!({ "metadata": { "name": user }, "rules": rules }))?;
        let roles: Api<Role> = Api::namespaced(self.client(), namespace);
        roles.create(&PostParams::default(), &role).await?;
        let binding: RoleBinding = serde_json::from_value(json!({
            "metadata": { "name": user },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }],
        }))?;
        let bindings: Api<RoleBinding> = Api::namespaced(self.client(), namespace);
        bindings.create(&PostParams::default(), &binding).await?;
        self.kubeconfig_for(&user, &[audit::AUDITED])
    }

    /// A kubeconfig for a user of this name and groups, whatever rights these have.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn kubeconfig_for(&self, user: &str, groups: &[&str]) -> Result<PathBuf> {
        let file = self.layout.run().join(format!("{}.kubeconfig", user.replace(':', "-")));
        let port = std::fs::read_to_string(self.layout.api_port_file())?;
        let server = format!("https://127.0.0.1:{}", port.trim());
        pki::Authority::open(&self.layout)?.kubeconfig(&file, &server, user, groups)?;
        Ok(file)
    }
}

/// A client from a kubeconfig file.
///
/// # Errors
/// When the file can't be read or makes no sense.
pub async fn client_of(kubeconfig: &Path) -> Result<Client> {
    // The first one installed wins; that one is there already is fine.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = kube::config::Kubeconfig::read_from(kubeconfig)?;
    let mut config =
        kube::Config::from_custom_kubeconfig(config, &kube::config::KubeConfigOptions::default()).await?;
    config.read_timeout = Some(std::time::Duration::from_secs(20));
    Ok(Client::try_from(config)?)
}
