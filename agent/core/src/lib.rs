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

pub mod bootstrap;
pub mod decision;
pub mod divergence;
pub mod observation;
pub mod timing;

pub use decision::{Action, Decision, Memory, Reason};
pub use observation::Observation;
pub use timing::Timing;
