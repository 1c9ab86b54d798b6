//! The commands of `cargo dev`.

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::progress::Progress;
use crate::sandbox::{Layout, Sandbox, forwarder};

/// Every command of the project.
#[derive(Parser)]
#[command(name = "cargo dev", arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the sandbox: a real Kubernetes with three nodes on this machine
    Up {
        /// Then check that it does what tests rely on, faults too
        #[arg(long)]
        check: bool,
    },
    /// Take the sandbox down; nothing of it is left but what is cached
    Down,
    /// The sandbox's long-running part.
    #[command(hide = true)]
    SandboxForwarder {
        #[arg(long)]
        port: u16,
    },
}

/// Runs one command; gives the exit code.
///
/// # Errors
/// When the command fails.
pub fn run(arguments: Arguments) -> Result<u8> {
    let progress = Progress::new();
    match arguments.command {
        Command::SandboxForwarder { port } => forwarder::run(&Layout::new(), port).map(|()| 0),
        Command::Up { check } => block_on(async {
            let sandbox = Sandbox::up(&progress).await?;
            if check {
                crate::sandbox::selfcheck::run(&sandbox, &progress).await?;
            }
            Ok(0)
        }),
        Command::Down => Sandbox::down(&progress).map(|()| 0),
    }
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}
