//! Builders that the tests share.
#![allow(dead_code, missing_docs)]

use pgha_provider_core::facts::Facts;
use pgha_provider_core::plan::{Request, plan};
use pgha_provider_core::render::Agent;
use pgha_provider_core::value::Value;
use pgha_schema::resource::{ClusterSpec, schema};
use serde_json::{Value as Json, json};

/// The ten lines of the quick start.
pub fn minimal() -> Json {
    json!({"name": "orders", "namespace": "shop", "storage": {"size": "10Gi"}})
}

/// Every input set.
pub fn everything() -> Json {
    json!({
        "name": "orders",
        "namespace": "shop",
        "replicas": 3,
        "sync_mode": "async",
        "durability": "required",
        "image": "registry.example.com/postgres:16.9",
        "postgres_version": "16.9",
        "agent_image": "registry.example.com/pgha-agent:0.1.0",
        "storage": {"size": "100Gi", "class": "fast", "retain": false},
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
        "pod": {
            "labels": {"team": "shop"},
            "annotations": {"example.com/scrape": "true"},
            "security_context": {"run_as_user": 70, "run_as_group": 70, "fs_group": 70, "supplemental_groups": [5]},
            "image_pull_secrets": ["registry"],
            "image_pull_policy": "Always",
        },
        "labels": {"cost-center": "7"},
        "annotations": {"example.com/owner": "shop team"},
        "parameters": {"work_mem": "16MB", "max_connections": "200"},
        "pg_hba": ["host all all 10.0.0.0/8 scram-sha-256"],
        "bootstrap": {"database": "shop", "owner": "shop", "encoding": "UTF8", "locale": "C", "data_checksums": false},
        "services": {
            "rw": {"type": "LoadBalancer", "annotations": {"example.com/lb": "internal"},
                   "load_balancer_source_ranges": ["10.0.0.0/8"]},
            "ro": {"type": "NodePort"},
        },
        "network_policy": {
            "from": [{"namespace_labels": {"team": "shop"}, "pod_labels": {"app": "web"}}, {"pod_labels": {}},
                     {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}],
            "metrics_from": [{"namespace_labels": {}, "pod_labels": {"app": "prometheus"}}],
        },
        "tls": {"secret": "orders-certificate", "required": true, "client_certificates": true},
        "scheduling": {
            "node_selector": {"pool": "db"},
            "tolerations": [{"key": "db", "operator": "Exists", "effect": "NoSchedule"}],
            "spread": "required",
            "priority_class": "important",
        },
        "failover": {"lease_duration": "20s", "max_lag": "16Mi", "on_postgres_crash": "failover"},
        "deletion_protection": false,
    })
}

pub fn spec(json: Json) -> ClusterSpec {
    serde_json::from_value(json).expect("a valid specification")
}

pub fn agent() -> Agent {
    let sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    Agent::new("0.1.0", sha256, 2_500_000, &["amd64"])
}

/// As YAML with sorted keys, for people to read.
pub fn yaml(objects: &[Json]) -> String {
    let documents = objects.iter().map(|object| serde_yaml_ng::to_string(&sorted(object)).expect("YAML"));
    documents.collect::<Vec<_>>().join("---\n")
}

fn sorted(json: &Json) -> Json {
    match json {
        Json::Object(fields) => {
            let mut fields: Vec<_> =
                fields.iter().map(|(name, value)| (name.clone(), sorted(value))).collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Json::Object(fields.into_iter().collect())
        }
        Json::Array(items) => Json::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

/// A configuration as Terraform sends it: every attribute, null where it is not written.
pub fn config(json: &Json) -> Value {
    Value::from_json(json, &schema().ty())
}

/// The state of a cluster that was made from this configuration and is ready.
pub fn state(json: &Json) -> Value {
    let (config, facts) = (config(json), Facts::default());
    let request = Request { config: &config, prior: &Value::Null, facts: &facts, agent_version: "0.1.0" };
    planned_state(&plan(&request).planned)
}

/// A planned state with what apply tells.
pub fn planned_state(planned: &Value) -> Value {
    let mut state = planned.clone();
    state.set_at("ready", Value::Bool(true));
    state.set_at("system_identifier", "7445566778899001122".into());
    for host in ["rw_host", "ro_host"] {
        if state.get(host).is_unknown() {
            state.set_at(host, "198.51.100.1".into());
        }
    }
    state
}
