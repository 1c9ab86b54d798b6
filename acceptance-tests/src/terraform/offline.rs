//! The CLIs and the built provider without any cluster, for tests of what needs none.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::{Cli, Plugin, Terraform, Tool, provider_binary};
use crate::progress::Progress;
use crate::sandbox::{Layout, assets};

/// The CLIs to test with: Terraform from PATH, and OpenTofu from PATH, else the one that the sandbox uses too. That one is taken when
/// it is in the cache; it is built when there is no other CLI, or `PGHA_TOFU` asks for it.
///
/// # Errors
/// When there is no CLI.
pub fn clis() -> Result<Vec<Cli>> {
    let terraform = Cli::on_path(Tool::Terraform);
    let wanted = std::env::var("PGHA_TOFU").is_ok_and(|value| value != "0") || terraform.is_none();
    let built = || if wanted { built_tofu() } else { assets::opentofu_at_hand(&Layout::new()) };
    let tofu =
        Cli::on_path(Tool::OpenTofu).or_else(|| built().map(|path| Cli { tool: Tool::OpenTofu, path }));
    let all: Vec<Cli> = terraform.into_iter().chain(tofu).collect();
    ensure!(
        !all.is_empty(),
        "no CLI: put terraform or tofu on PATH, or run `cargo dev test`, which builds OpenTofu"
    );
    Ok(all)
}

/// A new working directory for a CLI, whose kubeconfig does not exist.
///
/// # Errors
/// When the provider can't be built.
pub fn offline(cli: &Cli) -> Result<Terraform> {
    let cache = std::env::temp_dir().join("pgha-plan-tests");
    let plugin = Plugin::install(&provider_binary()?, &cache)?;
    Terraform::new(cli, &plugin, &cache.join("no-kubeconfig"))
}

fn built_tofu() -> Option<PathBuf> {
    assets::opentofu(&Layout::new(), &Progress::quiet()).ok()
}
