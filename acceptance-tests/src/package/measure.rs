//! What a release states about its binary: its size, how fast it starts, what it needs.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::proto_client::identity::Identity;
use crate::proto_client::process::COOKIE;

/// Starts that are measured.
const STARTS: usize = 11;

/// How long a start takes. What else the machine does only adds to it, so the fastest tells most about the binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartUp {
    /// The fastest of several.
    pub fastest: Duration,
    /// Their median.
    pub median: Duration,
}

/// Times from the start of the process to its handshake line, with mutual TLS, as a host waits for it.
///
/// # Errors
/// When the binary does not run here.
pub fn start_up(binary: &Path) -> Result<StartUp> {
    let identity = Identity::new()?;
    let mut times = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        let started = Instant::now();
        let mut child = Command::new(binary)
            .env("TF_PLUGIN_MAGIC_COOKIE", COOKIE)
            .env("PLUGIN_PROTOCOL_VERSIONS", "6")
            .env("PLUGIN_CLIENT_CERT", &identity.pem)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("start {}", binary.display()))?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no stdout")?).read_line(&mut line)?;
        times.push(started.elapsed());
        child.kill()?;
        child.wait()?;
        ensure!(line.starts_with("1|6|unix|"), "an unexpected handshake: {line:?}");
    }
    times.sort();
    Ok(StartUp { fastest: times[0], median: times[STARTS / 2] })
}

/// The newest version of glibc's symbols that a binary names; `None`: it is static.
pub fn glibc_needed(binary: &[u8]) -> Option<String> {
    const PREFIX: &[u8] = b"GLIBC_";
    let mut newest: Option<Vec<u32>> = None;
    for at in (0..binary.len()).filter(|at| binary[*at..].starts_with(PREFIX)) {
        let rest = &binary[at + PREFIX.len()..];
        let end = rest.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.').unwrap_or(0);
        let version: Vec<u32> =
            String::from_utf8_lossy(&rest[..end]).split('.').flat_map(str::parse).collect();
        newest = newest.max(Some(version).filter(|version| version.len() > 1));
    }
    newest.map(|version| version.iter().map(u32::to_string).collect::<Vec<_>>().join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_glibc_that_is_named_counts() {
        let binary = b"\0GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.4\0GLIBC_PRIVATE\0";
        assert_eq!(glibc_needed(binary).as_deref(), Some("2.34"));
        assert_eq!(glibc_needed(b"nothing"), None);
    }
}
