//! The small commands: each looks at a cluster or does one thing to it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::cli::{Terraform, cluster_and_provider};
use super::target::{Kubernetes, Postgres};
use crate::progress::Progress;
use crate::sandbox::{Layout, Sandbox, Target};

/// `apply DIR`.
///
/// # Errors
/// When a step fails.
pub async fn apply(dir: &Path, args: &[String], progress: &Progress) -> Result<u8> {
    let dir = dir.canonicalize().with_context(|| format!("find {}", dir.display()))?;
    let (cluster, plugin, cli) = cluster_and_provider(progress).await?;
    let terraform = Terraform::new(cli, plugin, &cluster, &dir);
    terraform.init()?;
    let words: Vec<&str> = std::iter::once("apply").chain(args.iter().map(String::as_str)).collect();
    Ok(u8::try_from(terraform.code(&words)?).unwrap_or(1))
}

/// `kubectl …`.
///
/// # Errors
/// When it can't be started.
pub async fn kubectl(args: &[String], progress: &Progress) -> Result<u8> {
    let cluster = Kubernetes::connect().await?;
    finish(cluster.kubectl(progress)?.args(args))
}

/// `psql …`: a session through the rw Service as the application's user.
///
/// # Errors
/// When there is no cluster or psql can't be started.
pub async fn psql(chosen: &Chosen, args: &[String], progress: &Progress) -> Result<u8> {
    let cluster = Kubernetes::connect().await?;
    let client = cluster.client();
    let postgres = chosen.find(&cluster).await?;
    let (user, database) =
        (postgres.app_secret(&client, "username").await?, postgres.app_secret(&client, "dbname").await?);
    let password = postgres.app_secret(&client, "password").await?;
    let host = format!("{}-rw.{}.svc", postgres.name, postgres.namespace);
    let parameters = format!("host={host} dbname={database} user={user}");
    let mut command = match &cluster {
        Kubernetes::Sandbox(sandbox) => {
            let mut command = sandbox.client_command(sandbox.postgres_programs().join("psql"));
            command.env("PGPASSWORD", &password);
            command
        }
        Kubernetes::Own(_) => {
            let mut command = cluster.kubectl(progress)?;
            command.args(["exec", "--stdin", "--namespace", &postgres.namespace, &postgres.primary]);
            if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
                command.arg("--tty");
            }
            command.args(["--container", "postgres", "--", "env"]);
            command.arg(format!("PGPASSWORD={password}")).arg("psql");
            command
        }
    };
    finish(command.arg("--dbname").arg(parameters).args(args))
}

/// `kill-primary`: SIGKILL to the primary's postgres.
///
/// # Errors
/// When there is no primary.
pub async fn kill_primary(chosen: &Chosen, progress: &Progress) -> Result<u8> {
    let cluster = Kubernetes::connect().await?;
    let postgres = chosen.find(&cluster).await?;
    kill_postgres(&cluster, &postgres, progress)?;
    progress.say(format!("killed postgres in pod {}/{}", postgres.namespace, postgres.primary));
    Ok(0)
}

/// Kills the first process of PostgreSQL in the primary's pod.
///
/// # Errors
/// When it does not run.
pub fn kill_postgres(cluster: &Kubernetes, postgres: &Postgres, progress: &Progress) -> Result<()> {
    match cluster {
        Kubernetes::Sandbox(sandbox) => {
            sandbox.kill_in_pod(&postgres.namespace, &postgres.primary, Target::Postmaster).map(|_| ())
        }
        Kubernetes::Own(_) => {
            let script = "kill -KILL \"$(head -n 1 /var/lib/pgha/pgdata/postmaster.pid)\"";
            let mut command = cluster.kubectl(progress)?;
            command.args(["exec", "--namespace", &postgres.namespace, &postgres.primary]);
            command.args(["--container", "postgres", "--", "sh", "-c", script]);
            crate::process::run(&mut command).map(|_| ())
        }
    }
}

/// `logs …`: what the agents of all instances say.
///
/// # Errors
/// When there is no cluster or kubectl can't be started.
pub async fn logs(chosen: &Chosen, args: &[String], progress: &Progress) -> Result<u8> {
    let cluster = Kubernetes::connect().await?;
    let postgres = chosen.find(&cluster).await?;
    let label = format!("app.kubernetes.io/instance={}", postgres.name);
    let mut command = cluster.kubectl(progress)?;
    command.args(["logs", "--namespace", &postgres.namespace, "--selector", &label]);
    command.args(["--container", "postgres", "--prefix", "--max-log-requests=20"]);
    finish(command.args(args))
}

/// `status`.
///
/// # Errors
/// When a program can't be started.
pub async fn status(progress: &Progress) -> Result<u8> {
    if !Sandbox::is_up().await {
        let left = Sandbox::leftovers();
        if left.is_empty() {
            progress.say("the sandbox is down, and nothing of it is left");
        } else {
            progress.say(format!(
                "the sandbox is not up, but this is there (`cargo dev down` removes it):\n  {}",
                left.join("\n  ")
            ));
        }
        return Ok(1);
    }
    let sandbox = Sandbox::connect().await?;
    progress.say(format!("the sandbox is up: export KUBECONFIG={}", sandbox.kubeconfig().display()));
    progress.say(format!("logs: {}", Layout::new().daemons().logs.display()));
    finish(sandbox.kubectl().args(["get", "nodes", "-o", "wide"]))?;
    finish(sandbox.kubectl().args(["get", "pods", "--all-namespaces", "-o", "wide", "-L", "role"]))
}

/// `sim …`.
///
/// # Errors
/// When cargo can't be started.
pub fn sim(args: &[String]) -> Result<u8> {
    finish(cargo().args(["run", "--quiet", "--locked", "--package", "pgha-agent-sim", "--"]).args(args))
}

/// Which PostgreSQL cluster, where there may be several.
#[derive(clap::Args, Debug)]
pub struct Chosen {
    /// Name of the PostgreSQL cluster; not needed when there is only one
    #[arg(long)]
    name: Option<String>,
    /// Its namespace
    #[arg(long, short)]
    namespace: Option<String>,
}

impl Chosen {
    async fn find(&self, cluster: &Kubernetes) -> Result<Postgres> {
        Postgres::find(&cluster.client(), self.namespace.as_deref(), self.name.as_deref()).await
    }
}

/// cargo, in the workspace's folder.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    command
}

/// Runs a command on this terminal; gives its exit code.
fn finish(command: &mut Command) -> Result<u8> {
    let status = command.status().with_context(|| format!("start {}", command.get_program().display()))?;
    ensure!(status.code().is_some(), "{} was ended by a signal", command.get_program().display());
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
