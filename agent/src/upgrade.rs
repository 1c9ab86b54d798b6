//! The agent's own binary: which one runs, and another one on its way from ConfigMap chunks onto the disk (A8).

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use pgha_agent_core::observation::{AgentSeen, RefusedAgent};
use pgha_schema::desired::AgentBinary;
use pgha_schema::status::AgentRefusal;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::act::ActError;
use crate::agent::Agent;
use crate::api::Api;
use crate::guard::message::{Command, State};
use crate::postgres::job::Kind;

/// A chunk is a megabyte.
const CHUNK_DEADLINE: Duration = Duration::from_secs(20);
/// No agent is larger: what claims to be is not one.
const MAX_BYTES: u64 = 256 << 20;
/// Files with this prefix, and the hash, are agents on their way.
const PREFIX: &str = "pgha-agent-";
/// The guard's format from which on it can exchange agents.
const EXCHANGES_FROM: u32 = 2;

/// SHA-256 of the binary that runs.
pub fn own_sha256() -> io::Result<String> {
    let mut hash = Sha256::new();
    io::copy(&mut File::open("/proc/self/exe")?, &mut hash)?;
    Ok(hex::encode(hash.finalize()))
}

/// Copies the binary that runs to `path`; it has that name only once it is whole.
pub fn install(path: &Path) -> io::Result<()> {
    let part = path.with_extension("new");
    fs::copy("/proc/self/exe", &part)?;
    fs::set_permissions(&part, fs::Permissions::from_mode(0o755))?;
    fs::rename(&part, path)
}

/// Where a binary with this hash lies.
fn path_of(dir: &Path, sha256: &str) -> PathBuf {
    dir.join(format!("{PREFIX}{}", sha256.get(..16).unwrap_or(sha256)))
}

/// The chunk in a ConfigMap: it has one key.
pub(crate) fn chunk_of(config_map: &Value) -> Result<Vec<u8>, String> {
    let data = config_map["binaryData"].as_object().and_then(|data| data.values().next());
    let text = data.and_then(Value::as_str).ok_or("a chunk without data")?;
    STANDARD.decode(text).map_err(|error| format!("a chunk that can't be read: {error}"))
}

/// Unpacks, checks, and only then gives the file its name. Others on their way are removed: one is enough.
pub(crate) fn store(gzipped: &[u8], sha256: &str, dir: &Path) -> Result<(), String> {
    let words = |error: io::Error| error.to_string();
    for entry in fs::read_dir(dir).map_err(words)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            fs::remove_file(entry.path()).map_err(words)?;
        }
    }
    let path = path_of(dir, sha256);
    let part = path.with_extension("part");
    let mut unpacked = GzDecoder::new(gzipped).take(MAX_BYTES);
    let mut file = File::create(&part).map_err(words)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = unpacked.read(&mut buffer).map_err(words)?;
        if length == 0 {
            break;
        }
        hash.update(&buffer[..length]);
        file.write_all(&buffer[..length]).map_err(words)?;
    }
    let found = hex::encode(hash.finalize());
    if found != sha256 {
        fs::remove_file(&part).map_err(words)?;
        return Err(format!("its hash is {found}, not {sha256}"));
    }
    file.set_permissions(fs::Permissions::from_mode(0o755)).map_err(words)?;
    // Closed before the guard starts it: what is open for writing can't be.
    drop(file);
    fs::rename(&part, &path).map_err(words)
}

async fn fetch(api: &Api, paths: &[String], sha256: String, dir: PathBuf) -> Result<(), String> {
    let mut gzipped = Vec::new();
    for path in paths {
        let raw = api.get(path, CHUNK_DEADLINE).await.map_err(|error| format!("{path}: {error}"))?;
        gzipped.extend(chunk_of(&raw)?);
    }
    let stored = tokio::task::spawn_blocking(move || store(&gzipped, &sha256, &dir)).await;
    stored.unwrap_or_else(|error| Err(error.to_string()))
}

impl Agent {
    /// What decisions see of it.
    pub fn agent_seen(&self, guard: &State) -> AgentSeen {
        let fetched =
            self.wanted_agent.as_ref().filter(|sha256| path_of(self.agents_dir(), sha256).is_file());
        AgentSeen {
            sha256: self.own_sha256.clone(),
            exchangeable: guard.v >= EXCHANGES_FROM,
            fetched: fetched.cloned(),
            fetch: self.jobs.state(Kind::FetchAgent),
            on_trial: guard.on_trial,
            refused: guard.taken_back.as_ref().map(|back| RefusedAgent {
                refusal: AgentRefusal {
                    sha256: back.sha256.clone(),
                    generation: back.generation,
                    why: back.why.clone(),
                },
                at_ms: back.at_ms,
                for_good: back.for_good,
            }),
        }
    }

    fn agents_dir(&self) -> &Path {
        &self.settings.layout.agents
    }

    /// Fetches it, beside the loop.
    pub fn fetch_agent(&mut self, binary: &AgentBinary) {
        let paths: Vec<String> = binary.chunks.iter().map(|name| self.paths.config_map(name)).collect();
        let (api, sha256, dir) = (Arc::clone(&self.api), binary.sha256.clone(), self.agents_dir().to_owned());
        let wake = Arc::clone(&self.wake);
        self.wanted_agent = Some(binary.sha256.clone());
        let work = async move { fetch(&api, &paths, sha256, dir).await };
        self.jobs.start(Kind::FetchAgent, work, move || wake.notify_one());
    }

    /// Has the guard start the fetched one in this process's place.
    pub async fn exchange_agent(
        &mut self,
        sha256: &str,
        generation: u64,
        within_ms: u64,
        tries: u32,
    ) -> Result<(), ActError> {
        let program = path_of(self.agents_dir(), sha256);
        tracing::info!(sha256, within_ms, "this agent gives way to another");
        let sha256 = sha256.to_owned();
        self.guard.ask(Command::Exchange { program, sha256, generation, within_ms, tries }).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_binary_gets_its_name_only_when_its_hash_is_right() {
        let dir = tempfile::tempdir().unwrap();
        let binary = b"#!/bin/sh\n".repeat(50_000);
        let sha256 = hex::encode(Sha256::digest(&binary));
        store(&gzip(&binary), &sha256, dir.path()).unwrap();
        let path = path_of(dir.path(), &sha256);
        assert_eq!(fs::read(&path).unwrap(), binary);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);

        let wrong = store(&gzip(b"another"), &sha256, dir.path()).unwrap_err();
        assert!(wrong.contains(&sha256), "{wrong}");
        assert!(
            names(dir.path()).is_empty(),
            "neither it nor the one before is left: {:?}",
            names(dir.path())
        );
        assert!(store(b"no gzip", &sha256, dir.path()).is_err());
    }

    #[test]
    fn the_running_binary_is_copied_whole_and_can_be_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgha-agent");
        install(&path).unwrap();
        assert_eq!(names(dir.path()), ["pgha-agent"]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        let copied = fs::read(&path).unwrap();
        assert_eq!(hex::encode(Sha256::digest(copied)), own_sha256().unwrap());
    }

    #[test]
    fn a_chunk_is_the_one_key_of_its_config_map() {
        let chunk = |data: &str| chunk_of(&json!({"binaryData": {"part-001": data}}));
        assert_eq!(chunk("aGk="), Ok(b"hi".to_vec()));
        assert!(chunk("?").is_err());
        assert!(chunk_of(&json!({"data": {"a": "b"}})).is_err());
    }
}
