//! Creates that can't succeed: they fail early with the cause, lose nothing, and go through after the mend.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Namespace, Pod, ResourceQuota, Secret, Service};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use pgha_acceptance_tests::poll::{Seen, until};
use pgha_acceptance_tests::terraform::Run;
use pgha_acceptance_tests::terraform::hcl::ADDRESS;
use serde_json::json;

use crate::cases;
use crate::group::{Group, Site, WHOLE};
use crate::runner::Case;

pub fn cases() -> Vec<Case> {
    cases![
        => image_that_does_not_exist,
        => storage_class_that_does_not_exist,
        => quota_that_forbids_pods,
        => service_of_others_is_not_taken_over,
        => secret_of_others_is_not_taken_over,
        => namespace_with_restricted_pod_security,
        => interrupted_create_then_applied_again,
        => killed_create_then_applied_again,
        => interrupted_update_then_applied_again,
        exclusive => api_server_stopped_during_refresh,
    ]
}

/// The user's timeout in these tests; an early failure comes well before it.
const TIMEOUT: Duration = Duration::from_secs(300);
/// When an early failure has come at the latest.
pub const EARLY: Duration = Duration::from_secs(150);

async fn image_that_does_not_exist(group: &mut Group) -> Result<()> {
    let site = doomed(group).await?;
    let config = site.config.clone().set("image", "docker.io/library/postgres:18-missing");
    site.write(config)?;
    fails_early(site, &["18-missing", "image"]).await?;
    let config = site.config.clone().set("image", "docker.io/library/postgres:18");
    goes_through(site, config).await
}

async fn storage_class_that_does_not_exist(group: &mut Group) -> Result<()> {
    let site = doomed(group).await?;
    let good = site.config.clone();
    site.write(good.clone().set("storage.class", "no-such-class"))?;
    fails_early(site, &["no-such-class"]).await?;
    goes_through(site, good).await
}

async fn quota_that_forbids_pods(group: &mut Group) -> Result<()> {
    let site = doomed(group).await?;
    let quotas = site.cluster.api::<ResourceQuota>();
    let quota = serde_json::from_value(
        json!({ "metadata": { "name": "none" }, "spec": { "hard": { "pods": "0" } } }),
    )?;
    quotas.create(&PostParams::default(), &quota).await?;
    until("the quota to be in force", Duration::from_secs(30), || async {
        let seen = quotas.get("none").await?.status.and_then(|status| status.hard);
        Ok(Seen::when(seen.is_some(), "no status yet"))
    })
    .await?;
    site.tf.try_plan(&[]).await?.says(&["Kubernetes would refuse parts of this plan now", "quota"])?;
    fails_early(site, &["quota"]).await?;
    quotas.delete("none", &DeleteParams::default()).await?;
    let config = site.config.clone();
    goes_through(site, config).await
}

/// Somebody's Service has the name of ours: nothing is made, and it is neither changed nor deleted.
async fn service_of_others_is_not_taken_over(group: &mut Group) -> Result<()> {
    let site = doomed(group).await?;
    let (services, name) = (site.cluster.api::<Service>(), site.cluster.names.service_rw());
    let theirs = serde_json::from_value(json!({
        "metadata": { "name": name, "labels": { "team": "shop" } },
        "spec": { "selector": { "app": "shop" }, "ports": [{ "port": 80 }] },
    }))?;
    let theirs = services.create(&PostParams::default(), &theirs).await?;
    let said = [name.as_str(), "exists already", "somebody else's"];
    site.tf.try_apply(&[]).await?.failed_saying(&said)?;
    site.tf.try_destroy().await?.succeeded()?;
    ensure!(services.get(&name).await? == theirs, "expected the Service of others to be as it was");
    ensure!(site.cluster.pods().await?.is_empty(), "expected no pod");
    services.delete(&name, &DeleteParams::default()).await?;
    let config = site.config.clone();
    goes_through(site, config).await
}

/// Somebody's Secret has the name of the application's: nothing is made, and it keeps its password.
async fn secret_of_others_is_not_taken_over(group: &mut Group) -> Result<()> {
    let site = doomed(group).await?;
    let (secrets, name) = (site.cluster.api::<Secret>(), site.cluster.names.secret_app());
    let theirs = serde_json::from_value(
        json!({ "metadata": { "name": name }, "stringData": { "password": "theirs" } }),
    )?;
    let theirs = secrets.create(&PostParams::default(), &theirs).await?;
    site.tf.try_apply(&[]).await?.failed_saying(&[name.as_str(), "exists already", "somebody else's"])?;
    site.tf.try_destroy().await?.succeeded()?;
    ensure!(secrets.get(&name).await? == theirs, "expected the Secret of others to be as it was");
    ensure!(site.cluster.pods().await?.is_empty(), "expected no pod");
    secrets.delete(&name, &DeleteParams::default()).await?;
    let config = site.config.clone();
    goes_through(site, config).await
}

async fn namespace_with_restricted_pod_security(group: &mut Group) -> Result<()> {
    let site = doomed(group).await?;
    let restricted =
        json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "restricted" } } });
    let namespaces = kube::Api::<Namespace>::all(site.cluster.client().clone());
    namespaces.patch(&site.namespace, &PatchParams::default(), &Patch::Merge(restricted)).await?;
    // It is enforced: a pod that asks for nothing is refused.
    let careless = serde_json::from_value(json!({
        "metadata": { "name": "careless" },
        "spec": { "containers": [{ "name": "it", "image": "docker.io/library/postgres:18" }] },
    }))?;
    let refusal = site.cluster.api::<Pod>().create(&PostParams::default(), &careless).await;
    let refusal = refusal.err().context("expected Pod Security to refuse a careless pod")?.to_string();
    ensure!(refusal.contains("restricted"), "expected a refusal by the restricted level, got: {refusal}");

    let config = site.config.clone();
    goes_through(site, config).await?;
    let pod = site.cluster.primary().await?;
    let written = site.cluster.exec(&pod, &["touch", "/usr/local/written"]).await?;
    ensure!(
        !written.success && written.stderr.contains("Read-only file system"),
        "expected the root file system to be read-only, got {written:?}"
    );
    let user = site.cluster.exec(&pod, &["id", "-u"]).await?;
    ensure!(user.stdout.trim() == "999", "expected PostgreSQL's own user, got {user:?}");
    Ok(())
}

async fn interrupted_create_then_applied_again(group: &mut Group) -> Result<()> {
    let site = doomed(group).await?;
    let apply = site.tf.start_apply()?;
    until_pods(site).await?;
    apply.interrupt()?;
    let run = apply.wait_within(Duration::from_secs(60)).await.context("an interrupt ends the apply soon")?;
    // Early enough it is an error, after the first write a warning: either way the CLI says that it was interrupted.
    run.says(&["interrupt"])?;
    let config = site.config.clone();
    goes_through(site, config).await
}

async fn killed_create_then_applied_again(group: &mut Group) -> Result<()> {
    let site = doomed(group).await?;
    let apply = site.tf.start_apply()?;
    until_pods(site).await?;
    apply.kill()?;
    apply.wait_within(Duration::from_secs(30)).await?;
    // The state knows nothing of the cluster: neither a second create nor a destroy may touch it, import brings it back.
    ensure!(site.tf.attributes(ADDRESS).await?.is_null(), "expected a killed CLI to have saved nothing");
    site.tf.run(&["apply", "-no-color", "-auto-approve", "-lock=false"]).await?.failed_saying(&["import"])?;
    site.tf.run(&["untaint", "-no-color", ADDRESS]).await?;
    if !site.tf.attributes(ADDRESS).await?.is_null() {
        site.tf.run(&["state", "rm", ADDRESS]).await?.succeeded()?;
    }
    let id = format!("{}/{}", site.namespace, Group::CLUSTER);
    site.tf.run(&["import", "-no-color", "-lock=false", ADDRESS, &id]).await?.succeeded()?;
    let config = site.config.clone();
    goes_through(site, config).await
}

async fn interrupted_update_then_applied_again(group: &mut Group) -> Result<()> {
    let site = doomed(group).await?;
    site.tf.apply(&[]).await?;
    site.cluster.until_whole(0, WHOLE).await?;
    let load = site.load("interrupted").await?;
    let config = site.config.clone().set("replicas", 1);
    site.write(config.clone())?;
    let apply = site.tf.start_apply()?;
    until("the second instance to be asked for", WHOLE, || async {
        let set = site.cluster.api::<StatefulSet>().get(site.cluster.names.cluster()).await?;
        let asked = set.spec.and_then(|spec| spec.replicas);
        Ok(Seen::when(asked == Some(2), format!("StatefulSet of {asked:?}")))
    })
    .await?;
    apply.interrupt()?;
    apply.wait_within(Duration::from_secs(60)).await.context("an interrupt ends the apply soon")?;
    ensure!(!site.tf.is_tainted(ADDRESS).await?, "expected an interrupted update not to taint the cluster");
    site.apply(config).await?;
    site.cluster.until_whole(1, WHOLE).await?;
    let outcome = load.finish().await?;
    site.tf.plan_is_empty("the second apply").await?;
    site.nothing_lost(&outcome).await
}

async fn api_server_stopped_during_refresh(group: &mut Group) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = doomed(group).await?;
    site.tf.apply(&[]).await?;
    let state = site.tf.dir().join("terraform.tfstate");
    let before = std::fs::read_to_string(&state)?;
    sandbox.stop_api_server()?;
    let planned = site.tf.try_plan(&[]).await;
    let applied = site.tf.try_apply(&[]).await;
    sandbox.start_api_server().await?;
    planned?.failed_saying(&[])?;
    applied?.failed_saying(&[])?;
    let after = std::fs::read_to_string(&state)?;
    ensure!(
        before == after,
        "expected the state to be kept while the API server is away, it is now:\n{after}"
    );
    site.cluster.until_whole(0, WHOLE).await?;
    site.tf.plan_is_empty("the API server came back").await
}

/// A new namespace with one instance declared.
pub async fn doomed(group: &mut Group) -> Result<&mut Site> {
    let site = group.fresh_site().await?;
    let timeout = format!("{}s", TIMEOUT.as_secs());
    let config = site.config.clone().set("replicas", 0).set("timeouts", json!({ "create": timeout }));
    site.write(config)?;
    Ok(site)
}

/// The apply fails, long before its timeout, and says why.
pub async fn fails_early(site: &Site, saying: &[&str]) -> Result<Run> {
    let run = site.tf.try_apply(&[]).await?.failed_saying(saying)?;
    ensure!(
        run.took < EARLY,
        "expected the failure long before the timeout of {TIMEOUT:?}, it came after {:?}:\n{}",
        run.took,
        run.report()
    );
    Ok(run)
}

/// With this configuration the apply goes through, and the cluster serves.
pub async fn goes_through(
    site: &mut Site,
    config: pgha_acceptance_tests::terraform::hcl::Config,
) -> Result<()> {
    site.apply(config).await?;
    site.cluster.until_whole(0, WHOLE).await?;
    site.tf.plan_is_empty("the mend").await?;
    let load = site.load("mended").await?;
    load.until_more(10).await?;
    let outcome = load.finish().await?;
    site.nothing_lost(&outcome).await
}

async fn until_pods(site: &Site) -> Result<()> {
    until("the first pod to be there", WHOLE, || async {
        let pods = site.cluster.api::<Pod>().list(&kube::api::ListParams::default()).await?.items.len();
        Ok(Seen::when(pods > 0, "no pod yet"))
    })
    .await
}
