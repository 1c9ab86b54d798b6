//! The agent inside the provider: a static binary, compressed, with its hash.
//!
//! ```text
//!   build.rs ── nested cargo (static) ──> gzip ──> AGENT_GZIP ── provider ──> ConfigMap chunks ──> init container
//! ```
#![forbid(unsafe_code)]

/// The agent's binary, gzip. Empty when [`embedded`] is false.
#[cfg(not(clippy))]
pub const AGENT_GZIP: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/agent.gz"));
/// Nothing is embedded where code is only read.
#[cfg(clippy)]
pub const AGENT_GZIP: &[u8] = &[];

/// SHA-256 of the uncompressed binary, lower-case hexadecimal; empty when [`embedded`] is false.
pub const AGENT_SHA256: &str = env!("PGHA_AGENT_SHA256");

/// The processor that the binary is for, in Kubernetes' words (`kubernetes.io/arch`).
pub const ARCH: &str = env!("PGHA_AGENT_ARCH");

/// The agent's version: that of the workspace.
pub const fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Whether an agent is inside: false only in a build that was told to skip it (`PGHA_AGENT_SKIP=1`).
pub const fn embedded() -> bool {
    !AGENT_SHA256.is_empty()
}
