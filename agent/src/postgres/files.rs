//! The rendered files on the volume: written when they would differ, and remembered.

use std::fs;
use std::io;
use std::path::PathBuf;

use pgha_agent_core::observation::{Gate, Upstream};
use pgha_schema::status::{Acknowledged, FailedStarts};

use super::conf::{HBA_FILE, IDENT_FILE, MAIN_FILE, SYNC_FILE, UPSTREAM_FILE, document_of, upstream_of};
use super::fallback::{self, Accepted};
use super::hba;

/// The parameters that postgres was last seen to run with as wished.
const ACCEPTED_FILE: &str = "accepted.json";

/// The directory that postgres reads.
#[derive(Clone, Debug)]
pub struct ConfigFiles {
    dir: PathBuf,
}

impl ConfigFiles {
    /// Files in this directory, which is made when it is not there.
    pub fn open(dir: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        let files = Self { dir };
        files.write(IDENT_FILE, "")?;
        Ok(files)
    }

    /// The main file's path.
    pub fn main(&self) -> PathBuf {
        self.dir.join(MAIN_FILE)
    }

    /// The directory.
    pub fn dir(&self) -> &std::path::Path {
        &self.dir
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).unwrap_or_default()
    }

    /// Writes a file if it would differ; tells whether it did. Not fsynced: everything is rendered before each start.
    fn write(&self, name: &str, text: &str) -> io::Result<bool> {
        let path = self.dir.join(name);
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            return Ok(false);
        }
        let temporary = self.dir.join(format!("{name}.tmp"));
        fs::write(&temporary, text)?;
        fs::rename(temporary, path)?;
        Ok(true)
    }

    /// Writes the main file.
    pub fn set_main(&self, text: &str) -> io::Result<bool> {
        self.write(MAIN_FILE, text)
    }

    /// Writes `synchronous_standby_names`.
    pub fn set_sync(&self, text: &str) -> io::Result<bool> {
        self.write(SYNC_FILE, text)
    }

    /// Writes whom to follow.
    pub fn set_upstream(&self, text: &str) -> io::Result<bool> {
        self.write(UPSTREAM_FILE, text)
    }

    /// Writes the gate and the users' lines.
    pub fn set_hba(&self, gate: Gate, users: &[String], encrypted: bool) -> io::Result<bool> {
        self.write(HBA_FILE, &hba::render(gate, users, encrypted))
    }

    /// Whom the file says to follow.
    pub fn upstream(&self) -> Option<Upstream> {
        upstream_of(&self.read(UPSTREAM_FILE))
    }

    /// The gate in the file.
    pub fn gate(&self) -> Gate {
        hba::gate_of(&self.read(HBA_FILE))
    }

    /// What the main file stands in for, when postgres does not start with what is wished.
    pub fn instead_of(&self) -> Option<FailedStarts> {
        fallback::instead_of(&self.read(MAIN_FILE))
    }

    /// What postgres was last seen to run with as wished; one that can't be read is none.
    pub fn accepted(&self) -> Option<Accepted> {
        serde_json::from_str(&self.read(ACCEPTED_FILE)).ok()
    }

    /// Keeps that.
    pub fn keep_accepted(&self, accepted: &Accepted) -> io::Result<bool> {
        self.write(ACCEPTED_FILE, &serde_json::to_string(accepted).unwrap_or_default())
    }

    /// The document that the main file was rendered from.
    pub fn document(&self) -> Option<Acknowledged> {
        document_of(&self.read(MAIN_FILE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_only_when_it_would_differ() {
        let dir = tempfile::tempdir().unwrap();
        let files = ConfigFiles::open(dir.path().join("conf")).unwrap();
        assert!(files.set_hba(Gate::Closed, &[], false).unwrap());
        assert!(!files.set_hba(Gate::Closed, &[], false).unwrap());
        assert_eq!(files.gate(), Gate::Closed);
        assert!(files.set_hba(Gate::Open, &[], false).unwrap());
        assert_eq!(files.gate(), Gate::Open);
        assert_eq!((files.upstream(), files.document()), (None, None));
    }
}
