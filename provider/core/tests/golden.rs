//! The rendered objects, as files that a reviewer can read.
#![allow(missing_docs, clippy::panic)]

mod common;

use common::{agent, everything, minimal, spec, yaml};
use k8s_openapi::api::{apps, coordination, core, networking, policy, rbac};
use pgha_provider_core::object::{Kind, ObjectKey};
use pgha_provider_core::owned;
use pgha_provider_core::render::{self, Inputs};
use pgha_provider_core::step::Step;
use pgha_schema::desired::SyncMode;
use pgha_schema::record::Record;
use pgha_schema::resource::ClusterSpec;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

fn golden(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("golden");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

fn all(json: Json) -> Vec<Json> {
    let spec = spec(json);
    let carried = agent();
    let (agent, _) = render::Agent::of(&spec, &carried, &[]);
    let inputs = Inputs::new(&spec, "6f1c0000-0000-0000-0000-000000000001", &agent, 1);
    let mut objects = render::objects(&inputs);
    objects.push(render::lease(&inputs, &Record::initial(inputs.anchor_uid, SyncMode::Sync)));
    objects.extend(render::secrets(&inputs).into_iter().map(|step| match step {
        Step::CreateSecret(secret) => secret.object,
        other => panic!("not a secret: {other:?}"),
    }));
    objects
}

#[test]
fn minimal_cluster() {
    golden("minimal", &yaml(&all(minimal())));
}

#[test]
fn cluster_with_every_input() {
    golden("everything", &yaml(&all(everything())));
}

/// Parsing into Kubernetes' own types and back: a field that it doesn't know would get lost.
fn through<T: DeserializeOwned + Serialize>(object: &Json) -> Json {
    let typed: T = serde_json::from_value(object.clone()).expect("fits the type");
    serde_json::to_value(typed).expect("serializes")
}

#[test]
fn every_rendered_field_is_one_that_kubernetes_knows() {
    for object in all(everything()).into_iter().chain(all(minimal())) {
        let key = ObjectKey::of(&object).expect("a known kind");
        let back = match key.kind {
            Kind::ConfigMap => through::<core::v1::ConfigMap>(&object),
            Kind::Secret => through::<core::v1::Secret>(&object),
            Kind::ServiceAccount => through::<core::v1::ServiceAccount>(&object),
            Kind::Role => through::<rbac::v1::Role>(&object),
            Kind::RoleBinding => through::<rbac::v1::RoleBinding>(&object),
            Kind::Service => through::<core::v1::Service>(&object),
            Kind::Lease => through::<coordination::v1::Lease>(&object),
            Kind::StatefulSet => through::<apps::v1::StatefulSet>(&object),
            Kind::PodDisruptionBudget => through::<policy::v1::PodDisruptionBudget>(&object),
            Kind::NetworkPolicy => through::<networking::v1::NetworkPolicy>(&object),
            other => panic!("{other} is not rendered"),
        };
        let found = owned::differences(&object, &owned::project(&object, &back));
        assert!(found.is_empty(), "{key}: {found:?}");
    }
}

#[test]
fn a_single_instance_has_no_disruption_budget() {
    let mut json = minimal();
    json["replicas"] = 0.into();
    let kinds: Vec<Kind> = all(json).iter().filter_map(ObjectKey::of).map(|key| key.kind).collect();
    assert!(!kinds.contains(&Kind::PodDisruptionBudget));
}

#[test]
fn only_what_changes_pods_changes_the_template_hash() {
    let hash = |edit: &dyn Fn(&mut Json)| {
        let mut json = minimal();
        edit(&mut json);
        let (spec, agent) = (spec(json), agent());
        render::template_hash(&Inputs::new(&spec, "uid", &agent, 1))
    };
    let before = hash(&|_| ());
    assert_eq!(before, hash(&|json| json["parameters"] = serde_json::json!({"work_mem": "1MB"})));
    assert_eq!(before, hash(&|json| json["replicas"] = 5.into()));
    assert_ne!(before, hash(&|json| json["postgres_version"] = "17".into()));
    let certificate = |required| serde_json::json!({"secret": "c", "required": required});
    let encrypted = hash(&|json| json["tls"] = certificate(false));
    assert_ne!(before, encrypted);
    assert_eq!(encrypted, hash(&|json| json["tls"] = certificate(true)), "a reload is enough");
    assert_ne!(before, hash(&|json| json["resources"] = serde_json::json!({"limits": {"cpu": "1"}})));
}

#[test]
fn the_agent_is_cut_into_chunks_that_fit_a_config_map() {
    let gzipped = vec![7_u8; 2_500_000];
    let chunks = render::chunks(&agent(), &gzipped, "shop");
    assert_eq!(chunks.len(), agent().chunks);
    let typed: Vec<core::v1::ConfigMap> =
        chunks.into_iter().map(|chunk| serde_json::from_value(chunk).expect("a ConfigMap")).collect();
    let lengths: Vec<usize> = typed
        .iter()
        .flat_map(|chunk| chunk.binary_data.iter().flatten())
        .map(|(_, data)| data.0.len())
        .collect();
    assert_eq!(lengths, [1_000_000, 1_000_000, 500_000]);
    assert!(typed.iter().all(|chunk| chunk.immutable == Some(true)));
}

/// What a newer provider does to running pods hangs on this: with another agent alone it rolls none (A8).
#[test]
fn another_agent_rolls_no_pod_and_stands_in_template_document_and_role() {
    let spec = spec(minimal());
    let (old, new) = (agent(), render::Agent::new("9.9.9", &"f".repeat(64), 1, &["amd64"]));
    let inputs = |agent| Inputs::new(&spec, "6f1c0000-0000-0000-0000-000000000001", agent, 1);
    assert_eq!(render::template_hash(&inputs(&old)), render::template_hash(&inputs(&new)));
    let elsewhere = render::Agent::new("9.9.9", &"f".repeat(64), 1, &["arm64"]);
    assert_ne!(
        render::template_hash(&inputs(&old)),
        render::template_hash(&inputs(&elsewhere)),
        "a binary for other machines can't be exchanged in place"
    );
    let chunk = format!("pgha-agent-{}-0", "f".repeat(16));
    let wished = render::document(&inputs(&new)).agent.expect("an agent");
    assert_eq!((wished.version.as_str(), wished.chunks), ("9.9.9", vec![chunk.clone()]));
    let objects = render::objects(&inputs(&new));
    let text = |kind: &str| {
        let object = objects.iter().find(|object| object["kind"] == kind).expect("rendered");
        object.to_string()
    };
    assert!(text("StatefulSet").contains(&chunk) && text("Role").contains(&chunk));
}

/// The agent of an image is copied from there: no ConfigMap carries it, none is wished for in its place, and what the carried
/// one runs on says nothing of it.
#[test]
fn an_image_with_an_agent_stands_in_the_template_alone() {
    let with = |image: &str| {
        let mut json = minimal();
        json["agent_image"] = image.into();
        spec(json)
    };
    let (own, one, other) = (spec(minimal()), with("registry/agent:1"), with("registry/agent:2"));
    let carried = agent();
    let hash = |spec: &ClusterSpec| {
        let (agent, gzipped) = render::Agent::of(spec, &carried, &[1]);
        assert_eq!(gzipped.is_empty(), spec.agent_image.is_some());
        render::template_hash(&Inputs::new(spec, "uid", &agent, 1))
    };
    assert_ne!(hash(&own), hash(&one));
    assert_ne!(hash(&one), hash(&other), "another image rolls the pods");

    let (agent, _) = render::Agent::of(&one, &carried, &[]);
    let inputs = Inputs::new(&one, "uid", &agent, 1);
    assert_eq!(render::document(&inputs).agent, None);
    let objects = render::objects(&inputs);
    let set = objects.iter().find(|object| object["kind"] == "StatefulSet").expect("rendered");
    let pods = &set["spec"]["template"]["spec"];
    let install = &pods["initContainers"][0];
    assert_eq!(install["image"], "registry/agent:1");
    let command = serde_json::json!(["/pgha-agent", "install", "/usr/local/sbin/pgha-agent"]);
    assert_eq!(install["command"], command);
    assert!(pods["affinity"].get("nodeAffinity").is_none(), "{pods}");
    assert!(!serde_json::to_string(&objects).expect("JSON").contains("agent-chunks"));
}

/// A build without an agent names no ConfigMap, and a rule without names would be one for all.
#[test]
fn a_role_without_chunks_reads_no_other_config_map() {
    let spec = spec(minimal());
    let none = render::Agent::new("0.1.0", "", 0, &["amd64"]);
    let role = render::objects(&Inputs::new(&spec, "u", &none, 1))
        .into_iter()
        .find(|object| object["kind"] == "Role")
        .expect("rendered");
    let of_config_maps = role["rules"].as_array().expect("rules").iter().filter(|rule| {
        rule["resources"] == serde_json::json!(["configmaps"]) && rule.get("resourceNames").is_none()
    });
    assert_eq!(of_config_maps.count(), 0);
}
