//! ServiceAccount, Role and RoleBinding: what the agents may do, and no more.

use serde_json::{Value as Json, json};

use super::{Component, Inputs, object};
use crate::object::Kind;

/// Highest ordinal that a cluster can have: `replicas` is at most 9.
const MAX_ORDINAL: u32 = 9;

pub(super) fn all(inputs: &Inputs<'_>) -> Vec<Json> {
    vec![service_account(inputs), role(inputs), role_binding(inputs)]
}

fn service_account(inputs: &Inputs<'_>) -> Json {
    let metadata = inputs.metadata(inputs.names().cluster(), Component::Agent);
    object(Kind::ServiceAccount, metadata, json!({"automountServiceAccountToken": false}))
}

fn role(inputs: &Inputs<'_>) -> Json {
    let names = inputs.names();
    let cluster = names.cluster();
    let rule = |kind: Kind, resource_names: &[String], verbs: &[&str]| {
        let mut rule = json!({"apiGroups": [kind.group()], "resources": [kind.plural()], "verbs": verbs});
        if !resource_names.is_empty() {
            rule["resourceNames"] = json!(resource_names);
        }
        rule
    };
    let own = [cluster.to_owned()];
    let pods: Vec<String> = (0..=MAX_ORDINAL).map(|ordinal| names.pod(ordinal)).collect();
    let claims: Vec<String> = (0..=MAX_ORDINAL).map(|ordinal| names.claim(ordinal)).collect();
    let mut rules = vec![
        // A lost Lease is made again by its holder (A4); `create` can't be bound to a name.
        rule(Kind::Lease, &[], &["create"]),
        rule(Kind::Lease, &own, &["get", "list", "update", "watch"]),
        rule(Kind::ConfigMap, &[names.desired()], &["get", "list", "watch"]),
        rule(Kind::ConfigMap, &[names.status()], &["get", "patch"]),
        // By label, which a rule can't be bound to.
        rule(Kind::Pod, &[], &["list", "watch"]),
        rule(Kind::Pod, &pods, &["delete", "patch"]),
        rule(Kind::PersistentVolumeClaim, &[], &["list"]),
        rule(Kind::PersistentVolumeClaim, &claims, &["patch"]),
        rule(Kind::StatefulSet, &own, &["get", "patch"]),
        rule(Kind::Event, &[], &["create"]),
    ];
    // The wished agent, which a running one fetches to be exchanged for it (A8). No name would mean every ConfigMap.
    let chunks = inputs.agent.chunk_names();
    if !chunks.is_empty() {
        rules.push(rule(Kind::ConfigMap, &chunks, &["get"]));
    }
    object(Kind::Role, inputs.metadata(cluster, Component::Agent), json!({"rules": rules}))
}

fn role_binding(inputs: &Inputs<'_>) -> Json {
    let names = inputs.names();
    let cluster = names.cluster();
    let rest = json!({
        "roleRef": {"apiGroup": Kind::Role.group(), "kind": Kind::Role.name(), "name": cluster},
        "subjects": [{
            "kind": Kind::ServiceAccount.name(),
            "name": cluster,
            "namespace": inputs.spec.namespace,
        }],
    });
    object(Kind::RoleBinding, inputs.metadata(cluster, Component::Agent), rest)
}
