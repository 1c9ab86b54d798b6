//! What lies on the local volume.

use pgha_schema::ids::{Era, MemberId, SystemIdentifier};
use pgha_schema::lsn::{Lsn, TimelineId};

/// The local volume.
#[derive(Clone, Debug, PartialEq)]
pub enum DataSeen {
    /// Not looked at yet, or it can't be read, or the volume lock (A5) is not held.
    Unknown,
    /// Nothing is there.
    Empty,
    /// A marker stands: this counts as no data (A23); never started, never a voter.
    Unfinished {
        /// What was being made.
        what: Unfinished,
        /// What is there nevertheless: complete only for [`Unfinished::Initdb`] whose directory was already renamed.
        data: Option<LocalData>,
    },
    /// A data directory.
    Present(LocalData),
}

/// What a marker outside PGDATA says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// initdb; cleared by [`Action::AdoptData`](crate::decision::Action::AdoptData) once the record names this data.
    Initdb,
    /// A clone.
    Clone,
    /// A rewind.
    Rewind,
}

/// A data directory, by its control file and the agent's own file beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalData {
    /// Its identity (A2).
    pub member: MemberId,
    /// Its system identifier.
    pub system_identifier: SystemIdentifier,
    /// The last era that it lived in, fsynced by [`Action::PersistEra`](crate::decision::Action::PersistEra); `None`
    /// after initdb.
    pub era: Option<Era>,
    /// The marks under which clients were let in, fsynced by [`Action::KeepMarks`](crate::decision::Action::KeepMarks) before they
    /// were for the first time; with the agent's own file it goes when the data is made anew.
    pub marks: Option<Marks>,
    /// Timeline of the latest checkpoint, or of minimum recovery if higher.
    pub timeline: TimelineId,
    /// The control file's state; stale while postgres runs.
    pub control: ControlState,
    /// **End** of the shutdown checkpoint's record, when [`ControlState::ShutDown`]: who received this has everything.
    pub shutdown_lsn: Option<Lsn>,
    /// WAL that a start has to replay at least, from the control file: 0 when cleanly shut down (A25).
    pub replay_bytes: u64,
    /// WAL that a start reads before the data is consistent is not in pg_wal.
    pub lacks_wal: bool,
    /// PG_VERSION.
    pub postgres_major: u32,
}

/// The own claim and the StatefulSet were seen to carry the identifier of the data (A4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Uid of the anchor of the cluster that they belong to: a cluster that is made anew over its volumes has another StatefulSet.
    pub anchor_uid: String,
    /// The identifier.
    pub system_identifier: SystemIdentifier,
}

/// pg_control's state, as far as decisions differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlState {
    /// A primary that was shut down cleanly.
    ShutDown,
    /// A standby that was shut down cleanly.
    ShutDownInRecovery,
    /// A primary that did not shut down.
    InProduction,
    /// A standby that did not shut down.
    InRecovery,
}
