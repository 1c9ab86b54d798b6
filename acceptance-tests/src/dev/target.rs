//! Which cluster a command works on: the one that KUBECONFIG names, else the sandbox.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::ListParams;
use kube::{Api, Client};

use crate::process::on_path;
use crate::progress::Progress;
use crate::sandbox::{Layout, Sandbox, assets};

/// A Kubernetes cluster to work on.
pub enum Kubernetes {
    /// Ours, on this machine.
    Sandbox(Box<Sandbox>),
    /// One of the user's own.
    Own(Client),
}

/// Whether KUBECONFIG names a cluster of the user's own.
pub fn own_cluster_is_set() -> bool {
    let Some(value) = std::env::var_os("KUBECONFIG") else { return false };
    // Whoever exported the sandbox's own file means the sandbox.
    !value.is_empty() && Path::new(&value) != Layout::new().kubeconfig()
}

impl Kubernetes {
    /// The cluster to use; the sandbox is started when it is meant and not up.
    ///
    /// # Errors
    /// When it can't be reached or does not come up.
    pub async fn start(progress: &Progress) -> Result<Self> {
        if own_cluster_is_set() {
            Self::own().await
        } else {
            Ok(Self::Sandbox(Box::new(Sandbox::up(progress).await?)))
        }
    }

    /// The cluster to use, as it is.
    ///
    /// # Errors
    /// When it can't be reached.
    pub async fn connect() -> Result<Self> {
        if own_cluster_is_set() {
            Self::own().await
        } else {
            Ok(Self::Sandbox(Box::new(Sandbox::connect().await?)))
        }
    }

    async fn own() -> Result<Self> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::try_default().await.context("reach the cluster that KUBECONFIG names")?;
        Ok(Self::Own(client))
    }

    /// A client with the kubeconfig's rights.
    pub fn client(&self) -> Client {
        match self {
            Self::Sandbox(sandbox) => sandbox.client(),
            Self::Own(client) => client.clone(),
        }
    }

    /// The kubeconfig that programs must be told; none when the environment names it already.
    pub fn kubeconfig(&self) -> Option<PathBuf> {
        match self {
            Self::Sandbox(sandbox) => Some(sandbox.kubeconfig()),
            Self::Own(_) => None,
        }
    }

    /// `kubectl` for this cluster: the sandbox's own, else the one on PATH, else the one built for the sandbox.
    ///
    /// # Errors
    /// When there is none and it can't be built.
    pub fn kubectl(&self, progress: &Progress) -> Result<Command> {
        match self {
            Self::Sandbox(sandbox) => Ok(sandbox.kubectl()),
            Self::Own(_) => match on_path("kubectl") {
                Some(found) => Ok(Command::new(found)),
                None => Ok(Command::new(assets::kubernetes(&Layout::new(), progress)?.join("kubectl"))),
            },
        }
    }
}

/// A PostgreSQL cluster that the provider made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postgres {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The pod that holds the primary.
    pub primary: String,
}

impl Postgres {
    /// The one of this name, or the only one there is.
    ///
    /// # Errors
    /// When there is none, or there are several and no name is given.
    pub async fn find(client: &Client, namespace: Option<&str>, name: Option<&str>) -> Result<Self> {
        let mut labels = "role=primary,app.kubernetes.io/instance".to_owned();
        if let Some(name) = name {
            labels += &format!("={name}");
        }
        let pods: Api<Pod> = match namespace {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        };
        let list = ListParams::default().labels(&labels);
        let found = pods.list(&list).await.context("list pods with the label role=primary")?.items;
        let mut all: Vec<Self> = found.into_iter().filter_map(|pod| Self::of_pod(&pod)).collect();
        // The demo's, among others in namespaces of their own.
        if all.len() > 1 && namespace.is_none() && all.iter().any(|one| one.namespace == "default") {
            all.retain(|one| one.namespace == "default");
        }
        match all.len() {
            1 => Ok(all.remove(0)),
            0 => bail!("no PostgreSQL cluster with a primary is there; `cargo dev demo` makes one"),
            _ => {
                let names: Vec<String> =
                    all.iter().map(|one| format!("{}/{}", one.namespace, one.name)).collect();
                bail!("there are several: {}; choose with --namespace and --name", names.join(", "))
            }
        }
    }

    fn of_pod(pod: &Pod) -> Option<Self> {
        Some(Self {
            namespace: pod.metadata.namespace.clone()?,
            name: pod.metadata.labels.as_ref()?.get("app.kubernetes.io/instance")?.clone(),
            primary: pod.metadata.name.clone()?,
        })
    }

    /// A value of the Secret for applications: `host`, `port`, `dbname`, `username`, `password`, `uri`.
    ///
    /// # Errors
    /// When the Secret or the key is not there.
    pub async fn app_secret(&self, client: &Client, key: &str) -> Result<String> {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), &self.namespace);
        let name = format!("{}-app", self.name);
        let secret =
            secrets.get(&name).await.with_context(|| format!("read Secret {}/{name}", self.namespace))?;
        let value = secret.data.and_then(|mut data| data.remove(key));
        let value = value.with_context(|| format!("Secret {name} has no key {key}"))?;
        Ok(String::from_utf8(value.0)?)
    }
}
