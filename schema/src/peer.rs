//! What agents say to each other beside their reports: heartbeats of the holder, and the asking for promises (A12).

use serde::{Deserialize, Serialize};

use crate::ids::{ContainerNonce, Era, MemberId};

/// Path that takes a [`Heartbeat`].
pub const PATH_HEARTBEAT: &str = "/heartbeat";
/// Path that takes a [`PromiseRequest`].
pub const PATH_PROMISE: &str = "/promise";
/// Format of these documents that this build writes; a reader refuses a higher one.
pub const PEER_FORMAT: u32 = 1;

/// One version of the Lease: the only name under which a promise is given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RecordVersion {
    /// Uid of the object.
    pub uid: String,
    /// Its resourceVersion: opaque.
    pub resource_version: String,
}

/// The holder lives: sent by its agent to every member's every 250 ms, for as long as its lead is good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Format number, [`PEER_FORMAT`].
    pub format: u32,
    /// Uid of the anchor of the sender's cluster.
    pub anchor_uid: String,
    /// The holder's pod.
    pub pod: String,
    /// Its container's life.
    pub nonce: ContainerNonce,
    /// Its era.
    pub era: Era,
    /// The record that it holds.
    pub version: RecordVersion,
    /// Its renewals fail: in async whoever acknowledges does not take by expiry for a lease duration (A20).
    #[serde(default)]
    pub asks: bool,
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatAnswer {
    /// Format number, [`PEER_FORMAT`].
    pub format: u32,
    /// The member that acknowledges: its record names the sender as holder in this era, and it has promised nothing to
    /// anybody (A20). `None`: heard, and no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledges: Option<MemberId>,
}

/// Somebody wants to take the record at this version, and asks for the promise not to confirm for its holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromiseRequest {
    /// Format number, [`PEER_FORMAT`].
    pub format: u32,
    /// Uid of the anchor of the sender's cluster.
    pub anchor_uid: String,
    /// Who asks.
    pub pod: String,
    /// For which version.
    pub version: RecordVersion,
}
