//! Where, when and with what a benchmark was run.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::subject::POSTGRES_MAJOR;
use crate::process::run;
use crate::sandbox::Sandbox;

/// What the numbers depend on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Processors.
    pub cores: usize,
    /// Their model.
    pub processor: String,
    /// Memory in GiB.
    pub memory_gib: f64,
    /// Kernel.
    pub kernel: String,
    /// Load of the machine when the command was started.
    pub load_before: f64,
    /// Kubernetes.
    pub kubernetes: String,
    /// PostgreSQL: the major, until one was asked.
    pub postgres: String,
    /// The commit of this repository, with a note when files differ from it.
    pub commit: String,
    /// When the run began.
    pub date: String,
    /// The command line.
    pub command: String,
}

impl Machine {
    /// Looks at this machine.
    ///
    /// # Errors
    /// When git or Kubernetes does not answer.
    pub async fn look(sandbox: &Sandbox, load_before: f64) -> Result<Self> {
        let version = sandbox.client().apiserver_version().await?;
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            processor: field(&read("/proc/cpuinfo")?, "model name").unwrap_or_else(|| "unknown".to_owned()),
            memory_gib: memory_gib(&read("/proc/meminfo")?).context("MemTotal in /proc/meminfo")?,
            kernel: without_flavour(read("/proc/sys/kernel/osrelease")?.trim()).to_owned(),
            load_before,
            kubernetes: version.git_version,
            postgres: POSTGRES_MAJOR.to_owned(),
            commit: commit()?,
            date: Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
            command: command(std::env::args()),
        })
    }
}

/// Load of the machine in the last minute.
///
/// # Errors
/// When the kernel does not tell it.
pub fn load() -> Result<f64> {
    first_number(&read("/proc/loadavg")?).context("a number in /proc/loadavg")
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {path}"))
}

/// A kernel's version, without what its builder put behind it.
fn without_flavour(release: &str) -> &str {
    release.split('-').next().unwrap_or(release)
}

/// The commit that is checked out, and whether what is built from differs: the pages that the benchmark itself writes don't count.
fn commit() -> Result<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let git = |args: &[&str]| run(std::process::Command::new("git").arg("-C").arg(&root).args(args));
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--", "Cargo.lock", "agent", "provider", "schema"])?;
    let note = if changed.trim().is_empty() { "" } else { ", with changes" };
    Ok(format!("{}{note}", commit.trim()))
}

/// As it would be typed: cargo's alias, and no machine's folders.
fn command(arguments: impl Iterator<Item = String>) -> String {
    let words = arguments.skip(1).map(|word| {
        let path = Path::new(&word);
        let name = path.file_name().filter(|_| path.is_absolute());
        name.map_or_else(|| word.clone(), |name| name.to_string_lossy().into_owned())
    });
    std::iter::once("cargo dev".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn first_number(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

fn memory_gib(text: &str) -> Option<f64> {
    Some(first_number(&field(text, "MemTotal")?)? / 1024.0 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_understood() {
        let cpu = "processor\t: 0\nmodel name\t: Some CPU @ 2.5GHz\n";
        assert_eq!(field(cpu, "model name").as_deref(), Some("Some CPU @ 2.5GHz"));
        assert_eq!(memory_gib("MemTotal:       25165824 kB\nMemFree: 1 kB\n"), Some(24.0));
        assert_eq!(without_flavour("6.1.2-cloud-amd64"), "6.1.2");
        assert_eq!(first_number("0.42 0.1 0.2 1/100 5"), Some(0.42));
    }

    #[test]
    fn the_command_names_no_folder_of_this_machine() {
        let words = ["/x/target/debug/dev", "bench", "failover", "--trials", "3", "--json", "/tmp/a.json"];
        let shown = command(words.iter().map(|word| (*word).to_owned()));
        assert_eq!(shown, "cargo dev bench failover --trials 3 --json a.json");
    }
}
