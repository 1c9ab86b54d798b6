//! Data can't go by accident: protection, replacement, taint, a second owner.

use anyhow::{Result, ensure};
use pgha_acceptance_tests::terraform::Terraform;
use pgha_acceptance_tests::terraform::hcl::ADDRESS;

use crate::cases;
use crate::group::{Group, Site, WHOLE};
use crate::runner::Case;

pub fn cases() -> Vec<Case> {
    cases![
        => destroy_under_protection_is_refused,
        => replace_under_protection_is_refused,
        => tainted_cluster_with_data_is_not_destroyed,
        => second_configuration_with_the_same_name_is_refused,
        => create_before_destroy_does_not_touch_the_database,
        => protection_off_touches_nothing,
        => prevent_destroy_is_heeded,
        => another_bootstrap_takes_volumes_that_go,
    ]
}

async fn destroy_under_protection_is_refused(group: &mut Group) -> Result<()> {
    let (site, rows) = protected(group).await?;
    site.tf.try_destroy().await?.failed_saying(&["deletion_protection", "false"])?;
    all_there(site, &rows).await
}

async fn replace_under_protection_is_refused(group: &mut Group) -> Result<()> {
    let (site, rows) = protected(group).await?;
    let replace = format!("-replace={ADDRESS}");
    site.tf.try_plan(&[&replace]).await?.failed_saying(&["deletion_protection"])?;
    site.tf.try_apply(&[&replace]).await?.failed_saying(&["deletion_protection"])?;
    // A change of name replaces too.
    let config = site.config.clone();
    site.write(config.clone().set("name", "other"))?;
    site.tf.try_plan(&[]).await?.failed_saying(&["deletion_protection"])?;
    site.write(config)?;
    all_there(site, &rows).await
}

async fn tainted_cluster_with_data_is_not_destroyed(group: &mut Group) -> Result<()> {
    let (site, rows) = protected(group).await?;
    site.tf.run(&["taint", "-no-color", ADDRESS]).await?.succeeded()?;
    site.tf.try_apply(&[]).await?.failed_saying(&["deletion_protection", "untaint"])?;
    site.tf.run(&["untaint", "-no-color", ADDRESS]).await?.succeeded()?;
    all_there(site, &rows).await
}

async fn second_configuration_with_the_same_name_is_refused(group: &mut Group) -> Result<()> {
    let cli = group.cli()?;
    let plugin = group.bed.plugin.clone();
    let kubeconfig = group.bed.sandbox.kubeconfig();
    let (site, rows) = protected(group).await?;
    let second = Terraform::new(&cli, &plugin, &kubeconfig)?;
    second.write("main.tf", &site.config.clone().set("deletion_protection", false).text())?;
    second.init().await?;
    second.try_apply(&[]).await?.failed_saying(&["import"])?;
    // Whatever the refused create left in its state, destroying it destroys nothing of the first.
    second.try_destroy().await?;
    all_there(site, &rows).await
}

async fn create_before_destroy_does_not_touch_the_database(group: &mut Group) -> Result<()> {
    let (site, rows) = protected(group).await?;
    let config = site.config.clone();
    site.apply(config.clone().set("deletion_protection", false).lifecycle("create_before_destroy = true"))
        .await?;
    site.tf.try_apply(&[&format!("-replace={ADDRESS}")]).await?.failed_saying(&["import"])?;
    ensure!(
        !site.tf.attributes(ADDRESS).await?.is_null(),
        "expected the first cluster to be still in the state"
    );
    site.apply(config).await?;
    all_there(site, &rows).await
}

async fn protection_off_touches_nothing(group: &mut Group) -> Result<()> {
    let (site, rows) = protected(group).await?;
    let pods = site.cluster.pod_uids().await?;
    let desired = desired_version(site).await?;
    let planned = site.tf.plan(&[]).await?;
    ensure!(!planned.changes, "expected an empty plan first, got:\n{}", planned.text);
    let run = site.apply_with("deletion_protection", false).await?;
    run.says(&["0 added, 1 changed, 0 destroyed"])?;
    ensure!(site.cluster.pod_uids().await? == pods, "expected no pod to be made anew");
    let now = desired_version(site).await?;
    ensure!(
        now == desired,
        "expected the desired state to be untouched: resourceVersion {desired} before, {now} after"
    );
    all_there(site, &rows).await?;
    let config = site.config.clone().set("deletion_protection", true);
    site.apply(config).await?;
    site.tf.plan_is_empty("protection on again").await
}

/// The CLI's own protection, where the provider's is off.
async fn prevent_destroy_is_heeded(group: &mut Group) -> Result<()> {
    let (site, rows) = protected(group).await?;
    let before = site.config.clone();
    site.apply(before.clone().set("deletion_protection", false).lifecycle("prevent_destroy = true")).await?;
    site.tf.plan_is_empty("prevent_destroy is a matter of the CLI").await?;
    site.tf.try_destroy().await?.failed_saying(&["prevent_destroy"])?;
    all_there(site, &rows).await?;
    site.apply(before).await.map(drop)
}

/// Kept volumes would bring the old database back under the new name, so that is refused; without them the new one is made. Each plan
/// tells what becomes of the data, and it becomes that. Last, since the group's cluster goes.
async fn another_bootstrap_takes_volumes_that_go(group: &mut Group) -> Result<()> {
    group.fresh_site().await?;
    group.cluster_with(1).await?;
    let site = group.cluster_with(0).await?;
    let before = site.config.clone();
    let other = before.clone().set("bootstrap.database", "other");
    site.write(other)?;
    let refusal = ["Kept volumes would bring the old bootstrap.database back", "set storage.retain = false"];
    site.tf.try_plan(&[]).await?.failed_saying(&refusal)?;
    site.tf.try_apply(&[]).await?.failed_saying(&refusal)?;

    let claims = site.cluster.claims().await?;
    ensure!(
        claims.contains_key("data-pg-1"),
        "expected a volume that the scale-down kept, got {:?}",
        claims.keys()
    );
    let dropping = before.set("storage.retain", false);
    let told = [
        "Volumes that earlier scale-downs kept are deleted",
        "data-pg-1",
        "online, no restart: storage.retain",
    ];
    site.apply(dropping.clone()).await?.says(&told)?;
    let claims = site.cluster.claims().await?;
    ensure!(!claims.contains_key("data-pg-1"), "expected data-pg-1 to be gone, got {:?}", claims.keys());

    let told = [
        "is destroyed and a new one is made",
        "all its data is deleted with its volumes",
        "1 added, 0 changed, 1 destroyed",
    ];
    site.apply(dropping.set("bootstrap.database", "other")).await?.says(&told)?;
    site.cluster.until_whole(0, WHOLE).await?;
    let databases =
        "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE NOT datistemplate";
    let databases = site.cluster.sql_on_primary(databases).await?;
    ensure!(databases == "other postgres", "expected the new database alone, got {databases}");
    let named = site.cluster.secret_value(&site.cluster.names.secret_app(), "dbname").await?;
    ensure!(named == "other", "expected the Secret to name it, got {named}");
    site.tf.plan_is_empty("another bootstrap").await?;
    site.tf.try_plan(&["-destroy"]).await?.says(&["All data of cluster", "is deleted with it"]).map(drop)
}

async fn desired_version(site: &Site) -> Result<String> {
    let maps = site.cluster.api::<k8s_openapi::api::core::v1::ConfigMap>();
    let map = maps.get(&site.cluster.names.desired()).await?;
    Ok(map.metadata.resource_version.unwrap_or_default())
}

/// A protected cluster of two instances with rows; gives their sum.
async fn protected(group: &mut Group) -> Result<(&mut Site, String)> {
    let site = group.site().await?;
    let config = site.config.clone().set("deletion_protection", true);
    site.write(config)?;
    let site = group.cluster_with(1).await?;
    let load = site.load("kept").await?;
    load.until_more(10).await?;
    load.finish().await?;
    let rows = rows(site).await?;
    Ok((site, rows))
}

async fn rows(site: &Site) -> Result<String> {
    let primary = site.cluster.primary().await?;
    site.cluster.sql(&primary, "app", "SELECT count(*) || ' rows, sum ' || sum(id) FROM kept").await
}

/// The cluster runs with every row, and its configuration has nothing to do.
async fn all_there(site: &Site, before: &str) -> Result<()> {
    let now = rows(site).await?;
    ensure!(now == before, "expected the rows from before ({before}), got {now}");
    site.tf.plan_is_empty("the refusal").await
}
