//! Deterministic simulator of the failover protocol: several agents' `decide` against a toy API server, network and
//! PostgreSQL under seeded faults.
//!
//! ```text
//!   seed ──> faults ──┐                        ┌──> invariants (one file each) ──> violation + replay line
//!                     ├──> World, step by step ┤
//!   script ───────────┘     └─ agents: observe ─> decide ─> act      └──> log
//! ```
//!
//! No thread, no clock, no async: one seed run twice gives the same log.
#![forbid(unsafe_code)]

pub mod agent;
pub mod client_oracle;
pub mod clients;
pub mod data_job;
pub mod exchange;
mod faults;
pub mod invariants;
pub mod kube_api;
pub mod left_behind;
pub mod mutation;
pub mod network;
pub mod observe;
pub mod people;
pub mod pod;
pub mod postgres;
pub mod promises;
pub mod run;
pub mod script;
pub mod settings;
pub mod streams;
pub mod world;

pub use mutation::Mutation;
pub use run::{Outcome, run};

/// Each look at the world is a snapshot of many small texts: a third of the time went into the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
