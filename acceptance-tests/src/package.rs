//! Release archives in the form that registries and mirrors of Terraform and OpenTofu take.
//!
//! ```text
//!   terraform-provider-postgres_0.1.0_linux_amd64.zip   terraform-provider-postgres_v0.1.0, LICENSE
//!   terraform-provider-postgres_0.1.0_manifest.json     the version of the plugin protocol
//!   terraform-provider-postgres_0.1.0_SHA256SUMS        of all of these
//!   terraform-provider-postgres_0.1.0_SHA256SUMS.sig    when a key is named
//! ```
//!
//! One binary gives one archive, byte for byte: times are fixed, and so is the order of entries.

pub mod measure;
pub mod platform;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::process::run;

/// The name that registries derive everything from.
const NAME: &str = "terraform-provider-postgres";
/// The version of this workspace.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The version of the plugin protocol, as registries spell it: minor versions only add to it.
const PROTOCOL: &str = "6.0";

/// A release that is being put together in a folder.
#[derive(Debug, Clone)]
pub struct Release {
    folder: PathBuf,
    version: String,
}

impl Release {
    /// Begins one; whatever the folder held before is gone.
    ///
    /// # Errors
    /// When the folder can't be made anew.
    pub fn begin(folder: &Path, version: &str) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("empty {}", folder.display()))?;
        }
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(Self { folder: folder.to_owned(), version: version.to_owned() })
    }

    fn file(&self, rest: &str) -> PathBuf {
        self.folder.join(format!("{NAME}_{}_{rest}", self.version))
    }

    /// Packs a binary for a platform, such as `linux_amd64`; gives the archive.
    ///
    /// # Errors
    /// When the binary can't be read or the archive can't be written.
    pub fn add(&self, platform: &str, binary: &Path) -> Result<PathBuf> {
        let archive = self.file(&format!("{platform}.zip"));
        let program = fs::read(binary).with_context(|| format!("read {}", binary.display()))?;
        let license = include_bytes!("../../LICENSE");
        let mut zip = ZipWriter::new(fs::File::create(&archive)?);
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(DateTime::default());
        zip.start_file("LICENSE", options.unix_permissions(0o644))?;
        zip.write_all(license)?;
        zip.start_file(format!("{NAME}_v{}", self.version), options.unix_permissions(0o755))?;
        zip.write_all(&program)?;
        zip.finish().with_context(|| format!("write {}", archive.display()))?;
        Ok(archive)
    }

    /// Writes manifest and checksums; gives the file of checksums.
    ///
    /// # Errors
    /// When there is no archive, or files can't be written.
    pub fn finish(&self) -> Result<PathBuf> {
        let manifest = json!({ "version": 1, "metadata": { "protocol_versions": [PROTOCOL] } });
        fs::write(self.file("manifest.json"), format!("{manifest:#}\n")).context("write the manifest")?;
        let mut files: Vec<PathBuf> =
            fs::read_dir(&self.folder)?.flatten().map(|entry| entry.path()).collect();
        files.sort();
        ensure!(files.len() > 1, "no platform was built: there is nothing to release");
        let mut sums = String::new();
        for file in files {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            sums += &format!("{}  {name}\n", hex::encode(Sha256::digest(fs::read(&file)?)));
        }
        let path = self.file("SHA256SUMS");
        fs::write(&path, sums).context("write the checksums")?;
        Ok(path)
    }

    /// Signs the checksums with a key of the caller's GnuPG.
    ///
    /// # Errors
    /// When `gpg` is missing or refuses.
    pub fn sign(sums: &Path, key: &str) -> Result<PathBuf> {
        let mut signature = sums.as_os_str().to_owned();
        signature.push(".sig");
        let mut gpg = Command::new("gpg");
        gpg.args(["--batch", "--yes", "--local-user", key, "--detach-sign", "--output"]);
        run(gpg.arg(&signature).arg(sums)).context("sign the checksums")?;
        Ok(signature.into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    /// A release of one made-up program.
    fn released(folder: &Path) -> (PathBuf, PathBuf) {
        let binary = folder.join("program");
        fs::write(&binary, b"#!/bin/sh\necho hello\n").unwrap();
        let release = Release::begin(&folder.join("package"), "1.2.3").unwrap();
        (release.add("linux_amd64", &binary).unwrap(), release.finish().unwrap())
    }

    #[test]
    fn an_archive_holds_the_program_as_the_cli_looks_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let (archive, _) = released(folder.path());
        assert!(archive.ends_with("terraform-provider-postgres_1.2.3_linux_amd64.zip"), "{archive:?}");
        let mut zip = zip::ZipArchive::new(fs::File::open(archive).unwrap()).unwrap();
        let mut program = zip.by_name("terraform-provider-postgres_v1.2.3").unwrap();
        assert_eq!(program.unix_mode().unwrap() & 0o777, 0o755);
        let mut text = String::new();
        program.read_to_string(&mut text).unwrap();
        assert_eq!(text, "#!/bin/sh\necho hello\n");
        drop(program);
        assert!(zip.by_name("LICENSE").is_ok());
    }

    #[test]
    fn the_same_program_gives_the_same_bytes() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let read = |folder: &Path| fs::read(released(folder).0).unwrap();
        assert_eq!(read(one.path()), read(other.path()));
    }

    #[test]
    fn checksums_cover_archives_and_manifest_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (archive, sums) = released(folder.path());
        let text = fs::read_to_string(&sums).unwrap();
        let names: Vec<&str> = text.lines().map(|line| line.split_once("  ").unwrap().1).collect();
        assert_eq!(
            names,
            [
                "terraform-provider-postgres_1.2.3_linux_amd64.zip",
                "terraform-provider-postgres_1.2.3_manifest.json"
            ]
        );
        let of_archive = hex::encode(Sha256::digest(fs::read(archive).unwrap()));
        assert!(text.starts_with(&of_archive), "{text}");
        let manifest = fs::read_to_string(sums.with_file_name(names[1])).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        assert_eq!(manifest, json!({ "version": 1, "metadata": { "protocol_versions": ["6.0"] } }));
    }

    #[test]
    fn nothing_is_no_release() {
        let folder = tempfile::tempdir().unwrap();
        let release = Release::begin(&folder.path().join("package"), "1.2.3").unwrap();
        assert!(release.finish().is_err());
    }
}
