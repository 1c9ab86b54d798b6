//! The CLI and the built provider without any cluster, for tests of what needs none.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::{Cli, Plugin, Terraform, Tool, provider_binary};
use crate::progress::Progress;
use crate::sandbox::{Layout, assets};

/// A new working directory whose kubeconfig does not exist. Terraform or OpenTofu from PATH, else the OpenTofu that the
/// sandbox uses too, built once and cached.
///
/// # Errors
/// When there is no CLI, or the provider can't be built.
pub fn offline() -> Result<Terraform> {
    let cli = Cli::on_path(Tool::Terraform)
        .or_else(|| Cli::on_path(Tool::OpenTofu))
        .or_else(|| built_tofu().map(Cli::at))
        .context("no CLI: put terraform or tofu on PATH, or run `cargo dev test`, which builds OpenTofu")?;
    let cache = std::env::temp_dir().join("pgha-plan-tests");
    let plugin = Plugin::install(&provider_binary()?, &cache)?;
    Terraform::new(&cli, &plugin, &cache.join("no-kubeconfig"))
}

fn built_tofu() -> Option<PathBuf> {
    assets::opentofu(&Layout::new(), &Progress::quiet()).ok()
}
