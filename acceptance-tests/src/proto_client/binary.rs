//! Where the binary under test is.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Result, ensure};

use crate::terraform::build_provider;

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
    let path = named.map_or_else(|| build_provider(&[], &[]), |path| Ok(PathBuf::from(path)))?;
    ensure!(path.is_file(), "{} is not there", path.display());
    Ok(PATH.get_or_init(|| path))
}
