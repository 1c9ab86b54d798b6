//! What all cases share: the sandbox, the built provider, the CLIs, the gaps that were measured.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use pgha_acceptance_tests::load::{Dialler, from_client_namespace};
use pgha_acceptance_tests::progress::Progress;
use pgha_acceptance_tests::sandbox::{GrowingDisks, Sandbox, assets};
use pgha_acceptance_tests::terraform::{Cli, Plugin, Tool, provider_binary};

/// The CLI that most groups run with: Terraform where it is on PATH, else OpenTofu.
pub const FIRST_CLI: &str = "first";
/// OpenTofu, beside the first.
pub const TOFU: &str = "tofu";

/// What all cases share.
pub struct Bed {
    /// The cluster that everything runs on.
    pub sandbox: Sandbox,
    /// The provider, where `init` finds it.
    pub plugin: Plugin,
    /// Connections from the client's place in the network.
    pub dialler: Dialler,
    /// How often each fault is repeated.
    pub repeats: u32,
    first: Cli,
    tofu: Option<Cli>,
    progress: Progress,
    gaps: Mutex<Vec<(String, Duration)>>,
    growing: tokio::sync::Mutex<Option<GrowingDisks>>,
}

impl Bed {
    /// Brings the sandbox up, builds the provider, finds the CLIs.
    pub async fn make() -> Result<Self> {
        let progress = Progress::new();
        let binary = tokio::task::spawn_blocking(provider_binary).await?.context("build the provider")?;
        let sandbox = Sandbox::up(&progress).await.context("bring the sandbox up")?;
        let plugin = Plugin::install(&binary, &sandbox.layout().cache().join("plugins"))?;
        let terraform = Cli::on_path(Tool::Terraform);
        let tofu =
            if terraform.is_none() || tofu_wanted() { Some(find_tofu(&sandbox, &progress)?) } else { None };
        let first = terraform.or_else(|| tofu.clone()).context("no CLI")?;
        Ok(Self {
            dialler: from_client_namespace(),
            repeats: number("PGHA_REPEATS", 2),
            gaps: Mutex::default(),
            growing: tokio::sync::Mutex::default(),
            sandbox,
            plugin,
            first,
            tofu,
            progress,
        })
    }

    /// A CLI by the name that a group gives.
    pub fn cli(&self, name: &str) -> Result<&Cli> {
        if name == TOFU {
            self.tofu.as_ref().context("OpenTofu was not asked for (PGHA_TOFU=1)")
        } else {
            Ok(&self.first)
        }
    }

    /// A storage class of disks that grow, and what makes them, until the end: a pod that ends needs it too.
    pub async fn make_growing_disks(&self) -> Result<()> {
        let mut growing = self.growing.lock().await;
        if growing.is_none() {
            *growing = Some(self.sandbox.make_growing_disks(&self.progress).await?);
        }
        Ok(())
    }

    /// Ends what was started for cases, once what these leave is gone.
    pub async fn close(&self) {
        let Some(growing) = self.growing.lock().await.take() else { return };
        let kept = std::env::var_os("PGHA_KEEP").is_some();
        if !kept && let Err(error) = self.sandbox.until_growing_disks_are_gone().await {
            self.say(format!("{error:#}"));
        }
        drop(growing);
    }

    /// An image of PostgreSQL 15 and the agent whose clocks can be wrong, where there can be one; see [`Sandbox::set_clock`].
    pub fn image_with_clocks(&self) -> Result<Option<String>> {
        let image = self.sandbox.image_with_clocks(&self.progress)?;
        if image.is_none() {
            self.say("clocks take no part: this machine's C library is newer than the image's");
        }
        Ok(image)
    }

    /// A line for people.
    pub fn say(&self, text: impl AsRef<str>) {
        self.progress.say(text);
    }

    /// Keeps a measured gap for the list at the end.
    pub fn record_gap(&self, fault: &str, gap: Duration) {
        self.say(format!("{fault}: longest time without an acknowledged commit {:.2} s", gap.as_secs_f64()));
        self.gaps.lock().unwrap_or_else(PoisonError::into_inner).push((fault.to_owned(), gap));
    }

    /// Prints every measured gap, and which CLIs took part.
    pub fn print_gaps(&self) {
        let gaps = self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        if !gaps.is_empty() {
            self.say("longest time without an acknowledged commit:");
        }
        for (fault, gap) in gaps.iter() {
            self.say(format!("  {:<44} {:>6.2} s", fault, gap.as_secs_f64()));
        }
        self.say(format!("CLI: {:?} at {}", self.first.tool, self.first.path.display()));
        match &self.tofu {
            Some(tofu) => self.say(format!("CLI: OpenTofu at {}", tofu.path.display())),
            None => self.say("CLI: OpenTofu took no part (PGHA_TOFU=1 asks for it)"),
        }
        if self.first.tool != Tool::Terraform {
            self.say("CLI: Terraform is not on PATH and took no part");
        }
    }
}

/// Whether the cases that run with both CLIs shall run with OpenTofu too.
pub fn tofu_wanted() -> bool {
    number("PGHA_TOFU", 0) != 0
}

/// Whether every case that a CLI has to do with shall: far longer, and for a night.
pub fn tofu_wanted_everywhere() -> bool {
    number("PGHA_TOFU", 0) > 1
}

/// How long faults overlap, in minutes; 0: not in this run.
pub fn chaos_minutes() -> u64 {
    u64::from(number("PGHA_CHAOS_MINUTES", 0))
}

/// The first round's seed, when one is asked for.
pub fn chaos_seed() -> Option<u64> {
    std::env::var("PGHA_CHAOS_SEED").ok()?.parse().ok()
}

fn find_tofu(sandbox: &Sandbox, progress: &Progress) -> Result<Cli> {
    if let Some(found) = Cli::on_path(Tool::OpenTofu) {
        return Ok(found);
    }
    let path: PathBuf = assets::opentofu(sandbox.layout(), progress).context("build OpenTofu")?;
    Ok(Cli { tool: Tool::OpenTofu, path })
}

fn number(variable: &str, otherwise: u32) -> u32 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}
