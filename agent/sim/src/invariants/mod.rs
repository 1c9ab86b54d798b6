//! One file per property. Each looks at the world, never at what an agent believes.
//!
//! | property | rules | checked |
//! |---|---|---|
//! | [`one_acknowledging_writer`] | A6–A9, A12 | at every acknowledgement |
//! | [`acked_commits_survive`] | A11, A16–A18, A21 | when clients are let in, and at the end |
//! | [`unable_to_acknowledge_before_takeover`] | A6, A10, A12 | when another member's take is written |
//! | [`last_copy_not_wiped`] | A4, A23 | before initdb, clone or rewind replaces data |
//! | [`one_history`] | A3 | when a standby connects |
//! | [`heard_holder_is_left_alone`] | A12, A13 | when a take is decided |
//! | [`deposed_primary_is_stopped`] | A6, A8, A20 | at every step |
//! | [`people_are_obeyed`] | A31 | when a take or a release is written |
//! | [`heals`] | all | after the faults' end |

pub mod acked_commits_survive;
pub mod deposed_primary_is_stopped;
pub mod heals;
pub mod heard_holder_is_left_alone;
pub mod last_copy_not_wiped;
pub mod one_acknowledging_writer;
pub mod one_history;
pub mod people_are_obeyed;
pub mod unable_to_acknowledge_before_takeover;

use std::fmt;

/// A broken property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A primary acknowledged after another had taken its place.
    TwoWriters {
        /// Who acknowledged.
        pod: String,
        /// Who had before.
        after: String,
    },
    /// A promised commit is not in the WAL of a primary that lets clients in.
    CommitLost {
        /// How many.
        commits: usize,
        /// Where they lack.
        pod: String,
    },
    /// Somebody took the record while another could still acknowledge.
    TakenTooEarly {
        /// Who took.
        by: String,
        /// Who could.
        from: String,
    },
    /// A holder was taken from whose heartbeats came.
    HeardHolderPreempted {
        /// Who took.
        by: String,
        /// From whom.
        from: String,
    },
    /// An old primary goes on serving beside the one that took its place.
    DeposedServes {
        /// Which.
        pod: String,
    },
    /// Data was replaced that held the only copy of a promised commit.
    LastCopyWiped {
        /// Whose.
        pod: String,
    },
    /// A standby streams WAL on top of another history.
    HistoriesMixed {
        /// The standby.
        standby: String,
        /// Its source.
        source: String,
    },
    /// Somebody took over although people had paused the cluster.
    TakenInPause {
        /// Who.
        by: String,
    },
    /// One request was carried out twice.
    DoneTwice {
        /// Its id.
        id: String,
    },
    /// It does not heal.
    NotHealed {
        /// What is not as it should be.
        why: String,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TwoWriters { pod, after } => {
                write!(f, "{pod} acknowledged after {after} had taken its place")
            }
            Self::CommitLost { commits, pod } => {
                write!(f, "{commits} promised commits are lost on {pod}, which lets clients in")
            }
            Self::TakenTooEarly { by, from } => {
                write!(f, "{by} took the record while {from} could still acknowledge")
            }
            Self::HeardHolderPreempted { by, from } => {
                write!(f, "{by} took the record although heartbeats of {from} came")
            }
            Self::DeposedServes { pod } => {
                write!(f, "{pod} still serves although another has taken its place")
            }
            Self::LastCopyWiped { pod } => write!(f, "{pod} replaced the last copy of a promised commit"),
            Self::HistoriesMixed { standby, source } => {
                write!(f, "{standby} streams from {source} on top of another history")
            }
            Self::TakenInPause { by } => write!(f, "{by} took the record although the cluster was paused"),
            Self::DoneTwice { id } => write!(f, "request {id} was carried out twice"),
            Self::NotHealed { why } => write!(f, "not healed: {why}"),
        }
    }
}
