//! Waits: what is done, what may still come, and what can't, with its cause.
#![allow(missing_docs, clippy::panic)]

use pgha_provider_core::live::{LiveCluster, Seen};
use pgha_provider_core::object::{Kind, ObjectKey};
use pgha_provider_core::progress::{Signs, is_fulfilled, pods_that_end, progress};
use pgha_provider_core::step::{Progress, Wish};
use pgha_schema::desired::{FailoverSpec, document_sha256};
use serde_json::{Value as Json, json};

const LONG_MS: u64 = 120_000;

/// A cluster that asks for so many pods, and has these.
fn live(wanted: u32, pods: Vec<Json>) -> LiveCluster {
    let mut live = LiveCluster::nothing("orders");
    let set = json!({"metadata": {"name": "orders"}, "spec": {"replicas": wanted,
        "template": {"metadata": {"annotations": {"pgha/template-hash": "now"}}}}});
    live.objects.insert(ObjectKey::new(Kind::StatefulSet, "orders"), Seen::Known(set));
    live.pods = Seen::Known(pods);
    live
}

fn pod(ordinal: u32, status: Json) -> Json {
    json!({"metadata": {"name": format!("orders-{ordinal}"), "annotations": {"pgha/template-hash": "now"}}, "status": status})
}

fn waiting(reason: &str, message: &str) -> Json {
    json!({"phase": "Pending", "initContainerStatuses": [{"name": "install-agent", "image": "nope:1", "restartCount": 0,
        "state": {"waiting": {"reason": reason, "message": message}}}]})
}

fn unschedulable() -> Json {
    json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/3 nodes are available: no volume"}]})
}

fn event(kind: &str, name: &str, reason: &str, message: &str) -> Json {
    json!({"metadata": {"uid": "e", "resourceVersion": "7"}, "involvedObject": {"kind": kind, "name": name},
        "reason": reason, "message": message})
}

fn failed(wish: &Wish, now: &LiveCluster, waited_ms: u64) -> Option<String> {
    let told = progress(wish, &live(0, vec![]), now, waited_ms);
    assert_eq!(told, progress(wish, &live(0, vec![]), &as_a_wait_sees(wish, now), waited_ms));
    match told {
        Progress::Failed(cause) => Some(cause),
        Progress::Working(_) => None,
        Progress::Done => panic!("not done"),
    }
}

/// Without the objects that a wait does not ask for, and the events of others.
fn as_a_wait_sees(wish: &Wish, now: &LiveCluster) -> LiveCluster {
    let signs = Signs::thorough(wish, &now.names);
    let mut seen = now.clone();
    seen.objects.retain(|key, _| signs.keys.contains(key));
    seen.events.retain(|event| LiveCluster::is_about(&now.names, event));
    seen.cluster_id = None;
    seen
}

#[test]
fn an_event_is_told_from_those_of_other_clusters() {
    let names = live(0, vec![]).names;
    let of = |name: &str| LiveCluster::is_about(&names, &event("Pod", name, "Any", ""));
    assert!(["orders", "orders-0", "data-orders-11"].into_iter().all(of));
    assert!(!["orders2", "orders2-0", "data-other-orders-0", "other", "orders-rw"].into_iter().any(of));
}

#[test]
fn an_image_that_can_not_be_pulled_fails_after_a_moment_with_its_name() {
    let now = live(1, vec![pod(0, waiting("ImagePullBackOff", "not found"))]);
    assert_eq!(failed(&Wish::Primary, &now, 1_000), None);
    let cause = failed(&Wish::Primary, &now, LONG_MS).expect("a failure");
    assert!(cause.contains("orders-0") && cause.contains("nope:1") && cause.contains("not found"), "{cause}");
}

#[test]
fn one_stuck_pod_is_no_failure_while_another_may_become_primary() {
    let now = live(2, vec![pod(0, unschedulable()), pod(1, json!({"phase": "Running"}))]);
    assert_eq!(failed(&Wish::Primary, &now, LONG_MS), None);
    let cause = failed(&Wish::Streaming { standbys: 1 }, &now, LONG_MS).expect("a failure");
    assert!(cause.contains("orders-0 can't be scheduled") && cause.contains("no volume"), "{cause}");
}

#[test]
fn an_autoscaler_that_makes_a_node_is_waited_for() {
    let mut now = live(1, vec![pod(0, unschedulable())]);
    assert!(failed(&Wish::Primary, &now, LONG_MS).is_some());
    now.events = vec![event("Pod", "orders-0", "TriggeredScaleUp", "a node is coming")];
    assert_eq!(failed(&Wish::Primary, &now, LONG_MS), None);
}

#[test]
fn a_quota_that_refuses_pods_fails_unless_the_event_is_of_an_earlier_attempt() {
    let mut now = live(1, vec![]);
    now.events =
        vec![event("StatefulSet", "orders", "FailedCreate", "exceeded quota: small, requested: pods=1")];
    let cause = failed(&Wish::Primary, &now, LONG_MS).expect("a failure");
    assert!(cause.contains("exceeded quota") && cause.contains("\nRaise ResourceQuota small"), "{cause}");
    let progress = progress(&Wish::Primary, &now.clone(), &now, LONG_MS);
    assert!(matches!(progress, Progress::Working(_)), "{progress:?}");
}

#[test]
fn a_crash_loop_fails_with_its_last_lines() {
    let status = |restarts: u32| {
        json!({"phase": "Running", "containerStatuses": [{"name": "postgres", "restartCount": restarts,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 3, "message": "what Kubernetes kept"}}}]})
    };
    let mut now = live(1, vec![pod(0, status(1))]);
    assert_eq!(failed(&Wish::Primary, &now, LONG_MS), None, "once is no loop");
    now = live(1, vec![pod(0, status(5))]);
    now.logs.insert("orders-0".to_owned(), "FATAL: the disk is on fire".to_owned());
    let cause = failed(&Wish::Primary, &now, LONG_MS).expect("a failure");
    assert!(cause.contains("exit code 3") && cause.ends_with("on fire"), "{cause}");
    for empty in ["", " \n"] {
        now.logs.insert("orders-0".to_owned(), empty.to_owned());
        let cause = failed(&Wish::Primary, &now, LONG_MS).expect("a failure");
        assert!(cause.ends_with("what Kubernetes kept"), "{cause}");
    }
}

#[test]
fn a_pod_of_an_older_template_is_no_cause() {
    let mut old = pod(1, waiting("ImagePullBackOff", "not found"));
    old["metadata"]["annotations"]["pgha/template-hash"] = json!("before");
    let wish = Wish::Acknowledged { generation: 2, sha256: String::new() };
    assert_eq!(failed(&wish, &live(1, vec![old]), LONG_MS), None);
}

#[test]
fn a_look_at_the_signs_tells_nothing_else() {
    let now = live(3, vec![pod(2, json!({}))]);
    for (wish, keys, pods, claims) in [
        (Wish::Primary, vec!["ConfigMap orders-status"], false, false),
        (Wish::Answered { id: "a".to_owned() }, vec!["Lease orders"], false, false),
        (Wish::PodsGone { from_ordinal: 2 }, vec![], true, false),
        (Wish::Grown { size: "2Gi".to_owned() }, vec![], false, true),
    ] {
        let signs = Signs::of(&wish, &now.names);
        let named: Vec<String> = signs.keys.iter().map(ToString::to_string).collect();
        assert_eq!(
            (named, signs.pods, signs.claims),
            (keys.iter().map(|key| (*key).to_owned()).collect(), pods, claims)
        );
    }
    let gone = Wish::PodsGone { from_ordinal: 2 };
    let mut seen = LiveCluster::unseen(&now.names);
    seen.pods = now.pods.clone();
    assert!(!is_fulfilled(&gone, &now, &seen));
    assert!(is_fulfilled(&Wish::PodsGone { from_ordinal: 3 }, &now, &seen));
    assert!(!is_fulfilled(&Wish::Primary, &now, &LiveCluster::unseen(&now.names)));
}

#[test]
fn what_is_left_is_named_with_its_finalizers() {
    let mut now = live(0, vec![]);
    let claim =
        json!({"metadata": {"name": "data-orders-1", "finalizers": ["kubernetes.io/pvc-protection"]}});
    now.claims = Seen::Known(vec![claim]);
    let wish = Wish::ClaimsGone { names: vec!["data-orders-1".to_owned()] };
    match progress(&wish, &now.clone(), &now, 0) {
        Progress::Working(text) => {
            assert!(text.contains("data-orders-1 (finalizers: kubernetes.io/pvc-protection)"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_refused_agent_fails_the_wait_for_its_document_at_once_and_no_later_ones() {
    let mut now = live(3, vec![]);
    let status = json!({"format": 1, "accepts_writes": true, "primary": "orders-0", "era": 1, "mode": "sync",
        "degraded": false, "instances": {}, "agent_version": "0.1.0",
        "agent_refused": {"pod": "orders-2", "sha256": "ab", "generation": 4, "why": "it ended with exit code 3"}});
    let status = json!({"data": {"status.json": status.to_string()}});
    now.objects.insert(ObjectKey::new(Kind::ConfigMap, "orders-status"), Seen::Known(status));
    let wish = |generation| Wish::Acknowledged { generation, sha256: "s".to_owned() };
    let cause = failed(&wish(4), &now, 0).expect("a failure");
    assert!(
        cause.contains("orders-2") && cause.contains("exit code 3") && cause.contains("0.1.0"),
        "{cause}"
    );
    assert_eq!(failed(&wish(5), &now, 0), None, "that was an earlier document's");
    assert_eq!(failed(&Wish::Streaming { standbys: 2 }, &now, 0), None);
}

#[test]
fn standbys_that_stream_are_waited_for_until_commits_wait_for_them() {
    let told = |mode: &str, degraded: bool, voters: &[&str]| {
        let mut now = live(2, vec![]);
        let standby =
            json!({"role": "standby", "state": "streaming", "node": "n", "synchronous": !voters.is_empty()});
        let status = json!({"format": 1, "accepts_writes": true, "primary": "orders-0", "era": 1, "mode": mode,
            "degraded": degraded, "voters": voters, "instances": {"orders-1": standby}, "agent_version": "0.1.0"});
        let status = json!({"data": {"status.json": status.to_string()}});
        now.objects.insert(ObjectKey::new(Kind::ConfigMap, "orders-status"), Seen::Known(status));
        progress(&Wish::Streaming { standbys: 1 }, &now.clone(), &now, 0)
    };
    assert_eq!(told("async", false, &[]), Progress::Done);
    assert_eq!(told("sync", false, &["orders-1"]), Progress::Done);
    for (what, progress) in [
        ("the primary goes on alone", told("sync", true, &[])),
        ("commits wait, and for nobody yet", told("sync", false, &[])),
        ("fewer confirm than were asked for", told("quorum", true, &["orders-1"])),
    ] {
        assert!(matches!(progress, Progress::Working(_)), "{what}: {progress:?}");
    }
}

#[test]
fn a_pod_that_a_broken_agent_keeps_down_is_no_trouble_of_the_agent_that_comes_after_it() {
    let looping = json!({"phase": "Running", "containerStatuses": [{"name": "postgres", "restartCount": 5,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]});
    let made_with = |agent: &str| {
        let mut pod = pod(0, looping.clone());
        pod["metadata"]["annotations"]["pgha/agent-hash"] = json!(agent);
        let mut now = live(1, vec![pod]);
        let key = ObjectKey::new(Kind::StatefulSet, "orders");
        if let Some(Seen::Known(set)) = now.objects.get_mut(&key) {
            set["spec"]["template"]["metadata"]["annotations"]["pgha/agent-hash"] = json!("new");
        }
        now
    };
    assert!(failed(&Wish::Primary, &made_with("new"), LONG_MS).is_some());
    assert_eq!(failed(&Wish::Primary, &made_with("old"), LONG_MS), None);
}

#[test]
fn a_secret_that_does_not_exist_is_named_unless_an_earlier_pod_missed_it() {
    let message = "MountVolume.SetUp failed for volume \"tls\" : secret \"certificate\" not found";
    let mut creating = pod(0, waiting("PodInitializing", ""));
    creating["metadata"]["uid"] = json!("this");
    let mut now = live(1, vec![creating]);
    now.events = vec![event("Pod", "orders-0", "FailedMount", message)];
    now.events[0]["involvedObject"]["uid"] = json!("the one before");
    assert_eq!(failed(&Wish::Primary, &now, LONG_MS), None);
    now.events[0]["involvedObject"]["uid"] = json!("this");
    assert_eq!(failed(&Wish::Primary, &now, 1_000), None, "it may come in a moment");
    let cause = failed(&Wish::Primary, &now, LONG_MS).expect("a failure");
    assert!(cause.contains("orders-0") && cause.contains("secret \"certificate\" not found"), "{cause}");
}

/// The text of a desired document of generation 4.
fn desired_text() -> String {
    json!({"format": 1, "generation": 4, "anchor_uid": "a", "state": "running", "replicas": 1, "sync_mode": "sync",
        "sync_replicas": 1, "durability": "preferred", "postgres_major": 18, "template_hash": "now", "parameters": {},
        "pg_hba": [], "failover": FailoverSpec::default(), "bootstrap": {"database": "app", "owner": "app", "encoding": "UTF8",
            "locale": "C.UTF-8", "data_checksums": true}})
    .to_string()
}

/// A cluster with that document, whose agents tell this of `orders-1`.
fn told_of_one(primary: Option<&str>, told: &Json) -> LiveCluster {
    let mut now = live(2, vec![pod(0, json!({"phase": "Running"})), pod(1, json!({"phase": "Running"}))]);
    let mut one = json!({"role": "standby", "state": "down"});
    one.as_object_mut().expect("an object").extend(told.as_object().expect("an object").clone());
    let status = json!({"format": 1, "accepts_writes": primary.is_some(), "primary": primary, "era": 1, "mode": "sync",
        "degraded": false, "instances": {"orders-1": one}, "agent_version": "0.1.0"});
    let mut put = |name: &str, key: &str, text: String| {
        let object = json!({"data": {key: text}});
        now.objects.insert(ObjectKey::new(Kind::ConfigMap, name), Seen::Known(object));
    };
    put("orders-status", "status.json", status.to_string());
    put("orders-desired", "desired.json", desired_text());
    assert!(now.desired().is_some() && now.status().is_some(), "both can be read");
    now
}

fn refused(generation: u64, sha256: &str) -> Json {
    json!({"settings_refused": {"generation": generation, "sha256": sha256,
        "settings": {"work_mem": "invalid value for parameter \"work_mem\": \"banana\""}}})
}

fn starts_failed(generation: u64, starts: u32) -> Json {
    let sha256 = document_sha256(&desired_text());
    json!({"starts_failed": {"generation": generation, "sha256": sha256, "starts": starts, "exit_code": 1}})
}

#[test]
fn a_setting_that_postgres_refuses_fails_the_wait_for_its_document_at_once_and_no_others() {
    let wish = |generation, sha256: &str| Wish::Acknowledged { generation, sha256: sha256.to_owned() };
    let now = told_of_one(Some("orders-0"), &refused(4, "s"));
    let cause = failed(&wish(4, "s"), &now, 0).expect("a failure");
    for words in
        ["parameters[\"work_mem\"]", "orders-1", "\"banana\"", "apply again", "goes on with the settings"]
    {
        assert!(cause.contains(words), "{words}: {cause}");
    }
    assert_eq!(failed(&wish(5, "s"), &now, LONG_MS), None, "that was an earlier document");
    assert_eq!(failed(&wish(4, "t"), &now, LONG_MS), None, "that was another document of this generation");
    let mut older = now.clone();
    older.pods = Seen::Known(vec![pod(0, json!({}))]);
    assert_eq!(failed(&wish(4, "s"), &older, LONG_MS), None, "that pod is gone");
    let mut old = pod(1, json!({}));
    old["metadata"]["annotations"]["pgha/template-hash"] = json!("before");
    older.pods = Seen::Known(vec![old]);
    assert_eq!(failed(&wish(4, "s"), &older, LONG_MS), None, "the next pod's image may know the setting");
}

#[test]
fn a_first_start_that_a_setting_prevents_fails_with_the_setting() {
    let now = told_of_one(None, &refused(4, &document_sha256(&desired_text())));
    let cause = failed(&Wish::Primary, &now, 0).expect("a failure");
    assert!(cause.contains("parameters[\"work_mem\"]") && cause.contains("does not start"), "{cause}");
    assert_eq!(failed(&Wish::Primary, &told_of_one(None, &refused(3, "s")), LONG_MS), None);
}

#[test]
fn a_postgres_that_ends_at_every_start_fails_with_its_last_lines() {
    let mut now = told_of_one(None, &starts_failed(4, 6));
    now.logs.insert(
        "orders-1".to_owned(),
        "{\"message\": \"postgres started\"}\nFATAL:  could not access file \"nope\"\n\n".to_owned(),
    );
    assert_eq!(failed(&Wish::Primary, &now, 1_000), None, "for a moment it may mend itself");
    let cause = failed(&Wish::Primary, &now, LONG_MS).expect("a failure");
    for words in ["orders-1", "exit code 1", "Last lines:\nFATAL:  could not access file \"nope\""] {
        assert!(cause.contains(words), "{words}: {cause}");
    }
    assert!(!cause.contains("postgres started"), "the agent's lines are none of PostgreSQL's: {cause}");
    assert_eq!(pods_that_end(&now), ["orders-1"], "its log is read");
    for (what, told) in [("an earlier document's", starts_failed(3, 6)), ("too few", starts_failed(4, 5))] {
        assert_eq!(failed(&Wish::Primary, &told_of_one(None, &told), LONG_MS), None, "{what}");
    }
    let wish = Wish::Acknowledged { generation: 4, sha256: "s".to_owned() };
    let beside = |told: &Json| failed(&wish, &told_of_one(Some("orders-0"), told), LONG_MS);
    assert_eq!(beside(&starts_failed(4, 11)), None, "the agents may clone it anew");
    assert!(beside(&starts_failed(4, 12)).is_some());
    let mut fell_back = starts_failed(4, 3);
    fell_back["starts_failed"]["instead"] = json!({"generation": 3, "sha256": "s"});
    let cause = beside(&fell_back).expect("it starts with the earlier ones, so these are the cause");
    assert!(cause.contains("orders-1") && cause.contains("goes on with those that it had"), "{cause}");
}
