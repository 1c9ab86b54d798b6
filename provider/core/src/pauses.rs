//! How long clients are without a writer, in one wording for plans and actions (P9).

/// While the lead is handed over: what the project's own benchmark sees, rounded up.
pub(crate) const OF_A_SWITCHOVER: &str = "writes pause for about a second";
/// While the primary restarts in place: it ends its sessions, writes a checkpoint and starts; nobody takes over.
pub(crate) const OF_A_RESTART: &str = "writes wait for a second or a few, until the primary is back";
/// Where there is no other instance.
pub(crate) const OF_THE_ONLY_ONE: &str = "the only instance: no reads or writes until it is back";
