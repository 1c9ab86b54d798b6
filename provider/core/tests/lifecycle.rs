//! Whole lives of clusters against a toy Kubernetes: create, drift, repair, scale, destroy, resume, import.
#![allow(missing_docs, clippy::panic)]

mod common;
#[path = "common/fake.rs"]
mod fake;
#[path = "common/world.rs"]
mod world;

use common::{agent, config, spec};
use fake::{Fake, SYSTEM, holder};
use pgha_provider_core::action::{self, Written};
use pgha_provider_core::diagnostic::Diagnostic;
use pgha_provider_core::facts::Facts;
use pgha_provider_core::ignore::Ignore;
use pgha_provider_core::import::{import, parse_id};
use pgha_provider_core::live::{LiveCluster, Seen, cluster_id};
use pgha_provider_core::object::{self, Kind, ObjectKey};
use pgha_provider_core::outcome;
use pgha_provider_core::progress::progress;
use pgha_provider_core::refresh::{Refreshed, refresh};
use pgha_provider_core::render::{Component, labels};
use pgha_provider_core::rights::{Needs, Operation, Right, needs, of_steps};
use pgha_provider_core::step::{self, Step};
use pgha_provider_core::steps::{self, Job};
use pgha_provider_core::value::Value;
use pgha_schema::credentials::CredentialsRole;
use pgha_schema::desired::SyncMode;
use pgha_schema::ids::{Era, MemberId, SystemIdentifier};
use pgha_schema::names::{ANNOTATION_NEVER_INITIALISED, ANNOTATION_RECORD, ANNOTATION_SYSTEM_IDENTIFIER};
use pgha_schema::record::{Bootstrap, EraEntry, MemberEntry, Record};
use pgha_schema::request::{Answer, Asked, Outcome, Request as AgentRequest};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use world::*;

#[test]
fn a_created_cluster_needs_nothing_more() {
    for json in [common::minimal(), common::everything()] {
        let mut world = World::create(&json);
        assert_eq!(world.state.get("ready"), &Value::Bool(true));
        assert_eq!(world.state.get("system_identifier"), &Value::from(SYSTEM.to_string()));
        assert_eq!(world.fake.secrets.len(), 3);
        assert!(world.fake.shared > 0);
        world.nothing_to_do(&json);
    }
}

#[test]
fn an_imported_cluster_needs_nothing_more() {
    for json in [common::minimal(), common::everything()] {
        let mut world = World::create(&json);
        let (state, facts) = import(&world.fake.live, "0.1.0").expect("an import");
        assert_eq!(facts, world.facts);
        world.state = state;
        world.nothing_to_do(&json);
    }
    let nothing = import(&LiveCluster::nothing("orders"), "0.1.0").unwrap_err();
    assert!(nothing.summary.contains("There is no cluster called orders"));
    let parsed = parse_id("shop/orders").unwrap();
    assert_eq!((&*parsed.namespace, &*parsed.name), ("shop", "orders"));
    for id in ["orders", "a/b/c", "/x", "x/"] {
        assert!(parse_id(id).unwrap_err().detail.contains("namespace/name"), "{id}");
    }
}

#[test]
fn rights_to_network_policies_are_for_those_who_want_one() {
    let key = ObjectKey::new(Kind::NetworkPolicy, "orders");
    let mut world = World::create(&unprotected());
    world.fake.live.objects.insert(key.clone(), Seen::Forbidden("cannot get networkpolicies".to_owned()));
    let mut json = unprotected();
    json["replicas"] = json!(1);
    world.apply(&json);

    json["network_policy"] = json!({});
    let refused = world.change(&json).unwrap_err().to_string();
    assert!(refused.contains("NetworkPolicy orders: cannot get networkpolicies"), "{refused}");

    // Somebody else's of that name stays.
    let theirs = json!({"kind": "NetworkPolicy", "metadata": {"name": "orders", "uid": "theirs"}});
    world.fake.live.objects.insert(key.clone(), Seen::Known(theirs));
    world.destroy().expect("a destroy");
    assert!(world.fake.live.objects[&key].known().is_some());
}

#[test]
fn scale_down_tells_the_agents_first_and_ends_pods_and_volumes_after_their_word() {
    let mut json = common::minimal();
    json["storage"]["retain"] = json!(false);
    let mut world = World::create(&json);
    json["replicas"] = json!(0);
    world.apply(&json);
    let interesting: Vec<&String> = world
        .fake
        .log
        .iter()
        .filter(|line| {
            ["StatefulSet", "desired", "wait", "Claim", "Disruption"].iter().any(|word| line.contains(word))
        })
        .collect();
    assert_eq!(
        interesting,
        [
            "apply StatefulSet orders with 3 pods",
            "apply ConfigMap orders-desired",
            "delete PodDisruptionBudget orders",
            "wait Acknowledged",
            "apply StatefulSet orders with 1 pods",
            "wait PodsGone",
            "delete PersistentVolumeClaim data-orders-1",
            "delete PersistentVolumeClaim data-orders-2",
            "wait ClaimsGone",
        ]
    );
}

#[test]
fn growth_patches_claims_and_leaves_the_template_alone() {
    let mut world = World::create(&common::minimal());
    let mut json = common::minimal();
    json["storage"]["size"] = json!("20Gi");
    world.apply(&json);
    let claims = world.fake.live.claims_by_ordinal();
    assert!(claims.values().all(|claim| claim["spec"]["resources"]["requests"]["storage"] == "20Gi"));
    let template = "/spec/volumeClaimTemplates/0/spec/resources/requests/storage";
    assert_eq!(world.fake.get(Kind::StatefulSet, "orders").pointer(template), Some(&json!("10Gi")));
}

#[test]
fn a_destroyed_cluster_leaves_its_volumes_and_resumes_from_them() {
    let mut world = World::create(&unprotected());
    let era = world.fake.live.record().expect("a record").era();
    world.destroy().expect("a destroy");
    assert_eq!(
        &world.fake.log[..4],
        ["patch ConfigMap orders-desired", "wait Stopped", "patch StatefulSet orders", "wait PodsGone"]
    );
    assert!(world.fake.live.objects.values().all(Seen::is_missing));
    assert!(world.fake.secrets.is_empty());
    let claims = world.fake.live.claims_by_ordinal();
    assert_eq!(claims.len(), 3);
    assert!(claims.values().all(|claim| object::annotation(claim, ANNOTATION_RECORD).is_some()));
    assert_eq!(refresh(&world.state, &world.facts, &world.fake.live, &world.ignore), Refreshed::Gone);

    let old_anchor = world.facts.anchor_uid.clone();
    let resumed = World::create_in(&unprotected(), world.fake).expect("a resume");
    let record = resumed.fake.live.record().expect("a record");
    assert_eq!(
        (record.bootstrap, record.system_identifier),
        (Bootstrap::Done, Some(SystemIdentifier(SYSTEM)))
    );
    assert!(record.era() > era);
    assert_ne!(Some(record.anchor_uid), old_anchor);
    // It would grow old, and a create that resumed from it would forget eras.
    let claims = resumed.fake.live.claims_by_ordinal();
    assert!(claims.values().all(|claim| object::annotation(claim, ANNOTATION_RECORD).is_none()));
}

/// Kept volumes say which `bootstrap` their data was made with, and go on saying it whatever is configured over them.
#[test]
fn a_create_over_kept_volumes_tells_whose_bootstrap_counts() {
    let told = |fake: &Fake, json: &Json| {
        let world = World { fake: fake.clone(), ..World::create(&unprotected()) };
        let told = world.with_job(json, &Value::Null, |job| steps::resumption(job, &world.fake.live));
        told.map(|told| told.to_string())
    };
    let mut world = World::create(&unprotected());
    assert_eq!(told(&Fake::new("orders"), &unprotected()), None, "there is nothing to go on from");
    world.destroy().expect("a destroy");
    let same = told(&world.fake, &unprotected()).expect("a warning");
    assert!(
        same.contains("data-orders-0, data-orders-1") && same.contains("made with the same one"),
        "{same}"
    );
    let mut other = unprotected();
    other["bootstrap"] = json!({"database": "shop"});
    let told_other = |fake: &Fake| {
        let text = told(fake, &other).expect("a warning");
        assert!(text.contains(r#"database is "app", not "shop"."#) && text.contains("orders-app"), "{text}");
    };
    told_other(&world.fake);
    // Made all the same, and destroyed again.
    let mut resumed = World::create_in(&other, world.fake).expect("a resume");
    resumed.destroy().expect("a destroy");
    told_other(&resumed.fake);
    let Seen::Known(claims) = &mut resumed.fake.live.claims else { panic!("claims") };
    for claim in claims {
        claim["metadata"]["annotations"]["pgha/bootstrap"] = Json::Null;
    }
    let unknown = told(&resumed.fake, &other).expect("a warning");
    assert!(unknown.contains("Nothing tells with which one"), "{unknown}");
}

/// Told in the plan, and deleted by the apply: the same claims.
#[test]
fn volumes_that_scale_downs_kept_are_deleted_once_volumes_are_not_kept() {
    let mut world = World::create(&unprotected());
    let mut json = unprotected();
    json["replicas"] = json!(0);
    world.apply(&json);
    json["storage"]["retain"] = json!(false);
    let claims =
        |world: &World| world.with_job(&json, &world.state, |job| steps::kept_claims(job, &world.fake.live));
    let kept = claims(&world).expect("a list");
    assert_eq!(kept, ["data-orders-1", "data-orders-2"]);
    let steps = world.change(&json).expect("may be changed").steps;
    let deleted = steps.iter().filter_map(|step| match step {
        Step::Delete { key, .. } if key.kind == Kind::PersistentVolumeClaim => Some(key.name.clone()),
        _ => None,
    });
    assert_eq!(deleted.collect::<Vec<_>>(), kept);
    world.fake.live.claims = Seen::Forbidden("no rights".to_owned());
    assert_eq!(claims(&world), None);
}

#[test]
fn without_retain_nothing_is_left() {
    let mut json = unprotected();
    json["storage"]["retain"] = json!(false);
    let mut world = World::create(&json);
    world.destroy().expect("a destroy");
    assert!(world.fake.live.objects.values().all(Seen::is_missing));
    assert!(world.fake.live.claims_by_ordinal().is_empty());
}

#[test]
fn a_cluster_that_never_had_data_leaves_volumes_that_count_as_empty() {
    let mut world = World::create(&common::minimal());
    // As if initdb had never run.
    world.state.set_at("system_identifier", Value::Null);
    let initial = Record::initial("uid", SyncMode::Sync);
    let text = json!(serde_json::to_string(&initial).expect("JSON"));
    world.fake.edit(Kind::Lease, "orders", "/metadata/annotations/pgha~1record", text);
    world.fake.edit(Kind::StatefulSet, "orders", "/metadata/annotations/pgha~1system-identifier", Json::Null);
    world.fake.edit(Kind::ConfigMap, "orders-status", "/data", json!({}));
    let Seen::Known(claims) = &mut world.fake.live.claims else { panic!("claims") };
    for claim in claims {
        claim["metadata"]["annotations"] = json!({});
    }
    world.destroy().expect("protection is about data");
    let claims = world.fake.live.claims_by_ordinal();
    assert!(
        claims.values().all(|claim| object::annotation(claim, ANNOTATION_NEVER_INITIALISED) == Some("true"))
    );
    let made = World::create_in(&common::minimal(), world.fake).expect("a create over empty volumes");
    let claims = made.fake.live.claims_by_ordinal();
    assert!(claims.values().all(|claim| object::annotation(claim, ANNOTATION_NEVER_INITIALISED).is_none()));
}

fn claim(ordinal: u32, annotations: Json) -> Json {
    json!({"metadata": {"name": format!("data-orders-{ordinal}"), "uid": "c", "annotations": annotations}})
}

fn kept(system: u64, era: u64, holder_ordinal: u32, voter_ordinal: u32) -> Json {
    let voter = MemberId::new("m1");
    let pod = format!("orders-{voter_ordinal}");
    let record = Record {
        bootstrap: Bootstrap::Done,
        system_identifier: Some(SystemIdentifier(system)),
        holder: Some(holder(&format!("orders-{holder_ordinal}"))),
        eras: vec![EraEntry { era: Era(era), parent: None, timeline: None, start: None }],
        voters: [voter.clone()].into(),
        members: [(voter, MemberEntry { pod, node: String::new() })].into(),
        ..Record::initial("old", SyncMode::Sync)
    };
    json!({ANNOTATION_RECORD: serde_json::to_string(&record).expect("JSON")})
}

fn over(claims: Vec<Json>) -> Result<World, Diagnostic> {
    let mut fake = Fake::new("orders");
    fake.live.claims = Seen::Known(claims);
    World::create_in(&common::minimal(), fake)
}

#[test]
fn volumes_that_can_not_be_judged_are_refused_before_the_first_write() {
    let unknown = over(vec![claim(0, json!({}))]).err().expect("a refusal");
    assert!(
        unknown.detail.contains("kubectl delete pvc data-orders-0")
            && unknown.detail.contains("another name")
    );

    let two = over(vec![claim(0, kept(1, 1, 0, 1)), claim(1, kept(2, 1, 0, 1))]).err().expect("a refusal");
    assert!(two.summary.contains("two different databases"), "{two}");

    let few = over(vec![claim(0, kept(SYSTEM, 4, 0, 3))]).err().expect("a refusal");
    assert!(few.detail.contains("replicas must be at least 3"), "{few}");

    // Marked as empty, and then initialised behind our back.
    let marked = json!({ANNOTATION_NEVER_INITIALISED: "true", ANNOTATION_SYSTEM_IDENTIFIER: "1"});
    assert!(over(vec![claim(0, marked)]).is_err());

    let resumed = over(vec![claim(0, kept(SYSTEM, 3, 2, 0)), claim(1, kept(SYSTEM, 7, 0, 1))])
        .unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(resumed.fake.live.record().expect("a record").era(), Era(8), "the highest era counts");
}

#[test]
fn a_taken_name_is_refused_and_names_import() {
    let world = World::create(&common::minimal());
    let config = config(&common::minimal());
    let spec = spec(common::minimal());
    let (anchor, agent, facts) = (steps::config_for_anchor(&config), agent(), Facts::default());
    let job = Job {
        spec: &spec,
        prior: &Value::Null,
        config: &anchor,
        facts: &facts,
        ignore: &Ignore::default(),
        agent: &agent,
        gzipped: &[1],
        superuser_password: None,
    };
    let step = format!("{:?}", steps::create_anchor(&job, &world.fake.live).expect("the POST decides"));
    assert!(step.contains("terraform import ADDRESS shop/orders"), "{step}");

    let mut without_anchor = world.fake.live.clone();
    without_anchor.objects.insert(ObjectKey::new(Kind::ConfigMap, "orders-anchor"), Seen::Missing);
    assert!(steps::create_anchor(&job, &without_anchor).unwrap_err().summary.contains("exists already"));
}

/// Objects of others would be changed by the cluster, and deleted with it.
#[test]
fn objects_of_others_are_not_taken_over() {
    let agent = agent();
    let (config, facts) = (steps::config_for_anchor(&config(&common::minimal())), Facts::default());
    let ignore = Ignore::default();
    let first_step = |json: Json, live: &LiveCluster| {
        let spec = spec(json);
        let job = Job {
            spec: &spec,
            prior: &Value::Null,
            config: &config,
            facts: &facts,
            ignore: &ignore,
            agent: &agent,
            gzipped: &[1],
            superuser_password: None,
        };
        steps::create_anchor(&job, live).map(drop)
    };
    let empty = Fake::new("orders").live;
    first_step(common::minimal(), &empty).expect("nothing is there");
    let with = |key: &ObjectKey, labels: Json| {
        let mut live = empty.clone();
        let object = json!({"kind": key.kind.name(), "metadata": {"name": key.name, "labels": labels}});
        live.objects.insert(key.clone(), Seen::Known(object));
        live
    };
    let own = labels("orders", Component::Network);
    for key in LiveCluster::keys(&empty.names) {
        let always = [Kind::StatefulSet, Kind::Lease].contains(&key.kind);
        if key.name == empty.names.anchor() || always {
            continue;
        }
        let policy = key.kind == Kind::NetworkPolicy;
        let mut json = common::minimal();
        if policy {
            first_step(json.clone(), &with(&key, json!({}))).expect("the cluster is to have none");
            json["network_policy"] = json!({});
        }
        for labels in [json!({}), labels("payments", Component::Network)] {
            let refused = first_step(json.clone(), &with(&key, labels)).unwrap_err();
            assert!(refused.summary.contains(&key.to_string()), "{key}: {}", refused.summary);
        }
        first_step(json, &with(&key, own.clone())).expect("what a half-made one left is gone on with");
    }
}

#[test]
fn a_protected_or_foreign_cluster_is_not_destroyed() {
    let mut world = World::create(&common::minimal());
    let refused = world.destroy().unwrap_err();
    assert!(
        refused.detail.contains("deletion_protection = false")
            && refused.detail.contains("terraform untaint")
    );
    // A tainted create without a known identifier: the live facts tell.
    world.state.set_at("system_identifier", Value::Null);
    assert!(world.destroy().is_err());

    let mut world = World::create(&unprotected());
    world.facts.anchor_uid = Some("of another life".to_owned());
    let refused = world.destroy().unwrap_err();
    assert!(refused.summary.contains("Another cluster is called orders now"));
    assert!(world.fake.log.is_empty(), "nothing was done");
    match refresh(&world.state, &world.facts, &world.fake.live, &world.ignore) {
        Refreshed::Refused(why) => assert!(why.detail.contains("terraform state rm")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn gone_needs_a_proof() {
    let world = World::create(&common::minimal());
    let mut nothing = LiveCluster::nothing("orders");
    let judged = |live: &LiveCluster| refresh(&world.state, &world.facts, live, &world.ignore);
    assert!(matches!(judged(&nothing), Refreshed::Refused(why) if why.detail.contains("terraform state rm")));
    nothing.cluster_id = Some(cluster_id("another certificate"));
    assert!(
        matches!(judged(&nothing), Refreshed::Refused(why) if why.detail.contains("another Kubernetes cluster"))
    );
    nothing.cluster_id.clone_from(&world.facts.cluster_id);
    assert_eq!(judged(&nothing), Refreshed::Gone);
    nothing.objects.insert(ObjectKey::new(Kind::Lease, "orders"), Seen::Forbidden("no".to_owned()));
    assert!(matches!(judged(&nothing), Refreshed::Present { .. }));
}

#[test]
fn where_nothing_may_be_read_nothing_was_refreshed() {
    let world = World::create(&common::minimal());
    let judged = |live: &LiveCluster| refresh(&world.state, &world.facts, live, &world.ignore);
    let mut live = world.fake.live.clone();
    for object in live.objects.values_mut() {
        *object = Seen::Forbidden("no rights".to_owned());
    }
    match judged(&live) {
        Refreshed::Refused(why) => assert!(why.detail.contains("no rights"), "{why}"),
        other => panic!("{other:?}"),
    }
    // The anchor is enough to hold the rest against.
    let anchor = ObjectKey::new(Kind::ConfigMap, "orders-anchor");
    let there = world.fake.live.objects[&anchor].clone();
    live.objects.insert(anchor, there);
    assert!(matches!(judged(&live), Refreshed::Present { .. }));
}

#[test]
fn what_may_not_be_read_is_named_and_keeps_its_prior_value() {
    let mut world = World::create(&common::minimal());
    let key = ObjectKey::new(Kind::ConfigMap, "orders-status");
    world.fake.live.objects.insert(key, Seen::Forbidden("no rights".to_owned()));
    match refresh(&world.state, &world.facts, &world.fake.live, &world.ignore) {
        Refreshed::Present { state, diagnostics } => {
            assert_eq!(state, world.state);
            assert!(diagnostics.to_string().contains("ConfigMap orders-status: no rights"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_apply_stops_before_its_first_write_when_more_would_go_than_the_plan_said() {
    let mut world = World::create(&common::minimal());
    let mut json = common::minimal();
    json["replicas"] = json!(1);
    world.fake.edit(Kind::StatefulSet, "orders", "/spec/replicas", json!(7));
    let refused = world.change(&json).unwrap_err();
    assert!(refused.detail.contains("knew of 2 replicas, there are 6"), "{refused}");
}

#[test]
fn a_failed_apply_taints_only_what_never_served_and_claims_nothing_that_is_not_so() {
    let mut world = World::create(&common::minimal());
    let failure = || Some(Diagnostic::error("Timed out", "orders-2 can't be scheduled"));
    let plan = planned(&config(&common::minimal()), &Value::Null, &Facts::default());
    let served = outcome::created(&plan.planned, &world.fake.live, failure());
    assert!(
        !served.diagnostics.has_errors()
            && served.diagnostics.to_string().contains("orders-2 can't be scheduled")
    );
    assert_eq!(served.state.get("ready"), &Value::Bool(false));
    let never = outcome::created(&plan.planned, &LiveCluster::nothing("orders"), failure());
    assert!(never.diagnostics.has_errors());
    assert!(never.state.is_wholly_known() && never.state.get("system_identifier").is_null());

    world.refresh();
    let mut json = common::minimal();
    json["sync_mode"] = json!("async");
    let plan = planned(&config(&json), &world.state, &world.facts);
    let failed = outcome::updated(&plan.planned, &world.state, &world.fake.live, failure());
    assert_eq!(failed.state.get("sync_mode"), &Value::from("sync"));
    assert_eq!(failed.state.get("ready"), &Value::Bool(false));
}

#[test]
fn a_scale_down_that_was_cut_off_after_the_agents_word_is_gone_on_with() {
    let mut world = World::create(&common::minimal());
    let mut json = common::minimal();
    json["replicas"] = json!(1);
    let all = world.change(&json).expect("may be changed").steps;
    let cut = all.iter().position(|step| matches!(step, Step::Wait(_))).expect("a wait");
    world.fake.run(all[..=cut].to_vec());
    assert_eq!(world.fake.live.wanted_pods(), Some(3), "the pods have not gone yet");
    world.refresh();
    assert_eq!(
        (world.state.get("replicas"), world.state.get("ready")),
        (&Value::int(1), &Value::Bool(false))
    );
    world.apply(&json);
    assert_eq!(world.fake.live.wanted_pods(), Some(2));
}

#[test]
fn pods_in_which_nothing_runs_are_made_anew_from_a_mended_template() {
    let mut world = World::create(&common::minimal());
    let pod = |ordinal: u32, phase: &str| {
        json!({"metadata": {"name": format!("orders-{ordinal}"), "uid": format!("pod-{ordinal}"),
               "annotations": {"pgha/template-hash": "older"}}, "status": {"phase": phase}})
    };
    // Its template would do, but its agent ends again and again.
    let mut looping = pod(2, "Running");
    looping["metadata"]["annotations"] = json!({"pgha/agent-hash": "broken"});
    looping["status"]["containerStatuses"] =
        json!([{"name": "postgres", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]);
    world.fake.live.pods = Seen::Known(vec![pod(0, "Running"), pod(1, "Pending"), looping]);
    let mut json = common::minimal();
    json["postgres_version"] = json!("18.1");
    let all = world.change(&json).expect("may be changed").steps;
    let deleted: Vec<_> = all
        .iter()
        .filter_map(|step| match step {
            Step::Delete { key, uid } => Some((key.to_string(), uid.clone())),
            _ => None,
        })
        .collect();
    let pod = |ordinal: u32| (format!("Pod orders-{ordinal}"), Some(format!("pod-{ordinal}")));
    assert_eq!(deleted, [pod(1), pod(2)]);
}

/// RBAC lets nobody give what he lacks: what is looked for before a create is just what the agents' Role holds.
#[test]
fn the_rights_that_are_given_on_are_those_of_the_agents_role() {
    let world = World::create(&common::minimal());
    let words = |value: &Json| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Json::as_str).map(str::to_owned).collect()
    };
    let mut held = BTreeSet::new();
    for rule in world.fake.get(Kind::Role, "orders")["rules"].as_array().expect("rules") {
        let [groups, resources, verbs] = [&rule["apiGroups"], &rule["resources"], &rule["verbs"]].map(words);
        for verb in verbs {
            held.insert((groups.concat(), resources.concat(), verb));
        }
    }
    let given = needs(Operation::Create, false).given.into_iter();
    let given: BTreeSet<_> = given
        .map(|right| (right.kind.group().to_owned(), right.kind.plural().to_owned(), right.verb.to_owned()))
        .collect();
    assert_eq!(held, given);
}

fn needs_of_change(world: &World, json: &Json) -> Needs {
    of_steps(&world.change(json).expect("may be changed").steps, &world.fake.live)
}

#[test]
fn what_a_change_needs_is_what_its_steps_take() {
    let with = |field: &str, value: Json| {
        let mut json = common::minimal();
        json[field] = value;
        json
    };
    let world = World::create(&common::minimal());
    let usual = needs_of_change(&world, &with("parameters", json!({"work_mem": "8MB"})));
    let never = ["delete", "update"];
    assert!(!usual.used.iter().any(|right| never.contains(&right.verb)), "{:?}", usual.used);
    assert!(usual.given.is_empty(), "{:?}", usual.given);
    let mut fewer = with("replicas", json!(1));
    fewer["storage"]["retain"] = json!(false);
    let table = [
        (with("network_policy", json!({})), Kind::NetworkPolicy, "create"),
        (with("replicas", json!(0)), Kind::PodDisruptionBudget, "delete"),
        (with("storage", json!({"size": "20Gi"})), Kind::PersistentVolumeClaim, "patch"),
        (fewer, Kind::PersistentVolumeClaim, "delete"),
        (with_password("hunter2", 1), Kind::Secret, "update"),
    ];
    for (json, kind, verb) in table {
        let right = Right { kind, verb };
        assert!(!usual.used.contains(&right), "{right:?}");
        assert!(needs_of_change(&world, &json).used.contains(&right), "{right:?} for {json}");
    }
}

#[test]
fn the_agents_rights_are_needed_when_the_change_gives_them_anew() {
    let mut world = World::create(&common::minimal());
    let given = needs(Operation::Create, false).given;
    let mut labelled = common::minimal();
    labelled["labels"] = json!({"team": "shop"});
    assert_eq!(needs_of_change(&world, &labelled).given, given);
    world.fake.edit(Kind::Role, "orders", "/rules/0/verbs", json!(["get"]));
    assert_eq!(needs_of_change(&world, &common::minimal()).given, given);
    world.fake.remove(Kind::Role, "orders");
    let needs = needs_of_change(&world, &common::minimal());
    assert!(needs.used.contains(&Right { kind: Kind::Role, verb: "create" }), "{:?}", needs.used);
    assert_eq!(needs.given, given);
}

fn with_password(password: &str, version: u32) -> Json {
    let mut json = common::minimal();
    json["superuser_password_wo"] = json!(password);
    json["superuser_password_wo_version"] = json!(version);
    json
}

#[test]
fn a_given_password_is_written_when_its_number_changes_and_kept_nowhere() {
    let mut world = World::create(&with_password("hunter2", 1));
    assert!(world.fake.log.contains(&"write Secret orders-superuser".to_owned()), "{:?}", world.fake.log);
    world.nothing_to_do(&with_password("another, not told", 1));
    world.apply(&with_password("hunter3", 2));
    assert!(world.fake.log.contains(&"write Secret orders-superuser".to_owned()), "{:?}", world.fake.log);
    let wanted = world.fake.live.desired().expect("a document");
    assert_eq!((wanted.credentials.superuser, wanted.credentials.app), (wanted.generation, 0));
    let everything = format!("{:?}{:?}", world.fake.live, world.state);
    assert!(!everything.contains("hunter"), "the password is in an object or in the state");
    assert!(world.state.get("superuser_password_wo").is_null());

    let mut other = with_password("hunter3", 2);
    other["replicas"] = json!(1);
    world.apply(&other);
    assert!(!world.fake.log.contains(&"write Secret orders-superuser".to_owned()), "its number is the same");
    assert_eq!(world.fake.live.desired().expect("a document").credentials, wanted.credentials);
    // While the number stays, nobody has to have the password.
    other["superuser_password_wo"] = Json::Null;
    world.nothing_to_do(&other);
    // Without both the password stays as it is.
    world.apply(&common::minimal());
    assert!(!world.fake.log.contains(&"write Secret orders-superuser".to_owned()), "{:?}", world.fake.log);
}

fn request(id: &str) -> AgentRequest {
    AgentRequest { id: id.to_owned(), asked: Asked::Switchover { to: None } }
}

impl World {
    /// What an action writes, onto what is there; the agents acknowledge it.
    fn write(&mut self, written: &Written) {
        let key = ObjectKey::new(Kind::ConfigMap, "orders-desired");
        let object = &written.object;
        let there = self.fake.live.objects[&key].known().expect("is there").clone();
        assert_eq!(object::uid(object), object::uid(&there), "the precondition");
        assert_eq!(object["metadata"]["resourceVersion"], there["metadata"]["resourceVersion"]);
        assert_eq!(object["metadata"]["labels"], there["metadata"]["labels"], "nothing is given up");
        let data = object["data"].clone();
        self.fake.edit(Kind::ConfigMap, "orders-desired", "/data", data);
        self.fake.run(vec![Step::Wait(step::Wait {
            wish: step::Wish::Acknowledged { generation: written.generation, sha256: written.sha256.clone() },
            limit: step::Limit::Operation,
        })]);
    }
}

#[test]
fn a_request_of_an_action_is_no_drift_and_outlives_an_apply() {
    let mut world = World::create(&common::minimal());
    let written = action::with_request(&world.fake.live, &request("r1")).expect("a request");
    world.write(&written);
    world.nothing_to_do(&common::minimal());
    assert_eq!(world.state.get("ready"), &Value::Bool(true));
    assert_eq!(world.drift(), []);

    let mut json = common::minimal();
    json["parameters"] = json!({"work_mem": "8MB"});
    world.apply(&json);
    assert_eq!(world.fake.live.desired().expect("a document").requests, [request("r1")]);
    // A hand edit beside the request is drift as ever.
    let text = world.fake.live.desired_text().expect("a document").replace("8MB", "9MB");
    world.fake.edit(Kind::ConfigMap, "orders-desired", "/data/desired.json", json!(text));
    world.refresh();
    assert_eq!(world.drift(), [("ConfigMap/orders-desired".to_owned(), "data.desired.json".to_owned())]);
}

#[test]
fn answered_requests_go_and_one_that_nobody_took_up_can_be_withdrawn() {
    let mut world = World::create(&common::minimal());
    for id in ["r1", "r2"] {
        let written = action::with_request(&world.fake.live, &request(id)).expect("a request");
        world.write(&written);
    }
    let waits =
        |id: &str, live: &LiveCluster| progress(&step::Wish::Answered { id: id.to_owned() }, live, live, 0);
    assert!(matches!(waits("r1", &world.fake.live), step::Progress::Working(_)));
    let withdrawn =
        action::without_request(&world.fake.live, "r2").expect("may be written").expect("is there");
    world.write(&withdrawn);
    assert_eq!(action::without_request(&world.fake.live, "r2"), Ok(None), "it is gone");
    assert!(matches!(waits("r2", &world.fake.live), step::Progress::Failed(_)), "nobody will answer it");

    let mut record = world.fake.live.record().expect("a record");
    let answer = |outcome| Answer { id: "r1".into(), asked: "switchover".into(), outcome, text: "so".into() };
    record.answers = vec![answer(Outcome::Refused)];
    let pointer = format!("/metadata/annotations/{}", ANNOTATION_RECORD.replace('/', "~1"));
    let text = serde_json::to_string(&record).expect("JSON");
    world.fake.edit(Kind::Lease, "orders", &pointer, json!(text));
    assert_eq!(waits("r1", &world.fake.live), step::Progress::Done);
    assert_eq!(action::without_request(&world.fake.live, "r1"), Ok(None), "it was taken up");
    let written = action::with_request(&world.fake.live, &request("r3")).expect("a request");
    world.write(&written);
    assert_eq!(world.fake.live.desired().expect("a document").requests, [request("r3")]);

    assert_eq!(action::outcome(&answer(Outcome::Done)), Ok("so".to_owned()));
    for (outcome, words) in
        [(Outcome::Refused, "was refused"), (Outcome::Reverted, "undone"), (Outcome::Failed, "otherwise")]
    {
        let told = action::outcome(&answer(outcome)).unwrap_err();
        assert!(told.summary.contains(words) && told.detail.contains("The agent says: so."), "{told}");
    }
}

#[test]
fn a_rotation_writes_secrets_with_a_number_and_asks_for_them_to_be_in_force() {
    let mut world = World::create(&common::minimal());
    let rotation = action::rotation(&[], &world.fake.live, &agent()).expect("a rotation");
    assert_eq!(rotation.roles, [CredentialsRole::App, CredentialsRole::Superuser]);
    for step in &rotation.secrets {
        let Step::WriteSecret(secret) = step else { panic!("{step:?}") };
        assert_eq!(secret.object["stringData"]["rotation"], json!(rotation.number.to_string()));
        assert!(secret.given.is_empty() && secret.random.len() == 1);
    }
    world.write(&action::with_rotation(&world.fake.live, &rotation).expect("a document"));
    let credentials = world.fake.live.desired().expect("a document").credentials;
    assert_eq!((credentials.superuser, credentials.app), (rotation.number, rotation.number));
    world.nothing_to_do(&common::minimal());
    let again = action::rotation(&[CredentialsRole::App], &world.fake.live, &agent()).expect("a rotation");
    assert!(again.number > rotation.number && again.roles == [CredentialsRole::App]);
}

#[test]
fn what_the_configuration_gives_is_not_rotated() {
    let world = World::create(&with_password("hunter2", 1));
    let all = action::rotation(&[], &world.fake.live, &agent()).expect("a rotation");
    assert_eq!(all.roles, [CredentialsRole::App]);
    let refused = action::rotation(&[CredentialsRole::Superuser], &world.fake.live, &agent()).unwrap_err();
    assert!(refused.to_string().starts_with("error: roles: The configuration gives"), "{refused}");
}

#[test]
fn an_action_needs_a_cluster_whose_desired_state_it_knows() {
    let nothing = LiveCluster::nothing("orders");
    let refused = action::with_request(&nothing, &request("r")).unwrap_err();
    assert!(refused.summary.contains("There is no cluster called orders"), "{refused}");
    let mut world = World::create(&common::minimal());
    let text = world.fake.live.desired_text().expect("a document").replace("\"format\": 1", "\"format\": 9");
    world.fake.edit(Kind::ConfigMap, "orders-desired", "/data/desired.json", json!(text));
    let refused = action::with_request(&world.fake.live, &request("r")).unwrap_err();
    assert!(refused.summary.contains("can't be used"), "{refused}");
}

#[test]
fn what_this_provider_does_not_know_of_the_desired_state_stays() {
    let mut world = World::create(&common::minimal());
    let text = world.fake.live.desired_text().expect("a document").replacen('{', "{\"later\": 1,", 1);
    world.fake.edit(Kind::ConfigMap, "orders-desired", "/data/desired.json", json!(text));
    let written = action::with_request(&world.fake.live, &request("r")).expect("a request");
    let text = written.object["data"]["desired.json"].as_str().expect("a text");
    assert!(text.contains("\"later\": 1"), "{text}");
}
