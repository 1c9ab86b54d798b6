//! Terraform for people: the CLI that is there, the provider built and installed as `init` expects, output as it comes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::target::Kubernetes;
use crate::progress::Progress;
use crate::sandbox::{Layout, assets};
use crate::terraform::{Cli, Plugin, Tool, provider_binary};

/// The CLI with the built provider, in one directory.
pub struct Terraform {
    cli: Cli,
    plugin: Plugin,
    kubeconfig: Option<PathBuf>,
    dir: PathBuf,
}

/// `terraform` from PATH, else `tofu` from PATH, else OpenTofu built from its Go module.
///
/// # Errors
/// When OpenTofu must be built and can't be.
pub fn find_cli(progress: &Progress) -> Result<Cli> {
    if let Some(cli) = Cli::on_path(Tool::Terraform).or_else(|| Cli::on_path(Tool::OpenTofu)) {
        return Ok(cli);
    }
    Ok(Cli { tool: Tool::OpenTofu, path: assets::opentofu(&Layout::new(), progress)? })
}

/// Builds the provider (with the agent in it) and puts it where `init` finds it.
///
/// # Errors
/// When the build fails.
pub fn build_provider(progress: &Progress) -> Result<Plugin> {
    let stage = progress.stage("build the provider and its agent");
    let plugin = Plugin::install(&provider_binary()?, &Layout::new().cache().join("plugins"))?;
    stage.done();
    Ok(plugin)
}

/// A cluster and a built provider, got at the same time.
///
/// # Errors
/// When either can't be had.
pub async fn cluster_and_provider(progress: &Progress) -> Result<(Kubernetes, Plugin, Cli)> {
    let shown = progress.clone();
    let build = tokio::task::spawn_blocking(move || anyhow::Ok((build_provider(&shown)?, find_cli(&shown)?)));
    let cluster = Kubernetes::start(progress).await;
    let (plugin, cli) = build.await??;
    Ok((cluster?, plugin, cli))
}

impl Terraform {
    /// In this directory.
    pub fn new(cli: Cli, plugin: Plugin, cluster: &Kubernetes, dir: &Path) -> Self {
        Self { cli, plugin, kubeconfig: cluster.kubeconfig(), dir: dir.to_owned() }
    }

    /// `init`. The lock file of another build of the same version would refuse this one, so it goes when it names nothing else.
    ///
    /// # Errors
    /// When it fails.
    pub fn init(&self) -> Result<()> {
        let lock = self.dir.join(".terraform.lock.hcl");
        let text = std::fs::read_to_string(&lock).unwrap_or_default();
        let providers = text.matches("provider \"").count();
        if providers == 1 && text.contains("pgha/postgres") {
            std::fs::remove_file(&lock)?;
        }
        self.run(&["init", "-input=false"])
    }

    /// Runs a command with its output shown.
    ///
    /// # Errors
    /// When it fails.
    pub fn run(&self, args: &[&str]) -> Result<()> {
        match self.code(args)? {
            0 => Ok(()),
            code => bail!("{} {} ended with exit code {code}", self.cli.path.display(), args.join(" ")),
        }
    }

    /// Runs a command with its output shown; gives the exit code.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn code(&self, args: &[&str]) -> Result<i32> {
        let mut command = Command::new(&self.cli.path);
        command.args(args).current_dir(&self.dir).envs(self.environment());
        let status = command.status().with_context(|| format!("start {}", self.cli.path.display()))?;
        Ok(status.code().unwrap_or(1))
    }

    /// What to export to go on by hand.
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut variables =
            vec![("TF_CLI_CONFIG_FILE".to_owned(), self.plugin.cli_config.display().to_string())];
        if let Some(file) = &self.kubeconfig {
            variables.push(("KUBECONFIG".to_owned(), file.display().to_string()));
        }
        variables
    }

    /// Name of the program, for lines that tell what to type.
    pub fn program(&self) -> String {
        self.cli.path.display().to_string()
    }

    /// Where it works.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}
