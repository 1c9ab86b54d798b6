//! Labels, annotations, what is left to others, who may connect: objects change, and the database does not notice.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use pgha_acceptance_tests::terraform::hcl::ADDRESS;
use serde_json::{Value, json};

use crate::cases;
use crate::drift::{drift_names, drift_seen, drifting, repaired};
use crate::group::{Group, Site};
use crate::runner::Case;

pub fn cases() -> Vec<Case> {
    cases![
        => labels_and_annotations_come_and_go,
        => what_is_left_to_others_stays,
        => a_network_policy_comes_and_goes,
    ]
}

async fn labels_and_annotations_come_and_go(group: &mut Group) -> Result<()> {
    let site = drifting(group).await?;
    let (before, pods) = (site.config.clone(), site.cluster.pod_uids().await?);
    let config = before
        .clone()
        .set("labels", json!({ "team": "shop" }))
        .set("annotations", json!({ "example.com/on-call": "yes" }));
    site.apply(config).await?;
    site.tf.plan_is_empty("labels and annotations").await?;
    for (object, metadata) in metadata(site).await? {
        let (label, annotation) = both(&metadata);
        ensure!(
            label.as_deref() == Some("shop") && annotation.as_deref() == Some("yes"),
            "expected both on {object}, got label {label:?} and annotation {annotation:?}"
        );
    }
    let set = site.cluster.names.cluster().to_owned();
    site.cluster
        .patch::<StatefulSet>(&set, json!({ "metadata": { "labels": { "team": "another" } } }))
        .await?;
    drift_names(&drift_seen(site).await?, &["StatefulSet", "metadata.labels.team", "another"])?;
    repaired(site).await?;

    site.apply(before).await?;
    site.tf.plan_is_empty("labels and annotations that were taken away").await?;
    for (object, metadata) in metadata(site).await? {
        ensure!(both(&metadata) == (None, None), "expected {object} to have neither, got {metadata:?}");
    }
    ensure!(site.cluster.pod_uids().await? == pods, "expected no pod to be made anew");
    Ok(())
}

/// The metadata of some of the cluster's objects: the anchor, which is written in a way of its own, among them.
async fn metadata(site: &Site) -> Result<Vec<(String, ObjectMeta)>> {
    let names = &site.cluster.names;
    let mut all = Vec::new();
    for name in [names.anchor(), names.desired(), names.status()] {
        let metadata = site.cluster.api::<ConfigMap>().get(&name).await?.metadata;
        all.push((format!("ConfigMap {name}"), metadata));
    }
    for name in [names.service_rw(), names.service_pods()] {
        let metadata = site.cluster.api::<Service>().get(&name).await?.metadata;
        all.push((format!("Service {name}"), metadata));
    }
    let set = site.cluster.api::<StatefulSet>().get(names.cluster()).await?;
    all.push(("the StatefulSet".to_owned(), set.metadata));
    Ok(all)
}

/// The label and the annotation of these cases.
fn both(metadata: &ObjectMeta) -> (Option<String>, Option<String>) {
    let label = metadata.labels.as_ref().and_then(|labels| labels.get("team")).cloned();
    let annotations = metadata.annotations.as_ref();
    (label, annotations.and_then(|all| all.get("example.com/on-call")).cloned())
}

async fn what_is_left_to_others_stays(group: &mut Group) -> Result<()> {
    let site = drifting(group).await?;
    let before = site.config.clone();
    let config = before
        .clone()
        .provider(
            "  ignore_labels      = [\"^example\\\\.org/\"]\n  ignore_annotations = [\"^mesh\\\\.example\\\\.org/\"]",
        )
        .set("annotations", json!({ "mesh.example.org/revision": "1" }))
        .set("labels", json!({ "example.org/cost": "1" }))
        .set("services", json!({ "rw": { "annotations": { "lb.example.com/id": "1", "kept": "1" } } }))
        .set("ignore", json!(["services.rw.annotations.lb.example.com/*"]));
    site.apply(config.clone()).await?;
    site.tf.plan_is_empty("what is left to others was written").await?;
    let service = site.cluster.names.service_rw();
    let theirs = json!({ "metadata": {
        "annotations": { "lb.example.com/id": "2", "mesh.example.org/revision": "2" }, "labels": { "example.org/cost": "2" },
    } });
    site.cluster.patch::<Service>(&service, theirs).await?;
    site.tf.plan_is_empty("others changed what is left to them").await?;

    // An apply for another reason meets their field manager, and gives way.
    site.apply(config.set("services.rw.annotations.kept", "2")).await?;
    let seen = service_metadata(site, &service).await?;
    ensure!(
        seen["annotations"]["lb.example.com/id"] == "2"
            && seen["annotations"]["mesh.example.org/revision"] == "2"
            && seen["annotations"]["kept"] == "2"
            && seen["labels"]["example.org/cost"] == "2",
        "expected theirs to stay and ours to change, got {seen}"
    );
    site.tf.plan_is_empty("an apply beside them").await?;

    // Left to them no more: the plan shows it, and the apply takes the field back.
    let config = site.config.clone().set("ignore", json!([]));
    site.apply(config).await?;
    let seen = service_metadata(site, &service).await?;
    ensure!(
        seen["annotations"]["lb.example.com/id"] == "1",
        "expected the annotation to be ours again, got {seen}"
    );
    site.apply(before).await?;
    site.tf.plan_is_empty("everything was taken away").await
}

async fn service_metadata(site: &Site, name: &str) -> Result<Value> {
    let service = site.cluster.api::<Service>().get(name).await?;
    Ok(serde_json::to_value(service.metadata)?)
}

async fn a_network_policy_comes_and_goes(group: &mut Group) -> Result<()> {
    let site = drifting(group).await?;
    let (before, pods) = (site.config.clone(), site.cluster.pod_uids().await?);
    let config = before.clone().set(
        "network_policy",
        json!({ "from": [{ "pod_labels": { "app": "web" } }, { "cidr": "0.0.0.0/0" }] }),
    );
    site.apply(config).await?;
    site.tf.plan_is_empty("network_policy").await?;
    let (api, name) = (site.cluster.api::<NetworkPolicy>(), site.cluster.names.cluster().to_owned());
    let policy = api.get(&name).await?;
    let ingress = policy.spec.and_then(|spec| spec.ingress).context("the policy has rules")?;
    ensure!(ingress.len() == 2, "expected a rule for the instances and one for clients, got {ingress:?}");

    let open = json!({ "spec": { "ingress": [{}] } });
    site.cluster.patch::<NetworkPolicy>(&name, open).await?;
    drift_names(&drift_seen(site).await?, &["NetworkPolicy", "spec.ingress"])?;
    repaired(site).await?;
    let planned = site.tf.attributes(ADDRESS).await?["network_policy"].clone();
    ensure!(planned["from"][1]["cidr"] == "0.0.0.0/0", "expected the policy in the state, got {planned}");

    site.apply(before).await?;
    ensure!(api.get_opt(&name).await?.is_none(), "expected the policy to be gone");
    site.tf.plan_is_empty("no network_policy").await?;
    ensure!(site.cluster.pod_uids().await? == pods, "expected no pod to be made anew");
    Ok(())
}
