//! The provider's shell: it speaks the plugin protocol to the host and Kubernetes to the cluster, and asks the pure
//! core (`pgha_provider_core`) for every decision.
//!
//! ```text
//! host ── plugin (process duties) ── rpc (one thin file a group) ── engine ──> core (pure)
//!                                     │ wire: msgpack, schema,        └──────> live (Kubernetes I/O)
//!                                     │ diagnostics
//! ```

pub mod cluster;
pub mod engine;
pub mod live;
pub mod plugin;
pub mod private;
pub mod proto;
pub mod rpc;
pub mod run;
pub mod wire;
