//! The NetworkPolicy: who may connect to the pods. Where they connect to is left open, since they need the API server.

use pgha_schema::names::{POSTGRES_PORT, REST_PORT};
use pgha_schema::resource::NetworkPeer;
use serde_json::{Value as Json, json};

use super::{Component, Inputs, object, pod_selector, without_nulls};
use crate::object::Kind;

/// None unless it is wished for.
pub(super) fn policy(inputs: &Inputs<'_>) -> Option<Json> {
    let wanted = inputs.spec.network_policy.as_ref()?;
    let names = inputs.names();
    let own = pods(&pod_selector(names.cluster()));
    let clients = match &wanted.from {
        Some(peers) => peers.iter().map(peer).collect(),
        None => vec![json!({"podSelector": {}})],
    };
    let metrics = wanted.metrics_from.iter().flatten().map(peer).collect();
    // A rule without peers would let in everybody.
    let ingress: Vec<Json> = [
        rule(vec![own], &[POSTGRES_PORT, REST_PORT]),
        rule(clients, &[POSTGRES_PORT]),
        rule(metrics, &[REST_PORT]),
    ]
    .into_iter()
    .flatten()
    .collect();
    let rest = json!({"spec": {
        "podSelector": {"matchLabels": pod_selector(names.cluster())},
        "policyTypes": ["Ingress"],
        "ingress": ingress,
    }});
    Some(object(Kind::NetworkPolicy, inputs.metadata(names.cluster(), Component::Network), rest))
}

fn rule(from: Vec<Json>, ports: &[u16]) -> Option<Json> {
    let ports: Vec<Json> = ports.iter().map(|port| json!({"port": port, "protocol": "TCP"})).collect();
    (!from.is_empty()).then(|| json!({"from": from, "ports": ports}))
}

fn pods(labels: &Json) -> Json {
    json!({"podSelector": {"matchLabels": labels}})
}

fn peer(peer: &NetworkPeer) -> Json {
    if let Some(cidr) = &peer.cidr {
        return without_nulls(json!({"ipBlock": {"cidr": cidr, "except": peer.except}}));
    }
    // An empty selector means all; one that is missing means the policy's own namespace, or every pod.
    without_nulls(json!({
        "namespaceSelector": peer.namespace_labels.as_ref().map(selector),
        "podSelector": selector(&peer.pod_labels.clone().unwrap_or_default()),
    }))
}

fn selector(labels: &std::collections::BTreeMap<String, String>) -> Json {
    if labels.is_empty() { json!({}) } else { json!({"matchLabels": labels}) }
}
