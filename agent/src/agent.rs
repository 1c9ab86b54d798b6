//! Everything that the loop owns.

use std::io;
use std::sync::Arc;

use pgha_agent_core::observation::{Identity, WriteSeen};
use pgha_agent_core::{Memory, Timing};
use pgha_schema::ids::{BootId, ContainerNonce};
use pgha_schema::status::ClusterStatus;
use tokio::sync::Notify;

use crate::act::{Background, DegradedSince, PasswordsSet};
use crate::api::Api;
use crate::api::objects::Paths;
use crate::disk::DiskProbe;
use crate::guard_link::GuardLink;
use crate::heartbeats::{Beats, Hearing, Sender};
use crate::observe::DataCache;
use crate::peers::Peers;
use crate::postgres::job::JobTable;
use crate::postgres::local::LocalPostgres;
use crate::postgres::tools::Tools;
use crate::rest::server::{Counts, Shared};
use crate::secrets::Secrets;
use crate::settings::AgentSettings;
use crate::tls::Certificate;
use crate::volume::Volume;
use crate::world::World;

/// The agent of one pod.
#[derive(Debug)]
pub struct Agent {
    /// From the environment.
    pub settings: AgentSettings,
    /// Who it is.
    pub me: Identity,
    /// The guard.
    pub guard: GuardLink,
    /// For the record alone: its connections are shared with nothing (A6).
    pub lease_api: Api,
    /// For everything else.
    pub api: Arc<Api>,
    /// Paths at the API.
    pub paths: Paths,
    /// What the API told.
    pub world: World,
    /// What other agents told.
    pub peers: Peers,
    /// What other agents sent.
    pub hearing: Hearing,
    /// What this one sends as the holder.
    pub beats: Beats,
    /// Who sends.
    pub sender: Sender,
    /// The volume.
    pub volume: Volume,
    /// What lies on it.
    pub data: DataCache,
    /// The Secrets.
    pub secrets: Secrets,
    /// The server's certificate.
    pub certificate: Certificate,
    /// What was done about the roles' passwords.
    pub passwords: PasswordsSet,
    /// PostgreSQL's programs.
    pub tools: Tools,
    /// The local postgres.
    pub postgres: LocalPostgres,
    /// Long actions.
    pub jobs: JobTable,
    /// The disk's health.
    pub disk: DiskProbe,
    /// What the REST server shows and takes.
    pub shared: Arc<Shared>,
    /// Wakes the loop.
    pub wake: Arc<Notify>,
    /// Best-effort writes under way.
    pub background: Background,
    /// The last write of the record.
    pub last_write: Option<WriteSeen>,
    /// The last cycle's.
    pub memory: Memory,
    /// The durations in use.
    pub timing: Timing,
    /// The deadline that was handed to the guard last.
    pub fence_at_ms: Option<u64>,
    /// SIGTERM was first seen then.
    pub terminate_ms: Option<u64>,
    /// The status document as last written, and when.
    pub status_written: Option<(ClusterStatus, u64)>,
    /// What happened since the start.
    pub counts: Counts,
    /// Since when writes go on without a confirming standby.
    pub degraded_since: DegradedSince,
    /// A confirmation of names in force under way.
    pub confirming: Option<(String, tokio::task::JoinHandle<()>)>,
    /// The last write of the status document failed: it is to be written again.
    pub status_failed: Arc<std::sync::atomic::AtomicBool>,
    /// The action that failed last and why, so that it is logged once.
    pub last_failure: Option<(String, String)>,
    /// SHA-256 of the binary that runs.
    pub own_sha256: String,
    /// SHA-256 of the binary that was fetched, or is being fetched.
    pub wanted_agent: Option<String>,
    /// Cycles so far.
    pub cycles: u64,
}

/// The kernel's boot id.
pub fn boot_id() -> io::Result<BootId> {
    Ok(BootId::new(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim()))
}

/// Who this agent is.
pub fn identity(settings: &AgentSettings, nonce: &str, postgres_major: u32) -> io::Result<Identity> {
    let ordinal = settings.names.ordinal(&settings.pod).ok_or_else(|| {
        io::Error::other(format!("pod {} is none of cluster {}", settings.pod, settings.names.cluster()))
    })?;
    Ok(Identity {
        pod: settings.pod.clone(),
        pod_uid: settings.pod_uid.clone(),
        ordinal,
        address: settings.pod_ip.to_string(),
        node: settings.node.clone(),
        boot_id: boot_id()?,
        nonce: ContainerNonce::new(nonce),
        template_hash: settings.template_hash.clone(),
        anchor_uid: settings.anchor_uid.clone(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        postgres_major,
    })
}
