//! Import, and provider configurations that are not known yet.

use anyhow::{Result, ensure};
use pgha_acceptance_tests::terraform::Terraform;
use pgha_acceptance_tests::terraform::hcl::{ADDRESS, VERSIONS};
use serde_json::json;

use crate::cases;
use crate::group::{Group, WHOLE};
use crate::runner::Case;

pub fn cases() -> Vec<Case> {
    cases![
        => import_then_empty_plan,
        => import_block_with_generated_configuration,
        => import_of_what_is_not_there_says_so,
        => unknown_provider_configuration,
    ]
}

async fn import_then_empty_plan(group: &mut Group) -> Result<()> {
    let (cli, plugin) = (group.cli()?, group.bed.plugin.clone());
    let kubeconfig = group.bed.sandbox.kubeconfig();
    let site = group.site().await?;
    // Attributes of every kind, spelled in ways that the API server would spell otherwise.
    let config = site
        .config
        .clone()
        .set("replicas", 1)
        .set("storage.size", "1024Mi")
        .set("parameters", json!({ "work_mem": "6MB", "max_connections": "80" }))
        .set("pod.labels", json!({ "team": "a" }))
        .set("resources", json!({ "requests": { "cpu": "0.05", "memory": "100Mi" } }))
        .set("failover.degrade_after", "4s");
    site.apply(config).await?;
    site.tf.plan_is_empty("apply").await?;

    let second = Terraform::new(&cli, &plugin, &kubeconfig)?;
    second.write("main.tf", &site.config.text())?;
    second.init().await?;
    second.import(ADDRESS, &format!("{}/{}", site.namespace, Group::CLUSTER)).await?;
    second.plan_is_empty("import").await?;
    let (first, imported) = (site.tf.attributes(ADDRESS).await?, second.attributes(ADDRESS).await?);
    ensure!(
        first == imported,
        "expected the imported state to be that of the first:\n{first:#}\ngot\n{imported:#}"
    );
    Ok(())
}

async fn import_block_with_generated_configuration(group: &mut Group) -> Result<()> {
    let (cli, plugin) = (group.cli()?, group.bed.plugin.clone());
    let kubeconfig = group.bed.sandbox.kubeconfig();
    let site = group.site().await?;
    if site.tf.attributes(ADDRESS).await?.is_null() {
        site.tf.apply(&[]).await?;
    }
    let example = include_str!("../../../examples/resources/postgres_ha_cluster/import-by-string-id.tf");
    let text = example.replace("shop/orders", &format!("{}/{}", site.namespace, Group::CLUSTER));
    let second = Terraform::new(&cli, &plugin, &kubeconfig)?;
    second.write("main.tf", &format!("{VERSIONS}\n{text}"))?;
    second.init().await?;
    let planned = second.plan(&["-generate-config-out=generated.tf"]).await?;
    ensure!(
        planned.text.contains("1 to import, 0 to add, 0 to change, 0 to destroy"),
        "expected an import that changes nothing:\n{}",
        planned.text
    );
    second.apply(&[]).await?;
    second.plan_is_empty("the import by a block").await
}

async fn import_of_what_is_not_there_says_so(group: &mut Group) -> Result<()> {
    let site = group.site().await?;
    let fresh = site.tf.attributes(ADDRESS).await?.is_null();
    if !fresh {
        site.tf.run(&["state", "rm", ADDRESS]).await?.succeeded()?;
    }
    for (id, saying) in
        [(format!("{}/nobody", site.namespace), "nobody"), ("no-slash".to_owned(), "namespace/name")]
    {
        site.tf.run(&["import", "-no-color", ADDRESS, &id]).await?.failed_saying(&[saying])?;
    }
    Ok(())
}

async fn unknown_provider_configuration(group: &mut Group) -> Result<()> {
    let kubeconfig = group.bed.sandbox.kubeconfig();
    let site = group.fresh_site().await?;
    // Replaced in every plan, so that its output is unknown in every plan.
    let extra = format!(
        "resource \"terraform_data\" \"kubeconfig\" {{\n  input = \"{}\"\n  triggers_replace = [timestamp()]\n}}\n",
        kubeconfig.display()
    );
    let config = site
        .config
        .clone()
        .set("replicas", 0)
        .provider("  config_path = terraform_data.kubeconfig.output")
        .extra(&extra);
    let nowhere = site.tf.dir().join("no-kubeconfig");
    site.tf = site.tf.with_kubeconfig(&nowhere).without_env("KUBE_CONFIG_PATH");
    site.write(config)?;
    let planned = site.tf.plan(&[]).await?;
    ensure!(planned.actions(ADDRESS)? == "create", "expected a plan to create:\n{}", planned.text);
    site.tf.apply(&[]).await?;
    site.cluster.until_whole(0, WHOLE).await?;

    let planned = site.tf.plan(&[]).await?;
    let actions = planned.actions(ADDRESS)?;
    ensure!(actions == "no-op", "expected nothing to do for the cluster, got {actions}:\n{}", planned.text);
    let destroy = site.tf.plan(&["-destroy"]).await?;
    ensure!(destroy.actions(ADDRESS)? == "delete", "expected a plan to destroy:\n{}", destroy.text);
    site.tf.destroy().await?;
    Ok(())
}
