//! What users get: the provider out of a release archive, and the examples.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pgha_acceptance_tests::leftovers;
use pgha_acceptance_tests::package::VERSION;
use pgha_acceptance_tests::poll::{Seen, until};
use pgha_acceptance_tests::process::run;
use pgha_acceptance_tests::terraform::{Plugin, Terraform, arch};

use crate::cases;
use crate::group::{Group, WHOLE};
use crate::runner::Case;

pub fn cases() -> Vec<Case> {
    cases![
        => installed_from_archive,
        => module_applies_and_leaves_nothing,
    ]
}

/// The archive in a packed mirror, `init`, and the quick start of the examples applied with what it holds.
async fn installed_from_archive(group: &mut Group) -> Result<()> {
    let (cli, kubeconfig) = (group.cli()?, group.bed.sandbox.kubeconfig());
    let binary = group.bed.plugin.binary.clone();
    let folder = tempfile::tempdir()?;
    let root = folder.path().to_owned();
    let plugin = tokio::task::spawn_blocking(move || -> Result<Plugin> {
        let release = root.join("package");
        let mut package = Command::new(env!("CARGO_BIN_EXE_dev"));
        package.arg("package").arg("--provider").arg(&binary).arg("--folder").arg(&release);
        run(&mut package)?;
        let archive = format!("terraform-provider-postgres_{VERSION}_linux_{}.zip", arch());
        Plugin::install_archive(&release.join(archive), &root)
    })
    .await??;

    let site = group.site().await?;
    site.tf = Terraform::new(&cli, &plugin, &kubeconfig)?;
    for file in ["main.tf", "outputs.tf"] {
        let text = std::fs::read_to_string(example("quickstart").join(file))?;
        let text = text.replace("\"default\"", &format!("\"{}\"", site.namespace));
        site.tf.write(file, &text.replace("\"orders\"\n", &format!("\"{}\"\n", Group::CLUSTER)))?;
    }
    site.tf.init().await?.says(&[&format!("Installed pgha/postgres v{VERSION}")])?;
    let lock = std::fs::read_to_string(site.tf.dir().join(".terraform.lock.hcl"))?;
    ensure!(lock.contains("\"h1:"), "expected the archive's hash in the lock file:\n{lock}");
    site.tf.apply(&[]).await?;
    site.cluster.until_whole(2, WHOLE).await?;
    site.tf.plan_is_empty("the quick start").await?;
    let host = site.tf.outputs().await?.get("rw_host").cloned().context("output rw_host")?;
    let expected = format!("{}-rw.{}.svc", Group::CLUSTER, site.namespace);
    ensure!(host == expected.as_str(), "expected {expected} as rw_host, got {host}");
    Ok(())
}

/// The module of the examples, as another configuration calls it.
async fn module_applies_and_leaves_nothing(group: &mut Group) -> Result<()> {
    let site = group.fresh_site().await?;
    let name = Group::CLUSTER;
    site.tf.write(
        "main.tf",
        &format!(
            "module \"db\" {{\n  source      = \"{}\"\n  name        = \"{name}\"\n  namespace   = \"{}\"\n  \
             environment = \"development\"\n  storage     = {{ size = \"1Gi\" }}\n  memory_mib  = 512\n  \
             cpu         = \"50m\"\n}}\n\noutput \"app_secret\" {{\n  value = module.db.app_secret\n}}\n",
            example("module").canonicalize()?.display(),
            site.namespace
        ),
    )?;
    site.tf.init().await?;
    site.tf.apply(&[]).await?;
    site.cluster.until_whole(0, WHOLE).await?;
    site.tf.plan_is_empty("the module").await?;
    let buffers = site.cluster.setting("shared_buffers").await?;
    ensure!(buffers == "128MB", "expected a quarter of the memory as shared_buffers, got {buffers}");
    let secret = site.tf.outputs().await?.get("app_secret").cloned().context("output app_secret")?;
    let secret = secret.as_str().context("a name")?;
    let primary = site.cluster.primary().await?;
    for (address, setting) in [("uri", "tcp_user_timeout="), ("plain-uri", "connect_timeout=")] {
        let uri = site.cluster.secret_value(secret, address).await?;
        ensure!(uri.contains(setting), "expected {setting} in {address}");
        let asked =
            ["psql", "-X", "-A", "-t", "-c", "select current_user, pg_is_in_recovery()", uri.as_str()];
        let seen = site.cluster.exec(&primary, &asked).await?;
        ensure!(
            seen.stdout.trim() == "app|f",
            "expected {address} to lead to the primary as app, got {seen:?}"
        );
    }
    site.tf.destroy().await?;
    until("nothing to be left", Duration::from_secs(90), || async {
        let left = leftovers::in_namespace(site.cluster.client(), &site.namespace).await?;
        Ok(Seen::when(left.is_empty(), format!("{left:?}")))
    })
    .await
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}
