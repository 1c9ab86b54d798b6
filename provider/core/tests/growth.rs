//! Volumes that were asked to grow, as resizer and kubelet tell of them.
#![allow(missing_docs, clippy::panic)]

use pgha_provider_core::live::{LiveCluster, Seen};
use pgha_provider_core::progress::progress;
use pgha_provider_core::step::{Progress, Wish};
use serde_json::{Value as Json, json};

const AT_ONCE: u64 = 0;
const LATE_MS: u64 = 120_000;

/// A claim that asks for 2Gi and has this much.
fn claim(has: &str) -> Json {
    json!({"metadata": {"name": "data-orders-0"}, "spec": {"resources": {"requests": {"storage": "2Gi"}}},
        "status": {"capacity": {"storage": has}}})
}

/// The same, small, with what the driver made of this size.
fn tried(size: &str, stage: &str, condition: &str) -> Json {
    let mut claim = claim("1Gi");
    claim["status"]["allocatedResources"] = json!({"storage": size});
    claim["status"]["allocatedResourceStatuses"] = json!({"storage": stage});
    claim["status"]["conditions"] = json!([
        {"type": "Resizing", "status": "True"},
        {"type": condition, "status": "True", "message": "failed to expand pvc with no space"},
    ]);
    claim
}

fn live(claim: Json) -> LiveCluster {
    let mut live = LiveCluster::nothing("orders");
    live.claims = Seen::Known(vec![claim]);
    live
}

fn failing(mut live: LiveCluster, kind: &str, name: &str) -> LiveCluster {
    live.events = vec![json!({"metadata": {"uid": "e", "resourceVersion": "7"},
        "involvedObject": {"kind": kind, "name": name}, "reason": "VolumeResizeFailed", "message": "no space"})];
    live
}

fn seen(start: &LiveCluster, now: &LiveCluster, waited_ms: u64) -> String {
    match progress(&Wish::Grown { size: "2Gi".to_owned() }, start, now, waited_ms) {
        Progress::Done => "done".to_owned(),
        Progress::Working(text) => format!("working: {text}"),
        Progress::Failed(text) => format!("failed: {text}"),
    }
}

#[test]
fn growth_is_done_when_every_bound_claim_has_it() {
    let start = live(claim("1Gi"));
    assert_eq!(seen(&start, &live(claim("2048Mi")), AT_ONCE), "done");
    let unbound = json!({"metadata": {"name": "data-orders-0"}, "status": {}});
    assert_eq!(seen(&start, &live(unbound), AT_ONCE), "done");
    let pending = tried("2Gi", "NodeResizePending", "FileSystemResizePending");
    let told = "working: waiting for volumes of 2Gi: data-orders-0 has 1Gi (NodeResizePending)";
    assert_eq!(seen(&start, &live(pending), LATE_MS), told);
}

#[test]
fn what_a_driver_refuses_for_good_fails_at_once_with_its_words() {
    let start = live(claim("1Gi"));
    for (stage, condition) in [
        ("ControllerResizeInfeasible", "ControllerResizeError"),
        ("NodeResizeInfeasible", "NodeResizeError"),
        // The resizer has given it back to the node.
        ("NodeResizePending", "NodeResizeError"),
    ] {
        let refused = live(tried("2Gi", stage, condition));
        let told =
            "failed: growing PersistentVolumeClaim data-orders-0 failed: failed to expand pvc with no space";
        assert_eq!(seen(&start, &refused, AT_ONCE), told);
        // What it said to another size, or to an earlier apply, may be over.
        let another = live(tried("3Gi", stage, condition));
        assert!(seen(&start, &another, LATE_MS).starts_with("working"), "{stage}");
        let again = seen(&refused, &refused, AT_ONCE);
        assert!(
            again.starts_with("working") && again.ends_with("failed to expand pvc with no space"),
            "{again}"
        );
        assert_eq!(seen(&refused, &refused, LATE_MS), told);
        let of_node = ("Pod", "orders-0");
        let (kind, name) =
            if stage.starts_with("Node") { of_node } else { ("PersistentVolumeClaim", "data-orders-0") };
        assert_eq!(seen(&refused, &failing(refused.clone(), kind, name), AT_ONCE), told);
    }
}

#[test]
fn what_is_tried_again_fails_when_it_goes_wrong_for_long() {
    let start = live(claim("1Gi"));
    for (kind, name) in [("PersistentVolumeClaim", "data-orders-0"), ("Pod", "orders-0")] {
        let now = failing(live(claim("1Gi")), kind, name);
        let told =
            "working: waiting for volumes of 2Gi: data-orders-0 has 1Gi, and growing it failed: no space";
        assert_eq!(seen(&start, &now, AT_ONCE), told);
        let told = "failed: growing PersistentVolumeClaim data-orders-0 failed: no space";
        assert_eq!(seen(&start, &now, LATE_MS), told);
        // That was an earlier apply's.
        assert!(seen(&now, &now, LATE_MS).starts_with("working"), "{kind}");
    }
}

#[test]
fn what_the_controller_failed_at_first_is_over_once_the_node_has_it() {
    let start = live(claim("1Gi"));
    let on_node = live(tried("2Gi", "NodeResizeInProgress", "FileSystemResizePending"));
    let by_controller = failing(on_node.clone(), "PersistentVolumeClaim", "data-orders-0");
    assert!(seen(&start, &by_controller, LATE_MS).starts_with("working"));
    assert!(seen(&start, &failing(on_node, "Pod", "orders-0"), LATE_MS).starts_with("failed"));
}
