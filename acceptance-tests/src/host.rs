//! A host as Terraform's core is one: the order of its calls, and its rules, which it holds against every answer.
//!
//! ```text
//!   turn.rs     stored state ─> upgrade ─> read ─┐
//!                                                ├─> plan ──> [replace: plan again without a prior]
//!               config ─> validate ─> ignore ────┘
//!                         ... other resources are applied, unknown inputs become known ...
//!   apply.rs    config ─> validate ─> plan again ──> completes the first? ──> apply ──> is what was planned?
//! ```
//!
//! Every answer is held against `rules/`: pure functions that share no code with the provider's own checks. What goes over the
//! wire is [`Calls`]: a provider's process, or one between which and the host somebody stands and breaks a rule on purpose.

pub mod actions;
pub mod apply;
pub mod calls;
pub mod core;
pub mod judged;
pub mod rules;
pub mod schema;
pub mod turn;

pub use calls::Calls;
pub use core::Core;
pub use judged::{Applied, Plan, Seen, Stored, has_errors};
pub use rules::action::Action;
pub use rules::ignored::{Ignored, Part};
pub use rules::{Rule, Violation};
pub use turn::{Turn, Turned};
