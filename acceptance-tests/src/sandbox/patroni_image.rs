//! The image of Patroni, which the benchmark compares with. It is made when a benchmark names Patroni, not before: no other use
//! of the sandbox pays for it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use sha2::{Digest as _, Sha256};

use super::layers::{FinishedLayer, Image, Layer, write_archive};
use super::layout::Layout;
use super::node::import;
use super::{Sandbox, assets, images};
use crate::progress::Progress;

/// The version of Patroni that is compared with.
pub const PATRONI: &str = "patroni==4.1.5";
/// What Patroni needs beside PostgreSQL, from Debian.
const PACKAGES: &[&str] = &[
    "postgresql-15",
    "python3-psycopg2",
    "python3-urllib3",
    "python3-yaml",
    "python3-dateutil",
    "python3-click",
    "python3-prettytable",
    "python3-psutil",
];
/// Where Debian's Python looks for packages.
const SITE: &str = "usr/lib/python3/dist-packages";
/// Patroni starts PostgreSQL from a fresh interpreter, which reads this program again and must not run it.
const PROGRAM: &[u8] =
    b"#!/usr/bin/python3\nfrom patroni.__main__ import main\nif __name__ == '__main__':\n    main()\n";

impl Sandbox {
    /// Gives every node the image of Patroni; gives its name. Made unless it is cached.
    ///
    /// # Errors
    /// When a part can't be had.
    pub fn patroni_image(&self, progress: &Progress) -> Result<String> {
        let (tag, archive) = archive(self.layout(), progress)?;
        let stage = progress.stage("import Patroni's image");
        import(self.layout(), &tag, &archive)?;
        stage.done();
        Ok(tag)
    }
}

/// Makes the archive unless it is there; gives the image's name and the file.
fn archive(layout: &Layout, progress: &Progress) -> Result<(String, PathBuf)> {
    let mut hash = Sha256::new();
    for source in [include_str!("patroni_image.rs"), include_str!("images.rs"), include_str!("layers.rs")] {
        hash.update(source);
    }
    let hash = assets::short(hash);
    let folder = layout.cache().join(format!("patroni-image-{hash}"));
    let tag = format!("docker.io/library/patroni:{}-{hash}", PATRONI.trim_start_matches("patroni=="));
    let file = folder.join("image.tar");
    if file.exists() {
        return Ok((tag, file));
    }
    let debian = assets::debian_with(layout, "patroni", PACKAGES, progress)?;
    let wheel = assets::python_package(layout, PATRONI, progress)?;
    let stage = progress.stage("write Patroni's image");
    let made = assets::unfinished(&folder)?;
    let layers = vec![
        images::base_layer(&debian, &made.join("base"))?,
        images::debian_install_layer(&debian, &made.join("postgres"), "15")?,
        patroni_layer(&wheel, &made.join("patroni"))?,
    ];
    write_archive(&made.join("image.tar"), &[image(&tag, layers)])?;
    for layer in ["base", "postgres", "patroni"] {
        fs::remove_file(made.join(layer))?;
    }
    assets::finish(&made, &folder)?;
    stage.done();
    Ok((tag, file))
}

fn patroni_layer(wheel: &Path, file: &Path) -> Result<FinishedLayer> {
    let mut layer = Layer::create(file)?;
    for entry in fs::read_dir(wheel)?.flatten() {
        let to = format!("{SITE}/{}", entry.file_name().to_string_lossy());
        layer.tree(&entry.path(), &to, &|_| true)?;
    }
    layer.file("usr/local/bin/patroni", 0o755, PROGRAM)?;
    layer.finish()
}

fn image(tag: &str, layers: Vec<FinishedLayer>) -> Image {
    Image {
        tags: vec![tag.to_owned()],
        layers,
        env: vec![
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/15/bin"
                .to_owned(),
            "LANG=C.UTF-8".to_owned(),
            // Its log shows at once.
            "PYTHONUNBUFFERED=1".to_owned(),
        ],
        command: vec!["patroni".to_owned(), "/etc/patroni/patroni.yaml".to_owned()],
        labels: BTreeMap::new(),
    }
}
