//! Volumes that grow while they are in use, with the real provisioner, resizer and kubelet; and such that their driver lets not grow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use kube::api::ListParams;
use pgha_acceptance_tests::poll::{Seen, until};
use pgha_acceptance_tests::sandbox::{GROWING_DISK_BYTES, GROWING_DISK_CLASS, GROWING_DISK_DRIVER};
use pgha_acceptance_tests::terraform::hcl::{ADDRESS, Config};
use serde_json::json;

use crate::group::{Group, Site, WHOLE};
use crate::online::nothing_restarted;

/// How long events take to be written down.
const TOLD: Duration = Duration::from_secs(20);

/// A cluster of two on disks that grow, of 256 MiB each; gives its configuration.
async fn on_growing_disks(group: &mut Group) -> Result<(&mut Site, Config)> {
    let bed = Arc::clone(&group.bed);
    let site = group.fresh_site().await?;
    bed.make_growing_disks().await?;
    let parameters = json!({ "max_wal_size": "64MB", "min_wal_size": "32MB", "wal_keep_size": "0" });
    let small = site
        .config
        .clone()
        .set("replicas", 1)
        .set("storage", json!({ "size": "256Mi", "class": GROWING_DISK_CLASS, "retain": false }))
        .set("parameters", parameters);
    site.apply(small.clone()).await?;
    site.cluster.until_whole(1, WHOLE).await?;
    every_disk_has(site, GROWING_DISK_BYTES).await?;
    Ok((site, small))
}

/// A bigger `storage.size` under load: nothing restarts, and there is room for what had none.
pub async fn volumes_grow_under_load(group: &mut Group) -> Result<()> {
    let (site, small) = on_growing_disks(group).await?;
    made_by_the_provisioner(site).await?;
    let load = site.load("growth").await?;
    let started = site.cluster.start_times().await?;

    site.write(small.clone().set("storage.size", "512Mi"))?;
    let planned = site.tf.plan(&[]).await?;
    let story = planned.change(ADDRESS)?["after"]["last_change"].clone();
    ensure!(
        story.as_str().unwrap_or_default().contains("growth: the volumes from 256Mi to 512Mi, in place"),
        "expected the plan to tell of the growth, it says {story}"
    );
    site.tf.apply(&[]).await?;
    every_disk_has(site, 2 * GROWING_DISK_BYTES).await?;
    nothing_restarted(site, &started).await?;
    grown_by_the_resizer(site, "512Mi").await?;
    site.tf.plan_is_empty("growth").await?;
    // Beside a new cluster and its WAL the old disks had no room for it.
    let big = "create table big as select n, repeat('x', 1000) from generate_series(1, 200000) n";
    site.cluster.sql_on_primary(big).await?;
    let written = site.cluster.sql_on_primary("select pg_relation_size('big') > 200000000").await?;
    ensure!(written == "t", "expected 200 MB to be written");
    // The standby has received more WAL than its disk has room for: it makes room by itself.
    site.cluster.until_whole(1, WHOLE).await?;

    site.write(small)?;
    site.tf.run(&["plan", "-no-color"]).await?.failed_saying(&["Volumes can't shrink", "512Mi"])?;
    let outcome = load.finish().await?;
    site.nothing_lost(&outcome).await
}

/// A refusal is told in the driver's own words, whether its controller or a node gives it, and costs nothing: a size that it agrees to is
/// one apply away, also a smaller one than it refused.
pub async fn volumes_that_their_driver_refuses_to_grow(group: &mut Group) -> Result<()> {
    let bed = Arc::clone(&group.bed);
    let (site, small) = on_growing_disks(group).await?;
    let started = site.cluster.start_times().await?;
    let apply = ["apply", "-auto-approve", "-no-color"];

    site.write(small.clone().set("storage.size", "2Gi"))?;
    let words = ["data-pg-", "no disk gets as large as that"];
    site.tf.run(&apply).await?.failed_saying(&words)?;
    every_claim_is(site, "ControllerResizeInfeasible").await?;
    every_disk_has(site, GROWING_DISK_BYTES).await?;
    // What was asked for is what the next plan still has to do; taken back, nothing is left to do.
    let story = site.tf.plan(&[]).await?.change(ADDRESS)?["after"]["last_change"].clone();
    let growth = "growth: the volumes from 256Mi to 2Gi";
    ensure!(story.as_str().unwrap_or_default().contains(growth), "expected `{growth}`, it says {story}");
    site.apply(small.clone()).await?;
    site.tf.plan_is_empty("a refused growth that was taken back").await?;

    site.apply(small.clone().set("storage.size", "512Mi")).await?;
    every_disk_has(site, 2 * GROWING_DISK_BYTES).await?;
    site.tf.plan_is_empty("a smaller growth than was refused").await?;

    // The controller grants it, and the nodes do not.
    site.write(small.clone().set("storage.size", "1Gi"))?;
    let words = ["data-pg-", "this disk is as large as it gets"];
    site.tf.run(&apply).await?.failed_saying(&words)?;
    every_disk_has(site, 2 * GROWING_DISK_BYTES).await?;
    nothing_restarted(site, &started).await?;
    site.apply(small.set("storage.size", "512Mi")).await?;

    site.tf.run(&["destroy", "-auto-approve", "-no-color"]).await?.succeeded()?;
    bed.sandbox.until_growing_disks_are_gone().await
}

/// As the instances themselves see their file systems.
async fn every_disk_has(site: &Site, bytes: u64) -> Result<()> {
    for pod in site.cluster.pods().await?.into_keys() {
        let size = ["df", "--block-size=1", "--output=size", "/var/lib/pgha"];
        let seen = site.cluster.exec(&pod, &size).await?;
        let found = seen.stdout.lines().last().and_then(|line| line.trim().parse::<u64>().ok());
        ensure!(found == Some(bytes), "expected a disk of {bytes} bytes in {pod}, got {seen:?}");
    }
    Ok(())
}

/// Not beforehand and by hand: on the node of the pod, by the driver that the storage class names.
async fn made_by_the_provisioner(site: &Site) -> Result<()> {
    let volumes: Api<PersistentVolume> = Api::all(site.cluster.client().clone());
    let nodes = site.cluster.pod_nodes().await?;
    for (name, claim) in site.cluster.claims().await? {
        let volume = claim.spec.and_then(|spec| spec.volume_name).context("a bound claim")?;
        let volume = volumes.get(&volume).await?;
        let annotations = volume.metadata.annotations.unwrap_or_default();
        let by = annotations.get("pv.kubernetes.io/provisioned-by").map(String::as_str);
        ensure!(
            by == Some(GROWING_DISK_DRIVER),
            "expected {name}'s volume to be provisioned, got {annotations:?}"
        );
        let node = nodes.get(name.trim_start_matches("data-")).context("a pod for each claim")?;
        let affinity = format!("{:?}", volume.spec.and_then(|spec| spec.node_affinity));
        ensure!(affinity.contains(node.as_str()), "expected {name}'s volume on {node}, got {affinity}");
    }
    Ok(())
}

/// The claims say so themselves, and events tell of each hand.
async fn grown_by_the_resizer(site: &Site, size: &str) -> Result<()> {
    for (name, claim) in site.cluster.claims().await? {
        let status = claim.status.context("a claim has a status")?;
        let of = |map: Option<BTreeMap<String, _>>| map.and_then(|mut map| map.remove("storage"));
        let seen = (of(status.capacity), of(status.allocated_resources));
        let text = |one: &Option<k8s_openapi::apimachinery::pkg::api::resource::Quantity>| {
            one.as_ref().map(|one| one.0.clone())
        };
        ensure!(
            text(&seen.0).as_deref() == Some(size) && text(&seen.1).as_deref() == Some(size),
            "expected {name} to have {size}, got {seen:?}"
        );
        let left = status.allocated_resource_statuses.unwrap_or_default();
        ensure!(left.is_empty(), "expected nothing left to do for {name}, got {left:?}");
        let wanted = ["Resizing", "FileSystemResizeRequired", "FileSystemResizeSuccessful"];
        until("events of the growth", TOLD, || async {
            let told = events_of(site, &name).await?;
            Ok(Seen::when(wanted.iter().all(|one| told.contains(*one)), format!("{name}: {told:?}")))
        })
        .await?;
    }
    Ok(())
}

/// Reasons of the events about a claim.
async fn events_of(site: &Site, claim: &str) -> Result<BTreeSet<String>> {
    let events = site.cluster.api::<Event>().list(&ListParams::default()).await?.items;
    let about = events.into_iter().filter(|event| event.involved_object.name.as_deref() == Some(claim));
    Ok(about.filter_map(|event| event.reason).collect())
}

/// What the claims say of their growth.
async fn every_claim_is(site: &Site, stage: &str) -> Result<()> {
    until("the claims to say what became of their growth", TOLD, || async {
        let claims = site.cluster.claims().await?;
        let of = |claim: &PersistentVolumeClaim| {
            claim.status.as_ref()?.allocated_resource_statuses.as_ref()?.get("storage").cloned()
        };
        let seen: BTreeMap<String, Option<String>> =
            claims.iter().map(|(name, claim)| (name.clone(), of(claim))).collect();
        Ok(Seen::when(seen.values().all(|one| one.as_deref() == Some(stage)), format!("{seen:?}")))
    })
    .await
}
