//! One case for each rule: the path, what is wrong, and the remedy.
#![allow(missing_docs, clippy::panic)]

mod common;

use common::config;
use pgha_provider_core::validate::{self, resource, write_only};
use pgha_provider_core::value::Value;
use pgha_schema::resource::schema;
use serde_json::{Value as Json, json};

fn told(patch: Json) -> Vec<String> {
    let mut json = common::minimal();
    merge(&mut json, patch);
    validate::resource(&config(&json)).iter().map(ToString::to_string).collect()
}

fn merge(into: &mut Json, patch: Json) {
    match (into, patch) {
        (Json::Object(into), Json::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key).or_insert(Json::Null), value);
            }
        }
        (into, patch) => *into = patch,
    }
}

/// Exactly one message, which starts with the path and holds the remedy.
fn check(patch: Json, starts: &str, remedy: &str) {
    let told = told(patch.clone());
    assert_eq!(told.len(), 1, "{patch}: {told:?}");
    assert!(told[0].starts_with(starts), "{}", told[0]);
    assert!(told[0].contains(remedy), "{}", told[0]);
}

#[test]
fn what_is_right_is_left_alone() {
    assert_eq!(told(json!({})), [""; 0]);
    assert_eq!(validate::resource(&config(&common::everything())).iter().count(), 0);
}

#[test]
fn each_attribute_says_what_it_takes() {
    check(json!({"name": "Orders"}), "error: name: Invalid name", "lower-case");
    check(json!({"name": "a".repeat(41)}), "error: name", "at most 40");
    check(json!({"namespace": "a_b"}), "error: namespace", "lower-case");
    check(json!({"replicas": 10}), "error: replicas", "from 0 to 9");
    // Rules between attributes see it too, and must not count beyond it.
    check(json!({"replicas": i64::MAX}), "error: replicas", "from 0 to 9");
    check(json!({"sync_mode": "any"}), "error: sync_mode", "\"sync\", \"quorum\" or \"async\"");
    check(json!({"sync_replicas": 10}), "error: sync_replicas", "from 1 to 9");
    check(json!({"durability": "none"}), "error: durability", "\"preferred\" or \"required\"");
    check(json!({"postgres_version": "14"}), "error: postgres_version", "18");
    check(json!({"storage": {"size": "big"}}), "error: storage.size", "Gi");
    check(json!({"storage": {"class": "A!"}}), "error: storage.class", "lower-case");
    check(json!({"pg_hba": ["host all"]}), "error: pg_hba[0]", "");
    check(
        json!({"parameters": {"primary_conninfo": "x"}}),
        "error: parameters[\"primary_conninfo\"]",
        "Leave it out",
    );
    check(
        json!({"parameters": {"work_mme": "1MB"}}),
        "error: parameters[\"work_mme\"]",
        "Did you mean `work_mem`",
    );
    check(json!({"failover": {"lease_duration": "soon"}}), "error: failover.lease_duration", "10s");
    check(json!({"pod": {"labels": {"pgha/x": "y"}}}), "error: pod.labels[\"pgha/x\"]", "");
    check(json!({"services": {"rw": {"type": "Any"}}}), "error: services.rw.type", "LoadBalancer");
    check(json!({"scheduling": {"spread": "wide"}}), "error: scheduling.spread", "preferred");
    check(json!({"timeouts": {"create": "-1s"}}), "error: timeouts.create", "");
}

#[test]
fn rules_between_attributes_name_the_one_to_change() {
    check(
        json!({"failover": {"fence_after": "9500ms"}}),
        "error: failover.fence_after",
        "Make fence_after shorter, or lease_duration longer",
    );
    check(
        json!({"failover": {"renew_interval": "5s"}}),
        "error: failover.renew_interval",
        "fence_after longer",
    );
    check(json!({"replicas": 0, "durability": "required"}), "error: replicas", "Raise replicas to 1");
    check(
        json!({"image": "docker.io/library/postgres:16.9"}),
        "error: postgres_version: image and postgres_version disagree",
        "postgres_version = \"16\"",
    );
    check(
        json!({"image": "postgres:18.0", "postgres_version": "18.1"}),
        "error: postgres_version: image and postgres_version disagree",
        "18.0",
    );
    check(
        json!({"parameters": {"wal_level": "minimal"}}),
        "error: parameters[\"wal_level\"]",
        "replica or logical",
    );
    check(json!({"storage": {"size": "10Mi"}}), "error: storage.size", "64Mi or more");
    check(
        json!({"services": {"ro": {"load_balancer_source_ranges": ["10.0.0.0/8"]}}}),
        "error: services.ro.load_balancer_source_ranges",
        "services.ro.type = \"LoadBalancer\"",
    );
    check(json!({"pod": {"labels": {"role": "x"}}}), "error: pod.labels[\"role\"]", "another key");
    check(
        json!({"scheduling": {"tolerations": [{"operator": "Exists", "key": "a", "value": "b"}]}}),
        "error: scheduling.tolerations[0].value",
        "Leave value out",
    );
    check(
        json!({"scheduling": {"tolerations": [{"effect": "NoSchedule"}]}}),
        "error: scheduling.tolerations[0].key",
        "Set key",
    );
    check(
        json!({"scheduling": {"tolerations": [{"key": "a", "effect": "NoSchedule", "toleration_seconds": 5}]}}),
        "error: scheduling.tolerations[0].toleration_seconds",
        "NoExecute",
    );
    check(
        json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}}}),
        "error: resources.requests[\"cpu\"]",
        "Lower the request",
    );
}

#[test]
fn a_password_comes_with_its_number() {
    check(
        json!({"superuser_password_wo": "hunter2"}),
        "error: superuser_password_wo:",
        "superuser_password_wo_version = 1",
    );
    let mut number = config(&common::minimal());
    number.set_at("superuser_password_wo_version", Value::int(1));
    assert!(!resource(&number).has_errors(), "whether it is new, only a plan can tell");
    check(
        json!({"superuser_password_wo": "hunter2\n", "superuser_password_wo_version": 1}),
        "error: superuser_password_wo:",
        "printable ASCII",
    );
    let mut unknown = config(&common::minimal());
    unknown.set_at("superuser_password_wo", Value::Unknown);
    unknown.set_at("superuser_password_wo_version", Value::Unknown);
    assert!(!resource(&unknown).has_errors());
    let refused = write_only(&schema().attributes, &unknown);
    assert!(refused.to_string().starts_with("error: superuser_password_wo: "), "{refused}");
    assert!(write_only(&schema().attributes, &config(&common::minimal())).is_empty());
}

#[test]
fn what_is_risky_but_legal_is_a_warning() {
    check(json!({"replicas": 0}), "warning: replicas: A cluster of one instance", "Raise replicas");
    check(json!({"sync_mode": "async"}), "warning: sync_mode", "failover.max_lag");
    check(
        json!({"sync_mode": "async", "replicas": 1, "failover": {"max_lag": "1Mi"}}),
        "warning: replicas: One standby, which may lag",
        "replicas to 2",
    );
    check(
        json!({"replicas": 1, "durability": "required"}),
        "warning: durability: One lost standby stops every write",
        "Raise replicas",
    );
    check(json!({"failover": {"max_lag": "1Mi"}}), "warning: failover.max_lag", "no effect");
    check(
        json!({"parameters": {"synchronous_commit": "off"}}),
        "warning: parameters[\"synchronous_commit\"]",
        "",
    );
    check(json!({"storage": {"size": "500Mi"}}), "warning: storage.size", "max_wal_size");
    check(
        json!({"image": "docker.io/library/postgres:18-alpine"}),
        "warning: pod.security_context.run_as_user",
        "70",
    );
    check(json!({"image": "example.com/db:17"}), "warning: postgres_version", "disagree");
}

#[test]
fn unknown_values_are_skipped_wherever_they_stand() {
    let whole = config(&common::everything());
    for attribute in schema().attributes.iter().filter(|attribute| !attribute.is_output()) {
        let mut unknown = whole.clone();
        unknown.set_at(&attribute.name, Value::Unknown);
        let told = validate::resource(&unknown);
        assert!(!told.has_errors(), "{}: {told}", attribute.name);
    }
    let mut element = config(&common::minimal());
    element.set_at("pg_hba", Value::List(vec![Value::Unknown, "nonsense".into()]));
    let told: Vec<_> = validate::resource(&element)
        .into_iter()
        .map(|one| one.path.unwrap_or_default().to_string())
        .collect();
    assert_eq!(told, ["pg_hba[1]"]);
}

#[test]
fn who_may_connect_is_pods_or_a_network() {
    let from = |peer: Json| json!({"network_policy": {"from": [peer]}});
    assert_eq!(told(from(json!({"pod_labels": {}}))), [""; 0]);
    assert_eq!(told(from(json!({"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}))), [""; 0]);
    check(from(json!({})), "error: network_policy.from[0]: Invalid", "It names nobody");
    check(
        from(json!({"cidr": "10.0.0.0/8", "pod_labels": {"a": "b"}})),
        "error: network_policy.from[0].cidr",
        "Write two peers",
    );
    check(
        from(json!({"pod_labels": {"a": "b"}, "except": ["10.0.0.0/8"]})),
        "error: network_policy.from[0].except",
        "Set cidr",
    );
    check(
        from(json!({"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]})),
        "error: network_policy.from[0].except[0]",
        "is not a part of 10.0.0.0/8",
    );
    check(
        json!({"network_policy": {"metrics_from": [{"cidr": "10"}]}}),
        "error: network_policy.metrics_from[0].cidr",
        "CIDR",
    );
}
