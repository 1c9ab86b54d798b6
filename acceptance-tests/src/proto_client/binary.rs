//! Where the binary under test is.

use anyhow::{Context as _, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Name a provider that was built already; the first for these tests alone, the second for the whole harness.
pub const BINARY_VARIABLES: [&str; 2] = ["PGHA_PROVIDER_BINARY", "PGHA_PROVIDER"];

/// The provider's binary: the one that one of [`BINARY_VARIABLES`] names, else built here, once a process.
///
/// # Errors
/// When it can't be built.
pub fn path() -> Result<&'static Path> {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = PATH.get() {
        return Ok(path);
    }
    let named = BINARY_VARIABLES.iter().filter_map(std::env::var_os).find(|value| !value.is_empty());
    let path = named.map_or_else(build, |path| Ok(PathBuf::from(path)))?;
    ensure!(path.is_file(), "{} is not there", path.display());
    Ok(PATH.get_or_init(|| path))
}

fn build() -> Result<PathBuf> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--locked", "--package", "terraform-provider-postgres"])
        .args(["--bin", "terraform-provider-postgres", "--message-format", "json-render-diagnostics"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stderr(Stdio::inherit())
        .output()
        .context("run cargo")?;
    ensure!(output.status.success(), "the provider doesn't build");
    let messages = String::from_utf8(output.stdout).context("read cargo's messages")?;
    let executable = messages
        .lines()
        .rev()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    executable.context("cargo named no executable")
}
