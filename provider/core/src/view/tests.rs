use pgha_schema::desired::SyncMode;
use pgha_schema::ids::Era;
use pgha_schema::lsn::{Lsn, TimelineId};
use pgha_schema::names::{ANNOTATION_RECORD, KEY_STATUS};
use pgha_schema::record::{EraEntry, Release};
use pgha_schema::status::STATUS_FORMAT;
use serde_json::json;

use super::*;

fn config() -> Value {
    Value::object([("name", "orders".into()), ("namespace", "shop".into()), ("timeouts", Value::Null)])
}

fn record(era: u64) -> Record {
    let mut record = Record::initial("uid", SyncMode::Sync);
    record.eras =
        vec![EraEntry { era: Era(era), parent: None, timeline: Some(TimelineId(4)), start: Some(Lsn(1)) }];
    record
}

fn status(era: u64) -> ClusterStatus {
    let status = json!({
        "format": STATUS_FORMAT, "accepts_writes": true, "primary": "orders-1", "era": era, "timeline": 3, "mode": "sync",
        "degraded": false, "activity": ["waits for orders-2"], "agent_version": "0.1.0",
        "instances": {
            "orders-0": {
                "role": "standby", "state": "streaming", "synchronous": true, "lag_bytes": 16, "node": "node-as-told",
            },
            "orders-1": {"role": "primary", "state": "serving", "node": "node-as-told"},
            "orders-10": {"role": "standby", "state": "building", "node": "node-as-told"},
        },
    });
    serde_json::from_value(status).expect("a status")
}

fn pod(name: &str, node: &str, ready: &str) -> Json {
    json!({
        "metadata": {"name": name, "labels": {"role": "replica"}},
        "spec": {"nodeName": node},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    })
}

/// A cluster whose Lease and status say this.
fn live(record: &Record, status: &ClusterStatus) -> LiveCluster {
    let mut live = LiveCluster::nothing("orders");
    let lease = json!({"metadata": {"annotations": {ANNOTATION_RECORD: json!(record).to_string()}}});
    live.objects.insert(ObjectKey::new(Kind::Lease, "orders"), Seen::Known(lease));
    let told = json!({"data": {KEY_STATUS: json!(status).to_string()}});
    live.objects.insert(status_key(&live.names), Seen::Known(told));
    live.pods = Seen::Known(vec![pod("orders-0", "a", "True"), pod("orders-1", "b", "False")]);
    live
}

fn seen(live: &LiveCluster) -> Value {
    let (state, diagnostics) = view(&config(), "shop", live).unwrap();
    assert!(diagnostics.is_empty(), "{diagnostics}");
    assert!(state.is_wholly_known());
    state
}

fn instance(state: &Value, index: usize) -> Json {
    state.get("instances").as_items().unwrap()[index].to_json().unwrap()
}

#[test]
fn everything_is_told_of_a_cluster_that_is_well() {
    let state = seen(&live(&record(5), &status(5)));
    assert_eq!(state.get("rw_host"), &"orders-rw.shop.svc".into());
    assert_eq!(state.get("primary"), &"orders-1".into());
    assert_eq!(state.get("timeline"), &Value::int(4));
    assert_eq!(state.get("sync_mode"), &"sync".into());
    assert_eq!(state.get("degraded"), &false.into());
    assert_eq!(state.get("activity").as_items(), Some(&["waits for orders-2".into()][..]));
    assert_eq!(
        instance(&state, 0),
        json!({"name": "orders-0", "role": "standby", "state": "streaming", "synchronous": true, "lag_bytes": 16,
               "node": "a", "ready": true})
    );
    assert_eq!(instance(&state, 1)["role"], "primary");
    assert_eq!(instance(&state, 1)["ready"], false);
}

#[test]
fn an_instance_without_a_pod_is_down_whatever_was_said_of_it() {
    let state = seen(&live(&record(5), &status(5)));
    let lost = instance(&state, 2);
    assert_eq!(
        (&lost["name"], &lost["state"], &lost["node"]),
        (&json!("orders-10"), &json!("down"), &json!("node-as-told"))
    );
}

#[test]
fn the_status_of_an_earlier_holder_is_not_taken_for_the_present() {
    let mut record = record(6);
    record.degraded = true;
    record.holder = serde_json::from_value(json!({
        "pod": "orders-0", "nonce": "0123456789abcdef0123456789abcdef", "node": "a",
        "boot_id": "6c3f5a0e-0000-4000-8000-000000000000", "address": "10.0.0.1",
    }))
    .ok();
    let state = seen(&live(&record, &status(5)));
    assert_eq!(state.get("primary"), &"orders-0".into());
    assert_eq!(state.get("degraded"), &true.into());
    assert!(state.get("accepts_writes").is_null());
    let first = instance(&state, 0);
    assert_eq!((first.get("state"), &first["role"]), (None, &json!("standby")), "the label still tells");
}

#[test]
fn nobody_leads_after_a_release() {
    let mut record = record(5);
    record.release = Some(Release { position: Lsn(9), target: None });
    assert!(seen(&live(&record, &status(5))).get("primary").is_null());
}

#[test]
fn a_cluster_that_is_not_there_is_an_error_with_the_way_out() {
    let problem = view(&config(), "shop", &LiveCluster::nothing("orders")).unwrap_err();
    assert!(problem.summary.contains("no cluster orders in namespace shop"), "{problem}");
    assert!(problem.detail.contains("depends_on"), "{problem}");
}

#[test]
fn what_may_not_be_read_is_named_and_null() {
    let mut half = live(&record(5), &status(5));
    half.objects.insert(ObjectKey::new(Kind::Lease, "orders"), Seen::Forbidden("no leases".to_owned()));
    half.pods = Seen::Forbidden("no pods".to_owned());
    let (state, diagnostics) = view(&config(), "shop", &half).unwrap();
    let text = diagnostics.to_string();
    assert!(!diagnostics.has_errors() && text.contains("no leases") && text.contains("no pods"), "{text}");
    assert_eq!(state.get("primary"), &"orders-1".into());
    let first = instance(&state, 0);
    assert_eq!(
        (first.get("ready"), &first["node"], &first["state"]),
        (None, &json!("node-as-told"), &json!("streaming"))
    );

    half.objects.insert(status_key(&half.names), Seen::Forbidden("no configmaps".to_owned()));
    let problem = view(&config(), "shop", &half).unwrap_err();
    assert!(
        problem.summary.contains("may not be read") && problem.detail.contains("no configmaps"),
        "{problem}"
    );
}
