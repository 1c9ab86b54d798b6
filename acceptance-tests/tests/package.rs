//! `cargo dev package` as its user calls it, up to the release's files. What it packs is a stand-in that starts like a provider: the
//! real one is packed by the same command in the acceptance tests, and installed from there by the CLI.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pgha_acceptance_tests::package::VERSION;
use pgha_acceptance_tests::process::on_path;
use pgha_acceptance_tests::terraform::arch;
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

const PROGRAM: &str = "#!/bin/sh\necho '1|6|unix|/nowhere|grpc|'\n";

/// Where a release is made of a program that is built already.
struct Bench {
    root: TempDir,
}

impl Bench {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let program = root.path().join("program");
        fs::write(&program, PROGRAM).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        Self { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn command(&self, provider: &str, folder: &str) -> Command {
        let mut dev = Command::new(env!("CARGO_BIN_EXE_dev"));
        dev.args(["package", "--provider"]).arg(self.path(provider)).arg("--folder").arg(self.path(folder));
        dev
    }

    /// Makes a release; gives what was said.
    fn release(&self, folder: &str) -> String {
        let output = self.command("program", folder).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    }

    /// A file of the release, by what follows name and version.
    fn file(&self, folder: &str, rest: &str) -> PathBuf {
        self.path(folder).join(format!("terraform-provider-postgres_{VERSION}_{rest}"))
    }
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn sha256(file: &Path) -> String {
    hex::encode(Sha256::digest(fs::read(file).unwrap()))
}

#[test]
fn a_release_has_the_files_that_registries_look_for_and_no_other() {
    let bench = Bench::new();
    fs::create_dir(bench.path("release")).unwrap();
    fs::write(bench.path("release").join("terraform-provider-postgres_0.0.9_linux_amd64.zip"), "old")
        .unwrap();
    let said = bench.release("release");
    assert!(said.contains("not signed") && said.contains("starts in"), "{said}");
    let expected = [format!("linux_{}.zip", arch()), "manifest.json".to_owned(), "SHA256SUMS".to_owned()];
    let expected = expected.map(|rest| format!("terraform-provider-postgres_{VERSION}_{rest}"));
    assert_eq!(names(&bench.path("release")), BTreeSet::from(expected));
    // A registry takes the version from the tag, and refuses one that is none.
    let numbers: Vec<u32> = VERSION.split('.').flat_map(str::parse).collect();
    assert_eq!(numbers.len(), 3, "{VERSION}");
    assert!(["amd64", "arm64"].contains(&arch()), "architectures have Go's names");
    let manifest = fs::read_to_string(bench.file("release", "manifest.json")).unwrap();
    let manifest: Json = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest, json!({ "version": 1, "metadata": { "protocol_versions": ["6.0"] } }));
}

#[test]
fn the_checksums_are_those_of_the_files() {
    let bench = Bench::new();
    bench.release("release");
    let text = fs::read_to_string(bench.file("release", "SHA256SUMS")).unwrap();
    // As `sha256sum` writes it: two blanks, no folder.
    let sums: BTreeMap<&str, &str> =
        text.lines().map(|line| line.split_once("  ").unwrap()).map(|(sum, name)| (name, sum)).collect();
    assert_eq!(sums.len(), 2, "{text}");
    for (name, sum) in &sums {
        assert_eq!(*sum, sha256(&bench.path("release").join(name)), "{name}");
    }
    let covered: BTreeSet<String> = sums.keys().map(|name| (*name).to_owned()).collect();
    let mut all = names(&bench.path("release"));
    all.remove(&format!("terraform-provider-postgres_{VERSION}_SHA256SUMS"));
    assert_eq!(covered, all, "archives and manifest are covered");
}

#[test]
fn the_archive_holds_the_program_and_the_licence_and_is_the_same_each_time() {
    let bench = Bench::new();
    bench.release("one");
    bench.release("other");
    let archive = format!("linux_{}.zip", arch());
    assert_eq!(sha256(&bench.file("one", &archive)), sha256(&bench.file("other", &archive)));
    let mut zip = zip::ZipArchive::new(fs::File::open(bench.file("one", &archive)).unwrap()).unwrap();
    let mut found = BTreeMap::new();
    for at in 0..zip.len() {
        let mut entry = zip.by_index(at).unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        found.insert(entry.name().unwrap().into_owned(), (entry.unix_mode().unwrap() & 0o777, text));
    }
    let license = Path::new(env!("CARGO_MANIFEST_DIR")).join("../LICENSE");
    let license = fs::read_to_string(license).unwrap();
    // Whatever the mode of what was packed: the CLI starts what it unpacks.
    let program = (format!("terraform-provider-postgres_v{VERSION}"), (0o755, PROGRAM.to_owned()));
    assert_eq!(found, BTreeMap::from([("LICENSE".to_owned(), (0o644, license)), program]));
}

#[test]
fn a_named_key_signs_the_checksums() {
    if on_path("gpg").is_none() {
        println!("not looked at: there is no gpg here");
        return;
    }
    let bench = Bench::new();
    let home = bench.path("gnupg");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    let gpg = |args: &[&str]| {
        let output = Command::new("gpg").env("GNUPGHOME", &home).arg("--batch").args(args).output().unwrap();
        assert!(output.status.success(), "gpg {args:?}: {}", said(&output));
        said(&output)
    };
    let key = "release@example.com";
    gpg(&["--passphrase", "", "--quick-generate-key", key, "rsa2048", "sign", "never"]);
    let mut signed = bench.command("program", "release");
    let output = signed.args(["--sign", key]).env("GNUPGHOME", &home).output().unwrap();
    assert!(output.status.success() && said(&output).contains("signed by"), "{}", said(&output));
    let (sums, signature) = (bench.file("release", "SHA256SUMS"), bench.file("release", "SHA256SUMS.sig"));
    gpg(&["--verify", &signature.to_string_lossy(), &sums.to_string_lossy()]);
    // Registries take the binary form alone.
    assert!(!fs::read(&signature).unwrap().starts_with(b"-----BEGIN"), "the signature is armoured");
    fs::write(&sums, "another text").unwrap();
    let output =
        Command::new("gpg").env("GNUPGHOME", &home).arg("--verify").arg(&signature).arg(&sums).output();
    assert!(!output.unwrap().status.success(), "a changed file is told from the signed one");
    let mut unknown = bench.command("program", "unsigned");
    let output = unknown.args(["--sign", "nobody@example.com"]).env("GNUPGHOME", &home).output().unwrap();
    assert!(!output.status.success() && said(&output).contains("sign the checksums"), "{}", said(&output));
    let mut end = Command::new("gpgconf");
    end.env("GNUPGHOME", &home).args(["--kill", "all"]).output().unwrap();
}

#[test]
fn what_is_no_provider_is_no_release() {
    let bench = Bench::new();
    let output = bench.command("nothing", "release").output().unwrap();
    assert!(!output.status.success() && said(&output).contains("nothing"), "{}", said(&output));
    fs::write(bench.path("mute"), "#!/bin/sh\necho hello\n").unwrap();
    fs::set_permissions(bench.path("mute"), fs::Permissions::from_mode(0o700)).unwrap();
    let output = bench.command("mute", "release").output().unwrap();
    assert!(!output.status.success() && said(&output).contains("unexpected handshake"), "{}", said(&output));
    assert!(!bench.file("release", "SHA256SUMS").exists(), "nothing is complete that does not start");
}
