//! Drives the real CLI (`terraform` or `tofu`) with the real provider, each test in a directory of its own.
//!
//! ```text
//!   Plugin (built once, in a filesystem mirror) ─┐
//!   Cli (terraform | tofu) ──────────────────────┴─> Terraform (one directory) ──> Run (output, exit code)
//! ```

pub mod hcl;
pub mod names;
pub mod newer;
mod offline;
pub mod pages;
mod plugin;
mod run;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

pub use offline::{clis, offline};
pub use plugin::{Other, Plugin, arch, build_provider, provider_binary};
pub use run::{Background, Run};

/// How long one command may take before it is ended and counted as failed.
const DEADLINE: Duration = Duration::from_secs(600);

/// Which program drives the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// HashiCorp's.
    Terraform,
    /// The Linux Foundation's.
    OpenTofu,
}

/// An installed CLI.
#[derive(Clone, Debug)]
pub struct Cli {
    /// Which one it is.
    pub tool: Tool,
    /// Where it is.
    pub path: PathBuf,
}

impl Cli {
    /// The CLI at a path, told apart by its name.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Self { tool: if name.contains("tofu") { Tool::OpenTofu } else { Tool::Terraform }, path }
    }

    /// The CLI of this kind on PATH.
    pub fn on_path(tool: Tool) -> Option<Self> {
        let name = match tool {
            Tool::Terraform => "terraform",
            Tool::OpenTofu => "tofu",
        };
        crate::process::on_path(name).map(|path| Self { tool, path })
    }
}

/// A working directory with a configuration, a state and a CLI.
#[derive(Clone)]
pub struct Terraform {
    cli: Cli,
    dir: PathBuf,
    env: Vec<(OsString, OsString)>,
    // Kept for the directory's life: dropped with the last clone.
    #[allow(dead_code)]
    keep: Option<Arc<tempfile::TempDir>>,
    history: Arc<Mutex<Vec<String>>>,
}

/// What `plan -detailed-exitcode` found.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Whether there is anything to do: exit code 2, not 0.
    pub changes: bool,
    /// The plan as `show -json` tells it.
    pub json: Value,
    /// What the command printed.
    pub text: String,
}

impl Planned {
    /// The planned change of a resource: `actions`, `before`, `after`, `after_unknown`.
    ///
    /// # Errors
    /// When the plan does not name the resource.
    pub fn change(&self, address: &str) -> Result<&Value> {
        self.json["resource_changes"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|change| change["address"] == address)
            .map(|change| &change["change"])
            .with_context(|| format!("{address} is not in the plan:\n{}", self.text))
    }

    /// The planned actions of a resource, as `update` or `delete,create`.
    ///
    /// # Errors
    /// When the plan does not name the resource.
    pub fn actions(&self, address: &str) -> Result<String> {
        let words = self.change(address)?["actions"].as_array().cloned().unwrap_or_default();
        Ok(words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","))
    }
}

impl Terraform {
    /// A new, empty directory that is removed with this value.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn new(cli: &Cli, plugin: &Plugin, kubeconfig: &Path) -> Result<Self> {
        let dir =
            tempfile::Builder::new().prefix("pgha-tf-").tempdir().context("make a working directory")?;
        let mut made = Self::in_dir(cli, plugin, Some(kubeconfig), dir.path());
        made.keep = Some(Arc::new(dir));
        Ok(made)
    }

    /// An existing directory, used in place. Without a kubeconfig the environment's holds.
    pub fn in_dir(cli: &Cli, plugin: &Plugin, kubeconfig: Option<&Path>, dir: &Path) -> Self {
        let mut env: Vec<(OsString, OsString)> = vec![
            ("TF_CLI_CONFIG_FILE".into(), plugin.cli_config.clone().into()),
            ("TF_IN_AUTOMATION".into(), "1".into()),
            ("TF_INPUT".into(), "0".into()),
            ("CHECKPOINT_DISABLE".into(), "1".into()),
        ];
        if let Some(file) = kubeconfig {
            env.push(("KUBECONFIG".into(), file.into()));
            env.push(("KUBE_CONFIG_PATH".into(), file.into()));
        }
        Self { cli: cli.clone(), dir: dir.to_owned(), env, keep: None, history: Arc::default() }
    }

    /// The same directory and state, with another kubeconfig.
    pub fn with_kubeconfig(&self, kubeconfig: &Path) -> Self {
        let mut other = self.clone();
        other.env.retain(|(name, _)| name != "KUBECONFIG" && name != "KUBE_CONFIG_PATH");
        other.env.push(("KUBECONFIG".into(), kubeconfig.into()));
        other.env.push(("KUBE_CONFIG_PATH".into(), kubeconfig.into()));
        other
    }

    /// Adds a variable to the environment of every command.
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Takes a variable from the environment of every command.
    pub fn without_env(mut self, name: &str) -> Self {
        self.env.retain(|(held, _)| held != name);
        self
    }

    /// The working directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes a file into the directory.
    ///
    /// # Errors
    /// When that fails.
    pub fn write(&self, file: &str, text: &str) -> Result<()> {
        fs::write(self.dir.join(file), text).with_context(|| format!("write {file}"))
    }

    /// Everything that was run here so far, newest last, for a report of a failure.
    pub fn history(&self) -> String {
        self.history.lock().map(|lines| lines.join("\n")).unwrap_or_default()
    }

    /// Runs a command to its end, whatever that is.
    ///
    /// # Errors
    /// When it can't be started, or is not done within ten minutes.
    pub async fn run(&self, args: &[&str]) -> Result<Run> {
        self.start(args)?.wait_within(DEADLINE).await
    }

    /// Runs a shell script to its end in the environment of the CLI's commands; `TERRAFORM` names the CLI.
    ///
    /// # Errors
    /// When it can't be started, or is not done within ten minutes.
    pub async fn run_script(&self, script: &Path, args: &[&str]) -> Result<Run> {
        let mut env = self.env.clone();
        env.push(("TERRAFORM".into(), self.cli.path.clone().into()));
        let script = script.to_string_lossy();
        let args = [&[script.as_ref()], args].concat();
        let started = Background::start(Path::new("sh"), &self.dir, &env, &args, Arc::clone(&self.history))?;
        started.wait_within(DEADLINE).await
    }

    /// Starts a command in a process group of its own, as a shell would.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(&self, args: &[&str]) -> Result<Background> {
        Background::start(&self.cli.path, &self.dir, &self.env, args, Arc::clone(&self.history))
    }

    /// `init`, from the mirror.
    ///
    /// # Errors
    /// When it fails.
    pub async fn init(&self) -> Result<Run> {
        self.run(&["init", "-no-color"]).await?.succeeded()
    }

    /// `validate`, whatever its outcome.
    ///
    /// # Errors
    /// When it can't be run.
    pub async fn validate(&self) -> Result<Run> {
        self.run(&["validate", "-no-color"]).await
    }

    /// `plan -detailed-exitcode`, and the plan as JSON.
    ///
    /// # Errors
    /// When planning fails.
    pub async fn plan(&self, extra: &[&str]) -> Result<Planned> {
        let run = self.try_plan(extra).await?;
        let changes = match run.code {
            Some(0) => false,
            Some(2) => true,
            _ => bail!("plan failed:\n{}", run.report()),
        };
        let shown = self.run(&["show", "-json", "-no-color", "test.plan"]).await?.succeeded()?;
        let json = serde_json::from_str(&shown.stdout).context("read the plan as JSON")?;
        Ok(Planned { changes, json, text: run.stdout })
    }

    /// `plan -detailed-exitcode`, whatever its outcome.
    ///
    /// # Errors
    /// When it can't be run.
    pub async fn try_plan(&self, extra: &[&str]) -> Result<Run> {
        let args = [&["plan", "-no-color", "-detailed-exitcode", "-out=test.plan"], extra].concat();
        self.run(&args).await
    }

    /// Asserts that there is nothing to do.
    ///
    /// # Errors
    /// When the plan is not empty; the message shows it.
    pub async fn plan_is_empty(&self, after: &str) -> Result<()> {
        let planned = self.plan(&[]).await?;
        ensure!(!planned.changes, "expected an empty plan after {after}, got:\n{}", planned.text);
        Ok(())
    }

    /// `apply`.
    ///
    /// # Errors
    /// When it fails.
    pub async fn apply(&self, extra: &[&str]) -> Result<Run> {
        self.try_apply(extra).await?.succeeded()
    }

    /// `apply`, whatever its outcome.
    ///
    /// # Errors
    /// When it can't be run.
    pub async fn try_apply(&self, extra: &[&str]) -> Result<Run> {
        self.run(&[&["apply", "-no-color", "-auto-approve"], extra].concat()).await
    }

    /// Starts `apply` and gives it back running.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_apply(&self) -> Result<Background> {
        self.start(&["apply", "-no-color", "-auto-approve"])
    }

    /// `destroy`.
    ///
    /// # Errors
    /// When it fails.
    pub async fn destroy(&self) -> Result<Run> {
        self.try_destroy().await?.succeeded()
    }

    /// `destroy`, whatever its outcome.
    ///
    /// # Errors
    /// When it can't be run.
    pub async fn try_destroy(&self) -> Result<Run> {
        self.run(&["destroy", "-no-color", "-auto-approve"]).await
    }

    /// `import`.
    ///
    /// # Errors
    /// When it fails.
    pub async fn import(&self, address: &str, id: &str) -> Result<Run> {
        self.run(&["import", "-no-color", address, id]).await?.succeeded()
    }

    /// The outputs, by name, without their types.
    ///
    /// # Errors
    /// When they can't be read.
    pub async fn outputs(&self) -> Result<serde_json::Map<String, Value>> {
        let run = self.run(&["output", "-json", "-no-color"]).await?.succeeded()?;
        let all: serde_json::Map<String, Value> =
            serde_json::from_str(&run.stdout).context("read the outputs")?;
        Ok(all.into_iter().map(|(name, output)| (name, output["value"].clone())).collect())
    }

    /// The attributes of a resource in the state; null when it is not there.
    ///
    /// # Errors
    /// When the state can't be read.
    pub async fn attributes(&self, address: &str) -> Result<Value> {
        Ok(self.resource(address).await?["values"].clone())
    }

    /// Whether the state marks a resource as tainted.
    ///
    /// # Errors
    /// When the state can't be read.
    pub async fn is_tainted(&self, address: &str) -> Result<bool> {
        Ok(self.resource(address).await?["tainted"] == true)
    }

    async fn resource(&self, address: &str) -> Result<Value> {
        let run = self.run(&["show", "-json", "-no-color"]).await?.succeeded()?;
        let state: Value = serde_json::from_str(&run.stdout).context("read the state")?;
        let resources = state["values"]["root_module"]["resources"].as_array().cloned().unwrap_or_default();
        Ok(resources.into_iter().find(|resource| resource["address"] == address).unwrap_or(Value::Null))
    }
}
