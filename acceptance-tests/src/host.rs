//! A host as Terraform's core is one: the order of its calls, and its rules, which it holds against every answer.
//!
//! ```text
//!   stored state ─> upgrade ─> read ─┐
//!                                    ├─> plan ──> [replace: plan again without a prior] ──> checks: rules/
//!   config ────────> validate ───────┘
//!                         ... other resources are applied, unknown inputs become known ...
//!   prior, config ──> plan again ──> completes the first? ──> apply ──> is what was planned?
//! ```
//!
//! What goes over the wire is [`Calls`]: a provider's process, or one between which and the host somebody stands and breaks a
//! rule on purpose. The rules are pure functions and share no code with the provider's own checks.

pub mod actions;
pub mod calls;
pub mod core;
pub mod rules;
pub mod schema;

pub use calls::Calls;
pub use core::{Applied, Core, Plan, Stored};
pub use rules::action::Action;
pub use rules::{Rule, Violation};
