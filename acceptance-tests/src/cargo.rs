//! Parts of the workspace, built by cargo when they are needed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// Builds a package of the workspace with further arguments and variables for cargo; gives its program, or its shared library.
///
/// # Errors
/// When the build fails.
pub fn build(package: &str, args: &[&str], env: &[(&str, &str)]) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace's directory")?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).stdin(Stdio::null()).args(["build", "--locked", "--package", package]);
    cargo.args(args).envs(env.iter().copied());
    cargo.args(["--message-format", "json-render-diagnostics"]);
    let output = cargo.output().with_context(|| format!("start cargo to build {package}"))?;
    ensure!(
        output.status.success(),
        "cargo build of {package} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // Cargo itself says where it put it: no guess about target directories. Dependencies come first.
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| product(&message))
        .next_back()
        .with_context(|| format!("cargo did not say where it put {package}"))
}

fn product(message: &Value) -> Option<PathBuf> {
    let file = message["executable"].as_str().or_else(|| {
        let is_library = message["target"]["crate_types"].as_array()?.iter().any(|kind| kind == "cdylib");
        message["filenames"].as_array().filter(|_| is_library)?.first()?.as_str()
    });
    file.map(PathBuf::from)
}
