//! A second configuration that owns nothing: data source, functions and credentials of a cluster that another one made, with the
//! rights of the examples.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role};
use pgha_acceptance_tests::terraform::Terraform;
use serde_json::Value;

use crate::actions::{traced, untold};
use crate::cases;
use crate::group::Group;
use crate::replicas::move_primary;
use crate::runner::Case;

const READER: &str = include_str!("../../../examples/rbac/reader.yaml");
const CREDENTIALS: &str = include_str!("../../../examples/rbac/credentials.yaml");

pub fn cases() -> Vec<Case> {
    cases![
        => another_configuration_tells_who_leads,
        => credentials_take_a_right_of_their_own_and_are_kept_nowhere,
    ]
}

/// The rules of a Role of the examples, which are written for a cluster called `orders`.
fn rules(role: &str) -> Result<Vec<PolicyRule>> {
    let role: Role =
        serde_yaml_ng::from_str(&role.replace("orders-app", &format!("{}-app", Group::CLUSTER)))?;
    role.rules.context("a Role without rules")
}

/// A working directory of somebody with these rights.
async fn configuration(group: &mut Group, role: &str, body: &str) -> Result<Terraform> {
    let (cli, plugin, sandbox) = (group.cli()?, group.bed.plugin.clone(), group.bed.sandbox.clone());
    let site = group.cluster_with(1).await?;
    let kubeconfig = sandbox.restricted_kubeconfig(&site.namespace, &rules(role)?).await?;
    let tf = Terraform::new(&cli, &plugin, &kubeconfig)?;
    let asked = format!("  name      = \"{}\"\n  namespace = \"{}\"\n", Group::CLUSTER, site.namespace);
    tf.write(
        "main.tf",
        &site.config.clone().extra(&body.replace("{{ cluster }}", &asked)).without_cluster(),
    )?;
    tf.init().await?;
    Ok(tf)
}

async fn another_configuration_tells_who_leads(group: &mut Group) -> Result<()> {
    let body = r#"
data "postgres_ha_cluster" "it" {
{{ cluster }}}
output "it" { value = data.postgres_ha_cluster.it }
output "uri" { value = provider::postgres::connection_uri(data.postgres_ha_cluster.it, "all", "app", "app") }
"#;
    let tf = configuration(group, READER, body).await?;
    let site = group.cluster_with(1).await?;
    let (primary, standby) = (site.cluster.primary().await?, site.cluster.standby().await?);
    let before = told(&tf).await?;
    ensure!(before["primary"] == primary.as_str(), "expected {primary} to lead:\n{before:#}");
    ensure!(
        before["replicas"] == 1 && before["sync_mode"] == "sync" && before["degraded"] == false,
        "got {before:#}"
    );
    for (name, state) in [(&primary, "serving"), (&standby, "streaming")] {
        let instance = instance(&before, name)?;
        ensure!(
            instance["state"] == state && instance["ready"] == true,
            "expected {name} {state}:\n{before:#}"
        );
        ensure!(
            instance["node"].as_str().is_some_and(|node| !node.is_empty()),
            "no node of {name}:\n{before:#}"
        );
    }
    let uri = tf.outputs().await?.get("uri").and_then(Value::as_str).context("no URI")?.to_owned();
    for pod in [&primary, &standby] {
        ensure!(uri.contains(&format!("{pod}.{}.", site.cluster.names.service_pods())), "no {pod} in {uri}");
    }

    move_primary(site, &standby).await?;
    let after = told(&tf).await?;
    ensure!(after["primary"] == standby.as_str(), "expected {standby} to lead:\n{after:#}");
    ensure!(
        after["timeline"].as_u64() > before["timeline"].as_u64(),
        "expected a later timeline:\n{after:#}"
    );
    ensure!(after["system_identifier"] == before["system_identifier"], "got {after:#}");
    site.tf.plan_is_empty("another configuration looked").await
}

/// What the data source says now.
async fn told(tf: &Terraform) -> Result<Value> {
    tf.apply(&[]).await?;
    tf.outputs().await?.remove("it").context("no output of the data source")
}

fn instance<'a>(told: &'a Value, name: &str) -> Result<&'a Value> {
    let mut all = told["instances"].as_array().into_iter().flatten();
    all.find(|one| one["name"] == name).with_context(|| format!("{name} is not told of:\n{told:#}"))
}

async fn credentials_take_a_right_of_their_own_and_are_kept_nowhere(group: &mut Group) -> Result<()> {
    let body = r#"
ephemeral "postgres_ha_credentials" "app" {
{{ cluster }}
  lifecycle {
    postcondition {
      condition     = self.username == "app" && length(self.password) == 32 && strcontains(self.uri, self.password)
      error_message = "not what was made"
    }
  }
}
resource "terraform_data" "something" { input = "x" }
"#;
    let reader = configuration(group, READER, body).await?;
    let secret = format!("{}-app", Group::CLUSTER);
    reader
        .try_plan(&[])
        .await?
        .failed_saying(&[&format!("No right to read Secret {secret}"), "verb get on secrets"])?;

    let mut tf = configuration(group, CREDENTIALS, body).await?;
    let trace = traced(&mut tf);
    tf.apply(&[]).await?;
    let site = group.cluster_with(1).await?;
    let data = site.cluster.api::<Secret>().get(&secret).await?.data.context("an empty Secret")?;
    let password = String::from_utf8(data.get("password").context("no password")?.0.clone())?;
    let state = std::fs::read_to_string(tf.dir().join("terraform.tfstate"))?;
    ensure!(state.contains("terraform_data"), "expected a state:\n{state}");
    ensure!(
        !state.contains(&password) && !tf.history().contains(&password),
        "the password was kept or printed"
    );
    untold(&std::fs::read_to_string(&trace)?, &[&password])
}
