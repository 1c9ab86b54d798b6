//! What the agent costs those who write: pgbench on one of our clusters with its agents at work, and on the very same postgres
//! with all agents and guards suspended.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::cost::agent_pids;
use super::measure::CLIENTS;
use super::subject::{APP, REDUNDANT, REPLICAS, Subject};
use crate::poll::{Seen, until};
use crate::process::ProcessId;
use crate::sandbox::Sandbox;

/// Rows in millions, in tenths: 5 are 500,000 accounts, which fit into memory.
const SCALE: &str = "5";
/// Before each run: a postgres that was just started has an empty cache.
const WARM_UP: Duration = Duration::from_secs(3);
/// The kubelet kills a container whose guard has not answered for half a minute.
pub const LONGEST: Duration = Duration::from_secs(15);

/// One run of pgbench.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// `sync`, `quorum` or `async`.
    pub mode: String,
    /// Whether the agents ran, or were suspended.
    pub agents: bool,
    /// Transactions a second.
    pub tps: f64,
    /// Mean time of a transaction, which is nearly all commit.
    pub latency_ms: f64,
}

/// Runs pairs in one mode.
///
/// # Errors
/// When the mode does not come into force, or pgbench fails.
pub async fn measure(
    sandbox: &Sandbox,
    subject: &mut Subject,
    mode: &str,
    pairs: u32,
    length: Duration,
) -> Result<Vec<Run>> {
    subject.apply_with("sync_mode", mode).await?;
    in_force(subject, mode).await?;
    pgbench(sandbox, subject, &["--initialize", "--quiet", "--scale", SCALE]).await?;
    let mut runs = Vec::new();
    for pair in 0..pairs {
        // By turns first and second, so that what a run leaves behind helps neither.
        for agents in [pair % 2 == 0, pair % 2 != 0] {
            // Pages that are written whole after a checkpoint cost more than the agent could.
            subject.cluster.sql_on_primary("CHECKPOINT").await?;
            timed(sandbox, subject, WARM_UP).await?;
            let (tps, latency_ms) = if agents {
                timed(sandbox, subject, length).await?
            } else {
                let suspended = Suspended::all(sandbox, subject).await?;
                let outcome = timed(sandbox, subject, length).await;
                drop(suspended);
                // Guards that wake up after their deadline stop postgres: all begins anew.
                in_force(subject, mode).await?;
                outcome?
            };
            runs.push(Run { mode: mode.to_owned(), agents, tps, latency_ms });
        }
    }
    Ok(runs)
}

async fn in_force(subject: &Subject, mode: &str) -> Result<()> {
    let cluster = &subject.cluster;
    cluster.until_whole(REPLICAS, REDUNDANT).await?;
    until(&format!("{mode} to be in force"), REDUNDANT, || async {
        let names = cluster.setting("synchronous_standby_names").await?;
        let record = serde_json::to_value(cluster.record().await?.mode)?;
        let holds = record == mode && names.is_empty() == (mode == "async");
        Ok(Seen::when(holds, format!("the record says {record}, names are {names:?}")))
    })
    .await
}

async fn timed(sandbox: &Sandbox, subject: &Subject, length: Duration) -> Result<(f64, f64)> {
    let (clients, seconds) = (CLIENTS.to_string(), length.as_secs().to_string());
    let args = [
        "--builtin=simple-update",
        "--protocol=prepared",
        "--no-vacuum",
        "--client",
        &clients,
        "--time",
        &seconds,
    ];
    parse(&pgbench(sandbox, subject, &args).await?)
}

async fn pgbench(sandbox: &Sandbox, subject: &Subject, args: &[&str]) -> Result<String> {
    let target = &subject.target;
    let program = sandbox.postgres_programs().join("pgbench");
    let mut command = tokio::process::Command::from(sandbox.client_command(program));
    command
        .args(args)
        .args(["--host", &target.host, "--username", &target.user, APP])
        .env("PGPASSWORD", &target.password)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    let output = command.output().await.context("start pgbench")?;
    ensure!(output.status.success(), "pgbench {}: {}", args.join(" "), crate::process::both(&output));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Transactions a second and mean latency in milliseconds from what pgbench prints.
fn parse(output: &str) -> Result<(f64, f64)> {
    let number = |begin: &str| {
        let line = output.lines().find_map(|line| line.strip_prefix(begin));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .with_context(|| format!("no `{begin}` in what pgbench printed:\n{output}"))
    };
    Ok((number("tps = ")?, number("latency average = ")?))
}

/// Agents and guards that are suspended. They go on when this is dropped.
struct Suspended(Vec<ProcessId>);

impl Suspended {
    async fn all(sandbox: &Sandbox, subject: &Subject) -> Result<Self> {
        let mut all = Self(Vec::new());
        for pod in subject.cluster.pods().await?.into_keys() {
            let pids = agent_pids(sandbox, &subject.cluster.namespace, &pod)?;
            all.0.extend(pids.into_iter().filter_map(ProcessId::of));
        }
        ensure!(!all.0.is_empty(), "no agent runs");
        // The agents first of all pods, then the guards: none may see another silent for long.
        for process in &all.0 {
            process.signal(Signal::SIGSTOP)?;
        }
        Ok(all)
    }
}

impl Drop for Suspended {
    fn drop(&mut self) {
        for process in &self.0 {
            // One that has ended needs no waking.
            let _ = process.signal(Signal::SIGCONT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throughput_and_latency_are_read_from_pgbench() {
        let output = "pgbench (18.4)\nnumber of clients: 4\nlatency average = 2.345 ms\n\
            initial connection time = 12.1 ms\ntps = 1705.123456 (without initial connection time)\n";
        assert_eq!(parse(output).unwrap(), (1_705.123_456, 2.345));
        assert!(parse("tps = 3.0\n").unwrap_err().to_string().contains("latency average"));
    }
}
