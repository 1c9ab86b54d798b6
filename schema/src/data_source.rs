//! The data source `postgres_ha_cluster`: a cluster that another configuration owns, with what moves by itself (P1).

use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::convert;
use crate::desired::SyncMode;
use crate::duration::Duration;
use crate::extension::Tf;
use crate::resource;
use crate::tf;
use crate::validators::Rule;

/// Name of the data source: that of the resource that it looks at.
pub const TYPE_NAME: &str = resource::TYPE_NAME;

/// A cluster as it is now: where to connect, who leads, and how each instance fares. It reads what the agents report, with
/// rights to get and list, and never a Secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterQuery {
    /// Name of the cluster.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::ClusterName)))]
    pub name: String,
    /// Its namespace.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::DnsLabel)))]
    pub namespace: String,
    /// How long the provider waits for the Kubernetes API. Durations such as `90s` or `2m`.
    #[serde(default)]
    pub timeouts: Option<ReadTimeout>,
}

/// How long the provider waits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReadTimeout {
    /// For one read; 2 minutes without it.
    pub read: Option<Duration>,
}

impl ReadTimeout {
    /// How long a read may take.
    pub fn read(&self) -> std::time::Duration {
        resource::Timeouts { read: self.read, ..Default::default() }.read()
    }
}

/// What it tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterView {
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
    /// How many standbys are wanted beside the primary.
    pub replicas: Option<u32>,
    /// Major version of PostgreSQL.
    pub postgres_major: Option<u32>,
    /// PostgreSQL's system identifier: the identity of the data.
    pub system_identifier: Option<String>,
    /// The pod that leads; null while nobody does.
    pub primary: Option<String>,
    /// The primary's timeline: it grows with each failover.
    pub timeline: Option<u32>,
    /// Whether the primary accepts writes, as it said last.
    pub accepts_writes: Option<bool>,
    /// How a commit is confirmed now.
    pub sync_mode: Option<SyncMode>,
    /// Writes go on without a confirming standby, which `durability = "preferred"` allows.
    pub degraded: Option<bool>,
    /// What the primary's agent works at or waits for, in plain words; empty when there is nothing.
    pub activity: Option<Vec<String>>,
    /// Version of the agent that runs beside PostgreSQL.
    pub agent_version: Option<String>,
    /// Every instance, in the order of the pods' numbers.
    pub instances: Option<Vec<InstanceView>>,
}

/// One instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InstanceView {
    /// Its pod.
    pub name: Option<String>,
    /// `primary`, `standby` or `unknown`.
    pub role: Option<String>,
    /// What it does: `serving` (writes), `streaming` from the primary, `behind` (it runs and does not stream), `building` (it is
    /// being made), `down`, or `silent` (nothing is heard from it). Null when nobody tells.
    pub state: Option<String>,
    /// Whether commits wait for it.
    pub synchronous: Option<bool>,
    /// Bytes of WAL that it has yet to flush; null for the primary, and when it is not known.
    pub lag_bytes: Option<u64>,
    /// Its node; null while it has none.
    pub node: Option<String>,
    /// Kubernetes takes its pod for ready.
    pub ready: Option<bool>,
}

/// The schema of the data source.
pub fn schema() -> &'static tf::Schema {
    static SCHEMA: LazyLock<tf::Schema> = LazyLock::new(|| {
        let (inputs, outputs) =
            (resource::json_schema::<ClusterQuery>(), resource::json_schema::<ClusterView>());
        // The input is fixed at compile time; the tests of this crate run the same conversion.
        convert::schema(0, &inputs, Some(&outputs)).expect("the data source's types convert")
    });
    &SCHEMA
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::functions;
    use crate::tf::Type;

    #[test]
    fn only_what_chooses_the_cluster_is_asked_for() {
        let required: Vec<_> =
            schema().attributes.iter().filter(|one| one.required).map(|one| one.name.as_str()).collect();
        assert_eq!(required, ["name", "namespace"]);
        let outputs = schema().attributes.iter().filter(|one| one.is_output()).count();
        assert_eq!(outputs, schema().attributes.len() - 3);
    }

    #[test]
    fn the_functions_take_it_as_it_is() {
        let Type::Object { attrs, .. } = &functions()[0].parameters[0].ty else { panic!("no object") };
        for (name, ty) in attrs {
            assert_eq!(schema().attribute(name).map(tf::Attribute::ty).as_ref(), Some(ty), "{name}");
        }
    }
}
