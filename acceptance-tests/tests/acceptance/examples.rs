//! The examples that no other case applies, as they stand but for the place, and for sizes that the sandbox has.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use pgha_acceptance_tests::cluster::Cluster;
use pgha_acceptance_tests::proto_client::actions::{Told, told};
use pgha_acceptance_tests::proto_client::host::Host;
use pgha_acceptance_tests::proto_client::values::{json, messages};
use pgha_acceptance_tests::sandbox::STORAGE_CLASS;
use pgha_acceptance_tests::terraform::hcl::VERSIONS;
use pgha_acceptance_tests::terraform::newer::{self, Block};
use pgha_schema::names::secret_key;
use serde_json::{Value, json as js};

use crate::cases;
use crate::group::{Group, Site, WHOLE};
use crate::runner::Case;

/// What the examples' clusters are called.
const NAME: &str = "orders";
/// Examples that read the cluster of [`NAME`], with one of their outputs and a piece of its value.
const READ: [(&str, &str, &str); 5] = [
    ("data-sources/postgres_ha_cluster/data-source.tf", "uri", "postgresql://app"),
    ("functions/connection_string/function.tf", "psql", "host="),
    ("functions/jdbc_url/function.tf", "jdbc", "jdbc:postgresql://"),
    ("functions/failover_bound_seconds/function.tf", "seconds", ""),
    ("functions/lsn_diff/function.tf", "bytes", "16777216"),
];
pub fn cases() -> Vec<Case> {
    cases![
        => examples_of_the_resource,
        => examples_that_read,
    ]
}

/// Both clusters of the resource's example: the least that is needed, and much of what can be said.
async fn examples_of_the_resource(group: &mut Group) -> Result<()> {
    let site = group.fresh_site().await?;
    apply(site, "resources/postgres_ha_cluster/resource.tf").await?;
    for name in [NAME, "billing"] {
        let cluster = Cluster::new(site.cluster.client().clone(), &site.namespace, name);
        cluster.until_whole(2, WHOLE).await?;
    }
    site.tf.plan_is_empty("the example of the resource").await
}

/// A cluster made by an example, and every example that reads one or acts on one.
async fn examples_that_read(group: &mut Group) -> Result<()> {
    let host = Host::configured(&js!({ "config_path": group.bed.sandbox.kubeconfig() })).await?;
    let site = group.fresh_site().await?;
    apply(site, "functions/connection_uri/function.tf").await?;
    let cluster = Cluster::new(site.cluster.client().clone(), &site.namespace, NAME);
    cluster.until_whole(2, WHOLE).await?;
    says(site, "uri", "postgresql://app").await?;
    // The cluster's own state stays where it is: whoever reads it is another configuration.
    let owner = site.tf.dir().join("terraform.tfstate");
    std::fs::rename(&owner, owner.with_extension("of-the-owner"))?;
    for (file, output, piece) in READ {
        apply(site, file).await.context(file)?;
        says(site, output, piece).await.context(file)?;
    }
    with_credentials(site, &cluster).await?;
    those_for_newer_clis(&host, site, &cluster).await
}

/// What the CLI here does not read is asked of the provider by our own host, each example with its very configuration.
async fn those_for_newer_clis(host: &Host, site: &Site, cluster: &Cluster) -> Result<()> {
    let known = js!({ "postgres_ha_cluster": { NAME: { "name": NAME, "namespace": site.namespace } } });
    let mut actions = BTreeMap::new();
    let (mut lists, mut imports) = (0, 0);
    for (path, text) in newer::files(&examples())? {
        for block in newer::blocks(&fitted(&text, &site.namespace), &known)? {
            let file = || path.display().to_string();
            match (block.kind(), block.labels().first()) {
                ("action", Some(action)) => {
                    actions.insert((*action).to_owned(), block.only("config").with_context(file)?);
                }
                ("list", _) => {
                    is_listed(host, site, &block).await.with_context(file)?;
                    lists += 1;
                }
                ("import", _) => {
                    is_imported(host, site, &block).await.with_context(file)?;
                    imports += 1;
                }
                // What sets off an action is the CLI's own matter.
                _ => {}
            }
        }
    }
    ensure!(lists > 0 && imports > 0, "{lists} lists and {imports} imports among the examples");
    all_are_invoked(host, cluster, &actions).await
}

/// The list of an example finds the cluster, whole where it asks for that.
async fn is_listed(host: &Host, site: &Site, list: &Block) -> Result<()> {
    let (given, limit) = (list.only("config")?, list.value("limit")?.as_i64().unwrap_or(0));
    let whole = list.value("include_resource")? == true;
    let events = host.list(&given, whole, limit).await?;
    let name = format!("{}/{NAME}", site.namespace);
    let found = events.iter().find(|event| event.display_name == name);
    let found = found.with_context(|| format!("expected {name} among {} clusters", events.len()))?;
    ensure!(found.diagnostic.is_empty(), "{:?}", messages(&found.diagnostic));
    let state = json(found.resource_object.as_ref())?;
    ensure!(
        if whole { state["storage"]["size"] == "1Gi" } else { state.is_null() },
        "expected the state to come with it: {whole}, got {state}"
    );
    Ok(())
}

/// The import of an example gives the cluster's state.
async fn is_imported(host: &Host, site: &Site, import: &Block) -> Result<()> {
    let imported = host.import("", Some(&import.value("identity")?)).await?;
    ensure!(imported.diagnostics.is_empty(), "{:?}", messages(&imported.diagnostics));
    let resource = imported.imported_resources.first().context("nothing was imported")?;
    let state = json(resource.state.as_ref())?;
    ensure!(
        state["name"] == NAME
            && state["namespace"] == site.namespace.as_str()
            && state["storage"]["size"] == "1Gi",
        "expected the cluster's state, got {state:#}"
    );
    Ok(())
}

/// Every action that the provider has, by its example's configuration; and the cluster does what it says.
async fn all_are_invoked(host: &Host, cluster: &Cluster, actions: &BTreeMap<String, Value>) -> Result<()> {
    ensure!(
        host.schemas.action_schemas.keys().all(|action| actions.contains_key(action)),
        "expected an example of every action, there are {actions:?}"
    );
    let target = |action: &str, attribute: &str| -> Result<String> {
        Ok(actions[action][attribute].as_str().context("an instance's name")?.to_owned())
    };
    let to = target("postgres_ha_switchover", "to")?;
    if cluster.primary().await? == to {
        // Whoever came first leads: anybody else will do before.
        let mut away = actions.clone();
        away.entry("postgres_ha_switchover".to_owned()).and_modify(|given| given["to"] = Value::Null);
        invoke(host, cluster, &away, "postgres_ha_switchover").await?;
    }
    invoke(host, cluster, actions, "postgres_ha_switchover").await?;
    let primary = cluster.primary().await?;
    ensure!(primary == to, "expected {to} to lead, {primary} does");

    let started = cluster.start_times().await?;
    invoke(host, cluster, actions, "postgres_ha_restart").await?;
    let now = cluster.start_times().await?;
    let same: Vec<_> = now.into_iter().filter(|(pod, time)| started.get(pod) == Some(time)).collect();
    ensure!(same.is_empty(), "expected every postgres to be restarted, these were not: {same:?}");

    let instance = target("postgres_ha_reinit_replica", "instance")?;
    let before = members(cluster, &instance).await?;
    invoke(host, cluster, actions, "postgres_ha_reinit_replica").await?;
    let after = members(cluster, &instance).await?;
    ensure!(
        after != before && !after.is_empty(),
        "expected new data in {instance}, {before:?} became {after:?}"
    );

    let secret = cluster.names.secret_app();
    let before = cluster.secret_value(&secret, secret_key::PASSWORD).await?;
    invoke(host, cluster, actions, "postgres_ha_rotate_credentials").await?;
    let after = cluster.secret_value(&secret, secret_key::PASSWORD).await?;
    ensure!(after != before, "expected another password of the application");
    Ok(())
}

/// Carries an action out, with its example's configuration.
async fn invoke(
    host: &Host,
    cluster: &Cluster,
    actions: &BTreeMap<String, Value>,
    action: &str,
) -> Result<()> {
    let given = actions.get(action).with_context(|| format!("no example of {action}"))?;
    let Told { progress, problems } = told(host.invoke(action, given).await?).await?;
    ensure!(problems.is_empty(), "{action} did not succeed: {problems:?} after {progress:?}");
    cluster.until_whole(2, WHOLE).await.map(drop)
}

/// The members that a pod has in the record.
async fn members(cluster: &Cluster, pod: &str) -> Result<Vec<String>> {
    let record = cluster.record().await?;
    let of_pod = record.members.iter().filter(|(_, entry)| entry.pod == pod);
    Ok(of_pod.map(|(member, _)| member.to_string()).collect())
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// The example of credentials hands them to a program: here to one that only writes down what it was given.
async fn with_credentials(site: &mut Site, cluster: &Cluster) -> Result<()> {
    let programs = tempfile::tempdir()?;
    let (psql, given) = (programs.path().join("psql"), programs.path().join("given"));
    std::fs::write(
        &psql,
        format!("#!/bin/sh\necho \"$PGUSER $PGPASSWORD $PGDATABASE\" > {}\n", given.display()),
    )?;
    std::fs::set_permissions(&psql, std::fs::Permissions::from_mode(0o755))?;
    let path = format!("{}:{}", programs.path().display(), std::env::var("PATH").unwrap_or_default());
    site.tf = site.tf.clone().with_env("PATH", &path);
    apply(site, "ephemeral-resources/postgres_ha_credentials/ephemeral-resource.tf").await?;
    let password = cluster.secret_value(&cluster.names.secret_app(), secret_key::PASSWORD).await?;
    let seen = std::fs::read_to_string(&given).context("the program was not run")?;
    ensure!(
        seen.trim() == format!("app {password} app"),
        "expected the application's credentials, not those given"
    );
    let state = std::fs::read_to_string(site.tf.dir().join("terraform.tfstate"))?;
    ensure!(!state.contains(&password), "expected no password in the state");
    Ok(())
}

async fn apply(site: &Site, file: &str) -> Result<()> {
    let path = examples().join(file);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    site.tf.write("versions.tf", VERSIONS)?;
    site.tf.write("main.tf", &fitted(&text, &site.namespace))?;
    site.tf.init().await?;
    site.tf.apply(&[]).await.map(drop)
}

/// In this namespace, and no larger than the sandbox.
fn fitted(text: &str, namespace: &str) -> String {
    let sizes = [
        ("\"shop\"", format!("{namespace:?}")),
        ("\"20Gi\"", "\"1Gi\"".to_owned()),
        ("\"100Gi\"", "\"1Gi\"".to_owned()),
        ("\"fast\"", format!("{STORAGE_CLASS:?}")),
        ("cpu = \"2\"", "cpu = \"50m\"".to_owned()),
        ("\"4Gi\"", "\"512Mi\"".to_owned()),
        ("\"1GB\"", "\"64MB\"".to_owned()),
    ];
    sizes.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

async fn says(site: &Site, output: &str, piece: &str) -> Result<()> {
    let value = site.tf.outputs().await?.get(output).cloned().with_context(|| format!("output {output}"))?;
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    ensure!(text.contains(piece) && text != "null", "expected `{piece}` in output {output}, got {text}");
    Ok(())
}
