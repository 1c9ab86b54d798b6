//! Layers of container images, written as tar archives straight from folders, and the archive that containerd imports.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

/// One layer under construction.
pub struct Layer {
    tar: Builder<Hashing>,
    file: PathBuf,
}

/// A finished layer.
#[derive(Debug, Clone)]
pub struct FinishedLayer {
    file: PathBuf,
    sha256: String,
}

impl Layer {
    /// A new layer, written to `file`.
    ///
    /// # Errors
    /// When the file can't be made.
    pub fn create(file: &Path) -> Result<Self> {
        let output = fs::File::create(file).with_context(|| format!("create {}", file.display()))?;
        let tar = Builder::new(Hashing { output: io::BufWriter::new(output), hash: Sha256::new() });
        Ok(Self { tar, file: file.to_owned() })
    }

    /// Adds `from` and what is below it as `to`, but for the paths (relative to the image's root) that `keep` refuses.
    ///
    /// # Errors
    /// When something can't be read.
    pub fn tree(&mut self, from: &Path, to: &str, keep: &dyn Fn(&str) -> bool) -> Result<()> {
        let metadata = fs::symlink_metadata(from).with_context(|| format!("read {}", from.display()))?;
        if !to.is_empty() && !keep(to) {
            return Ok(());
        }
        let mut header = header(metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
        if metadata.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            header.set_size(0);
            self.tar.append_link(&mut header, to, fs::read_link(from)?)?;
        } else if metadata.is_file() {
            header.set_size(metadata.len());
            self.tar.append_data(&mut header, to, fs::File::open(from)?)?;
        } else if metadata.is_dir() {
            if !to.is_empty() {
                header.set_entry_type(EntryType::Directory);
                header.set_size(0);
                self.tar.append_data(&mut header, format!("{to}/"), io::empty())?;
            }
            let mut names: Vec<_> = fs::read_dir(from)?.flatten().map(|entry| entry.file_name()).collect();
            names.sort();
            for name in names {
                let below = name.to_string_lossy();
                let path = if to.is_empty() { below.into_owned() } else { format!("{to}/{below}") };
                self.tree(&from.join(&name), &path, keep)?;
            }
        }
        // Devices, sockets and pipes: the container's runtime makes those that a container needs.
        Ok(())
    }

    /// Adds an empty folder.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn folder(&mut self, path: &str, mode: u32, owner: u32) -> Result<()> {
        let mut header = header(mode, owner, owner);
        header.set_entry_type(EntryType::Directory);
        header.set_size(0);
        Ok(self.tar.append_data(&mut header, format!("{path}/"), io::empty())?)
    }

    /// Adds a file with the given content.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        let mut header = header(mode, 0, 0);
        header.set_size(content.len() as u64);
        Ok(self.tar.append_data(&mut header, path, content)?)
    }

    /// Ends the layer.
    ///
    /// # Errors
    /// When the rest can't be written.
    pub fn finish(self) -> Result<FinishedLayer> {
        let mut written = self.tar.into_inner()?;
        written.output.flush()?;
        Ok(FinishedLayer { file: self.file, sha256: hex::encode(written.hash.finalize()) })
    }
}

fn header(mode: u32, uid: u32, gid: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(mode);
    header.set_uid(u64::from(uid));
    header.set_gid(u64::from(gid));
    // The same input gives the same digest, whenever it is made.
    header.set_mtime(0);
    header
}

/// Passes on what is written and hashes it on the way.
struct Hashing {
    output: io::BufWriter<fs::File>,
    hash: Sha256,
}

impl Write for Hashing {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.output.write(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// An image: its tags, its layers and what its containers run with.
pub struct Image {
    /// Full names, such as `docker.io/library/postgres:18`.
    pub tags: Vec<String>,
    /// From the bottom to the top.
    pub layers: Vec<FinishedLayer>,
    /// Environment of its containers.
    pub env: Vec<String>,
    /// What its containers run unless told otherwise.
    pub command: Vec<String>,
    /// Notes in its configuration. Two images that differ in these only have different digests.
    pub labels: BTreeMap<String, String>,
}

/// Writes the archive with all images.
///
/// # Errors
/// When a layer can't be read or the archive can't be written.
pub fn write_archive(file: &Path, images: &[Image]) -> Result<()> {
    let mut archive = Builder::new(io::BufWriter::new(fs::File::create(file)?));
    let mut written = std::collections::BTreeSet::new();
    let mut manifest = Vec::new();
    for image in images {
        let config = serde_json::to_vec(&config_of(image))?;
        let config_name = format!("{}.json", hex::encode(Sha256::digest(&config)));
        append(&mut archive, &config_name, &config)?;
        for layer in &image.layers {
            if written.insert(layer.sha256.clone()) {
                archive.append_path_with_name(&layer.file, layer_name(layer))?;
            }
        }
        let layers: Vec<String> = image.layers.iter().map(layer_name).collect();
        manifest.push(json!({ "Config": config_name, "RepoTags": image.tags, "Layers": layers }));
    }
    append(&mut archive, "manifest.json", &serde_json::to_vec(&manifest)?)?;
    archive.into_inner()?.flush()?;
    Ok(())
}

fn layer_name(layer: &FinishedLayer) -> String {
    format!("{}.tar", layer.sha256)
}

fn config_of(image: &Image) -> Value {
    let diff_ids: Vec<String> = image.layers.iter().map(|layer| format!("sha256:{}", layer.sha256)).collect();
    let architecture = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" };
    json!({
        "architecture": architecture,
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": { "Env": image.env, "Cmd": image.command, "Labels": image.labels, "WorkingDir": "/" },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": [{ "created": "2026-01-01T00:00:00Z", "created_by": "the sandbox of terraform-provider-postgres" }],
    })
}

fn append<W: Write>(archive: &mut Builder<W>, name: &str, content: &[u8]) -> Result<()> {
    let mut header = header(0o644, 0, 0);
    header.set_size(content.len() as u64);
    Ok(archive.append_data(&mut header, name, content)?)
}
