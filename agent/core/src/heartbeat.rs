//! What is heard of the holder between reads of its record, and when it counts as silent (A12, A13).

use pgha_schema::ids::{ContainerNonce, Era};

use crate::decision::Decision;
use crate::lease::{self, Standing};
use crate::observation::{DiskSeen, LeaseRead, LeaseVersion, Observation};

/// Between two heartbeats of the holder's agent to each member's.
pub const PERIOD_MS: u64 = 250;
/// No heartbeat for this long is silence: six of them in a row did not come.
pub const SILENT_AFTER_MS: u64 = 1_500;
/// How often both ports have to be refused, and over which time, before that says what silence says.
pub const REFUSALS: u32 = 3;
/// See [`REFUSALS`].
pub const REFUSED_FOR_MS: u64 = 60;
/// A refusal older than this says nothing: the container may run again.
const REFUSED_COUNTS_MS: u64 = 1_000;

/// What this process heard of the holder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HolderHeard {
    /// Since when this process listens: what came before it says nothing of silence.
    pub listening_ms: u64,
    /// The newest authenticated heartbeat.
    pub last: Option<HeartbeatSeen>,
    /// The newest one that asked to be vouched for (A20).
    pub asks: Option<HeartbeatSeen>,
    /// The newest row of refusals.
    pub refused: Option<RefusedSeen>,
}

/// A heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatSeen {
    /// Of which era.
    pub era: Era,
    /// From which life of the container.
    pub nonce: ContainerNonce,
    /// When it came.
    pub at_ms: u64,
}

/// The REST port and the PostgreSQL port of an address were both refused or reset [`REFUSALS`] times in a row, over
/// [`REFUSED_FOR_MS`]: the machine answers, and nothing listens there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedSeen {
    /// The address.
    pub address: String,
    /// Taken before the first of them was tried.
    pub since_ms: u64,
    /// When the last of them was refused.
    pub at_ms: u64,
}

/// What the holder's agent sends, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// Its era.
    pub era: Era,
    /// The record that it holds.
    pub version: LeaseVersion,
    /// Not after this, whatever becomes of the loop: then its own fence begins.
    pub until_ms: u64,
    /// Renewals fail: whoever acknowledges shall not take by expiry for a lease duration (A20).
    pub asks: bool,
}

/// What this member sends after this decision: nothing unless its lead is good and its disk is well.
pub fn beat(seen: &Observation, decision: &Decision) -> Option<Beat> {
    let memory = &decision.memory;
    let (record, version) = match lease::standing(seen) {
        Standing::Mine(read) => (&read.record, &read.version),
        Standing::Missing { .. } => (memory.led.as_ref()?, memory.led_version.as_ref()?),
        _ => return None,
    };
    if record.release.is_some() || matches!(seen.disk, DiskSeen::Hung { .. }) {
        return None;
    }
    let until_ms = decision.fence_at_ms.filter(|at_ms| *at_ms > seen.now_ms)?;
    let unrenewed_ms = seen.now_ms.saturating_sub(memory.renewed_ms.unwrap_or_default());
    // Early: a turn of the loop lasts as long as a call that fails, and the answers count only in the next one.
    let asks = unrenewed_ms > record.fence_after_ms / 3;
    Some(Beat { era: record.era(), version: version.clone(), until_ms, asks })
}

/// From when on the holder counts as silent. A new record is a sign of life too.
pub(crate) fn silent_at_ms(seen: &Observation, read: &LeaseRead) -> u64 {
    let holder = read.record.holder.as_ref();
    let last = seen.holder_heard.last.as_ref().filter(|last| {
        last.era == read.record.era() && holder.is_some_and(|holder| holder.nonce == last.nonce)
    });
    let sign_ms =
        last.map_or(0, |last| last.at_ms).max(seen.holder_heard.listening_ms).max(read.first_seen_ms);
    sign_ms.saturating_add(SILENT_AFTER_MS)
}

/// When the address at which the holder lives began to refuse, if it does now: a dead container on a live machine.
pub(crate) fn refused_since_ms(seen: &Observation, read: &LeaseRead) -> Option<u64> {
    let holder = read.record.holder.as_ref()?;
    let refused = seen.holder_heard.refused.as_ref()?;
    let lives_there =
        seen.pods.get(&holder.pod).is_some_and(|pod| pod.address.as_deref() == Some(&*holder.address));
    let counts = refused.address == holder.address
        && refused.since_ms >= read.first_seen_ms
        && seen.now_ms.saturating_sub(refused.at_ms) < REFUSED_COUNTS_MS
        && seen.holder_heard.last.as_ref().is_none_or(|last| last.at_ms < refused.since_ms);
    (lives_there && counts).then_some(refused.since_ms)
}
