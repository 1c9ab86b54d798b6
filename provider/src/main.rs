//! The plugin binary.

use clap::Parser;
use pgha_provider::cluster::ClusterEngine;
use std::process::ExitCode;
use std::sync::Arc;

/// Terraform and OpenTofu provider for a highly available PostgreSQL on Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "terraform-provider-postgres", version)]
struct Arguments {
    /// Wait for a CLI to attach by TF_REATTACH_PROVIDERS, instead of being started by it.
    #[arg(long)]
    debug: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match pgha_provider::run::run(arguments.debug, || Arc::new(ClusterEngine::new())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not through the log: that one is silent unless asked, and this is for whoever started us.
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
