//! The plugin binary.

use anyhow::Context as _;
use clap::Parser;
use pgha_provider::cluster::{ClusterEngine, write_agent};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Terraform and OpenTofu provider for a highly available PostgreSQL on Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "terraform-provider-postgres", version)]
struct Arguments {
    /// Wait for a CLI to attach by TF_REATTACH_PROVIDERS, instead of being started by it.
    #[arg(long)]
    debug: bool,
    /// Write the binary of the failover agent to this file and end: for an image that is to hold it (agent_image).
    #[arg(long, value_name = "FILE", conflicts_with = "debug")]
    write_agent: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.write_agent {
        Some(file) => write_agent(&file).with_context(|| format!("write {}", file.display())),
        None => pgha_provider::run::run(arguments.debug, || Arc::new(ClusterEngine::new())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not through the log: that one is silent unless asked, and this is for whoever started us.
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
