//! The words that provider and agent share: the resource's types, the documents that they exchange, the names of objects.
//!
//! ```text
//!   Rust types ── schemars ──> JSON Schema ── convert ──> tf::Schema ──> wire, plan, decoding, validators, docs/
//!   (resource, provider_block)                                │
//!                                                  value ── spec ──> ClusterSpec ──> objects, desired
//!
//!   provider ── desired (ConfigMap) ──> agents ── record (Lease), status (ConfigMap) ──> provider
//! ```
//!
//! An attribute is added in one place: as a field with a doc comment in [`resource`]. Pure: no clock, no chance, no I/O.
#![forbid(unsafe_code)]

pub mod actions;
pub mod convert;
pub mod credentials;
pub mod data_source;
pub mod desired;
pub mod docs;
pub mod duration;
pub mod extension;
pub mod functions;
pub mod identity;
pub mod ids;
pub mod ignored;
pub mod list;
pub mod lsn;
pub mod names;
pub mod parameters;
pub mod peer;
pub mod pg_hba;
pub mod provider_block;
pub mod quantity;
pub mod record;
pub mod request;
pub mod resource;
pub mod semantic;
pub mod spec;
pub mod status;
pub mod tf;
pub mod validators;
