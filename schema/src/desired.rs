//! The desired state: what the provider writes into ConfigMap `<name>-desired` and every agent carries out (P8, P18).

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ids::{Era, MemberId};
use crate::request::{Asked, Request};

/// Format of the desired document that this build writes.
pub const DESIRED_FORMAT: u32 = 1;
/// How many requests a document carries at most: of a longer list only the newest count. An answer to one of them is kept as
/// long as the document names it, and the record keeps more answers than this.
pub const REQUESTS_KEPT: usize = 8;

/// How a commit is confirmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SyncMode {
    /// A commit waits until its WAL is flushed on `sync_replicas` standbys: on the same ones, by priority.
    #[default]
    Sync,
    /// A commit waits until its WAL is flushed on any `sync_replicas` of the standbys.
    Quorum,
    /// A commit waits for nobody.
    Async,
}

/// What happens when too few standbys can confirm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Writes go on with those that can, or alone, after `failover.degrade_after`, recorded first, so that no standby that
    /// lacks them is promoted.
    #[default]
    Preferred,
    /// Writes wait until enough standbys are back.
    Required,
}

/// Whether the cluster runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// It serves.
    Running,
    /// The holder stops cleanly and says so; nobody takes over (P21).
    Stopped,
}

/// What the agent does when postgres dies and its pod lives (A25).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnPostgresCrash {
    /// Restart in place when there is little WAL to replay, else hand over.
    #[default]
    Auto,
    /// Always restart in place.
    Restart,
    /// Always hand over when a standby fits.
    Failover,
}

/// No cluster has more standbys, whatever a document says that somebody wrote by hand: each costs every agent its room and time.
pub const MOST_REPLICAS: u32 = 99;

/// The whole wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// Format number, [`DESIRED_FORMAT`].
    pub format: u32,
    /// Raised by the provider at each write.
    pub generation: u64,
    /// Uid of the cluster's anchor.
    pub anchor_uid: String,
    /// Whether the cluster runs.
    pub state: RunState,
    /// Standbys beside the primary; ordinals beyond it never vote or lead (P23).
    pub replicas: u32,
    /// How commits are confirmed.
    pub sync_mode: SyncMode,
    /// How many standbys confirm, unless async.
    pub sync_replicas: u32,
    /// What happens when none can.
    pub durability: Durability,
    /// PostgreSQL's major version; PG_VERSION and the binaries must match it (A26).
    pub postgres_major: u32,
    /// Hash of the pod template without the agent; pods whose annotation differs are rolled by the holder (P23).
    pub template_hash: String,
    /// The agent that every pod is to run, put in the running one's place under a running postgres (A8). `None` in a
    /// document of before there was such an exchange: whatever runs stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentBinary>,
    /// PostgreSQL settings of the user; those that the cluster owns are not among them.
    pub parameters: BTreeMap<String, String>,
    /// Settings that somebody gave by ALTER SYSTEM and an apply took back: drift that was repaired, and that stays so until the
    /// next apply.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub taken_back: BTreeSet<String>,
    /// pg_hba lines of the user, after the agent's own part.
    pub pg_hba: Vec<String>,
    /// How connections are encrypted; `None`: they are not, but in pods that were made while they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
    /// How initdb is run.
    pub bootstrap: BootstrapSpec,
    /// Timings and choices of the failover.
    pub failover: FailoverSpec,
    /// What is to be done once, oldest first; the status tells what came of each (A31). Documents of before there were others than
    /// hand-overs have one `switchover` in its place.
    #[serde(
        default,
        alias = "switchover",
        deserialize_with = "listed_or_one",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub requests: Vec<Request>,
    /// From which writing of the Secrets on the roles' passwords are to be in force.
    #[serde(default, skip_serializing_if = "Credentials::are_first")]
    pub credentials: Credentials,
    /// Leave to go on without the leader and V, when both are lost for good (A31).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<BreakGlass>,
}

/// A list of requests, or the one hand-over that older documents have in its place.
fn listed_or_one<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Request>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Listed(Vec<Request>),
        One {
            id: String,
            #[serde(default)]
            to: Option<String>,
        },
        None(()),
    }
    Ok(match Form::deserialize(deserializer)? {
        Form::Listed(requests) => requests,
        Form::One { id, to } => vec![Request { id, asked: Asked::Switchover { to } }],
        Form::None(()) => Vec::new(),
    })
}

/// Which writing of a Secret is meant: a number that grows with each, 0 for the one that the create made. The Secret carries the
/// same number under [`secret_key::ROTATION`](crate::names::secret_key::ROTATION), so that whoever reads an older one, as the
/// kubelet has it for a minute, knows that it is older.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Credentials {
    /// Of the superuser's.
    pub superuser: u64,
    /// Of the application's.
    pub app: u64,
}

impl Credentials {
    /// Nothing was ever written after the create.
    pub fn are_first(&self) -> bool {
        *self == Self::default()
    }

    /// Whether none of these is older than in `wanted`.
    pub fn reach(self, wanted: Self) -> bool {
        self.superuser >= wanted.superuser && self.app >= wanted.app
    }
}

/// A person gives up the leader and every member of V: the named member may take after expiry, with what it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakGlass {
    /// Who may take.
    pub member: MemberId,
    /// The era that is given up: in any other this says nothing.
    pub era: Era,
    /// Whether commits that only the lost members have may be lost; without it nothing is allowed.
    pub accept_data_loss: bool,
}

/// An agent, and where its binary is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentBinary {
    /// Its version.
    pub version: String,
    /// SHA-256 of the binary, in lower-case hexadecimal.
    pub sha256: String,
    /// ConfigMaps that hold the gzipped binary, cut in this order.
    pub chunks: Vec<String>,
}

/// How connections are encrypted. Which certificate is used is said by what the pod has mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsSpec {
    /// Connections that are not encrypted are refused.
    pub required: bool,
    /// Clients are asked for certificates.
    pub client_certificates: bool,
}

/// How the database is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootstrapSpec {
    /// The application's database.
    pub database: String,
    /// Its owner.
    pub owner: String,
    /// initdb --encoding.
    pub encoding: String,
    /// initdb --locale.
    pub locale: String,
    /// initdb --data-checksums.
    pub data_checksums: bool,
}

/// Timings and choices of the failover; the law between them is asserted by the agent (A6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailoverSpec {
    /// How long a candidate waits from when it first saw a record, by its own clock.
    pub lease_duration_ms: u64,
    /// How often the holder renews.
    pub renew_interval_ms: u64,
    /// By when the holder's writes have stopped, counted from before its last good renewal was sent.
    pub fence_after_ms: u64,
    /// How long `preferred` waits for a confirming standby.
    pub degrade_after_ms: u64,
    /// In async: how far behind the recorded position a candidate may be; `None`: no bound (A14).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lag_bytes: Option<u64>,
    /// How far replay on a standby may be behind before it leaves the ro Service; `None`: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ro_max_lag_bytes: Option<u64>,
    /// What follows when postgres alone dies.
    pub on_postgres_crash: OnPostgresCrash,
}

impl Default for FailoverSpec {
    fn default() -> Self {
        Self {
            lease_duration_ms: 10_000,
            renew_interval_ms: 2_000,
            fence_after_ms: 6_000,
            degrade_after_ms: 3_000,
            max_lag_bytes: None,
            ro_max_lag_bytes: None,
            on_postgres_crash: OnPostgresCrash::Auto,
        }
    }
}

impl Desired {
    /// The requests that count: the newest [`REQUESTS_KEPT`].
    pub fn requested(&self) -> &[Request] {
        &self.requests[self.requests.len().saturating_sub(REQUESTS_KEPT)..]
    }

    /// Why no agent can go by it: the one before stays in force then.
    pub fn is_beyond_measure(&self) -> Option<String> {
        let Self { replicas, .. } = self;
        (*replicas > MOST_REPLICAS)
            .then(|| format!("it wishes for {replicas} standbys, where {MOST_REPLICAS} are the most"))
    }

    /// The settings, in lower case, that ALTER SYSTEM does not rule here, beside those that the cluster owns.
    pub fn ruled(&self) -> BTreeSet<String> {
        self.parameters.keys().chain(&self.taken_back).map(|name| name.to_ascii_lowercase()).collect()
    }

    /// The document's text, as it stands in the ConfigMap: pretty JSON, so that people can read and diff it.
    pub fn to_text(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

/// SHA-256 of a document's text, in lower-case hexadecimal: acknowledged with the generation, so that a hand edit shows (P8).
pub fn document_sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(more: serde_json::Value) -> Result<Desired, serde_json::Error> {
        let mut document = json!({
            "format": 1, "generation": 3, "anchor_uid": "a", "state": "running", "replicas": 2, "sync_mode": "sync",
            "sync_replicas": 1, "durability": "preferred", "postgres_major": 18, "template_hash": "t", "parameters": {},
            "pg_hba": [], "failover": FailoverSpec::default(),
            "bootstrap": {"database": "app", "owner": "app", "encoding": "UTF8", "locale": "C", "data_checksums": true},
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            document[key] = value.clone();
        }
        serde_json::from_str(&document.to_string())
    }

    #[test]
    fn an_older_documents_hand_over_is_a_request_among_others() {
        let asked = Asked::Switchover { to: Some("db-1".into()) };
        let expected = vec![Request { id: "w1".into(), asked }];
        assert_eq!(document(json!({"switchover": {"id": "w1", "to": "db-1"}})).unwrap().requests, expected);
        let listed = json!({"requests": [{"id": "w1", "action": "switchover", "to": "db-1"}]});
        assert_eq!(document(listed).unwrap().requests, expected);
        assert_eq!(document(json!({"switchover": null})).unwrap().requests, []);
        assert!(document(json!({"requests": [{"id": "w1", "action": "drop"}]})).is_err());
    }

    #[test]
    fn what_nobody_asked_for_is_not_in_the_text() {
        let text = document(json!({})).unwrap().to_text();
        assert!(!["requests", "credentials", "taken_back"].iter().any(|one| text.contains(one)), "{text}");
        let again: Desired = serde_json::from_str(&text).unwrap();
        assert_eq!((again.to_text(), again.credentials), (text, Credentials::default()));
    }

    #[test]
    fn more_standbys_than_there_can_be_are_beyond_measure() {
        let wished = |replicas: u32| document(json!({ "replicas": replicas })).unwrap().is_beyond_measure();
        assert_eq!(wished(MOST_REPLICAS), None);
        assert!(wished(MOST_REPLICAS + 1).is_some_and(|why| why.contains("100 standbys")));
    }

    #[test]
    fn only_the_newest_requests_of_a_long_list_count() {
        let all: Vec<_> = (0..20).map(|n| json!({"id": n.to_string(), "action": "pause"})).collect();
        let document = document(json!({"requests": all})).unwrap();
        assert_eq!(document.requested().len(), REQUESTS_KEPT);
        assert_eq!(document.requested().last().map(|one| one.id.as_str()), Some("19"));
    }
}
