//! The images, unpacked once by a containerd that runs for this only. Nodes start from hard links to the result,
//! so a new cluster imports nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use super::assets;
use super::layout::{Layout, Node};
use super::node::Containerd;
use crate::process::{run, run_args};
use crate::progress::Progress;

/// Makes the unpacked store unless it is there; gives its folder.
///
/// # Errors
/// When containerd fails.
pub fn template(layout: &Layout, archive: &Path, progress: &Progress) -> Result<PathBuf> {
    let mut hash = Sha256::new();
    hash.update(archive.as_os_str().as_encoded_bytes());
    hash.update(run_args("containerd", &["--version"])?);
    let folder = layout.cache().join(format!("store-{}", assets::short(hash)));
    if folder.exists() {
        return Ok(folder);
    }
    let stage = progress.stage("unpack the images");
    let made = assets::unfinished(&folder)?;
    let containerd = Containerd {
        name: "containerd-import".to_owned(),
        namespace: None,
        root: made.clone(),
        run: layout.run().join("import"),
        pod_network: Node::all().next().context("there are nodes")?.pod_network(),
    };
    containerd.start(layout)?;
    let imported = run(containerd.ctr(&["images", "import", "--no-unpack=false"]).arg(archive))
        .or_else(|_| run(containerd.ctr(&["images", "import"]).arg(archive)));
    let stopped = layout.daemons().stop("containerd-import", Duration::from_secs(10));
    imported.context("import the images")?;
    stopped?;
    assets::finish(&made, &folder)?;
    stage.done();
    Ok(folder)
}

/// Gives a node its own store.
///
/// # Errors
/// When it can't be copied.
pub fn copy_to(layout: &Layout, template: &Path, node: Node) -> Result<()> {
    let root = Containerd::of(layout, node).root;
    fs::create_dir_all(root.parent().context("a store is in a folder")?)?;
    run(Command::new("cp").args(["--archive", "--link", "--no-target-directory"]).arg(template).arg(&root))?;
    // Layers never change, databases do: those must be the node's own.
    for database in databases(&root, 2)? {
        let copy = database.with_extension("own");
        fs::copy(&database, &copy)?;
        fs::rename(&copy, &database)?;
    }
    Ok(())
}

fn databases(folder: &Path, depth: u8) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "db") {
            found.push(path);
        } else if depth > 1 && entry.file_type()?.is_dir() {
            found.extend(databases(&path, depth - 1)?);
        }
    }
    Ok(found)
}
