//! What is to be done, why, when to look again, and what is to be remembered.

use std::collections::{BTreeMap, BTreeSet};

use pgha_schema::desired::{AgentBinary, Credentials};
use pgha_schema::ids::{Era, MemberId, SystemIdentifier};
use pgha_schema::lsn::Lsn;
use pgha_schema::record::Record;
use pgha_schema::status::{Acknowledged, ClusterStatus};

pub use crate::bootstrap::InitdbPermit;
pub use crate::divergence::{ClonePermit, RewindPermit};
pub use crate::events::Told;
pub use crate::failsafe::Rivals;
pub use crate::marks::Marking;
use crate::observation::{LeaseVersion, Marks, Upstream};

/// The outcome of one cycle.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// To be done in this order. One that fails may end the batch ([`Action::ends_batch`]); then, and whenever the batch is
    /// through, the world is observed anew.
    pub actions: Vec<Action>,
    /// Why.
    pub reason: Reason,
    /// Look again after this time at the latest; sooner when anything changes.
    pub wake_after_ms: u64,
    /// When the guard has to fence unless it is told a later time (A8): to be handed to it **after** this decision's
    /// actions. `None`: the guard keeps what it has (the agent does not know better), and fences nothing that is down.
    pub fence_at_ms: Option<u64>,
    /// To be handed to the next cycle. A restart of the agent loses it, which is safe.
    pub memory: Memory,
}

/// One thing to do. Each may be cut off at any point and repeated.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// An uncached GET of the Lease, deadline 1 s (A1).
    ReadLease,
    /// Replace the record (and `spec.holderIdentity`, `renewTime`, for people) by compare-and-swap, deadline 1 s. After
    /// any outcome but success: an uncached GET before the next observation.
    WriteRecord {
        /// Precondition: uid and resourceVersion.
        if_version: LeaseVersion,
        /// The whole new record.
        record: Box<Record>,
    },
    /// POST the Lease with this record (A4); `AlreadyExists` is a conflict.
    CreateLease {
        /// The whole record.
        record: Box<Record>,
    },
    /// Keep this record on the volume, fsynced, for the day that the Lease is lost (A4).
    KeepRecord {
        /// The whole record.
        record: Box<Record>,
    },
    /// Keep the promise to confirm nothing for the holder of this version, fsynced with its directory (A12).
    GivePromise {
        /// The version.
        version: LeaseVersion,
    },
    /// Forget a promise that an uncached read has ended.
    DropPromise,
    /// Ask these pods' agents for the same promise; does not wait. Best effort.
    AskPromises {
        /// The version.
        version: LeaseVersion,
        /// Whom.
        pods: BTreeSet<String>,
    },
    /// Kill everything in the container but guard and agent: SIGQUIT, 300 ms later SIGKILL (A7). Returns when nothing
    /// is left.
    Fence,
    /// Start postgres: first kill what an earlier postmaster left (A7), render all files from the desired document,
    /// gate closed, then start. Nothing when it runs.
    StartPostgres {
        /// As what.
        role: StartAs,
        /// `synchronous_standby_names` from the first moment on.
        names: String,
    },
    /// Ask postgres to stop; does not wait. Once per cycle until it is down.
    StopPostgres {
        /// How.
        mode: StopMode,
    },
    /// End these walsenders (SIGTERM).
    EndWalsenders {
        /// Their processes.
        pids: BTreeSet<i32>,
    },
    /// End all other sessions than the agent's (replay conflicts would delay it, A22), then `pg_promote(wait => false)`.
    Promote,
    /// Empty primary_conninfo, reload, SIGTERM the walreceiver, look twice that it is gone (A12): then
    /// [`StreamSeen::Detached`](crate::observation::StreamSeen::Detached) is observed.
    LeaveStream,
    /// Set primary_conninfo and primary_slot_name, reload.
    Follow {
        /// Whom.
        upstream: Upstream,
    },
    /// `pg_wal_replay_resume()`.
    ResumeReplay,
    /// initdb in a marked new directory, roles and database made, renamed; **the marker stays** (A4). A job.
    Initdb {
        /// Why it may.
        permit: InitdbPermit,
    },
    /// Clear the marker of an initdb whose data the record names.
    AdoptData {
        /// The data that it must be.
        member: MemberId,
    },
    /// Clone from the holder: stop postgres, marker, pg_basebackup into a new directory, fsync, rename, new member id
    /// and this era fsynced, marker cleared (A23). A job.
    Clone {
        /// From whom.
        from: Upstream,
        /// Why it may.
        permit: ClonePermit,
    },
    /// Rewind to the holder's history: stop postgres, marker, pg_rewind, own configuration again, new member id and
    /// this era fsynced, marker cleared (A23). A job; the marker stays when it fails half-way.
    Rewind {
        /// From whom.
        from: Upstream,
        /// Why it may.
        permit: RewindPermit,
    },
    /// Fsync the era into the agent's file beside the data: before it streams or promotes in it (A3).
    PersistEra {
        /// The era.
        era: Era,
    },
    /// Fsync into the agent's file beside the data that these marks were seen: before clients are let in for the first time (A4).
    KeepMarks {
        /// The marks.
        marks: Marks,
    },
    /// Render all files from the desired document as last read, remove ALTER SYSTEM over owned settings, reload; nothing
    /// when they already say so.
    ApplySettings,
    /// Write `synchronous_standby_names`, reload.
    SetSyncNames {
        /// The whole text.
        names: String,
    },
    /// Confirm by A17 that the names are in force: a new connection shows them; a CHECKPOINT returns if asked for; each
    /// walsender's reply time advances twice (or it is gone); then read the position. At most a few seconds; the result is
    /// `in_force`. Nothing when it already runs for the same names.
    ConfirmInForce {
        /// The whole text.
        names: String,
        /// Names are in force after none were.
        checkpoint: bool,
    },
    /// Let clients in: the agent-owned part of pg_hba, reload (A9).
    OpenGate,
    /// Let no client in, and end client sessions.
    CloseGate,
    /// Give the roles the passwords of the mounted Secrets, once these are at least of these writings; sooner is not possible, and the
    /// kubelet is hurried. Beside the loop; what is in force then is observed. Best effort: it is decided again until it is.
    SetPasswords {
        /// Which writings are wanted.
        wanted: Credentials,
    },
    /// CHECKPOINT. A job.
    Checkpoint,
    /// Exactly these physical slots of ours exist, named by ordinal; each is advanced to its position if it is behind it;
    /// lost ones are made anew (A24).
    SetSlots {
        /// By ordinal; `None`: leave its position alone.
        slots: BTreeMap<u32, Option<Lsn>>,
    },
    /// Patch a pod's labels with uid and resourceVersion as preconditions (A27). Best effort.
    LabelPod {
        /// Its name.
        pod: String,
        /// Its uid.
        uid: String,
        /// Its resourceVersion.
        resource_version: String,
        /// Labels to set (`None`: remove).
        labels: BTreeMap<String, Option<String>>,
    },
    /// Delete a pod, uid as precondition (rolling, A29). Best effort.
    DeletePod {
        /// Its name.
        pod: String,
        /// Its uid.
        uid: String,
    },
    /// Write ConfigMap `<name>-status`, on change and at most every 5 s, at once when the acknowledgement changed (the
    /// shell holds back). Best effort.
    WriteStatus {
        /// The document.
        status: Box<ClusterStatus>,
    },
    /// Write the system identifier on the StatefulSet and on the claims of these ordinals (A4). Best effort: what waits for it waits
    /// until it is seen, and a refusal is observed.
    StampVolumes {
        /// The identifier.
        system_identifier: SystemIdentifier,
        /// Which claims.
        ordinals: BTreeSet<u32>,
    },
    /// Emit a Kubernetes event on this pod; decided once for each change. Best effort.
    EmitEvent {
        /// `Warning` rather than `Normal`.
        warning: bool,
        /// CamelCase reason.
        reason: &'static str,
        /// The text.
        message: String,
    },
    /// Fetch this binary through the API, check its hash, leave it beside the running one. A job.
    FetchAgent {
        /// Which.
        binary: AgentBinary,
    },
    /// Have the guard start the fetched binary in this process's place: it ends this process at once, and goes back to it
    /// unless the new one says within this time that it is well (A8).
    ExchangeAgent {
        /// SHA-256 of the binary.
        sha256: String,
        /// The desired document that asks for it.
        generation: u64,
        /// The time, in milliseconds.
        within_ms: u64,
        /// How often it may fail to say so in time before it is refused for good.
        tries: u32,
    },
    /// Tell the guard that this agent, on trial, is well: it stays.
    StayAgent,
    /// End this process and, by the guard, the container: postgres is down.
    Exit,
}

/// How postgres starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartAs {
    /// Without standby.signal.
    Primary,
    /// With standby.signal.
    Standby {
        /// Whom it follows from the start; `None`: primary_conninfo empty, so it replays what it has.
        upstream: Option<Upstream>,
    },
}

/// How postgres stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Sessions are ended, a shutdown checkpoint is written and sent.
    Fast,
    /// At once, as at a crash; recovery at the next start.
    Immediate,
}

/// Why this was decided. For people it is shown; tests compare values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The record was not read yet.
    LeaseUnread,
    /// The desired document was not read yet.
    DesiredUnread,
    /// The Lease can't be used.
    LeaseUnusable(String),
    /// The volume was not looked at yet.
    DataUnknown,
    /// This pod's data is of another cluster: it is never touched.
    ForeignData,
    /// PG_VERSION does not match the binaries or the wish (A26).
    WrongMajor,
    /// This ordinal is beyond the wanted number of replicas.
    BeyondReplicas,
    /// This member leads and all is well.
    Leading,
    /// This member leads; something is being put in place.
    LeadingSettling(Settling),
    /// Fenced: no good renewal in time (A6).
    RenewalOverdue,
    /// Fenced: somebody else holds the Lease.
    LeaseTaken(String),
    /// Fenced: the disk hangs (A26).
    DiskHung,
    /// The holder's own member takes its record again (A11).
    TakeAgain,
    /// Takes after the old holder's release (A21).
    TakeReleased,
    /// Takes after proof of the old holder's death (A10).
    TakeProven,
    /// Takes from a holder that is silent, with the promises of enough of V (A13).
    TakeSilent,
    /// Takes after expiry (A6).
    TakeExpired,
    /// Takes because a person gave up the leader and V (A31).
    TakeForced,
    /// Takes the pending record to run initdb (A4).
    TakePending,
    /// Creates the lost Lease again (A4).
    RecreateLease,
    /// The Lease is lost and this member may not re-create it (yet).
    LeaseLost,
    /// This container holds the pending record and makes the data.
    Bootstrapping,
    /// Waits for another member to bootstrap, or for members to be heard.
    WaitsForBootstrap,
    /// Leaves the old stream before it takes (A12).
    LeavesStream,
    /// It waits for the promises of enough members of V (A11).
    GathersPromises,
    /// It has promised to confirm nothing more for the holder of this record (A12).
    HoldsPromise,
    /// It took the Lease; promotion goes on.
    Promoting,
    /// Follows the holder.
    Following,
    /// Gets ready to follow: local WAL is replayed to find out where it stands.
    FindingPosition,
    /// The holder's era is not complete yet: nobody follows it (A3).
    WaitsForEra,
    /// Data is forked: rewind.
    Rewinding,
    /// No usable data: clone.
    Cloning,
    /// Waits for the holder to be ready as source of a clone or rewind.
    WaitsForSource,
    /// The holder is dead or silent, but this member may not lead: why.
    MayNotLead(Bar),
    /// A planned hand-over: the primary is going down.
    HandingOver,
    /// Released; waits for the target to take.
    Released,
    /// It was told to stop.
    Terminating,
    /// The desired state is `stopped` (P21).
    Stopped,
    /// Postgres is being restarted in place.
    Restarting,
    /// Its data is forked or none, and a pause forbids to make it anew.
    HeldByPause,
    /// The law of A6 does not hold for the wished durations: the defaults are used.
    TimingRefused(String),
}

/// What a leader is still putting in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settling {
    /// Postgres starts.
    Starting,
    /// The gate waits for a renewal sent after promotion or start (A9).
    Gate,
    /// The synchronous set changes.
    SyncSet,
    /// Pods are rolled or restarted.
    Rolling,
    /// Agents are exchanged, one after the other (A8).
    Agents,
    /// The roles get the passwords of Secrets that were written anew (P24).
    Passwords,
}

/// Why a member may not lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bar {
    /// Nothing is wrong with the holder, as far as is known.
    HolderAlive,
    /// The holder must be silent for longer.
    NotExpired,
    /// Sync: it is not in V, and nobody of V asks for it or promises.
    NotAVoter,
    /// Sync: V is empty, so only the holder may lead.
    NoVoters,
    /// Its data has forked or is none.
    NotOnChain,
    /// Its position is not known yet.
    PositionUnknown,
    /// It has not everything that was released.
    BehindRelease,
    /// Async: the record does not name it.
    NotRecorded,
    /// Another member is ahead, or goes first among equals.
    AnotherGoesFirst(String),
    /// Async: beyond max_lag (A14).
    BeyondMaxLag,
    /// The release names another target.
    NotTheTarget,
    /// The desired state is `stopped`.
    Stopped,
    /// Its ordinal is beyond the wanted number.
    BeyondReplicas,
    /// It was told to stop.
    Terminating,
    /// A pause is in force (A31).
    Paused,
    /// Break-glass: this one answers, so it is not lost.
    NotLost(String),
}

/// All that outlives a cycle. Opaque to the shell; lost with the agent, which is safe.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// The last write of the record that named this container as holder.
    pub attempt: Option<Attempt>,
    /// Before the last good renewal was sent; `None`: this process made none.
    pub renewed_ms: Option<u64>,
    /// Before the acknowledgements were asked for that vouch for the lead while the API server is away (A20).
    pub vouched_ms: Option<u64>,
    /// Who could take over by a write of the record that was tried since that renewal and may still land.
    pub unsettled: BTreeSet<Rivals>,
    /// The record of that renewal, to re-create a lost Lease with.
    pub led: Option<Record>,
    /// The version that it had.
    pub led_version: Option<LeaseVersion>,
    /// Too few synchronous standbys confirm (A18).
    pub lack: Option<Lack>,
    /// This holder's acknowledgement of the document that is there (P8).
    pub acknowledged: Option<Acknowledged>,
    /// The running postmaster never had empty names (A17).
    pub names_never_empty: bool,
    /// Since when there is a ground to take the record, for the wait for peers.
    pub candidate_since_ms: Option<u64>,
    /// Since when a planned stop of the primary runs, for its bounds.
    pub handover_since_ms: Option<u64>,
    /// When this holder released; it takes again when nobody does.
    pub released_ms: Option<u64>,
    /// When a hand-over last failed, so that it is not tried again at once.
    pub handover_failed_ms: Option<u64>,
    /// Since when this standby waits to be out of V before it stops (A21).
    pub leaving_since_ms: Option<u64>,
    /// Since when the requests that the record carries are under way here, by their ids.
    pub watched: BTreeMap<String, u64>,
    /// Since when this member is out of the stream because its data is to be cloned anew.
    pub left_for_clone_ms: Option<u64>,
    /// What people were told.
    pub told: Told,
    /// Nothing listens any more where the holder lived from whom this member took last.
    pub predecessor_gone: bool,
    /// When a pod was last deleted (A29, P23).
    pub deleted_pod_ms: Option<u64>,
    /// Since when this holder's own postgres is to be restarted for its settings.
    pub restart_due_ms: Option<u64>,
    /// When postgres was last started, and how often in a row without ever answering.
    pub started_ms: Option<u64>,
    /// Starts in a row that never came to answer.
    pub failed_starts: u32,
    /// When postgres last answered.
    pub answered_ms: Option<u64>,
    /// The taking back of an agent at this time was told of by an event.
    pub told_taken_back_ms: Option<u64>,
    /// What was last ordered to be marked with the identifier of its data, until it is.
    pub marking: Option<Marking>,
    /// Standby slots were last advanced then.
    pub slots_set_ms: Option<u64>,
}

impl Memory {
    /// Postgres answers: what was tried before did not fail.
    pub(crate) fn answers(&mut self, now_ms: u64) {
        (self.failed_starts, self.answered_ms) = (0, Some(now_ms));
    }
}

/// Fewer standbys can confirm than were wished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lack {
    /// Since when there are no more than these.
    pub since_ms: u64,
    /// How many.
    pub standbys: usize,
}

/// A write of the record that names this container as holder.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// What was written.
    pub record: Record,
    /// On top of which version it may land; `None`: as a new Lease.
    pub if_version: Option<LeaseVersion>,
    /// When the first write with this number of renewals was decided: so before it was sent.
    pub at_ms: u64,
}
