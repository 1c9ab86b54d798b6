//! The agents' HTTP: probes, status and metrics for everybody, writes only for who has the internal key.

pub mod auth;
pub mod client;
pub mod metrics;
pub(crate) mod peers;
pub mod requests;
pub mod server;
pub mod signed;
pub mod view;
