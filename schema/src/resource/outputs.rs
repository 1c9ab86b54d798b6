//! What the provider computes. Nothing in it moves by itself (P1): who leads and how far standbys lag is not here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The computed attributes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterOutputs {
    /// The cluster has put the whole configuration in force. It stays true through failovers and lost nodes; a
    /// half-done change is false, and the next plan goes on with it.
    pub ready: Option<bool>,
    /// PostgreSQL's system identifier: the identity of the data.
    pub system_identifier: Option<String>,
    /// Host of the Service that leads to the primary: `<name>-rw.<namespace>.svc`, or a load balancer's address.
    pub rw_host: Option<String>,
    /// Host of the Service that leads to the standbys: `<name>-ro.<namespace>.svc`, or a load balancer's address.
    pub ro_host: Option<String>,
    /// Port of PostgreSQL.
    pub port: Option<u16>,
    /// Name of the Secret with the superuser's `username` and `password`.
    pub superuser_secret: Option<String>,
    /// Name of the Secret for the application: `host`, `port`, `dbname`, `username`, `password`, and addresses that hold all of them:
    /// `uri`, `plain-uri` for drivers that refuse libpq's settings, and `jdbc-url`.
    pub app_secret: Option<String>,
    /// Version of the agent that runs beside PostgreSQL.
    pub agent_version: Option<String>,
    /// Within how many seconds writes come back after the primary's node is lost, once a standby that may take over
    /// is up: lease, one renewal interval and the promotion.
    pub failover_bound_seconds: Option<u32>,
    /// What the last change did to the database: reload, restart and its order, switchover, growth.
    pub last_change: Option<String>,
    /// Where the live objects differ from what was applied last, and what ALTER SYSTEM and ALTER ROLE give inside
    /// PostgreSQL. The planned value is always empty, so that any entry shows as a change in place, which repairs it. A failover is never drift.
    pub drift: Option<Vec<DriftEntry>>,
}

/// One difference between a live object and what was applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DriftEntry {
    /// The object, as `Service/orders-rw`; `PostgreSQL/orders-0` for a setting inside that instance.
    pub object: Option<String>,
    /// The field, as `spec.selector`, or the setting; empty when the whole object is gone.
    pub field: Option<String>,
    /// Unified diff from what was applied to what is there; secrets are masked.
    pub diff: Option<String>,
    /// The field manager that changed it, when it is known, or the statement, as `ALTER SYSTEM`.
    pub changed_by: Option<String>,
    /// When it was changed, when that is known.
    pub changed_at: Option<String>,
}
