//! Who may connect: the attributes of the NetworkPolicy.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::extension::Tf;
use crate::validators::Rule;

/// Who may connect to the pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkPolicy {
    /// Who may connect to PostgreSQL; without it, every pod of the cluster's namespace. An empty list lets in nobody beside the
    /// instances themselves.
    pub from: Option<Vec<NetworkPeer>>,
    /// Who may connect to port 8008, where metrics and the agents' status are; without it nobody beside the instances.
    pub metrics_from: Option<Vec<NetworkPeer>>,
}

/// Pods by labels, or a network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkPeer {
    /// Labels of namespaces whose pods are let in; an empty map means every namespace. Without it, the cluster's own
    /// namespace.
    #[schemars(extend("x-tf" = Tf::new().key_rule(Rule::LookupKey).rule(Rule::LabelValue)))]
    pub namespace_labels: Option<BTreeMap<String, String>>,
    /// Labels of the pods that are let in; without it or with an empty map, every pod of those namespaces.
    #[schemars(extend("x-tf" = Tf::new().key_rule(Rule::LookupKey).rule(Rule::LabelValue)))]
    pub pod_labels: Option<BTreeMap<String, String>>,
    /// A network (CIDR) whose addresses are let in, instead of pods: for what comes from outside the Kubernetes cluster.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::Cidr)))]
    pub cidr: Option<String>,
    /// Parts of that network that are not let in.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::Cidr)))]
    pub except: Option<Vec<String>>,
}
