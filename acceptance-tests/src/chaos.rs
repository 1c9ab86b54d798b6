//! Faults that overlap: a schedule made from a seed, and whoever carries it out on the sandbox.
//!
//! The schedule is chosen without looking at the cluster, so a seed gives the same faults again; what they hit depends on who
//! leads at that moment.

mod run;
mod schedule;

pub use run::carry_out;
pub use schedule::{Fault, Schedule, Timed};
