//! The examples that no other case applies, as they stand but for the place, and for sizes that the sandbox has.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use pgha_acceptance_tests::cluster::Cluster;
use pgha_acceptance_tests::sandbox::STORAGE_CLASS;
use pgha_acceptance_tests::terraform::hcl::VERSIONS;
use pgha_schema::names::secret_key;

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

/// A cluster made by an example, and every example that reads one.
async fn examples_that_read(group: &mut Group) -> Result<()> {
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
    with_credentials(site, &cluster).await
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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(file);
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
