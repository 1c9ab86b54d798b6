//! One configuration for two Kubernetes clusters: each alias of the provider reaches its own, and neither is taken for the other.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::PostParams;
use pgha_acceptance_tests::cluster::Cluster;
use pgha_acceptance_tests::leftovers;
use pgha_acceptance_tests::poll::{Seen, until};
use pgha_acceptance_tests::sandbox::SecondKubernetes;
use pgha_acceptance_tests::terraform::hcl::{ADDRESS, Config};
use serde_json::{Value, json};

use crate::cases;
use crate::drift::drifting;
use crate::group::{Group, Site, WHOLE};
use crate::runner::Case;

/// The cluster in the other Kubernetes, in a namespace and with a name that the first one has too.
const OTHER: &str = "postgres_ha_cluster.other";
/// Contexts of the one kubeconfig file.
const HERE: &str = "here";
const THERE: &str = "there";

pub fn cases() -> Vec<Case> {
    cases![
        => two_aliases_reach_two_kubernetes_clusters,
    ]
}

async fn two_aliases_reach_two_kubernetes_clusters(group: &mut Group) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = drifting(group).await?;
    let second = sandbox.second_kubernetes().await?;
    create_namespace(&second, &site.namespace).await?;
    let before = site.config.clone();
    let file = both_contexts(site, &second)?;
    let here = before.clone().provider(&context(&file, HERE));
    let alias = format!("provider \"postgres\" {{\n  alias = \"second\"\n{}\n}}\n", context(&file, THERE));
    let with_alias = here.clone().extra(&alias);

    fails_where_no_node_is(site, &second, &with_alias).await?;
    site.write(with_alias.clone())?;
    site.tf.apply(&[]).await?.says(&["0 added, 0 changed, 1 destroyed"])?;
    until("the other cluster to be gone", WHOLE, || async {
        let left = leftovers::in_namespace(&second.client(), &site.namespace).await?;
        Ok(Seen::when(left.is_empty(), format!("{left:?}")))
    })
    .await?;

    // Whoever mixes the contexts up is told so, and nothing is planned anew.
    site.write(with_alias.set("provider", "${postgres.second}"))?;
    let run = site.tf.try_plan(&[]).await?;
    let run = run.failed_saying(&["This is another Kubernetes cluster", "The state is kept"])?;
    ensure!(!run.flat().contains("will be created"), "expected no plan to create:\n{}", run.report());

    let unreachable = format!(
        "{alias}\ndata \"postgres_ha_cluster\" \"other\" {{\n  provider  = postgres.second\n  name      = \"pg\"\n  namespace = \
         \"{}\"\n}}\n",
        site.namespace
    );
    site.write(here.extra(&unreachable))?;
    second.stop()?;
    site.tf.try_plan(&[]).await?.failed_saying(&[&second.address()])?;
    site.write(before)?;
    site.tf.plan_is_empty("the first Kubernetes was never meant").await
}

/// The first cluster is none of that plan, and the second one says why it can't come up: its Kubernetes has no node.
async fn fails_where_no_node_is(
    site: &mut Site,
    second: &SecondKubernetes,
    with_alias: &Config,
) -> Result<()> {
    let first = stateful_set(&site.cluster).await?;
    let other = format!(
        "resource \"postgres_ha_cluster\" \"other\" {{\n  provider = postgres.second\n  name = \"{}\"\n  namespace = \"{}\"\n  \
         replicas = 0\n  storage = {{ size = \"1Gi\", retain = false }}\n  deletion_protection = false\n}}\n",
        Group::CLUSTER,
        site.namespace
    );
    site.write(with_alias.clone().extra(&other))?;
    let planned = site.tf.plan(&[]).await?;
    let actions = (planned.actions(ADDRESS)?, planned.actions(OTHER)?);
    ensure!(actions == ("no-op".to_owned(), "create".to_owned()), "expected one to be made, got {actions:?}");
    site.tf.try_apply(&[]).await?.failed_saying(&["no nodes available"])?;
    let there = stateful_set(&Cluster::new(second.client(), &site.namespace, Group::CLUSTER)).await?;
    let still = stateful_set(&site.cluster).await?;
    ensure!(
        still == first && there != first,
        "expected {first} to stay, got {still}, and {there} over there"
    );
    ensure!(site.tf.is_tainted(OTHER).await?, "expected the cluster that never served to be made anew");
    site.cluster.until_whole(1, WHOLE).await.map(drop)
}

/// Its uid.
async fn stateful_set(cluster: &Cluster) -> Result<String> {
    let set = cluster.api::<StatefulSet>().get(Group::CLUSTER).await?;
    set.metadata.uid.context("a StatefulSet has a uid")
}

async fn create_namespace(second: &SecondKubernetes, name: &str) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(second.client());
    let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": name } }))?;
    namespaces.create(&PostParams::default(), &namespace).await?;
    Ok(())
}

fn context(file: &str, context: &str) -> String {
    format!("  config_path = {file:?}\n  config_context = \"{context}\"")
}

/// One kubeconfig file for both; its current context is neither.
fn both_contexts(site: &Site, second: &SecondKubernetes) -> Result<String> {
    let mut both =
        json!({ "apiVersion": "v1", "kind": "Config", "clusters": [], "users": [], "contexts": [] });
    for (name, file) in [(HERE, site.kubeconfig()), (THERE, second.kubeconfig())] {
        let one: Value = serde_json::from_slice(&fs::read(file)?)?;
        for (list, part) in [("clusters", "cluster"), ("users", "user")] {
            let entry = json!({ "name": name, part: one[list][0][part] });
            both[list].as_array_mut().context("a list")?.push(entry);
        }
        let entry = json!({ "name": name, "context": { "cluster": name, "user": name } });
        both["contexts"].as_array_mut().context("a list")?.push(entry);
    }
    site.tf.write("both.kubeconfig", &both.to_string())?;
    Ok(site.tf.dir().join("both.kubeconfig").display().to_string())
}
