//! The nested attributes of the resource.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::default_true;
use crate::desired::OnPostgresCrash;
use crate::duration::Duration;
use crate::extension::Tf;
use crate::quantity::Quantity;
use crate::tf::Change;
use crate::validators::Rule;

/// The volumes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// Size of each volume, a Kubernetes quantity such as `10Gi`. It can grow where the storage class allows it;
    /// shrinking is refused, since Kubernetes can't: make a second cluster and move the data.
    #[schemars(extend("x-tf" = Tf::new().change(Change::Grow)))]
    pub size: Quantity,
    /// Storage class of the volumes; without it, the Kubernetes cluster's default one. It can't be changed: make a
    /// second cluster and move the data.
    #[serde(default)]
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::DnsSubdomain).change(Change::Refused)))]
    pub class: Option<String>,
    /// Keep the volumes when the resource is destroyed or scaled down. A cluster that is made again under the same
    /// name resumes from them, with every row.
    #[serde(default = "default_true")]
    #[schemars(extend("x-tf" = Tf::new().change(Change::InPlace)))]
    pub retain: bool,
}

/// CPU and memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// What is reserved, by resource name: `{ cpu = "500m", memory = "1Gi" }`.
    #[serde(default)]
    #[schemars(extend("x-tf" = Tf::new().key_rule(Rule::LookupKey)))]
    pub requests: Option<BTreeMap<String, Quantity>>,
    /// What may be used at most, by resource name.
    #[serde(default)]
    #[schemars(extend("x-tf" = Tf::new().key_rule(Rule::LookupKey)))]
    pub limits: Option<BTreeMap<String, Quantity>>,
}

/// When the image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    /// When the node does not have it.
    #[default]
    IfNotPresent,
    /// At each start of a container.
    Always,
    /// Not at all: the node must have it.
    Never,
}

impl PullPolicy {
    /// As Kubernetes spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IfNotPresent => "IfNotPresent",
            Self::Always => "Always",
            Self::Never => "Never",
        }
    }
}

/// What is particular about the pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pod {
    /// More labels of the pods.
    #[schemars(extend("x-tf" = Tf::new().key_rule(Rule::MetadataKey).rule(Rule::LabelValue)))]
    pub labels: Option<BTreeMap<String, String>>,
    /// More annotations of the pods.
    #[schemars(extend("x-tf" = Tf::new().key_rule(Rule::MetadataKey)))]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Under which users the processes run.
    pub security_context: SecurityContext,
    /// Names of the Secrets, of the same namespace, with which the image is pulled.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::DnsSubdomain)))]
    pub image_pull_secrets: Option<Vec<String>>,
    /// When the image is pulled.
    pub image_pull_policy: PullPolicy,
}

/// Under which users the processes run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SecurityContext {
    /// User id of PostgreSQL: 999 in the official Debian image, 70 in the Alpine one.
    #[schemars(range(min = 1, max = 4_294_967_294_u32))]
    pub run_as_user: u32,
    /// Group id of PostgreSQL: 999 in the official Debian image, 70 in the Alpine one.
    #[schemars(range(min = 1, max = 4_294_967_294_u32))]
    pub run_as_group: u32,
    /// Group that owns the volume.
    #[schemars(range(min = 1, max = 4_294_967_294_u32))]
    pub fs_group: u32,
    /// Further groups of the processes.
    pub supplemental_groups: Option<Vec<u32>>,
}

impl Default for SecurityContext {
    fn default() -> Self {
        Self { run_as_user: 999, run_as_group: 999, fs_group: 999, supplemental_groups: None }
    }
}

/// How the database is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bootstrap {
    /// The application's database.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::PgIdentifier)))]
    pub database: String,
    /// The role that owns it; its password is in the Secret `<name>-app`.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::PgRole)))]
    pub owner: String,
    /// Encoding of the databases, as `initdb --encoding` takes it.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::Encoding)))]
    pub encoding: String,
    /// Locale of the databases, as `initdb --locale` takes it. The image must have it.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::Locale)))]
    pub locale: String,
    /// Whether data pages carry checksums.
    pub data_checksums: bool,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self {
            database: "app".to_owned(),
            owner: "app".to_owned(),
            encoding: "UTF8".to_owned(),
            locale: "C.UTF-8".to_owned(),
            data_checksums: true,
        }
    }
}

/// Encrypted connections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Name of the Secret, of the same namespace, that holds the certificate with those between it and its authority
    /// (`tls.crt`), its key without a passphrase (`tls.key`) and, when clients are to show certificates, the authority that
    /// these come from (`ca.crt`): as cert-manager makes it. It must exist, signed with RSA or ECDSA, and name the hosts that clients
    /// connect to.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::DnsSubdomain).change(Change::Rolling)))]
    pub secret: String,
    /// Refuse connections that are not encrypted, whatever `pg_hba` says; without it both are accepted.
    #[serde(default)]
    #[schemars(extend("x-tf" = Tf::new().change(Change::Reload)))]
    pub required: Option<bool>,
    /// Ask clients for certificates from the Secret's `ca.crt`, so that lines of `pg_hba` with the method `cert` or the
    /// option `clientcert` can be met; whether one is needed is said there.
    #[serde(default)]
    #[schemars(extend("x-tf" = Tf::new().change(Change::Reload)))]
    pub client_certificates: Option<bool>,
}

/// The Services.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Services {
    /// `<name>-rw`: the primary, always.
    pub rw: Service,
    /// `<name>-ro`: the standbys, never the primary.
    pub ro: Service,
    /// `<name>-r`: every instance.
    pub r: Service,
}

/// Kubernetes' kinds of Services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// Reached from inside the Kubernetes cluster.
    #[default]
    ClusterIP,
    /// Reached on a port of every node too.
    NodePort,
    /// Reached through a load balancer of the platform too.
    LoadBalancer,
}

impl ServiceType {
    /// As Kubernetes spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIP => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

/// One Service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Service {
    /// Kind of the Service.
    pub r#type: ServiceType,
    /// Annotations of the Service, such as those that a load balancer reads.
    #[schemars(extend("x-tf" = Tf::new().key_rule(Rule::MetadataKey)))]
    pub annotations: Option<BTreeMap<String, String>>,
    /// From which networks (CIDR) a load balancer lets clients in.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::Cidr)))]
    pub load_balancer_source_ranges: Option<Vec<String>>,
}

/// How instances are spread over nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Spread {
    /// On different nodes where possible.
    #[default]
    Preferred,
    /// Never two on one node; an instance without a node of its own stays pending.
    Required,
    /// Wherever the scheduler puts them.
    None,
}

/// On which nodes the pods run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Scheduling {
    /// Labels that a node must have.
    #[schemars(extend("x-tf" = Tf::new().key_rule(Rule::LookupKey).rule(Rule::LabelValue)))]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Taints that the pods tolerate.
    pub tolerations: Option<Vec<Toleration>>,
    /// How instances are spread over nodes (`kubernetes.io/hostname`).
    pub spread: Spread,
    /// Priority class of the pods.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::DnsSubdomain)))]
    pub priority_class: Option<String>,
}

/// One toleration, as Kubernetes has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Toleration {
    /// Key of the taint; without it, every key (with operator `Exists`).
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::LookupKey)))]
    pub key: Option<String>,
    /// `Equal` (Kubernetes' choice when it is left out) or `Exists`.
    #[schemars(extend("enum" = ["Equal", "Exists"]))]
    pub operator: Option<String>,
    /// Value of the taint, with operator `Equal`.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::LabelValue)))]
    pub value: Option<String>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`; without it, all of them.
    #[schemars(extend("enum" = ["NoSchedule", "PreferNoSchedule", "NoExecute"]))]
    pub effect: Option<String>,
    /// How long a pod stays on a node with a `NoExecute` taint; without it, for ever.
    #[schemars(range(min = 0))]
    pub toleration_seconds: Option<i64>,
}

/// Timings and choices of the failover.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Failover {
    /// How often the primary renews its lease.
    pub renew_interval: Duration,
    /// By when a primary that can't renew has stopped writing.
    pub fence_after: Duration,
    /// How long a silent primary keeps its lease.
    pub lease_duration: Duration,
    /// How long writes wait for a confirming standby before `durability = "preferred"` lets them go on alone.
    pub degrade_after: Duration,
    /// In async mode: how far behind, as a size such as `16Mi`, a standby may be and still take over. Without it,
    /// however far.
    pub max_lag: Option<Quantity>,
    /// How far replay on a standby may be behind, as a size such as `16Mi`, before it leaves the ro Service; it is back once
    /// it is within half of that. When all are further behind, ro has nobody. Without it, however far.
    pub ro_max_lag: Option<Quantity>,
    /// What follows when PostgreSQL dies and its pod lives.
    pub on_postgres_crash: OnPostgresCrash,
}

impl Default for Failover {
    fn default() -> Self {
        Self {
            renew_interval: Duration::from_millis(2_000),
            fence_after: Duration::from_millis(6_000),
            lease_duration: Duration::from_millis(10_000),
            degrade_after: Duration::from_millis(3_000),
            max_lag: None,
            ro_max_lag: None,
            on_postgres_crash: OnPostgresCrash::Auto,
        }
    }
}

/// How long the provider waits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// For a new cluster; 15 minutes without it.
    pub create: Option<Duration>,
    /// For one refresh; 2 minutes without it.
    pub read: Option<Duration>,
    /// For a change; 30 minutes without it.
    pub update: Option<Duration>,
    /// For the end; 10 minutes without it.
    pub delete: Option<Duration>,
}

impl Timeouts {
    /// How long creation may take.
    pub fn create(&self) -> std::time::Duration {
        or_minutes(self.create, 15)
    }

    /// How long a refresh may take.
    pub fn read(&self) -> std::time::Duration {
        or_minutes(self.read, 2)
    }

    /// How long a change may take.
    pub fn update(&self) -> std::time::Duration {
        or_minutes(self.update, 30)
    }

    /// How long a destroy may take.
    pub fn delete(&self) -> std::time::Duration {
        or_minutes(self.delete, 10)
    }
}

fn or_minutes(duration: Option<Duration>, minutes: u64) -> std::time::Duration {
    duration.map_or(std::time::Duration::from_secs(minutes * 60), Duration::to_std)
}
