//! PostgreSQL's settings, and what it does not take of those that are wished.

use std::collections::BTreeMap;

use pgha_schema::status::{Acknowledged, FailedStarts, RefusedSettings};

/// PostgreSQL's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsSeen {
    /// The desired document that the files on disk were rendered from and that the last reload accepted.
    pub rendered: Option<Acknowledged>,
    /// pg_settings.pending_restart holds for some: a restart now would change something.
    pub pending_restart: bool,
    /// A wanted value is not used, since this standby's control file demands a larger one; another restart follows
    /// after the primary's (P23).
    pub held_back: bool,
    /// An owned setting is not what was rendered (ALTER SYSTEM, a hand edit): render again (A19).
    pub tampered: bool,
    /// Settings that ALTER SYSTEM gives and nobody else does, for people: a text only as how long it is.
    pub altered: BTreeMap<String, String>,
}

/// What is not taken of what is wished, by PostgreSQL or Kubernetes. It is told to people, and not tried elsewhere: who leads, follows
/// or may start never depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Complaints {
    /// Settings of the document that the files on disk were rendered from, seen to be refused for longer than a reload takes.
    pub refused: Option<RefusedSettings>,
    /// Postgres ends by itself at every start.
    pub starts_failed: Option<FailedStarts>,
    /// Kubernetes' words, where it refused to have the StatefulSet or a claim marked with the identifier of the data.
    pub marks_refused: Option<String>,
}
