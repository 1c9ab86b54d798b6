//! A real Kubernetes of three nodes on one machine, and what drives it.
//!
//! ```text
//!   cargo dev ──> dev/ (the commands) ──┐
//!   acceptance tests ───────────────────┼──> sandbox/ (cluster, images, faults) ──> ip, containerd, kubelet, etcd, ...
//!                                       └──> terraform.rs (CLI and provider)    ──> terraform | tofu
//! ```
//!
//! Nothing here is shipped. The harness may use `anyhow`; a failure names what was waited for and what was last seen.

pub mod bench;
pub mod cargo;
pub mod chaos;
pub mod checker;
pub mod cluster;
pub mod compare;
pub mod dev;
pub mod evidence;
pub mod host;
pub mod leftovers;
pub mod lists;
pub mod load;
pub mod package;
pub mod poll;
pub mod process;
pub mod progress;
pub mod proto_client;
pub mod sandbox;
pub mod terraform;
