//! Builds the agent as a static binary with a nested cargo, and leaves it compressed in `OUT_DIR` for the crate to embed.
//!
//! A prebuilt one is taken instead when `PGHA_AGENT_BINARY` names it.

#![expect(clippy::panic, reason = "a build script tells cargo of a failure by panicking")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use sha2::{Digest, Sha256};

const PREBUILT: &str = "PGHA_AGENT_BINARY";
const SKIP: &str = "PGHA_AGENT_SKIP";

fn main() {
    for name in [PREBUILT, SKIP, "RUSTC_WORKSPACE_WRAPPER"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let target = env::var("TARGET").expect("cargo sets TARGET");
    let root = workspace_root();
    for path in [
        "agent/src",
        "agent/Cargo.toml",
        "agent/core/src",
        "agent/core/Cargo.toml",
        "schema/src",
        "Cargo.lock",
    ] {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
    println!("cargo::rustc-env=PGHA_AGENT_ARCH={}", arch(&target));

    // Clippy only reads the code: lib.rs embeds nothing under cfg(clippy), so an agent would be built for nobody.
    let linting = env::var("RUSTC_WORKSPACE_WRAPPER").is_ok_and(|wrapper| wrapper.contains("clippy"));
    let skip = linting || env::var_os(SKIP).is_some_and(|value| !value.is_empty() && value != "0");
    let binary = if skip {
        Vec::new()
    } else if let Some(path) = env::var_os(PREBUILT).filter(|path| !path.is_empty()) {
        println!("cargo::rerun-if-changed={}", Path::new(&path).display());
        fs::read(&path).unwrap_or_else(|error| panic!("{PREBUILT}={}: {error}", Path::new(&path).display()))
    } else {
        build(&root, &out, &target)
    };
    fs::write(out.join("agent.gz"), if skip { Vec::new() } else { gzip(&binary) })
        .expect("OUT_DIR is writable");
    let hash = if skip { String::new() } else { hex::encode(Sha256::digest(&binary)) };
    println!("cargo::rustc-env=PGHA_AGENT_SHA256={hash}");
}

/// The workspace: two levels above this crate.
fn workspace_root() -> PathBuf {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("agent/bundle lies two levels below the root").to_owned()
}

/// Kubernetes' word for the processor.
fn arch(target: &str) -> &'static str {
    match target.split('-').next() {
        Some("x86_64") => "amd64",
        Some("aarch64") => "arm64",
        Some("riscv64gc") => "riscv64",
        Some("s390x") => "s390x",
        Some("powerpc64le") => "ppc64le",
        other => panic!("no image of PostgreSQL is known for {other:?}; set {PREBUILT} on a known processor"),
    }
}

fn build(root: &Path, out: &Path, target: &str) -> Vec<u8> {
    assert!(
        target.contains("-linux-"),
        "the agent runs on Linux and cannot be built for {target}: set {PREBUILT} to an agent built for Linux"
    );
    // <target>/<profile>/build/<package>/out: beside the profiles, so that debug and release share one agent.
    let target_dir = out.ancestors().nth(4).expect("cargo's layout of OUT_DIR").join("agent");
    let cargo = env::var_os("CARGO").expect("cargo sets CARGO");
    let mut command = Command::new(cargo);
    command.current_dir(root).args([
        "build",
        "--locked",
        "--release",
        "--package",
        "pgha-agent",
        "--target",
        target,
    ]);
    command.arg("--target-dir").arg(&target_dir);
    // What the outer cargo or a wrapper set for the outer build must not leak in: only the inner one's own settings count.
    for (name, _) in env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        // The linker of another processor is the inner build's business too.
        let is_kept = matches!(text, "CARGO_HOME" | "CARGO_NET_OFFLINE") || text.ends_with("_LINKER");
        let foreign = text.starts_with("CARGO") && !is_kept
            || text.starts_with("RUSTC")
            || text.starts_with("CLIPPY")
            || text.starts_with("DEP_")
            || matches!(
                text,
                "RUSTFLAGS"
                    | "RUSTDOCFLAGS"
                    | "TARGET"
                    | "HOST"
                    | "PROFILE"
                    | "OPT_LEVEL"
                    | "DEBUG"
                    | "OUT_DIR"
                    | "NUM_JOBS"
                    | "MAKEFLAGS"
                    | "MFLAGS"
                    | "LD_LIBRARY_PATH"
            );
        if foreign {
            command.env_remove(&name);
        }
    }
    command.env("RUSTFLAGS", "-C target-feature=+crt-static");
    let status = command.status().expect("cargo can be started");
    assert!(status.success(), "building the agent failed ({status}); its messages are above");
    let binary = target_dir.join(target).join("release").join("pgha-agent");
    fs::read(&binary).unwrap_or_else(|error| panic!("{}: {error}", binary.display()))
}

/// The same bytes for the same binary: no name and no time in the header.
fn gzip(binary: &[u8]) -> Vec<u8> {
    let mut writer = flate2::GzBuilder::new().mtime(0).write(Vec::new(), flate2::Compression::best());
    writer.write_all(binary).expect("a Vec takes every byte");
    writer.finish().expect("a Vec takes every byte")
}
