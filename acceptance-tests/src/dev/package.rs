//! `cargo dev package`: the release archives in target/package.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::package::platform::{Machine as _, Plan, ThisMachine, plans};
use crate::package::{Release, VERSION, measure};
use crate::progress::Progress;
use crate::terraform::build_provider;

/// Builds an archive for each platform that the toolchain serves, and says which it does not.
///
/// # Errors
/// When a build fails, or there is no platform to build for.
pub fn run(sign: Option<&str>, progress: &Progress) -> Result<()> {
    let machine = ThisMachine::look()?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/package");
    let release = Release::begin(&folder, VERSION)?;
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
    let sums = release.finish()?;
    match sign {
        Some(key) => {
            let signature = Release::sign(&sums, key)?;
            lines.push(format!("signed by {key}: {}", signature.display()));
        }
        None => lines.push("not signed: --sign KEY signs with a key of your GnuPG".to_owned()),
    }
    for line in lines {
        progress.say(line);
    }
    progress.say(format!("the release is in {}", folder.canonicalize()?.display()));
    Ok(())
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
