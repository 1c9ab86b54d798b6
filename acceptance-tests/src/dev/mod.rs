//! The commands of `cargo dev`: the project's one list of them.

pub mod cli;
pub mod commands;
pub mod demo;
mod faults;
mod package;
pub mod target;
pub mod testing;

use std::path::PathBuf;

use anyhow::Result;
use clap::{CommandFactory as _, Parser, Subcommand};

use self::commands::Chosen;
use crate::bench;
use crate::compare;
use crate::progress::Progress;
use crate::sandbox::{Layout, Sandbox, forwarder, selfcheck};

/// Every command of the project.
///
/// With KUBECONFIG set, demo, apply, kubectl, psql, kill-primary and logs use that cluster and start no sandbox.
#[derive(Parser)]
#[command(name = "cargo dev", bin_name = "cargo dev", disable_help_subcommand = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Start the sandbox: a real Kubernetes with three nodes on this machine
    Up {
        /// Then check that it does what tests rely on, faults too
        #[arg(long)]
        check: bool,
    },
    /// Build and fetch all that the sandbox starts from, and start nothing
    Prepare,
    /// Take the sandbox down; nothing of it is left but what is cached
    Down,
    /// Say whether the sandbox is up, and what runs in it
    Status,
    /// From nothing to a PostgreSQL cluster: apply examples/quickstart, write, read, kill the primary, plan again
    Demo,
    /// Run init and apply with the built provider in a folder of yours
    Apply {
        /// Folder with the configuration
        dir: PathBuf,
        /// More arguments for apply
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run kubectl against the cluster
    Kubectl {
        /// Its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Open psql through the rw Service, as the application's user
    Psql {
        #[command(flatten)]
        chosen: Chosen,
        /// Arguments of psql
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Kill postgres in the primary's pod (SIGKILL)
    KillPrimary {
        #[command(flatten)]
        chosen: Chosen,
    },
    /// Show what the agents of all instances say
    Logs {
        #[command(flatten)]
        chosen: Chosen,
        /// More arguments for kubectl logs, such as --follow
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Cut a node of the sandbox off, trouble its API server, or heal everything
    Fault {
        #[command(subcommand)]
        fault: faults::Fault,
    },
    /// Run every test: format, lints, unit, golden, protocol, simulator, and acceptance tests on the sandbox
    Test(testing::Options),
    /// Strike a cluster of the sandbox with faults that overlap, under load, and check that nothing is lost
    Chaos {
        /// For how long
        #[arg(long, default_value_t = 10)]
        minutes: u32,
        /// Seed of the first round, as a failure prints it
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Measure and compare
    Bench {
        #[command(subcommand)]
        bench: Bench,
    },
    /// Do the same job with other providers, and see what their plans show and refuse: what docs/comparison.md is written from
    Compare(compare::Options),
    /// Run the simulator of the failover protocol: --seeds N, or --replay SEED
    Sim {
        /// Its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Build the release archives into target/package: one for each platform that the toolchain serves
    Package(package::Options),
    /// The sandbox's long-running part.
    #[command(hide = true)]
    SandboxForwarder {
        #[arg(long)]
        port: u16,
    },
}

/// What is measured.
#[derive(Subcommand)]
enum Bench {
    /// Strike our agent and Patroni with the same faults, and write docs/benchmarks.md
    Failover(bench::Options),
    /// Time refresh and plan of many clusters in one configuration, and write its part of docs/benchmarks.md
    Provider(bench::provider::Options),
}

/// Runs one command; gives the exit code.
///
/// # Errors
/// When the command fails.
pub fn run(arguments: Arguments) -> Result<u8> {
    let progress = Progress::new();
    let Some(command) = arguments.command else {
        Arguments::command().print_long_help()?;
        return Ok(0);
    };
    match command {
        Command::SandboxForwarder { port } => forwarder::run(&Layout::new(), port).map(|()| 0),
        Command::Up { check } => block_on(up(check, &progress)),
        Command::Prepare => Sandbox::prepare(&progress).map(|()| 0),
        Command::Down => Sandbox::down(&progress).map(|()| 0),
        Command::Status => block_on(commands::status(&progress)),
        Command::Demo => block_on(demo::run(&progress)).map(|()| 0),
        Command::Apply { dir, args } => block_on(commands::apply(&dir, &args, &progress)),
        Command::Kubectl { args } => block_on(commands::kubectl(&args, &progress)),
        Command::Psql { chosen, args } => block_on(commands::psql(&chosen, &args, &progress)),
        Command::KillPrimary { chosen } => block_on(commands::kill_primary(&chosen, &progress)),
        Command::Logs { chosen, args } => block_on(commands::logs(&chosen, &args, &progress)),
        Command::Fault { fault } => block_on(faults::run(fault, &progress)).map(|()| 0),
        Command::Test(options) => testing::run(&options, &progress),
        Command::Chaos { minutes, seed } => testing::chaos(minutes, seed, &progress),
        Command::Bench { bench: Bench::Failover(options) } => block_on(bench::failover(&options, &progress)),
        Command::Bench { bench: Bench::Provider(options) } => {
            block_on(bench::provider::run(&options, &progress))
        }
        Command::Compare(options) => block_on(compare::run(&options, &progress)),
        Command::Sim { args } => commands::sim(&args),
        Command::Package(options) => package::run(&options, &progress).map(|()| 0),
    }
}

async fn up(check: bool, progress: &Progress) -> Result<u8> {
    let sandbox = Sandbox::up(progress).await?;
    if check {
        selfcheck::run(&sandbox, progress).await?;
    }
    progress.say(format!("the sandbox is up: export KUBECONFIG={}", sandbox.kubeconfig().display()));
    Ok(0)
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}
