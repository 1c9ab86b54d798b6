//! `cargo dev package`: the release archives in target/package.
//!
//! With `--provider` nothing is built: the rest of the way is that of every release, so tests can go it with a binary that they
//! have anyway.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::package::platform::{Machine as _, Plan, ThisMachine, plans};
use crate::package::{Release, VERSION, measure};
use crate::progress::Progress;
use crate::terraform::{arch, build_provider};

/// Options of the command.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Sign the checksums with this key of your GnuPG (registries take RSA and DSA keys)
    #[arg(long)]
    pub sign: Option<String>,
    /// Pack this provider, built for this machine, instead of building one for each platform
    #[arg(long, value_name = "FILE")]
    pub provider: Option<PathBuf>,
    /// Where the archives go; what the folder held before is gone
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/package"))]
    pub folder: PathBuf,
}

/// Makes an archive for each platform that the toolchain serves, or of what is built already, and says which it does not.
///
/// # Errors
/// When a build fails, or there is no platform to build for.
pub fn run(options: &Options, progress: &Progress) -> Result<()> {
    let release = Release::begin(&options.folder, VERSION)?;
    let mut lines = match &options.provider {
        Some(binary) => vec![given(binary, &release)?],
        None => built(&release, progress)?,
    };
    let sums = release.finish()?;
    match &options.sign {
        Some(key) => {
            let signature = Release::sign(&sums, key)?;
            lines.push(format!("signed by {key}: {}", signature.display()));
        }
        None => lines.push("not signed: --sign KEY signs with a key of your GnuPG".to_owned()),
    }
    for line in lines {
        progress.say(line);
    }
    progress.say(format!("the release is in {}", options.folder.canonicalize()?.display()));
    Ok(())
}

/// One archive of a binary that runs here.
fn given(binary: &Path, release: &Release) -> Result<String> {
    let platform = format!("linux_{}", arch());
    let archive = release.add(&platform, binary)?;
    Ok(format!("{platform}: {}, {}", binary.display(), facts(binary, &archive, true)?))
}

/// One archive for each platform that can be built for.
fn built(release: &Release, progress: &Progress) -> Result<Vec<String>> {
    let machine = ThisMachine::look()?;
    let mut lines = Vec::new();
    for plan in plans(&machine) {
        match plan {
            Plan::Skip { platform, why } => lines.push(format!("{platform}: skipped: {why}")),
            Plan::Build { platform, target, compiler } => {
                let stage = progress.stage(format!("build the provider for {platform} ({target})"));
                let binary = build(target, &compiler, &machine)?;
                let archive = release.add(platform, &binary)?;
                stage.done();
                let runs = target == machine.host() || target.starts_with(std::env::consts::ARCH);
                lines.push(format!("{platform}: {target}, {}", facts(&binary, &archive, runs)?));
            }
        }
    }
    Ok(lines)
}

fn build(target: &str, compiler: &str, machine: &ThisMachine) -> Result<PathBuf> {
    if target == machine.host() {
        return build_provider(&["--release"], &[]);
    }
    let linker = format!("CARGO_TARGET_{}_LINKER", target.replace('-', "_").to_uppercase());
    let cc = format!("CC_{}", target.replace('-', "_"));
    build_provider(&["--release", "--target", target], &[(&linker, compiler), (&cc, compiler)])
}

/// Sizes, needs and the time of a start.
fn facts(binary: &Path, archive: &Path, runs_here: bool) -> Result<String> {
    let bytes = fs::read(binary).with_context(|| format!("read {}", binary.display()))?;
    let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let packed = fs::metadata(archive)?.len();
    ensure!(packed > 0, "{} is empty", archive.display());
    let needs = measure::glibc_needed(&bytes)
        .map_or_else(|| "static".to_owned(), |version| format!("needs glibc {version} or newer"));
    let start = if runs_here {
        let measure::StartUp { fastest, median } = measure::start_up(binary)?;
        let ms = |time: std::time::Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
        format!(", starts in {} at best, {} in the median", ms(fastest), ms(median))
    } else {
        String::new()
    };
    Ok(format!("{needs}, binary {}, archive {}{start}", megabytes(bytes.len() as u64), megabytes(packed)))
}
