//! Drift of what a cluster shares with others, and of what is made for it: the parts of the agent, and pods.
#![allow(missing_docs, clippy::panic)]

mod common;
#[path = "common/fake.rs"]
mod fake;
#[path = "common/world.rs"]
mod world;

use fake::Fake;
use pgha_provider_core::drift::drift;
use pgha_provider_core::ignore::Ignore;
use pgha_provider_core::live::{LiveCluster, Seen};
use pgha_provider_core::object::{Kind, ObjectKey};
use serde_json::{Value as Json, json};
use world::*;

#[test]
fn the_parts_of_the_agent_are_there_and_the_cluster_is_among_their_owners() {
    let chunk = |live: &LiveCluster| live.chunks_wished().into_iter().next().expect("a chunk");
    let head = |live: &LiveCluster| live.head_wished().expect("a head");
    let others = || {
        Seen::Known(json!({"metadata": {"uid": "uid-of-the-head", "ownerReferences": [{"uid": "another"}]}}))
    };
    let part: [fn(&LiveCluster) -> String; 2] = [chunk, head];
    for (part, is, field) in part
        .into_iter()
        .flat_map(|part| [(part, Seen::Missing, ""), (part, others(), "metadata.ownerReferences")])
    {
        let mut world = World::create(&common::minimal());
        let name = part(&world.fake.live);
        world.nothing_to_do(&common::minimal());
        world.fake.live.chunks.insert(name.clone(), is);
        world.refresh();
        assert_eq!(world.drift(), [(format!("ConfigMap/{name}"), field.to_owned())]);
        world.apply(&common::minimal());
        assert!(world.drift().is_empty());
    }
    let mut world = World::create(&common::minimal());
    let name = chunk(&world.fake.live);
    world.fake.live.chunks.insert(name.clone(), Seen::Forbidden("no right".to_owned()));
    let unseen = drift(&world.fake.anchor, &world.fake.live, &Ignore::default()).unreadable;
    assert_eq!(unseen, [format!("ConfigMap {name}: no right")]);
}

#[test]
fn a_cluster_of_an_older_provider_owns_the_parts_itself() {
    let mut world = World::create(&common::minimal());
    let anchor = world.fake.live.anchor_uid().expect("an anchor").to_owned();
    let head = world.fake.live.head_wished().expect("a head");
    world.fake.live.chunks.insert(head, Seen::Missing);
    for name in world.fake.live.chunks_wished() {
        let chunk = Seen::Known(json!({"metadata": {"name": name, "ownerReferences": [{"uid": anchor}]}}));
        world.fake.live.chunks.insert(name, chunk);
    }
    world.nothing_to_do(&common::minimal());
}

/// Pods of the live template, as the controller makes them and admission adds to them, by its revision.
fn made(fake: &Fake, revision: &str, edit: impl Fn(u32, &mut Json)) -> Seen<Vec<Json>> {
    let key = ObjectKey::new(Kind::StatefulSet, "orders");
    let template = fake.live.objects[&key].known().expect("a StatefulSet")["spec"]["template"].clone();
    let pod = |ordinal: u32| {
        let mut pod = template.clone();
        pod["metadata"]["name"] = json!(format!("orders-{ordinal}"));
        pod["metadata"]["uid"] = json!(format!("uid-{ordinal}"));
        pod["metadata"]["labels"]["controller-revision-hash"] = json!(revision);
        pod["spec"]["tolerations"] = json!([{"key": "node.kubernetes.io/not-ready"}]);
        edit(ordinal, &mut pod);
        pod
    };
    Seen::Known((0..3).map(pod).collect())
}

#[test]
fn a_pod_of_an_edited_template_is_drift_and_rolled_once_the_template_is_mended() {
    let image = "/spec/containers/0/image";
    let edited = |ordinal: u32, pod: &mut Json| {
        if ordinal == 1 {
            *pod.pointer_mut(image).expect("an image") = json!("somebody/else");
            pod["metadata"]["labels"]["controller-revision-hash"] = json!("edited");
        }
    };
    let entry = ("Pod/orders-1".to_owned(), "spec.containers[name=\"postgres\"].image".to_owned());
    let mut world = World::create(&common::minimal());
    world.fake.edit(Kind::StatefulSet, "orders", "/status", json!({"updateRevision": "right"}));
    world.fake.live.pods = made(&world.fake, "right", edited);
    world.refresh();
    assert_eq!(world.drift(), [entry]);
    let planned = planned(&common::config(&common::minimal()), &world.state, &world.facts);
    let told = planned.planned.get("last_change").as_str().expect("known").to_owned();
    assert!(
        told.contains("rolling restart of instances whose pods were made from an edited template"),
        "{told}"
    );
    world.fake.log.clear();
    world.apply(&common::minimal());
    let patched: Vec<_> = world.fake.log.iter().filter(|line| line.contains("Pod ")).collect();
    assert_eq!(patched, ["patch Pod orders-1"]);
}

#[test]
fn pods_that_a_policy_changes_or_another_agent_was_made_with_are_as_they_should_be() {
    let mut world = World::create(&common::minimal());
    world.fake.edit(Kind::StatefulSet, "orders", "/status", json!({"updateRevision": "right"}));
    let by_policy = |_, pod: &mut Json| pod["spec"]["containers"][0]["image"] = json!("mirror/postgres");
    world.fake.live.pods = made(&world.fake, "right", by_policy);
    world.nothing_to_do(&common::minimal());
    let of_another_agent = |_, pod: &mut Json| {
        pod["spec"]["initContainers"][0]["command"] = json!(["another"]);
        pod["metadata"]["annotations"]["pgha/agent-hash"] = json!("another");
    };
    world.fake.live.pods = made(&world.fake, "older", of_another_agent);
    world.nothing_to_do(&common::minimal());
}

#[test]
fn what_could_not_be_looked_at_is_said() {
    let mut world = World::create(&common::minimal());
    let no_right = || Seen::Forbidden("no right".to_owned());
    let (pods, claims) = (world.fake.live.pods.clone(), world.fake.live.claims.clone());
    world.fake.live.pods = no_right();
    let told = world.told();
    assert!(told.contains("does not show: the Pods: no right."), "{told}");
    (world.fake.live.pods, world.fake.live.claims) = (pods, no_right());
    let told = world.told();
    assert!(told.contains("does not show: the PersistentVolumeClaims: no right."), "{told}");
    world.fake.live.claims = claims;
    let lease = ObjectKey::new(Kind::Lease, "orders");
    let there = world
        .fake
        .live
        .objects
        .insert(lease.clone(), Seen::Forbidden("no right".to_owned()))
        .expect("a Lease");
    let told = world.told();
    assert!(told.contains("does not show: Lease orders: no right."), "{told}");
    world.fake.live.objects.insert(lease.clone(), Seen::Missing);
    let told = world.told();
    assert!(told.contains("Lease orders is gone"), "{told}");
    world.fake.live.objects.insert(lease, there);
    world.nothing_to_do(&common::minimal());
}
