//! What the pod template tells guard and agent by the environment, parsed once.

use std::env;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use pgha_schema::names::{self, Names};

/// Where things lie in the container; every path can be moved, so that the same code runs in tests.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The volume.
    pub volume: PathBuf,
    /// The unix socket's directory.
    pub sockets: PathBuf,
    /// The three Secrets.
    pub secrets: PathBuf,
    /// The Secret with the server's certificate, where there is one.
    pub tls: PathBuf,
    /// Directory of postgres, initdb and the others; empty: as PATH finds them.
    pub binaries: PathBuf,
    /// Directory of the agent's binary, and of a newer one on its way.
    pub agents: PathBuf,
}

/// What the guard needs.
#[derive(Clone, Debug)]
pub struct GuardSettings {
    /// The volume, for its lock.
    pub volume: PathBuf,
    /// Where the kubelet reads the container's last words.
    pub termination_log: PathBuf,
    /// Where REST listens.
    pub listen: SocketAddr,
    /// How the agent is started.
    pub agent: Vec<String>,
}

/// What the agent needs.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// The cluster's names.
    pub names: Names,
    /// Namespace of everything.
    pub namespace: String,
    /// This pod's name.
    pub pod: String,
    /// This pod's uid.
    pub pod_uid: String,
    /// This pod's address.
    pub pod_ip: IpAddr,
    /// This pod's node.
    pub node: String,
    /// Which cluster this is.
    pub anchor_uid: String,
    /// The template that this pod was made from.
    pub template_hash: String,
    /// Where things lie.
    pub layout: Layout,
    /// The API server.
    pub api: ApiSettings,
    /// PostgreSQL's port.
    pub postgres_port: u16,
    /// Port of the agents' REST.
    pub rest_port: u16,
}

/// How the API server is reached: by address, since no name is ever resolved here.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// Its address.
    pub address: SocketAddr,
    /// Directory with `token` and `ca.crt`.
    pub credentials: PathBuf,
}

/// The environment does not say what is needed.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A variable is missing.
    #[error("environment variable {0} is not set; the pod template sets it")]
    Missing(&'static str),
    /// A variable has no usable value.
    #[error("environment variable {name}: `{value}` is not {wanted}")]
    Wrong {
        /// Which.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is wanted.
        wanted: &'static str,
    },
}

fn required(name: &'static str) -> Result<String, SettingsError> {
    env::var(name).ok().filter(|value| !value.is_empty()).ok_or(SettingsError::Missing(name))
}

fn or(name: &str, default: &str) -> PathBuf {
    env::var_os(name).map_or_else(|| PathBuf::from(default), PathBuf::from)
}

fn parsed<T: std::str::FromStr>(name: &'static str, wanted: &'static str) -> Result<T, SettingsError> {
    let value = required(name)?;
    value.parse().map_err(|_| SettingsError::Wrong { name, value, wanted })
}

fn port(name: &'static str, default: u16) -> Result<u16, SettingsError> {
    if env::var_os(name).is_none() { Ok(default) } else { parsed(name, "a port") }
}

/// The binary of guard and agent. By the name that it was started by: once another one has taken that name, the kernel calls
/// this one deleted.
fn agent_path() -> PathBuf {
    let own = || env::current_exe().unwrap_or_else(|_| PathBuf::from(names::AGENT_PATH));
    env::var_os("PGHA_AGENT").map_or_else(own, PathBuf::from)
}

impl Layout {
    /// As the environment says, else as the pod template has it.
    pub fn from_env() -> Self {
        Self {
            volume: or("PGHA_VOLUME", names::VOLUME_DIR),
            sockets: or("PGHA_SOCKET_DIR", names::SOCKET_DIR),
            secrets: or("PGHA_SECRETS_DIR", names::SECRETS_DIR),
            tls: or("PGHA_TLS_DIR", names::TLS_DIR),
            binaries: or("PGHA_BIN_DIR", ""),
            agents: agent_path().parent().map_or_else(|| PathBuf::from(names::AGENT_DIR), Path::to_owned),
        }
    }

    /// PGDATA.
    pub fn pgdata(&self) -> PathBuf {
        let name = Path::new(names::PGDATA).file_name().unwrap_or_default();
        self.volume.join(name)
    }

    /// One of PostgreSQL's programs.
    pub fn program(&self, name: &str) -> String {
        self.binaries.join(name).to_string_lossy().into_owned()
    }
}

impl GuardSettings {
    /// From the environment.
    pub fn from_env() -> Result<Self, SettingsError> {
        // The family of the pod's own address: where that is IPv6, IPv4 may not exist, and the other way round.
        let unspecified = match parsed::<IpAddr>(names::env::POD_IP, "an address")? {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Ok(Self {
            volume: Layout::from_env().volume,
            termination_log: or("PGHA_TERMINATION_LOG", "/dev/termination-log"),
            listen: SocketAddr::new(unspecified, port("PGHA_REST_PORT", names::REST_PORT)?),
            agent: vec![agent_path().to_string_lossy().into_owned(), "agent".to_owned()],
        })
    }
}

impl AgentSettings {
    /// From the environment.
    pub fn from_env() -> Result<Self, SettingsError> {
        let host: IpAddr = parsed("KUBERNETES_SERVICE_HOST", "an address")?;
        Ok(Self {
            names: Names::new(&required(names::env::CLUSTER)?),
            namespace: required(names::env::POD_NAMESPACE)?,
            pod: required(names::env::POD_NAME)?,
            pod_uid: required(names::env::POD_UID)?,
            pod_ip: parsed(names::env::POD_IP, "an address")?,
            node: required(names::env::NODE_NAME)?,
            anchor_uid: required(names::env::ANCHOR_UID)?,
            template_hash: env::var(names::env::TEMPLATE_HASH).unwrap_or_default(),
            layout: Layout::from_env(),
            api: ApiSettings {
                address: SocketAddr::new(host, parsed("KUBERNETES_SERVICE_PORT", "a port")?),
                credentials: or("PGHA_CREDENTIALS_DIR", "/var/run/secrets/kubernetes.io/serviceaccount"),
            },
            postgres_port: port("PGHA_POSTGRES_PORT", names::POSTGRES_PORT)?,
            rest_port: port("PGHA_REST_PORT", names::REST_PORT)?,
        })
    }
}
