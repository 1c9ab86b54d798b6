//! The pure core of the failover agent.
//!
//! ```text
//!   Observation (one snapshot) ─┐
//!   Memory (outlives a cycle)  ─┼─> decide() ─> Decision { actions, reason, wake_after_ms, fence_at_ms, memory }
//!   Timing (A6, asserted once) ─┘
//! ```
//!
//! Nothing here reads a clock, a file or the network, and nothing here panics. The rules (A1–A32) are in docs/ha-protocol.md.
#![forbid(unsafe_code)]

mod acknowledge;
mod batch;
pub mod bootstrap;
mod break_glass;
mod cycle;
mod decide;
pub mod decision;
pub mod divergence;
mod election;
pub mod events;
mod failover;
pub mod failsafe;
mod fencing;
mod following;
pub mod heartbeat;
mod labels;
mod leading;
mod lease;
mod marks;
pub mod observation;
mod passwords;
mod pause;
pub mod promise;
mod record;
mod reinit;
mod report;
pub mod requests;
mod restart;
mod rolling;
mod room;
mod slots;
mod switchover;
mod sync_names;
mod sync_standbys;
pub mod timing;
pub mod upgrade;
pub mod words;

pub use decide::decide;
pub use decision::{Action, Decision, Memory, Reason};
pub use observation::Observation;
pub use report::report;
pub use sync_names::Names;
pub use timing::Timing;
