//! Clocks of single pods: an image of PostgreSQL and the agent whose processes are told the time by a library of ours
//! (`acceptance-tests/clock`), made when a case asks for it, and the file on a pod's volume that says what time that is.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::time::{ClockId, clock_gettime};
use pgha_schema::names::AGENT_IN_IMAGE;
use sha2::{Digest as _, Sha256};

use super::images::{self, DEBIANS_MAJOR};
use super::layers::{FinishedLayer, Layer, write_archive};
use super::layout::Layout;
use super::node::import;
use super::{Sandbox, assets, volumes};
use crate::progress::Progress;
use crate::{cargo, process};

/// Where the library lies in the image; the loader reads of it in `etc/ld.so.preload`.
const LIBRARY: &str = "usr/lib/pgha-clock.so";
/// Debian's glibc in it.
const IMAGES_C_LIBRARY: (u32, u32) = (2, 36);
/// The library reads this on the pod's volume.
const FILE: &str = "clock";

impl Sandbox {
    /// Gives every node an image of [`DEBIANS_MAJOR`] and of the agent whose clocks can be wrong; gives its name. The agent is
    /// linked dynamically in it, since what is preloaded reaches no other: so there is none where this machine's C library is
    /// newer than the image's.
    ///
    /// # Errors
    /// When it can't be made or imported.
    pub fn image_with_clocks(&self, progress: &Progress) -> Result<Option<String>> {
        if c_library()? > IMAGES_C_LIBRARY {
            return Ok(None);
        }
        let library = fs::read(cargo::build("pgha-clock", &[], &[])?)?;
        let agent = fs::read(cargo::build("pgha-agent", &[], &[])?)?;
        let (tag, archive) = archive(self.layout(), &library, &agent, progress)?;
        import(self.layout(), &tag, &archive)?;
        Ok(Some(tag))
    }

    /// From now on the clocks of the pod with this claim run by so many millionths too fast, and its time of day is so many
    /// seconds ahead. It holds for containers that begin later too.
    ///
    /// # Errors
    /// When the claim has no local volume.
    pub async fn set_clock(&self, namespace: &str, claim: &str, millionths: i64, ahead_s: i64) -> Result<()> {
        let folder = volumes::folder_of_claim(&self.client(), namespace, claim).await?;
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
        let now_ns = now.tv_sec() * 1_000_000_000 + now.tv_nsec();
        let begun = folder.join(format!("{FILE}.new"));
        fs::write(&begun, format!("{now_ns} {millionths} {}\n", ahead_s * 1_000_000_000))?;
        fs::rename(&begun, folder.join(FILE)).context("put the clock's file in place")
    }
}

/// Major and minor version of this machine's glibc.
fn c_library() -> Result<(u32, u32)> {
    let told = process::run_args("getconf", &["GNU_LIBC_VERSION"])?;
    let numbers = told.trim().trim_start_matches("glibc ").split_once('.');
    let (major, minor) = numbers.with_context(|| format!("no version in {told:?}"))?;
    Ok((major.parse()?, minor.parse()?))
}

/// Makes the archive unless it is there; gives the image's name and the file.
fn archive(layout: &Layout, library: &[u8], agent: &[u8], progress: &Progress) -> Result<(String, PathBuf)> {
    let mut hash = Sha256::new();
    hash.update(library);
    hash.update(agent);
    for source in [include_str!("clocks.rs"), include_str!("images.rs"), include_str!("layers.rs")] {
        hash.update(source);
    }
    let hash = assets::short(hash);
    let folder = layout.cache().join(format!("clock-image-{hash}"));
    let tag = format!("docker.io/library/postgres:{DEBIANS_MAJOR}-clock-{hash}");
    let file = folder.join("image.tar");
    if file.exists() {
        return Ok((tag, file));
    }
    let debian = assets::debian_root(layout, progress)?;
    let made = assets::unfinished(&folder)?;
    let layers = vec![
        images::base_layer(&debian, &made.join("base"))?,
        images::debian_install_layer(&debian, &made.join("postgres"), DEBIANS_MAJOR)?,
        clock_layer(library, agent, &made.join("clock"))?,
    ];
    write_archive(&made.join("image.tar"), &[images::debians_image(&tag, layers)])?;
    for layer in ["base", "postgres", "clock"] {
        fs::remove_file(made.join(layer))?;
    }
    assets::finish(&made, &folder)?;
    Ok((tag, file))
}

fn clock_layer(library: &[u8], agent: &[u8], file: &Path) -> Result<FinishedLayer> {
    let mut layer = Layer::create(file)?;
    layer.file(LIBRARY, 0o755, library)?;
    layer.file(AGENT_IN_IMAGE.trim_start_matches('/'), 0o755, agent)?;
    layer.file("etc/ld.so.preload", 0o644, format!("/{LIBRARY}\n").as_bytes())?;
    layer.finish()
}
