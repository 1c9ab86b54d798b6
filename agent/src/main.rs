//! The failover agent and its guard: one static binary that wraps postgres in every pod.
#![deny(unsafe_code)]

mod boottime;
mod guard;
mod settings;

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
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Guard => {
            let code = guard::run(settings::GuardSettings::from_env()?)?;
            std::process::exit(code)
        }
        Command::Agent => Ok(()),
    }
}
