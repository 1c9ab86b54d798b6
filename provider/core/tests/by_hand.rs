//! What hands and missing rights leave behind: volumes that don't grow, objects that may not be read, documents that say anything.
#![allow(missing_docs, clippy::panic)]

mod common;
#[path = "common/fake.rs"]
mod fake;
#[path = "common/world.rs"]
mod world;

use pgha_provider_core::live::Seen;
use pgha_provider_core::object::{self, Kind, ObjectKey};
use pgha_provider_core::step::{Step, Wait, Wish};
use pgha_provider_core::value::Value;
use serde_json::{Value as Json, json};
use world::*;

fn waits_for_growth(steps: &[Step]) -> bool {
    steps.iter().any(|step| matches!(step, Step::Wait(Wait { wish: Wish::Grown { .. }, .. })))
}

#[test]
fn a_volume_that_was_asked_to_grow_and_has_not_is_drift_that_an_apply_waits_for() {
    let mut world = World::create(&common::minimal());
    let Seen::Known(claims) = &mut world.fake.live.claims else { panic!("claims") };
    claims[1]["status"]["capacity"]["storage"] = json!("5Gi");
    let name = object::name(&claims[1]).to_owned();
    world.refresh();
    let field = "status.capacity.storage".to_owned();
    assert_eq!(world.drift(), [(format!("PersistentVolumeClaim/{name}"), field)]);
    let steps = world.change(&common::minimal()).expect("may be changed").steps;
    assert!(waits_for_growth(&steps), "{steps:?}");
    let Seen::Known(claims) = &mut world.fake.live.claims else { panic!("claims") };
    claims[1]["status"]["capacity"]["storage"] = json!("10Gi");
    world.refresh();
    assert_eq!(world.drift(), []);
    let steps = world.change(&common::minimal()).expect("may be changed").steps;
    assert!(!waits_for_growth(&steps), "{steps:?}");
}

#[test]
fn a_size_that_was_refused_can_be_taken_back_to_one_that_is_still_a_growth() {
    let mut world = World::create(&common::minimal());
    let Seen::Known(claims) = &mut world.fake.live.claims else { panic!("claims") };
    for claim in claims.iter_mut() {
        claim["spec"]["resources"]["requests"]["storage"] = json!("40Gi");
        claim["status"]["capacity"]["storage"] = json!("10Gi");
    }
    let name = object::name(&claims[1]).to_owned();
    // The others have got it.
    claims[0]["status"]["capacity"]["storage"] = json!("40Gi");
    world.refresh();
    assert_eq!(world.drift(), [], "a volume that is asked for more than the state says is no drift");
    let mut smaller = common::minimal();
    smaller["storage"]["size"] = json!("20Gi");
    assert!(world.change(&smaller).is_err(), "one of them is larger");
    let Seen::Known(claims) = &mut world.fake.live.claims else { panic!("claims") };
    claims[0]["status"]["capacity"]["storage"] = json!("10Gi");
    let steps = world.change(&smaller).expect("may be changed").steps;
    let asked = steps.iter().filter_map(|step| match step {
        Step::Patch { key, body, .. } if key.name == name => body.pointer("/spec/resources/requests/storage"),
        _ => None,
    });
    assert_eq!(asked.collect::<Vec<_>>(), [&json!("20Gi")], "{steps:?}");
    assert!(waits_for_growth(&steps), "{steps:?}");
    // Kubernetes takes it back to nothing less, so what the volumes have is left as it was asked for.
    let steps = world.change(&common::minimal()).expect("may be changed").steps;
    assert!(!waits_for_growth(&steps), "{steps:?}");
}

#[test]
fn of_a_stateful_set_that_may_not_be_read_the_last_known_number_stays() {
    let mut world = World::create(&common::minimal());
    world.fake.edit(Kind::StatefulSet, "orders", "/spec/replicas", json!(5));
    world.refresh();
    let seen = world.state.clone();
    assert_eq!((seen.get("replicas"), seen.get("ready")), (&Value::int(4), &Value::Bool(false)));
    let set = ObjectKey::new(Kind::StatefulSet, "orders");
    world.fake.live.objects.insert(set, Seen::Forbidden("no right to get it".to_owned()));
    let told = world.told();
    assert!(told.contains("StatefulSet orders: no right to get it"), "{told}");
    for attribute in ["replicas", "ready"] {
        assert_eq!(world.state.get(attribute), seen.get(attribute), "{attribute} is not guessed");
    }
}

#[test]
fn the_largest_generation_there_is_stops_no_change() {
    let mut world = World::create(&common::minimal());
    let text = world.fake.live.desired_text().expect("a document").to_owned();
    let mut document: Json = serde_json::from_str(&text).expect("JSON");
    document["generation"] = json!(u64::MAX);
    world.fake.edit(Kind::ConfigMap, "orders-desired", "/data/desired.json", json!(document.to_string()));
    world.apply(&common::minimal());
    world.nothing_to_do(&common::minimal());
}

#[test]
fn only_names_that_objects_can_have_are_asked_for() {
    assert!(["a", "pgha-agent-0.1.0-part-1", "kube-root-ca.crt"].iter().all(|name| object::is_name(name)));
    let odd = ["", "..", "../secrets/x", "a/b", "Not a name", "ü", "a?b", "%2e", &"x".repeat(254)];
    assert!(odd.iter().all(|name| !object::is_name(name)));
}
