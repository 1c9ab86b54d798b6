//! Everything that talks to Kubernetes: it collects facts for the pure core and carries out its steps, and decides nothing.

pub mod api;
pub mod collect;
pub mod config;
pub mod dry_run;
pub mod errors;
pub mod execute;
pub mod pace;
mod recent;
pub mod rights;
pub mod tls;
pub mod wait;
