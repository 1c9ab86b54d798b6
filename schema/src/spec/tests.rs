use serde_json::json;

use super::*;
use crate::desired::{Durability, SyncMode};
use crate::resource::{PullPolicy, ServiceType, Spread};

fn minimal() -> Value {
    json!({ "name": "orders", "namespace": "shop", "storage": { "size": "10Gi" } })
}

/// The planned value: every attribute stands in it, defaults filled in, outputs null.
fn full() -> Value {
    let mut value = minimal();
    for attribute in &schema().attributes {
        let filled = attribute.default_value().unwrap_or(Value::Null);
        value.as_object_mut().unwrap().entry(attribute.name.clone()).or_insert(filled);
    }
    value["storage"]["retain"] = json!(true);
    value
}

#[test]
fn what_the_user_leaves_out_has_its_default() {
    let spec = ClusterSpec::from_value(&minimal()).unwrap();
    assert_eq!(spec.image(), "docker.io/library/postgres:18");
    assert_eq!(
        (spec.instances(), spec.sync_mode, spec.durability),
        (3, SyncMode::Sync, Durability::Preferred)
    );
    assert_eq!(spec.services.rw.r#type, ServiceType::ClusterIP);
    assert_eq!(
        (spec.scheduling.spread, spec.pod.image_pull_policy),
        (Spread::Preferred, PullPolicy::IfNotPresent)
    );
    assert!(spec.deletion_protection && spec.storage.retain && spec.bootstrap.data_checksums);
    assert_eq!(FailoverSpec::from(&spec.failover), FailoverSpec::default());
}

#[test]
fn defaults_left_out_and_written_are_one() {
    assert_eq!(ClusterSpec::from_value(&full()).unwrap(), ClusterSpec::from_value(&minimal()).unwrap());
}

#[test]
fn the_schemas_defaults_are_those_that_serde_takes() {
    let spec = serde_json::to_value(ClusterSpec::from_value(&minimal()).unwrap()).unwrap();
    for (path, attribute) in schema().walk() {
        let pointer = format!("/{}", path.replace('.', "/"));
        if let Some(default) = &attribute.default {
            assert_eq!(spec.pointer(&pointer), Some(default), "{path}");
        }
    }
}

#[test]
fn nulls_outputs_and_floats_of_the_wire_are_read() {
    let mut value = full();
    value["replicas"] = json!(1.0);
    value["ready"] = json!(true);
    value["drift"] = json!([]);
    value["pod"] =
        json!({ "security_context": { "run_as_user": 70.0, "supplemental_groups": [5.0] }, "labels": null });
    value["parameters"] = json!({ "work_mem": "8MB", "jit": null });
    value["scheduling"]["tolerations"] =
        json!([{ "key": "a", "operator": null, "value": null, "effect": null, "toleration_seconds": 5.0 }]);
    let spec = ClusterSpec::from_value(&value).unwrap();
    assert_eq!(spec.replicas, 1);
    assert_eq!((spec.pod.security_context.run_as_user, spec.pod.security_context.run_as_group), (70, 999));
    assert_eq!(spec.pod.security_context.supplemental_groups, Some(vec![5]));
    assert_eq!(spec.parameters.into_iter().collect::<Vec<_>>(), [("work_mem".into(), "8MB".into())]);
    assert_eq!(spec.scheduling.tolerations.unwrap()[0].toleration_seconds, Some(5));
}

#[test]
fn what_is_no_specification_is_refused() {
    for bad in
        [json!(null), json!({}), json!({ "name": "a", "namespace": "b", "storage": { "size": "big" } })]
    {
        assert!(ClusterSpec::from_value(&bad).is_err(), "{bad}");
    }
}

#[test]
fn the_desired_document_carries_the_whole_wish() {
    let mut value = minimal();
    value["postgres_version"] = json!("16.9");
    value["failover"] = json!({ "max_lag": "16Mi", "ro_max_lag": "1Mi", "lease_duration": "1m" });
    let spec = ClusterSpec::from_value(&value).unwrap();
    let desired = spec.desired(7, "uid", "hash", None, RunState::Running);
    assert_eq!((desired.generation, desired.postgres_major, desired.replicas), (7, 16, 2));
    assert_eq!(desired.failover.max_lag_bytes, Some(16 * 1024 * 1024));
    assert_eq!(desired.failover.ro_max_lag_bytes, Some(1024 * 1024));
    assert_eq!(desired.failover.lease_duration_ms, 60_000);
    assert_eq!(desired.pg_hba, ["host all all all scram-sha-256"]);
    assert_eq!(serde_json::from_str::<Desired>(&desired.to_text()).unwrap(), desired);
}

#[test]
fn the_bound_is_lease_and_renewal_and_promotion() {
    let mut failover = Failover::default();
    assert_eq!(failover_bound_seconds(&failover), 15);
    failover.renew_interval = Duration::from_millis(1_500);
    assert_eq!(failover_bound_seconds(&failover), 15);
}

#[test]
fn durations_that_break_the_law_are_told_at_their_attribute() {
    let told = |renew: &str, fence: &str, lease: &str, degrade: &str| -> Vec<&'static str> {
        let read = |text: &str| text.parse().ok();
        check_timing(read(renew), read(fence), read(lease), read(degrade))
            .iter()
            .map(|(path, _)| *path)
            .collect()
    };
    assert_eq!(told("2s", "6s", "10s", "3s"), Vec::<&str>::new());
    assert_eq!(told("2s", "9s", "10s", "3s"), ["failover.fence_after"]);
    assert_eq!(told("4s", "6s", "10s", "3s"), ["failover.renew_interval"]);
    assert_eq!(told("100ms", "6s", "10s", "1ms"), ["failover.renew_interval", "failover.degrade_after"]);
    assert_eq!(told("unknown", "6s", "unknown", "3s"), Vec::<&str>::new());
}
