//! Plans that foretell what an apply would meet: the API server is asked, and nothing is stored.

use anyhow::{Result, ensure};
use pgha_acceptance_tests::process;
use pgha_acceptance_tests::sandbox::Sandbox;
use pgha_acceptance_tests::terraform::Terraform;
use pgha_acceptance_tests::terraform::hcl::Config;
use serde_json::json;

use crate::cases;
use crate::group::{Group, Site};
use crate::runner::Case;

/// Begin of a warning of a dry run.
const REFUSED: &str = "Kubernetes would refuse parts of this plan now";

pub fn cases() -> Vec<Case> {
    cases![
        => growth_that_the_class_can_not_give,
        => field_of_another_manager,
        => name_that_is_taken,
    ]
}

async fn growth_that_the_class_can_not_give(group: &mut Group) -> Result<()> {
    let site = group.cluster_with(0).await?;
    let before = site.config.clone();
    foretells(site, before.clone().set("storage.size", "2Gi"), &[REFUSED, "data-pg-0", "resize"]).await?;
    // What goes through is not warned of.
    site.write(before.clone().set("parameters.work_mem", "7MB"))?;
    let run = site.tf.try_plan(&[]).await?.says(&["This change is made while the database runs"])?;
    ensure!(!run.flat().contains(REFUSED), "expected no refusal:\n{}", run.report());
    site.write(before)
}

/// Somebody has given a Service the label that is only now to be ours, with another value.
async fn field_of_another_manager(group: &mut Group) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = group.cluster_with(0).await?;
    let before = site.config.clone();
    label(&sandbox, site, "team=theirs")?;
    let wanted = before.clone().set("labels", json!({ "team": "ours" }));
    let said = ["another manager owns", "metadata.labels.team", "kubectl-label"];
    foretells(site, wanted.clone(), &said).await?;
    site.tf.try_apply(&[]).await?.failed_saying(&said)?;
    label(&sandbox, site, "team-")?;
    site.apply(wanted).await?;
    site.tf.plan_is_empty("the label is ours").await?;
    site.apply(before).await.map(drop)
}

/// Labels the Service for writes as a person does.
fn label(sandbox: &Sandbox, site: &Site, label: &str) -> Result<()> {
    let service = format!("service/{}", site.cluster.names.service_rw());
    let mut command = sandbox.kubectl();
    command.args(["--namespace", &site.namespace, "label", &service, label]);
    process::run(&mut command).map(drop)
}

async fn name_that_is_taken(group: &mut Group) -> Result<()> {
    let cli = group.cli()?;
    let plugin = group.bed.plugin.clone();
    let kubeconfig = group.bed.sandbox.kubeconfig();
    let site = group.cluster_with(0).await?;
    let second = Terraform::new(&cli, &plugin, &kubeconfig)?;
    second.write("main.tf", &site.config.text())?;
    second.init().await?;
    let said = ["exists already", "terraform import", "Unless this plan destroys what is there first"];
    second.try_plan(&[]).await?.says(&said)?;
    site.tf.plan_is_empty("another configuration was planned").await
}

/// A plan is possible, and warns of this.
async fn foretells(site: &mut Site, config: Config, said: &[&str]) -> Result<()> {
    site.write(config)?;
    let run = site.tf.try_plan(&[]).await?.says(said)?;
    ensure!(run.code != Some(1), "expected a plan with a warning:\n{}", run.report());
    Ok(())
}
