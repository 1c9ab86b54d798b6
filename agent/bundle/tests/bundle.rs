//! The embedded agent is what its hash says, needs nothing beside itself, and starts in an empty root.

use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use pgha_agent_bundle::{AGENT_GZIP, AGENT_SHA256, embedded, version};
use sha2::{Digest, Sha256};

/// The embedded binary; `None`: none is inside.
fn binary() -> std::io::Result<Option<Vec<u8>>> {
    if !embedded() {
        let _ = writeln!(std::io::stderr(), "skipped: built with PGHA_AGENT_SKIP, no agent is inside");
        return Ok(None);
    }
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(AGENT_GZIP).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

#[test]
fn the_hash_is_that_of_the_uncompressed_binary() {
    let Some(bytes) = binary().unwrap() else { return };
    assert_eq!(hex::encode(Sha256::digest(&bytes)), AGENT_SHA256);
    assert_eq!(&AGENT_GZIP[4..8], &[0; 4], "no time in the header, so that equal binaries are equal chunks");
}

#[test]
fn the_binary_starts_in_an_empty_root() {
    let Some(bytes) = binary().unwrap() else { return };
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("pgha-agent");
    std::fs::write(&path, bytes).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    if chown(&path, Some(0), None).is_err() {
        println!("skipped: only root may chroot");
        return;
    }
    let output = Command::new("chroot").arg(root.path()).args(["/pgha-agent", "--version"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), format!("pgha-agent {}", version()));
}
