//! The words that provider and agent share: the resource's types, the documents that they exchange, the names of objects.
//!
//! ```text
//!   provider ── desired (ConfigMap) ──> agents ── record (Lease), status (ConfigMap) ──> provider
//! ```
#![forbid(unsafe_code)]

pub mod desired;
pub mod ids;
pub mod lsn;
pub mod names;
pub mod record;
pub mod status;
pub mod tf;
pub mod validators;
