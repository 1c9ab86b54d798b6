//! The resource `postgres_ha_cluster`: its Rust types are the one source of schema, decoding, validators and docs.
//!
//! The doc comments of the fields are the texts of docs/resources/ha_cluster.md. Defaults stand in the `Default`
//! implementations and nowhere else; from them follows which attribute is computed beside optional (P4).

mod network;
mod outputs;
mod parts;
mod version;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use network::{NetworkPeer, NetworkPolicy};
pub use outputs::{ClusterOutputs, DriftEntry};
pub use parts::{
    Bootstrap, Failover, Pod, PullPolicy, Resources, Scheduling, SecurityContext, Service, ServiceType,
    Services, Spread, Storage, Timeouts, Tls, Toleration,
};
pub use version::{PostgresVersion, PostgresVersionError, SUPPORTED_MAJORS};

use crate::convert;
use crate::desired::{Durability, SyncMode};
use crate::extension::Tf;
use crate::tf::{self, Change};
use crate::validators::Rule;

/// Name of the resource type.
pub const TYPE_NAME: &str = "postgres_ha_cluster";
/// Version of the state's shape.
pub const SCHEMA_VERSION: i64 = 0;

/// A self-healing PostgreSQL cluster on Kubernetes: one primary and its standbys, with failover by agents that run
/// beside PostgreSQL in each pod. It needs no operator, no custom resource and no right beyond one namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterSpec {
    /// Name of the cluster; the StatefulSet, Services, Secrets and volumes are named after it. At most 40 characters.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::ClusterName).change(Change::Replace)))]
    pub name: String,
    /// Namespace in which everything is made; it must exist.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::DnsLabel).change(Change::Replace)))]
    pub namespace: String,
    /// How many standbys stand beside the primary, from 0 to 9: 2 makes three instances.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 0, max = 9))]
    pub replicas: u32,
    /// How a commit is confirmed.
    #[serde(default)]
    pub sync_mode: SyncMode,
    /// On how many standbys a commit waits in the modes `sync` and `quorum`; at most `replicas`.
    #[serde(default = "default_sync_replicas")]
    #[schemars(range(min = 1, max = 9))]
    pub sync_replicas: u32,
    /// What happens to writes in the modes `sync` and `quorum` while too few standbys can confirm them.
    #[serde(default)]
    pub durability: Durability,
    /// Container image, shaped like the official PostgreSQL image. The default is
    /// `docker.io/library/postgres:<postgres_version>`; with an image of your own, `postgres_version` states its major
    /// version.
    #[serde(default)]
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::ImageReference).derived().change(Change::Rolling)))]
    pub image: Option<String>,
    /// Version of PostgreSQL, `major` or `major.minor`, from 15 to 18. Another major version of an existing cluster is
    /// refused: make a second cluster and move the data by dump or logical replication.
    #[serde(default)]
    #[schemars(extend("x-tf" = Tf::new().change(Change::RollingMinor)))]
    pub postgres_version: PostgresVersion,
    /// Image with an agent at `/pgha-agent`, for who would rather build, scan and sign it than have the provider's own come in
    /// ConfigMaps; `terraform-provider-postgres --write-agent FILE` writes that binary. Pods run what the image holds, and a newer
    /// provider exchanges nothing: another agent comes with another image.
    #[serde(default)]
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::ImageReference).change(Change::Rolling)))]
    pub agent_image: Option<String>,
    /// The volumes that hold the data, one for each instance.
    pub storage: Storage,
    /// CPU and memory of the PostgreSQL container.
    #[serde(default)]
    #[schemars(extend("x-tf" = Tf::new().change(Change::Rolling)))]
    pub resources: Option<Resources>,
    /// What is particular about the pods.
    #[serde(default)]
    #[schemars(extend("x-tf" = Tf::new().change(Change::Rolling)))]
    pub pod: Pod,
    /// PostgreSQL settings by name, as in postgresql.conf. Those that the cluster owns (such as `primary_conninfo` or
    /// `synchronous_standby_names`) are refused by name, with the reason. A change that needs a restart restarts one
    /// instance after the other, in an order that keeps standbys running; the plan says so.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("x-tf" = Tf::new().key_rule(Rule::ParameterName).rule(Rule::OneLine)
        .change(Change::ReloadOrRestart)))]
    pub parameters: BTreeMap<String, String>,
    /// Lines of pg_hba.conf, after the agent's own ones; at least one. The first line that matches decides, and who matches
    /// none is refused.
    #[serde(default = "default_pg_hba")]
    #[schemars(length(min = 1))]
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::PgHbaLine).change(Change::Reload)))]
    pub pg_hba: Vec<String>,
    /// How the database is made at first; later changes make a new cluster.
    #[serde(default)]
    #[schemars(extend("x-tf" = Tf::new().change(Change::Replace)))]
    pub bootstrap: Bootstrap,
    /// A password for the superuser, of printable ASCII characters. It goes into the Secret that `superuser_secret` names and nowhere
    /// else: not into the plan, not into the state. Without it the password is random. It is written at create, and whenever
    /// `superuser_password_wo_version` changes; sessions stay.
    #[serde(default)]
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::Password).write_only()))]
    pub superuser_password_wo: Option<String>,
    /// Number of `superuser_password_wo`: change it with the password, for the provider can't see a change of that by itself. While
    /// the number stays, the password may be left out. When both are taken away the password stays as it is.
    #[serde(default)]
    pub superuser_password_wo_version: Option<u32>,
    /// The Services through which clients come.
    #[serde(default)]
    pub services: Services,
    /// Who may connect, as a NetworkPolicy `<name>`, for networks that enforce it; without it there is none. The instances always
    /// reach one another, on PostgreSQL's port and on the agents' (8008); where they connect to is not restricted.
    #[serde(default)]
    pub network_policy: Option<NetworkPolicy>,
    /// Encrypted connections, with a certificate from a Secret; without it there are none. Turning it on and off, or naming
    /// another Secret, is a rolling restart; a renewed certificate in the same Secret is taken over without one.
    #[serde(default)]
    #[schemars(extend("x-tf" = Tf::new().change(Change::Rolling)))]
    pub tls: Option<Tls>,
    /// On which nodes the pods run.
    #[serde(default)]
    #[schemars(extend("x-tf" = Tf::new().change(Change::Rolling)))]
    pub scheduling: Scheduling,
    /// More labels of the cluster's objects. Pods have labels of their own (`pod.labels`). Secrets and Lease get those of
    /// the time when they are made; the volume claims and the agent's binary, which outlive the cluster or are shared by
    /// several, get none. The keys `role`, `pgha/` and `app.kubernetes.io/` are taken.
    #[serde(default)]
    #[schemars(extend("x-tf" = Tf::new().key_rule(Rule::MetadataKey).rule(Rule::LabelValue)))]
    pub labels: Option<BTreeMap<String, String>>,
    /// More annotations of the cluster's objects, of the same ones as `labels`; those of one Service alone are in `services`,
    /// and win.
    #[serde(default)]
    #[schemars(extend("x-tf" = Tf::new().key_rule(Rule::MetadataKey)))]
    pub annotations: Option<BTreeMap<String, String>>,
    /// What is left to others: it is written when the object is made, and from then on it is never drift and never touched.
    /// `labels.<key>` and `annotations.<key>` of every object, `services.<rw, ro or r>.annotations.<key>` and
    /// `services.<rw, ro or r>.load_balancer_source_ranges`, and `parameters.<name>` of settings that others give by ALTER SYSTEM;
    /// a `*` at the end of a key stands for any rest. Keys that the
    /// configuration does not set need no entry: what others add is never drift.
    #[serde(default)]
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::Ignored)))]
    pub ignore: Option<Vec<String>>,
    /// Timings and choices of the failover. `fence_after` and one second must be less than `lease_duration`: a primary
    /// that can't renew its lease has stopped writing before another may take over.
    #[serde(default)]
    pub failover: Failover,
    /// Refuses plans and applies that would destroy the cluster once it holds data. Set it to `false` and apply before
    /// you destroy.
    #[serde(default = "default_true")]
    #[schemars(extend("x-tf" = Tf::new().change(Change::Nothing)))]
    pub deletion_protection: bool,
    /// How long the provider waits for the cluster. Durations such as `90s` or `15m`.
    #[serde(default)]
    #[schemars(extend("x-tf" = Tf::new().change(Change::Nothing)))]
    pub timeouts: Option<Timeouts>,
}

fn default_replicas() -> u32 {
    2
}

fn default_sync_replicas() -> u32 {
    1
}

fn default_true() -> bool {
    true
}

fn default_pg_hba() -> Vec<String> {
    vec!["host all all all scram-sha-256".to_owned()]
}

/// The JSON Schema of a type as this crate converts it: for reading, everything inlined.
pub(crate) fn json_schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// The schema of `postgres_ha_cluster`.
pub fn schema() -> &'static tf::Schema {
    static SCHEMA: LazyLock<tf::Schema> = LazyLock::new(|| {
        let (inputs, outputs) = (json_schema::<ClusterSpec>(), json_schema::<ClusterOutputs>());
        // The input is fixed at compile time; the tests of this crate run the same conversion.
        convert::schema(SCHEMA_VERSION, &inputs, Some(&outputs)).expect("the resource's types convert")
    });
    &SCHEMA
}

#[cfg(test)]
mod tests;
