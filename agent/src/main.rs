//! The failover agent and its guard: one static binary that wraps postgres in every pod.
//!
//! ```text
//!   guard (PID 1) ──> agent: observe ──> decide (pgha-agent-core) ──> act ──> wait
//!             └─────> postgres              ^ Lease, pods, peers, local postgres
//! ```
#![deny(unsafe_code)]

mod act;
mod agent;
mod api;
mod boottime;
mod cli;
mod disk;
#[cfg(test)]
mod fuzz_tests;
mod guard;
mod guard_link;
mod heartbeats;
mod log;
mod observe;
mod peers;
mod postgres;
mod rest;
mod run_loop;
mod secrets;
mod settings;
mod tls;
mod upgrade;
mod volume;
mod world;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Keeps one PostgreSQL cluster available: guard and agent of a pod, and handles for people.
#[derive(Parser)]
#[command(name = "pgha-agent", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// PID 1 of the container: starts agent and postgres, and fences.
    Guard,
    /// The agent proper; started by the guard.
    #[command(hide = true)]
    Agent,
    /// Copies this binary: what an image that holds it is for.
    #[command(hide = true)]
    Install {
        /// Where to.
        path: PathBuf,
    },
    /// Says who leads, who may take over, who waits for whom, and why there is no failover.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Hands the leadership to another instance, without losing a commit, and waits for the outcome.
    Switchover {
        /// The pod that is to lead; without it the best standby.
        #[arg(long)]
        to: Option<String>,
    },
    /// Restarts one postgres in place.
    Restart {
        /// Whose; without it this pod's.
        #[arg(long)]
        pod: Option<String>,
        /// All of them, one after the other, the primary's last.
        #[arg(long, conflicts_with = "pod")]
        all: bool,
    },
    /// Clones a standby's data anew from the primary.
    Reinit {
        /// Whose; without it this pod's.
        #[arg(long)]
        pod: Option<String>,
    },
    /// Holds the cluster as it is: nobody takes over, hands over, rewinds, clones or restarts.
    Pause,
    /// Ends a pause.
    Resume,
    /// Prints what has to be written when the primary and its voters are lost for good, and what that loses.
    BreakGlass {
        /// Who is to lead; without it this pod.
        #[arg(long)]
        pod: Option<String>,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Guard => {
            let code = guard::run(settings::GuardSettings::from_env()?)?;
            std::process::exit(code)
        }
        Command::Agent => runtime()?.block_on(async {
            log::start();
            // The guard made standard output the listening socket.
            let listener = std::net::TcpListener::from(io::stdout().as_fd().try_clone_to_owned()?);
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let result = Box::pin(run_loop::run(settings::AgentSettings::from_env()?, listener)).await;
            if let Err(error) = &result {
                tracing::error!(error = format!("{error:#}"), "the agent ends");
            }
            result.map(|()| ExitCode::SUCCESS)
        }),
        Command::Install { path } => {
            upgrade::install(&path)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Status { json } => say(&runtime()?.block_on(cli::status(json))?),
        Command::Switchover { to } => tell(runtime()?.block_on(cli::switchover(to))?),
        Command::Restart { all: true, .. } => tell(runtime()?.block_on(cli::restart_all())?),
        Command::Restart { pod, all: false } => tell(runtime()?.block_on(cli::restart(pod))?),
        Command::Reinit { pod } => tell(runtime()?.block_on(cli::reinit(pod))?),
        Command::Pause => tell(runtime()?.block_on(cli::pause())?),
        Command::Resume => tell(runtime()?.block_on(cli::resume())?),
        Command::BreakGlass { pod } => say(&runtime()?.block_on(cli::break_glass(pod))?),
    }
}

/// One thread: the agent waits far more than it works, and threads cost memory in every pod.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()
}

fn say(text: &str) -> anyhow::Result<ExitCode> {
    writeln!(io::stdout(), "{}", text.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

fn tell(finished: cli::Finished) -> anyhow::Result<ExitCode> {
    say(&finished.text)?;
    Ok(finished.end.code())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// What follows the agent's name wherever a page tells to run it, in a code span or by `kubectl exec`.
    fn told(page: &str) -> Vec<Vec<&str>> {
        let starts = ["`pgha-agent ", "-- pgha-agent "];
        let lines =
            starts.iter().flat_map(|start| page.lines().flat_map(move |line| line.split(start).skip(1)));
        lines
            .filter_map(|rest| rest.split(['`', '#', '|', ';']).next())
            .map(|command| command.split_whitespace().collect())
            .collect()
    }

    /// Every page and every example below a folder.
    fn pages(folder: &Path) -> Vec<(PathBuf, String)> {
        let entries = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
        entries
            .flat_map(|path| match (path.is_dir(), std::fs::read_to_string(&path)) {
                (true, _) => pages(&path),
                (false, Ok(text)) => vec![(path, text)],
                (false, Err(_)) => Vec::new(),
            })
            .collect()
    }

    #[test]
    fn the_pages_tell_commands_that_it_takes() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut all: Vec<_> =
            ["docs", "examples"].iter().flat_map(|folder| pages(&root.join(folder))).collect();
        all.push((root.join("README.md"), std::fs::read_to_string(root.join("README.md")).unwrap()));
        let commands: Vec<_> = all
            .iter()
            .flat_map(|(path, text)| told(text).into_iter().map(move |words| (path, words)))
            .collect();
        assert!(commands.len() >= 15, "only {} commands: {commands:?}", commands.len());
        for (path, words) in commands {
            let parsed = Cli::try_parse_from([&["pgha-agent"], &words[..]].concat());
            if let Err(error) = parsed {
                panic!("{}: pgha-agent {}: {error}", path.display(), words.join(" "));
            }
        }
    }

    #[test]
    fn commands_are_found_in_text_and_in_consoles() {
        let page = "ask `pgha-agent status --json` of `pgha-agent`\n$ kubectl exec orders-0 -- pgha-agent restart --pod a   # or so\n";
        assert_eq!(told(page), [vec!["status", "--json"], vec!["restart", "--pod", "a"]]);
        assert!(Cli::try_parse_from(["pgha-agent", "rotate"]).is_err());
    }
}
