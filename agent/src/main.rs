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
mod upgrade;
mod volume;
mod world;

use std::io::{self, Write};
use std::os::fd::AsFd;

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
    /// Says who leads, who may take over, and what is waited for.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Hands the leadership to another instance, without losing a commit.
    Switchover {
        /// The pod that is to lead; without it the best standby.
        #[arg(long)]
        to: Option<String>,
    },
}

fn main() -> anyhow::Result<()> {
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
            result
        }),
        Command::Status { json } => say(&runtime()?.block_on(cli::status(json))?),
        Command::Switchover { to } => say(&runtime()?.block_on(cli::switchover(to))?),
    }
}

/// One thread: the agent waits far more than it works, and threads cost memory in every pod.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()
}

fn say(text: &str) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{}", text.trim_end())?;
    Ok(())
}
