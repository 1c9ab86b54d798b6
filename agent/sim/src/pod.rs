//! A pod, its container, guard and agent, and the node below.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pgha_agent_core::failsafe::Acknowledges;
use pgha_agent_core::heartbeat::Beat;
use pgha_agent_core::observation::{
    Acks, AskedSeen, DesiredSeen, HolderHeard, Jobs, LeaseSeen, LeaseVersion, Peer, PodSeen, Received,
    VolumeSeen, WriteSeen,
};
use pgha_agent_core::{Action, Memory, Reason};
use pgha_schema::desired::Credentials;
use pgha_schema::ids::{BootId, ContainerNonce, SystemIdentifier};
use pgha_schema::status::{AgentReport, FailedStarts};

pub use crate::exchange::Binaries;
use crate::observe::ObjectVersions;
use crate::postgres::{Postgres, Volume};

/// A node.
pub struct Node {
    /// Counts boots.
    pub boot: u32,
    /// It runs again from then on.
    pub up_at: u64,
    /// Its clock runs at this many thousandths of the true rate.
    pub rate: u64,
    /// Its clock's offset.
    pub offset: u64,
}

impl Node {
    /// The node's own clock.
    pub fn clock(&self, now: u64) -> u64 {
        self.offset + now * self.rate / 1_000
    }
}

/// A pod of the StatefulSet.
pub struct Pod {
    /// Its ordinal: also its node's number.
    pub ordinal: usize,
    /// Its name.
    pub name: String,
    /// The StatefulSet keeps it.
    pub exists: bool,
    /// Counts pod objects: uid and address.
    pub incarnation: u32,
    /// Counts changes of the object.
    pub version: u64,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// It is being deleted; killed then.
    pub deleting_until: Option<u64>,
    /// The API server no longer knows the token of this pod.
    pub disowned: bool,
    /// The container of an object that is gone already runs on the volume until then.
    pub left_behind_until: Option<u64>,
    /// Hash of its template.
    pub template_hash: String,
    /// Its agents.
    pub binaries: Binaries,
    /// Nonces that its status shows as ended.
    pub terminated: BTreeSet<ContainerNonce>,
    /// Such a nonce that the kubelet has not reported yet.
    pub ended: Option<(u64, ContainerNonce)>,
    /// The container runs.
    pub up: bool,
    /// When the container starts (again).
    pub start_at: Option<u64>,
    /// Its life.
    pub nonce: ContainerNonce,
    /// Everything in it is suspended until then; postgres wakes first.
    pub frozen_until: u64,
    /// It gets hardly any processor until then.
    pub starved_until: u64,
    /// Postgres alone is suspended until then.
    pub postgres_frozen_until: u64,
    /// The probe of the disk hangs until then, and postgres with it.
    pub disk_hung_until: u64,
    /// The probe finds no room for more WAL.
    pub disk_full: bool,
    /// Postgres stops itself on writing WAL; stories say themselves when.
    pub stops_when_full: bool,
    /// Recovery and replay come no further.
    pub replay_stuck: bool,
    /// The guard's deadline, by the node's clock.
    pub guard_deadline: Option<u64>,
    /// The volume.
    pub volume: Volume,
    /// Its claim has a volume; another pod's may never come.
    pub schedulable: bool,
    /// The last heartbeat that came here: from which life, and the true time.
    pub heartbeat_came: Option<(ContainerNonce, u64)>,
    /// Postgres.
    pub postgres: Postgres,
    /// The agent.
    pub agent: Agent,
}

impl Pod {
    /// One that has never run.
    pub fn new(ordinal: usize, name: String, exists: bool, hash: &str, binaries: Binaries) -> Self {
        Self {
            ordinal,
            name,
            exists,
            incarnation: 1,
            version: 1,
            labels: BTreeMap::new(),
            deleting_until: None,
            disowned: false,
            left_behind_until: None,
            template_hash: hash.to_owned(),
            binaries,
            terminated: BTreeSet::new(),
            ended: None,
            up: false,
            start_at: exists.then_some(100 + ordinal as u64 * 70),
            nonce: ContainerNonce::new("none"),
            frozen_until: 0,
            starved_until: 0,
            postgres_frozen_until: 0,
            disk_hung_until: 0,
            disk_full: false,
            stops_when_full: false,
            replay_stuck: false,
            guard_deadline: None,
            volume: Volume::default(),
            heartbeat_came: None,
            schedulable: true,
            postgres: Postgres::Down,
            agent: Agent::new(u64::MAX),
        }
    }
}

impl Pod {
    /// Its address: each pod object has its own.
    pub fn address(&self) -> String {
        format!("10.0.{}.{}", self.ordinal, self.incarnation)
    }

    /// Its uid.
    pub fn uid(&self) -> String {
        format!("{}-{}", self.name, self.incarnation)
    }
}

/// One life of an agent's process, and what it has seen.
pub struct Agent {
    /// It runs from then on.
    pub alive_from: u64,
    /// It is suspended until then.
    pub frozen_until: u64,
    /// What decide remembers.
    pub memory: Memory,
    /// Actions still to be done.
    pub queue: VecDeque<Action>,
    /// An action goes on until then.
    pub busy_until: u64,
    /// It looks again then.
    pub wake_at: u64,
    /// The deadline to hand to the guard after the batch.
    pub fence_after_batch: Option<u64>,
    /// The deadline that was handed last, for a start.
    pub fence_at: Option<u64>,
    /// The Lease as it knows it.
    pub lease: LeaseSeen,
    /// Its last write.
    pub last_write: Option<WriteSeen>,
    /// The wish as it knows it.
    pub desired: Option<DesiredSeen>,
    /// Pods as it knows them.
    pub pods: BTreeMap<String, PodSeen>,
    /// Claims as it knows them.
    pub volumes: BTreeMap<u32, VolumeSeen>,
    /// Of what versions.
    pub versions: Option<ObjectVersions>,
    /// The StatefulSet's annotation as it knows it.
    pub set_identifier: Option<SystemIdentifier>,
    /// Starts of postgres that ended by themselves.
    pub starts_failed: Option<FailedStarts>,
    /// Why its last marking of volumes was refused.
    pub marks_refused: Option<String>,
    /// The first list has come.
    pub listed: bool,
    /// Watches deliver nothing until then.
    pub watch_at: u64,
    /// Peers.
    pub peers: BTreeMap<String, Peer>,
    /// It asks peers then.
    pub ask_at: u64,
    /// The writings of the Secrets whose passwords it has given the roles.
    pub credentials: Credentials,
    /// Long actions.
    pub jobs: Jobs,
    /// The running data job.
    pub data_job: Option<DataJob>,
    /// The running checkpoint's end, and whether it began on a primary: a restartpoint is none on the timeline of a promotion.
    pub checkpoint_until: Option<(u64, bool)>,
    /// The postmaster seen: id, first seen, first seen out of recovery.
    pub seen_process: Option<(u64, u64, Option<u64>)>,
    /// The postmaster that has not answered yet, and since when it is there.
    pub starting: Option<(u64, u64)>,
    /// When it was told to stop.
    pub terminate_ms: Option<u64>,
    /// What people asked it for.
    pub requests: Vec<Received>,
    /// Pauses that people ended here.
    pub lifted: BTreeSet<String>,
    /// What it heard of the holder.
    pub holder_heard: HolderHeard,
    /// Since when the holder's ports refuse.
    pub refusing_since: Option<u64>,
    /// What it sends as the holder.
    pub beat: Option<Beat>,
    /// Whom it acknowledges.
    pub acknowledges: Option<Acknowledges>,
    /// It sends then.
    pub beat_at: u64,
    /// Who acknowledged its heartbeats.
    pub acks: Acks,
    /// Its promise, as far as only this process knows.
    pub promise: Option<LeaseVersion>,
    /// Another asked it for a promise.
    pub asked: Option<AskedSeen>,
    /// Why it decided as it did last.
    pub reason: Option<Reason>,
    /// What it tells.
    pub report: Option<AgentReport>,
}

/// A running initdb, clone or rewind.
pub struct DataJob {
    /// What.
    pub action: Action,
    /// When it ends.
    pub until: u64,
    /// The source's postmaster.
    pub source: Option<(usize, u64)>,
}

impl Agent {
    /// The toy's Secrets are mounted at once, and giving roles their passwords takes no time: what is left of a decision without that.
    pub fn set_passwords(&mut self, actions: Vec<Action>) -> impl Iterator<Item = Action> + use<> {
        for action in &actions {
            if let Action::SetPasswords { wanted } = action {
                self.credentials = *wanted;
            }
        }
        actions.into_iter().filter(|action| !matches!(action, Action::SetPasswords { .. }))
    }

    /// A process that starts at this time.
    pub fn new(alive_from: u64) -> Self {
        Self {
            alive_from,
            frozen_until: 0,
            memory: Memory::default(),
            queue: VecDeque::new(),
            busy_until: 0,
            wake_at: 0,
            fence_after_batch: None,
            fence_at: None,
            lease: LeaseSeen::Unread,
            last_write: None,
            desired: None,
            pods: BTreeMap::new(),
            volumes: BTreeMap::new(),
            versions: None,
            set_identifier: None,
            marks_refused: None,
            starts_failed: None,
            listed: false,
            watch_at: 0,
            peers: BTreeMap::new(),
            ask_at: 0,
            jobs: Jobs::default(),
            data_job: None,
            checkpoint_until: None,
            seen_process: None,
            starting: None,
            terminate_ms: None,
            requests: Vec::new(),
            lifted: BTreeSet::new(),
            credentials: Credentials::default(),
            holder_heard: HolderHeard::default(),
            refusing_since: None,
            beat: None,
            acknowledges: None,
            beat_at: 0,
            acks: Acks::new(),
            promise: None,
            asked: None,
            reason: None,
            report: None,
        }
    }
}

/// The boot id of a node.
pub fn boot_id(node: usize, boot: u32) -> BootId {
    BootId::new(format!("boot-{node}-{boot}"))
}
