//! The built provider in a filesystem mirror, so that `init` installs it as a user's would.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};

use crate::cargo;

/// The default registry hosts of Terraform and OpenTofu.
const HOSTS: [&str; 2] = ["registry.terraform.io", "registry.opentofu.org"];
/// The version under which the mirror offers the provider.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A provider that the CLI can install.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// The binary.
    pub binary: PathBuf,
    /// The CLI configuration that knows the mirror, and nothing else: nothing is fetched from anywhere.
    pub cli_config: PathBuf,
}

/// A provider that is not ours.
#[derive(Debug, Clone, Copy)]
pub struct Other<'a> {
    /// Its address, without the host.
    pub source: &'a str,
    /// The version under which the mirror offers it.
    pub version: &'a str,
}

impl Plugin {
    /// Offers a built provider from a mirror below `cache`.
    ///
    /// The mirror's name holds the binary's hash: a rebuild never changes what a running test has locked.
    ///
    /// # Errors
    /// When files can't be written.
    pub fn install(binary: &Path, cache: &Path) -> Result<Self> {
        let bytes = fs::read(binary).with_context(|| format!("read {}", binary.display()))?;
        let hash = hex::encode(&Sha256::digest(&bytes)[..8]);
        let root = cache.join(format!("plugin-{hash}"));
        for host in HOSTS {
            let dir = root.join(format!("mirror/{host}/pgha/postgres/{VERSION}/linux_{}", arch()));
            let file = dir.join(format!("terraform-provider-postgres_v{VERSION}"));
            if !file.is_file() {
                fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
                write_whole(&root, &file, &bytes, 0o755)?;
            }
        }
        Ok(Self { binary: binary.to_owned(), cli_config: knowing_only_the_mirror(&root)? })
    }

    /// Offers a release archive as it is, from a mirror in the packed layout below `folder`.
    ///
    /// # Errors
    /// When files can't be written.
    pub fn install_archive(archive: &Path, folder: &Path) -> Result<Self> {
        let name = archive.file_name().context("an archive has a name")?;
        for host in HOSTS {
            let dir = folder.join(format!("mirror/{host}/pgha/postgres"));
            fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
            fs::copy(archive, dir.join(name)).with_context(|| format!("copy {}", archive.display()))?;
        }
        Ok(Self { binary: archive.to_owned(), cli_config: knowing_only_the_mirror(folder)? })
    }

    /// Offers the built binary of another provider, from a mirror below `folder`.
    ///
    /// # Errors
    /// When files can't be written.
    pub fn install_other(binary: &Path, other: &Other<'_>, folder: &Path) -> Result<Self> {
        let (_, name) = other.source.split_once('/').context("an address has a namespace and a name")?;
        for host in HOSTS {
            let dir =
                folder.join(format!("mirror/{host}/{}/{}/linux_{}", other.source, other.version, arch()));
            fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
            let file = dir.join(format!("terraform-provider-{name}_v{}", other.version));
            // A hundred megabytes each: a link where that is possible.
            if fs::hard_link(binary, &file).is_err() {
                fs::copy(binary, &file).with_context(|| format!("copy {}", binary.display()))?;
            }
        }
        Ok(Self { binary: binary.to_owned(), cli_config: knowing_only_the_mirror(folder)? })
    }
}

/// A CLI configuration that installs from the mirror in this folder and from nowhere else.
fn knowing_only_the_mirror(root: &Path) -> Result<PathBuf> {
    let config = root.join("cli.tfrc");
    let text = format!(
        "provider_installation {{\n  filesystem_mirror {{\n    path = \"{}/mirror\"\n  }}\n}}\n",
        root.display()
    );
    write_whole(root, &config, text.as_bytes(), 0o644)?;
    Ok(config)
}

/// Writes a file beside its place in `root` and renames it when complete: another run may read it at the same moment, and
/// a CLI that finds an empty configuration goes to the registry instead.
fn write_whole(root: &Path, file: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let mut part = tempfile::NamedTempFile::new_in(root).context("make a file in the mirror")?;
    part.write_all(bytes).with_context(|| format!("write {}", part.path().display()))?;
    part.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    part.persist(file).with_context(|| format!("create {}", file.display()))?;
    Ok(())
}

/// The provider's binary: the one named by `PGHA_PROVIDER`, else built now with the profile of this binary.
///
/// # Errors
/// When the build fails.
pub fn provider_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("PGHA_PROVIDER") {
        let path = PathBuf::from(path);
        ensure!(path.is_file(), "PGHA_PROVIDER names {}, which is no file", path.display());
        return Ok(path);
    }
    build_provider(&[], &[])
}

/// Builds the provider with further arguments and variables for cargo; gives the binary.
///
/// # Errors
/// When the build fails.
pub fn build_provider(args: &[&str], env: &[(&str, &str)]) -> Result<PathBuf> {
    cargo::build("terraform-provider-postgres", args, env)
}

/// The processor in Go's words, as platforms are named after.
pub fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn whoever_reads_while_another_installs_finds_the_mirror() {
        let root = tempfile::tempdir().unwrap();
        let config = knowing_only_the_mirror(root.path()).unwrap();
        let whole = fs::read_to_string(&config).unwrap();
        assert!(whole.contains("filesystem_mirror"), "{whole}");
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for _ in 0..2000 {
                    knowing_only_the_mirror(root.path()).unwrap();
                }
            });
            while !writer.is_finished() {
                assert_eq!(fs::read_to_string(&config).unwrap(), whole, "read while it was written");
            }
        });
    }

    #[test]
    fn another_provider_lies_where_init_looks_for_it() {
        let root = tempfile::tempdir().unwrap();
        let binary = root.path().join("built");
        fs::write(&binary, "binary").unwrap();
        let other = Other { source: "hashicorp/helm", version: "3.1.2" };
        let plugin = Plugin::install_other(&binary, &other, &root.path().join("m")).unwrap();
        let file = format!(
            "m/mirror/{}/hashicorp/helm/3.1.2/linux_{}/terraform-provider-helm_v3.1.2",
            HOSTS[0],
            arch()
        );
        assert_eq!(fs::read_to_string(root.path().join(file)).unwrap(), "binary");
        assert!(fs::read_to_string(&plugin.cli_config).unwrap().contains("m/mirror"));
    }
}
