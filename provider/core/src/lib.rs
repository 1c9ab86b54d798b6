//! The pure core of the provider: every decision, and no I/O. It has no client, no clock and no randomness; the same
//! inputs give the same answers, which is what Terraform's second plan during apply demands.
//!
//! ```text
//!            config ──> validate ──> plan ◄── prior state ◄── refresh ◄── LiveCluster   (one snapshot)
//!                                     │                          ▲            ▲
//!                                     ▼                        drift          │ taken by the shell
//!                               planned state                    ▲            │
//!                                     │                        anchor ────────┤
//!                                     ▼                     (what the API     │
//!        render ──> objects ──>     steps                  server answered)   │
//!                                     │                                       │
//!                                     ▼                                       │
//!                            [shell: one by one] ──> cluster ─────────────────┘
//!                                     │   waits judged by progress, conflicts by conflict
//!                                     ▼
//!                                  outcome ──> check ──> new state
//! ```
//!
//! Where to look: what Terraform sends is [`value`] at a [`path`]; what the user reads is a [`diagnostic`]; what Kubernetes
//! holds is an [`object`], seen in [`live`], compared in [`drift`] at the grain of [`owned`].
#![forbid(unsafe_code)]

pub mod action;
pub mod anchor;
pub mod check;
pub mod conflict;
pub mod connection;
pub mod credentials;
pub mod defaults;
pub mod diagnostic;
pub mod drift;
pub mod facts;
pub mod functions;
pub mod generate;
pub mod identity;
pub mod ignore;
pub mod import;
pub mod listing;
pub mod live;
pub mod object;
pub mod outcome;
pub mod owned;
pub mod path;
mod pauses;
pub mod plan;
pub mod progress;
pub mod refresh;
pub mod refusal;
pub mod render;
pub mod rights;
pub mod step;
pub mod steps;
pub mod validate;
pub mod value;
pub mod view;
