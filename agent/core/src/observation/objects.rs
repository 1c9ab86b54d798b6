//! Objects of the cluster as the API shows them.

use std::collections::{BTreeMap, BTreeSet};

use pgha_schema::ids::{ContainerNonce, SystemIdentifier};

/// A pod as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSeen {
    /// Its ordinal.
    pub ordinal: u32,
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion, a precondition of label patches (A27).
    pub resource_version: String,
    /// Its phase is Running and the container runs.
    pub running: bool,
    /// It has a deletion timestamp.
    pub deleting: bool,
    /// Its node, once scheduled.
    pub node: Option<String>,
    /// Its address.
    pub address: Option<String>,
    /// Its labels (only those of ours matter).
    pub labels: BTreeMap<String, String>,
    /// Nonces in the `terminated.message` of its container's current and last state: these lives have ended (A10).
    pub terminated: BTreeSet<ContainerNonce>,
    /// Hash of the template that it was made from.
    pub template_hash: String,
    /// The Secret with the server's certificate is mounted in it.
    pub has_certificate: bool,
    /// It waits in crash-loop back-off and its last exit was a signal (A29).
    pub crash_loop_by_signal: bool,
}

/// A volume claim as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSeen {
    /// Its uid.
    pub uid: String,
    /// It has a volume.
    pub bound: bool,
    /// The system identifier in its annotation.
    pub system_identifier: Option<SystemIdentifier>,
    /// Its cluster was destroyed before it held data: it counts as empty (P21).
    pub never_initialised: bool,
}
