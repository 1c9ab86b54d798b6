//! What differs shows in one place, and an apply repairs it.
#![allow(missing_docs, clippy::panic)]

mod common;
#[path = "common/fake.rs"]
mod fake;
#[path = "common/world.rs"]
mod world;

use fake::{Fake, holder};
use pgha_provider_core::ignore::Ignore;
use pgha_provider_core::live::{LiveCluster, Seen};
use pgha_provider_core::object::{self, Kind, ObjectKey};
use pgha_provider_core::step::Step;
use pgha_provider_core::steps::{self, Job, Trial};
use pgha_provider_core::value::Value;
use pgha_schema::desired::SyncMode;
use pgha_schema::ids::Era;
use pgha_schema::record::EraEntry;
use pgha_schema::status::InstanceState;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use world::*;

#[test]
fn typed_drift_shows_in_its_attribute_alone_and_is_repaired() {
    let mut world = World::create(&common::minimal());
    world.fake.edit(Kind::StatefulSet, "orders", "/spec/replicas", json!(5));
    let before = world.apply(&common::minimal());
    assert_eq!(before.get("replicas"), &Value::int(4));
    assert_eq!(before.get("drift"), &Value::List(Vec::new()));
    assert_eq!(world.fake.live.wanted_pods(), Some(3));

    let text = world.fake.live.desired_text().expect("a document").replace("\"sync\"", "\"async\"");
    world.fake.edit(Kind::ConfigMap, "orders-desired", "/data/desired.json", json!(text));
    let before = world.apply(&common::minimal());
    assert_eq!(before.get("sync_mode"), &Value::from("async"));
    assert_eq!(before.get("drift"), &Value::List(Vec::new()));
    assert_eq!(world.fake.live.desired().map(|desired| desired.sync_mode), Some(SyncMode::Sync));
}

#[test]
fn any_other_drift_shows_with_object_and_field_and_is_repaired() {
    type Edit = fn(&mut Fake);
    let table: [(Edit, &str, &str); 7] = [
        (
            |fake| fake.edit(Kind::Service, "orders-rw", "/spec/selector/role", json!("replica")),
            "Service/orders-rw",
            "spec.selector",
        ),
        (|fake| fake.remove(Kind::Service, "orders-ro"), "Service/orders-ro", ""),
        (
            |fake| {
                fake.edit(Kind::Role, "orders", "/metadata/labels", json!({"app.kubernetes.io/name": "postgres-ha",
                "app.kubernetes.io/instance": "orders", "app.kubernetes.io/managed-by": "terraform-provider-postgres"}));
            },
            "Role/orders",
            "metadata.labels.app.kubernetes.io/component",
        ),
        (
            |fake| {
                let text = fake.live.desired_text().expect("a document");
                let text = text.replace("\"parameters\": {}", "\"parameters\": {\"work_mem\": \"1GB\"}");
                fake.edit(Kind::ConfigMap, "orders-desired", "/data/desired.json", json!(text));
            },
            "ConfigMap/orders-desired",
            "data.desired.json",
        ),
        (
            |fake| fake.edit(Kind::StatefulSet, "orders", "/spec/replicas", json!(0)),
            "StatefulSet/orders",
            "spec.replicas",
        ),
        (
            |fake| {
                fake.edit(
                    Kind::StatefulSet,
                    "orders",
                    "/spec/template/spec/containers/0/image",
                    json!("evil"),
                );
            },
            "StatefulSet/orders",
            "spec.template.spec.containers[name=\"postgres\"].image",
        ),
        (|fake| fake.remove(Kind::ConfigMap, "orders-anchor"), "ConfigMap/orders-anchor", ""),
    ];
    for (edit, object, field) in table {
        let mut world = World::create(&common::minimal());
        edit(&mut world.fake);
        world.refresh();
        assert_eq!(world.drift(), [(object.to_owned(), field.to_owned())]);
        assert_eq!(world.state.get("replicas"), &Value::int(2));
        world.apply(&common::minimal());
        assert!(world.drift().is_empty());
    }
}

#[test]
fn what_others_add_is_no_drift_and_neither_is_a_failover() {
    let mut world = World::create(&common::minimal());
    world.fake.edit(Kind::Service, "orders-rw", "/metadata/annotations", json!({"mesh": "on"}));
    world.fake.edit(Kind::Service, "orders-rw", "/metadata/labels/team", json!("shop"));
    let mut record = world.fake.live.record().expect("a record");
    record.holder = Some(holder("orders-2"));
    record.eras.push(EraEntry { era: Era(2), parent: Some(Era(1)), timeline: None, start: None });
    let text = json!(serde_json::to_string(&record).expect("JSON"));
    world.fake.edit(Kind::Lease, "orders", "/metadata/annotations/pgha~1record", text);
    world.nothing_to_do(&common::minimal());
}

#[test]
fn labels_and_annotations_of_the_user_come_drift_and_go() {
    let mut world = World::create(&common::minimal());
    let template = world.fake.get(Kind::StatefulSet, "orders")["spec"]["template"].clone();
    let mut json = common::minimal();
    json["labels"] = json!({"team": "shop"});
    json["annotations"] = json!({"example.com/on-call": "yes"});
    json["services"] = json!({"rw": {"annotations": {"example.com/on-call": "rw"}}});
    world.apply(&json);
    let applied: Vec<ObjectKey> = world.fake.anchor.objects.keys().cloned().collect();
    assert_eq!(applied.len(), 11);
    for key in &applied {
        let metadata = &world.fake.get(key.kind, &key.name)["metadata"];
        let on_call = if key.name == "orders-rw" { "rw" } else { "yes" };
        assert_eq!(metadata["labels"]["team"], "shop", "{key}");
        assert_eq!(metadata["annotations"]["example.com/on-call"], on_call, "{key}");
    }
    assert_eq!(world.fake.get(Kind::StatefulSet, "orders")["spec"]["template"], template);

    world.fake.edit(Kind::Role, "orders", "/metadata/labels/team", json!("other"));
    world.refresh();
    assert_eq!(world.drift(), [("Role/orders".to_owned(), "metadata.labels.team".to_owned())]);
    world.apply(&json);
    assert_eq!(world.fake.get(Kind::Role, "orders")["metadata"]["labels"]["team"], "shop");

    world.apply(&common::minimal());
    for key in &applied {
        let metadata = world.fake.get(key.kind, &key.name)["metadata"].to_string();
        assert!(!metadata.contains("team") && !metadata.contains("on-call"), "{key}: {metadata}");
    }
}

#[test]
fn what_is_left_to_others_is_written_once_and_is_no_drift() {
    let entries = json!({"rw": {"type": "LoadBalancer", "annotations": {"lb/class": "a", "kept": "a"},
        "load_balancer_source_ranges": ["10.0.0.0/8"]}});
    let mut json = common::minimal();
    json["services"] = entries;
    json["labels"] = json!({"team": "a"});
    json["ignore"] = json!(["services.rw.annotations.lb/*", "services.rw.load_balancer_source_ranges"]);
    let mut world = World::create(&json);
    world.ignore =
        Ignore::of_provider(&Value::object([("ignore_labels", Value::List(vec!["^team$".into()]))]));
    let annotations =
        |world: &World| world.fake.get(Kind::Service, "orders-rw")["metadata"]["annotations"].clone();
    assert_eq!(annotations(&world), json!({"lb/class": "a", "kept": "a"}));

    world.fake.edit(Kind::Service, "orders-rw", "/metadata/annotations/lb~1class", json!("b"));
    world.fake.edit(Kind::Service, "orders-rw", "/spec/loadBalancerSourceRanges", json!(["192.0.2.0/24"]));
    world.fake.edit(Kind::Service, "orders-rw", "/metadata/labels/team", json!("b"));
    world.fake.edit(Kind::Service, "orders-rw", "/metadata/annotations/kept", json!("b"));
    world.refresh();
    assert_eq!(world.drift(), [("Service/orders-rw".to_owned(), "metadata.annotations.kept".to_owned())]);
    world.apply(&json);
    let service = world.fake.get(Kind::Service, "orders-rw");
    assert_eq!(annotations(&world), json!({"lb/class": "b", "kept": "a"}));
    assert_eq!(service["spec"]["loadBalancerSourceRanges"], json!(["192.0.2.0/24"]));
    assert_eq!(service["metadata"]["labels"]["team"], "b");

    // Taken out of the configuration, it stays; left to others no more, it is ours again.
    json["services"]["rw"]["annotations"] = json!({"kept": "a"});
    world.apply(&json);
    assert_eq!(annotations(&world), json!({"lb/class": "b", "kept": "a"}));
    json["ignore"] = json!([]);
    world.apply(&json);
    assert_eq!(annotations(&world), json!({"kept": "a"}));
}

#[test]
fn what_alter_system_gave_is_drift_that_an_apply_takes_back() {
    let mut world = World::create(&common::minimal());
    world.fake.alter_system(1, "work_mem", "64MB");
    world.fake.alter_system(0, "work_mem", "64MB");
    world.fake.alter_system(0, "archive_passphrase.key", "(a text of 9 bytes)");
    world.refresh();
    let entry = |pod: &str, name: &str| (format!("PostgreSQL/{pod}"), name.to_owned());
    let all = [
        entry("orders-0", "archive_passphrase.key"),
        entry("orders-0", "work_mem"),
        entry("orders-1", "work_mem"),
    ];
    assert_eq!(world.drift(), all);
    let entries = world.state.get("drift").as_items().expect("a list").to_vec();
    let diff = |at: usize| entries[at].get("diff").as_str().unwrap_or_default();
    assert!(
        diff(0).ends_with("-(not set)\n+(masked)\n") && diff(1).ends_with("-(not set)\n+64MB\n"),
        "{entries:?}"
    );
    assert_eq!(entries[0].get("changed_by"), &Value::from("ALTER SYSTEM"));

    let mut json = common::minimal();
    json["ignore"] = json!(["parameters.archive_*"]);
    let before = world.apply(&json);
    assert_eq!(before.get("drift").as_items().map(<[_]>::len), Some(3));
    let desired = |world: &World| world.fake.live.desired().expect("a document");
    let taken_back = |world: &World| desired(world).taken_back.into_iter().collect::<Vec<_>>();
    assert_eq!(taken_back(&world), ["work_mem"], "the other is left to others from now on");
    // What was taken back is not so for ever.
    json["parameters"] = json!({"work_mem": "8MB"});
    world.apply(&json);
    assert_eq!(taken_back(&world), [""; 0]);
    assert_eq!(desired(&world).ruled().into_iter().collect::<Vec<_>>(), ["work_mem"]);
}

/// What is left to others stays so without the anchor, and comes back with it.
#[test]
fn settings_that_are_left_to_others_are_no_drift_when_the_anchor_is_gone() {
    let mut json = common::minimal();
    json["ignore"] = json!(["parameters.work_mem"]);
    let mut world = World::create(&json);
    world.fake.alter_system(0, "work_mem", "64MB");
    world.fake.remove(Kind::ConfigMap, "orders-anchor");
    world.refresh();
    assert_eq!(world.drift(), [("ConfigMap/orders-anchor".to_owned(), String::new())]);
}

/// The document rules what runs, so its repair does what a change of the same settings would.
#[test]
fn the_repair_of_an_edited_document_is_told_as_the_restart_that_it_is() {
    let told = |configured: Json, was: &str, edited: &str| {
        let mut json = common::minimal();
        json["parameters"] = configured;
        let mut world = World::create(&json);
        let text = world.fake.live.desired_text().expect("a document").to_owned();
        assert!(text.contains(was), "{text}");
        let text = text.replace(was, edited);
        world.fake.edit(Kind::ConfigMap, "orders-desired", "/data/desired.json", json!(text));
        world.refresh();
        let plan = planned(&common::config(&json), &world.state, &world.facts);
        let interrupts = plan.diagnostics.to_string().contains("interrupts connections");
        let last_change = plan.planned.get("last_change").as_str().expect("a text").to_owned();
        assert_eq!(interrupts, last_change.contains("restart of PostgreSQL"), "{}", plan.diagnostics);
        assert!(
            last_change.ends_with("repair of drift: ConfigMap/orders-desired data.desired.json"),
            "{last_change}"
        );
        last_change
    };
    let none = "\"parameters\": {}";
    let added = told(json!({}), none, r#""parameters": {"shared_buffers": "1GB", "some.thing": "1"}"#);
    assert!(
        added.contains("standbys one by one, the primary last")
            && added.contains("): parameters.shared_buffers;"),
        "{added}"
    );
    // Back to the default of 100, which is lower.
    let raised = told(json!({}), none, r#""parameters": {"max_connections": "500"}"#);
    assert!(
        raised.contains("the primary first") && raised.contains("): parameters.max_connections;"),
        "{raised}"
    );
    let lowered = told(json!({"max_connections": "200"}), "\"200\"", "\"150\"");
    assert!(
        lowered.contains("the primary last") && lowered.contains("): parameters.max_connections;"),
        "{lowered}"
    );
    let reloaded = told(json!({"work_mem": "8MB"}), "\"8MB\"", "\"9MB\"");
    assert!(reloaded.starts_with("reload: parameters.work_mem; repair of drift"), "{reloaded}");
    let other = told(json!({}), "\"data_checksums\": true", "\"data_checksums\": false");
    assert!(other.starts_with("repair of drift"), "{other}");
}

/// P1: what was known of an instance is not taken for gone while nobody can ask it, and goes with the instance.
#[test]
fn an_instance_that_can_not_be_asked_keeps_its_entries() {
    let mut world = World::create(&common::minimal());
    world.fake.alter_system(1, "work_mem", "64MB");
    world.fake.alter_system(2, "wal_keep_size", "1GB");
    world.refresh();
    let known = world.state.clone();
    assert_eq!(world.drift().len(), 2);
    for state in [InstanceState::Silent, InstanceState::Down, InstanceState::Building] {
        world.fake.instance(1, |instance| (instance.state, instance.altered) = (state, BTreeMap::new()));
        let told = world.told();
        assert!(told.contains("Nothing is heard of the PostgreSQL of orders-1, so"), "{told}");
        assert_eq!(world.state, known, "{state:?}");
    }
    let said = world.fake.get(Kind::ConfigMap, "orders-status")["data"].clone();
    world.fake.edit(Kind::ConfigMap, "orders-status", "/data", Json::Null);
    let told = world.told();
    assert!(told.contains("of orders-0, orders-1, orders-2, so"), "{told}");
    assert_eq!(world.state.get("drift"), known.get("drift"), "without any status");
    world.fake.edit(Kind::ConfigMap, "orders-status", "/data", said);

    world.fake.instance(1, |instance| instance.state = InstanceState::Streaming);
    world.refresh();
    let of_two = ("PostgreSQL/orders-2".to_owned(), "wal_keep_size".to_owned());
    assert_eq!(world.drift(), [of_two], "it was asked, and has none");
    world.fake.edit(Kind::StatefulSet, "orders", "/spec/replicas", json!(2));
    world.fake.instance(2, |instance| {
        (instance.state, instance.altered) = (InstanceState::Silent, BTreeMap::new());
    });
    world.refresh();
    assert_eq!(world.drift(), [], "nobody wants it any more");
}

#[test]
fn a_volume_that_is_too_small_is_drift_that_an_apply_lets_grow() {
    let mut world = World::create(&common::minimal());
    let claim = |world: &mut World, at: usize, pointer: &str, value: Json| {
        let Seen::Known(claims) = &mut world.fake.live.claims else { panic!("claims") };
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
        claims[at].pointer_mut(parent).expect("a parent")[field] = value;
    };
    let size = "/spec/resources/requests/storage";
    claim(&mut world, 0, size, json!("20Gi"));
    world.refresh();
    assert_eq!(world.drift(), [], "larger ones can't be made smaller");
    claim(&mut world, 1, size, json!("5Gi"));
    world.refresh();
    let name = object::name(&world.fake.live.claims.known().expect("claims")[1]).to_owned();
    let field = "spec.resources.requests.storage".to_owned();
    assert_eq!(world.drift(), [(format!("PersistentVolumeClaim/{name}"), field)]);
    let steps = world.change(&common::minimal()).expect("may be changed").steps;
    let key = ObjectKey::new(Kind::PersistentVolumeClaim, name);
    assert!(
        steps.iter().any(|step| matches!(step, Step::Patch { key: grown, .. } if *grown == key)),
        "{steps:?}"
    );
    claim(&mut world, 1, size, json!("10Gi"));

    claim(&mut world, 2, "/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"));
    let told = world.told();
    assert!(told.contains("being deleted") && told.contains("-2"), "{told}");
}

#[test]
fn whoever_changed_a_typed_attribute_is_named() {
    let mut world = World::create(&common::minimal());
    let managed = |field: Json| json!([{"manager": "kubectl-scale", "operation": "Update", "time": "2026-02-03T04:05:06Z", "fieldsV1": field}]);
    world.fake.edit(Kind::StatefulSet, "orders", "/spec/replicas", json!(4));
    let scaled = managed(json!({"f:spec": {"f:replicas": {}}}));
    world.fake.edit(Kind::StatefulSet, "orders", "/metadata/managedFields", scaled);
    let told = world.told();
    assert!(
        told.contains(
            "replicas is 3 and was 2: by \"kubectl-scale\" at 2026-02-03T04:05:06Z, in StatefulSet orders"
        ),
        "{told}"
    );
    assert_eq!(world.told(), "", "said once: the state has it now");

    let mut desired = world.fake.live.desired().expect("a document");
    desired.sync_mode = SyncMode::Async;
    world.fake.edit(Kind::ConfigMap, "orders-desired", "/data/desired.json", json!(desired.to_text()));
    let edited = managed(json!({"f:data": {"f:desired.json": {}}}));
    world.fake.edit(Kind::ConfigMap, "orders-desired", "/metadata/managedFields", edited);
    let told = world.told();
    assert!(told.contains("sync_mode is \"async\" and was \"sync\": by \"kubectl-scale\""), "{told}");
}

/// A plan tries what an apply would write, and not what the cluster began with (P10).
#[test]
fn what_a_plan_tries_is_what_an_apply_would_write() {
    let mut world = World::create(&common::minimal());
    let mut json = common::minimal();
    json["storage"]["size"] = json!("20Gi");
    let tried = |world: &World, json: &Json| {
        world
            .with_job(json, &world.state, |job| steps::of_change(job, &world.fake.live))
            .expect("may be changed")
    };
    let trials = tried(&world, &json);
    let grown: Vec<_> = trials.iter().filter(|trial| matches!(trial, Trial::Patch { .. })).collect();
    assert_eq!(grown.len(), 3, "each volume is asked to grow");
    let set = trials.iter().find_map(|trial| match trial {
        Trial::Apply { object, .. } if object["kind"] == "StatefulSet" => Some(object),
        _ => None,
    });
    let size = "/spec/volumeClaimTemplates/0/spec/resources/requests/storage";
    assert_eq!(set.and_then(|set| set.pointer(size)), Some(&json!("10Gi")), "a template can't be changed");

    let of_create = |world: &World, replaces: bool| {
        let make = |job: &Job<'_>| steps::of_create(job, &world.fake.live, replaces);
        world.with_job(&common::minimal(), &Value::Null, make)
    };
    let refused = of_create(&world, false).unwrap_err();
    assert!(refused.summary.contains("exists already"), "{refused}");
    assert!(!of_create(&world, true).expect("it goes first").is_empty());
    let key = ObjectKey::new(Kind::Service, "orders-rw");
    world.fake.live = LiveCluster::nothing("orders");
    world.fake.live.objects.insert(key.clone(), Seen::Known(json!({"metadata": {"name": "orders-rw"}})));
    let refused = of_create(&world, false).unwrap_err();
    assert!(refused.detail.contains("somebody else's"), "{refused}");
    world.fake.live.objects.insert(key, Seen::Forbidden("no rights".to_owned()));
    assert_eq!(of_create(&world, false), Ok(Vec::new()), "nothing can be told");
}

/// What an autoscaler did is drift of `replicas`; whoever ignores changes of the attribute goes on with the number that is there.
#[test]
fn a_number_of_replicas_that_others_choose_comes_by_the_attribute() {
    let mut world = World::create(&common::minimal());
    world.fake.edit(Kind::StatefulSet, "orders", "/spec/replicas", json!(5));
    world.refresh();
    assert_eq!(world.state.get("replicas"), &Value::int(4));
    assert_eq!(world.state.get("ready"), &Value::Bool(false), "the agents know of no more members");
    let mut json = common::minimal();
    json["replicas"] = json!(4);
    world.apply(&json);
    assert_eq!(world.fake.live.desired().map(|desired| desired.replicas), Some(4));
    assert_eq!(world.fake.live.wanted_pods(), Some(5));
}

#[test]
fn a_network_policy_comes_drifts_and_goes() {
    let mut json = unprotected();
    json["network_policy"] = json!({"metrics_from": []});
    let mut world = World::create(&unprotected());
    world.apply(&json);
    let ingress = |world: &World| world.fake.get(Kind::NetworkPolicy, "orders")["spec"]["ingress"].clone();
    let wanted = ingress(&world);
    assert_eq!(
        wanted.as_array().map(Vec::len),
        Some(2),
        "no rule without peers, which would let in everybody: {wanted}"
    );
    assert_eq!(wanted[1]["from"], json!([{"podSelector": {}}]));

    world.fake.edit(Kind::NetworkPolicy, "orders", "/spec/ingress", json!([{}]));
    world.refresh();
    assert_eq!(world.drift(), [("NetworkPolicy/orders".to_owned(), "spec.ingress".to_owned())]);
    world.apply(&json);
    assert_eq!(ingress(&world), wanted);

    world.apply(&unprotected());
    assert!(world.fake.log.contains(&"delete NetworkPolicy orders".to_owned()), "{:?}", world.fake.log);
    world.apply(&json);
    world.destroy().expect("a destroy");
    assert!(world.fake.live.objects.values().all(Seen::is_missing));
}
