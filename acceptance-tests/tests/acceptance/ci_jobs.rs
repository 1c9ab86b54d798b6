//! The CI files of the drift job, run as their runners would: every line of shell that they hold, in its order, with rights to read.
//!
//! What can't be run here has a stand-in: the checkout is a copy of the configuration, its lock file and the script; whoever sets
//! Terraform up puts the CLI on PATH; the registry is the mirror of the other cases; the state's backend is a file outside of
//! the workspace; and what is uploaded has to be there.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use pgha_acceptance_tests::process;
use pgha_acceptance_tests::terraform::Run;
use serde_yaml_ng::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::cases;
use crate::drift::{drifting, reader_rules, repaired};
use crate::group::{Group, Site};
use crate::runner::Case;

/// What a step may take: a plan, or an init.
const STEP: Duration = Duration::from_secs(180);
/// Where programs are on a runner, behind those that the job sets up.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
pub fn cases() -> Vec<Case> {
    cases![=> the_ci_files_find_drift_as_their_runners_run_them]
}

async fn the_ci_files_find_drift_as_their_runners_run_them(group: &mut Group) -> Result<()> {
    let (sandbox, cli) = (group.bed.sandbox.clone(), group.cli()?.path);
    let cli_config = group.bed.plugin.cli_config.clone();
    let site = drifting(group).await?;
    let kubeconfig = sandbox.restricted_kubeconfig(&site.namespace, &reader_rules()?).await?;
    let machine = |site: &Site| Machine::new(site, &cli, &cli_config);

    let calm = ["Nothing differs: 1 resources were compared"];
    github(machine(site)?, &kubeconfig).await?.ends(0, false, &calm)?;
    gitlab(machine(site)?, &kubeconfig).await?.ends(0, true, &calm)?;

    let service = site.cluster.names.service_rw();
    let mut patch = sandbox.kubectl();
    patch.args(["--namespace", &site.namespace, "patch", "service", &service]);
    process::run(patch.args(["--patch", r#"{"spec":{"selector":{"role":"replica"}}}"#]))?;
    let row = format!("| `Service/{service}` | `spec.selector` | `kubectl-patch` |");
    let told = [row.as_str(), "\n+  \"role\": \"replica\"\n", "An apply would update"];
    github(machine(site)?, &kubeconfig).await?.ends(2, true, &told)?;
    gitlab(machine(site)?, &kubeconfig).await?.ends(2, true, &told)?;
    repaired(site).await
}

/// How a job ended.
struct Ended {
    /// Of the step that failed; 0 when none did.
    code: i32,
    /// What people are shown of it.
    shown: String,
    /// The file that is kept, when it is.
    kept: Option<String>,
    /// Everything that its steps printed.
    log: String,
}

impl Ended {
    fn ends(&self, code: i32, keeps: bool, report: &[&str]) -> Result<()> {
        let Self { code: ended, shown, kept, log } = self;
        ensure!(*ended == code, "expected the job to end with {code}, it did with {ended}:\n{log}");
        ensure!(kept.is_some() == keeps, "expected a kept file: {keeps}, got {kept:?}:\n{log}");
        for text in report {
            let in_both = shown.contains(text) && kept.as_ref().is_none_or(|kept| kept.contains(text));
            ensure!(
                in_both,
                "expected `{text}` in what is shown and in what is kept:\n{shown}\n{kept:?}\n{log}"
            );
        }
        Ok(())
    }
}

/// A runner's machine, new for each job.
struct Machine {
    root: TempDir,
    source: PathBuf,
    cli: PathBuf,
    env: Vec<(String, String)>,
    log: String,
}

impl Machine {
    fn new(site: &Site, cli: &Path, cli_config: &Path) -> Result<Self> {
        let root = tempfile::Builder::new().prefix("pgha-ci-").tempdir().context("make a runner's folder")?;
        for folder in ["bin", "home", "workspace"] {
            fs::create_dir(root.path().join(folder))?;
        }
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let env = [
            ("PATH", format!("{}:{PATH}", text(&root.path().join("bin")))),
            ("HOME", text(&root.path().join("home"))),
            ("CI", "true".to_owned()),
            // Nothing is fetched from anywhere.
            ("TF_CLI_CONFIG_FILE", text(cli_config)),
            ("CHECKPOINT_DISABLE", "1".to_owned()),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Ok(Self { root, source: site.tf.dir().to_owned(), cli: cli.to_owned(), env, log: String::new() })
    }

    fn workspace(&self) -> PathBuf {
        self.root.path().join("workspace")
    }

    /// What lies in the repository, and nothing that a command made beside it but the lock file.
    fn check_out(&self) -> Result<()> {
        let to = self.workspace();
        for file in ["main.tf", ".terraform.lock.hcl"] {
            fs::copy(self.source.join(file), to.join(file)).with_context(|| format!("copy {file}"))?;
        }
        fs::copy(examples().join("drift-report.sh"), to.join("drift-report.sh"))?;
        let state = self.source.join("terraform.tfstate");
        ensure!(state.is_file(), "expected a state in {}", state.display());
        let backend =
            format!("terraform {{\n  backend \"local\" {{\n    path = \"{}\"\n  }}\n}}\n", state.display());
        fs::write(to.join("backend.tf"), backend).context("write the backend")
    }

    fn set_terraform_up(&self) -> Result<()> {
        symlink(&self.cli, self.root.path().join("bin/terraform")).context("put the CLI on PATH")
    }

    /// Runs a script with this shell in the workspace; nothing of our own environment is in its.
    async fn shell(&mut self, shell: &str, script: &str, env: &[(String, String)]) -> Result<Run> {
        let file = self.root.path().join("script");
        fs::write(&file, script)?;
        let mut command = Command::new(shell);
        command.arg("-e").arg(&file).current_dir(self.workspace()).stdin(Stdio::null()).kill_on_drop(true);
        command.env_clear().envs(self.env.iter().chain(env).map(|(name, value)| (name, value)));
        let started = Instant::now();
        let output = tokio::time::timeout(STEP, command.output()).await;
        let output = output.with_context(|| format!("not done in {STEP:?}: {script}"))??;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let run = Run {
            command: script.to_owned(),
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            took: started.elapsed(),
        };
        self.log += &run.report();
        Ok(run)
    }

    fn kept(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.workspace().join(file)).ok()
    }
}

/// `drift` of github-actions.yml.
async fn github(mut machine: Machine, kubeconfig: &Path) -> Result<Ended> {
    let job = job("github-actions.yml", &["jobs", "drift"])?;
    let secret = fs::read_to_string(kubeconfig).context("read the reader's kubeconfig")?;
    let known = [
        ("github.workspace", machine.workspace().to_string_lossy().into_owned()),
        ("secrets.KUBECONFIG_READER", secret),
    ];
    let summary = machine.root.path().join("summary.md");
    let of_the_job = variables(&job["env"], &known)?;
    let (mut code, mut kept) = (0, None);
    for step in job["steps"].as_sequence().context("a job without steps")? {
        match step["if"].as_str() {
            None if code == 0 => {}
            Some("failure()") if code != 0 => {}
            None | Some("failure()") => continue,
            Some(other) => bail!("when is `{other}`?"),
        }
        if let Some(action) = step["uses"].as_str() {
            match action.split('@').next() {
                Some("actions/checkout") => machine.check_out()?,
                Some("hashicorp/setup-terraform") => {
                    // Its wrapper is a program of JavaScript in the CLI's place, and ends with 0 or 1.
                    ensure!(step["with"]["terraform_wrapper"] == Value::Bool(false), "expected no wrapper");
                    machine.set_terraform_up()?;
                }
                Some("actions/upload-artifact") => {
                    let path = step["with"]["path"].as_str().context("what is uploaded?")?;
                    kept = Some(machine.kept(path).with_context(|| format!("no {path}:\n{}", machine.log))?);
                }
                _ => bail!("nothing stands for {action}"),
            }
            continue;
        }
        let script = step["run"].as_str().context("a step that neither uses nor runs")?;
        let mut env = of_the_job.clone();
        env.extend(variables(&step["env"], &known)?);
        env.push(("GITHUB_STEP_SUMMARY".to_owned(), summary.to_string_lossy().into_owned()));
        code = machine.shell("bash", script, &env).await?.code.context("a signal ended a step")?;
    }
    let private = machine.workspace().join(".kubeconfig");
    let mode = fs::metadata(&private).with_context(|| machine.log.clone())?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "expected the kubeconfig to be nobody else's to read, its mode is {mode:o}");
    let shown = fs::read_to_string(&summary).with_context(|| format!("no summary:\n{}", machine.log))?;
    Ok(Ended { code, shown, kept, log: machine.log })
}

/// `drift` of gitlab-ci.yml.
async fn gitlab(mut machine: Machine, kubeconfig: &Path) -> Result<Ended> {
    let job = job("gitlab-ci.yml", &["drift"])?;
    // The runner checks out; the image holds the CLI.
    machine.check_out()?;
    ensure!(job["image"] == "$TERRAFORM_IMAGE", "expected an image of the user's, got {:?}", job["image"]);
    machine.set_terraform_up()?;
    let mut env = variables(&job["variables"], &[])?;
    // A variable of type File holds a path.
    env.push(("KUBECONFIG_READER".to_owned(), kubeconfig.to_string_lossy().into_owned()));
    let lines = |part: &str| -> Result<Vec<String>> {
        let all = job[part].as_sequence().with_context(|| format!("a job without {part}"))?;
        all.iter().map(|line| line.as_str().map(str::to_owned).context("a line that is no text")).collect()
    };
    let script = [lines("before_script")?, lines("script")?].concat().join("\n");
    let run = machine.shell("sh", &script, &env).await?;
    let paths = job["artifacts"]["paths"].as_sequence().context("a job that keeps nothing")?;
    ensure!(job["artifacts"]["when"].as_str() == Some("always"), "expected the report to be kept always");
    let kept = paths.iter().filter_map(Value::as_str).find_map(|path| machine.kept(path));
    let code = run.code.context("a signal ended the job")?;
    Ok(Ended { code, shown: run.stdout, kept, log: machine.log })
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/drift-detection")
}

fn job(file: &str, path: &[&str]) -> Result<Value> {
    let text = fs::read_to_string(examples().join(file)).with_context(|| format!("read {file}"))?;
    let whole: Value = serde_yaml_ng::from_str(&text).with_context(|| file.to_owned())?;
    Ok(path.iter().fold(&whole, |at, step| &at[*step]).clone())
}

/// A map of variables, with the expressions in their values evaluated.
fn variables(map: &Value, known: &[(&str, String)]) -> Result<Vec<(String, String)>> {
    let Some(map) = map.as_mapping() else { return Ok(Vec::new()) };
    let one = |(name, value): (&Value, &Value)| {
        let (name, value) = (name.as_str().context("a name")?, value.as_str().context("a text")?);
        Ok((name.to_owned(), evaluated(value, known)?))
    };
    map.iter().map(one).collect()
}

fn evaluated(text: &str, known: &[(&str, String)]) -> Result<String> {
    let mut parts = text.split("${{");
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (expression, rest) = part.split_once("}}").context("an expression without an end")?;
        let found = known.iter().find(|(name, _)| *name == expression.trim());
        whole += &found.with_context(|| format!("what is {expression}?"))?.1;
        whole += rest;
    }
    Ok(whole)
}
