//! The agent's own files on the volume, beside PGDATA: identity, era, markers, the last record (A2, A3, A4, A23).
//!
//! ```text
//!   /var/lib/pgha/  lock          held by the guard (A5)
//!                   member.json   identity and era of the data in pgdata, and under which marks it let clients in
//!                   marker.json   something is being made of pgdata: it counts as no data while this stands
//!                   record.json   the record as last seen
//!                   promise.json  for the holder of this version of it nothing is confirmed any more (A12)
//!                   conf/         what postgres reads: rendered, never edited
//!                   pgdata/       the data    pgdata.new/ being made    pgdata.old/ being removed
//! ```

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use pgha_agent_core::observation::{Marks, Unfinished};
use pgha_schema::ids::{Era, MemberId, SystemIdentifier};
use pgha_schema::peer::RecordVersion;
use pgha_schema::record::Record;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::settings::Layout;

/// Identity of the data in pgdata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberFile {
    /// Its identity.
    pub member: MemberId,
    /// The last era that it lived in; `None` after initdb.
    #[serde(default)]
    pub era: Option<Era>,
    /// The marks under which clients were let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marks: Option<MarksFile>,
}

impl MemberFile {
    /// Of data that was made just now.
    pub fn new(member: MemberId, era: Option<Era>) -> Self {
        Self { member, era, marks: None }
    }
}

/// The identifier that the own claim and the StatefulSet carried, and of which cluster (A4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarksFile {
    anchor_uid: String,
    system_identifier: SystemIdentifier,
}

impl From<&Marks> for MarksFile {
    fn from(marks: &Marks) -> Self {
        Self { anchor_uid: marks.anchor_uid.clone(), system_identifier: marks.system_identifier }
    }
}

impl From<MarksFile> for Marks {
    fn from(file: MarksFile) -> Self {
        Self { anchor_uid: file.anchor_uid, system_identifier: file.system_identifier }
    }
}

#[derive(Serialize, Deserialize)]
struct MarkerFile {
    making: String,
}

/// The volume's files.
#[derive(Clone, Debug)]
pub struct Volume {
    root: PathBuf,
    pgdata: PathBuf,
}

impl Volume {
    /// The volume of this layout.
    pub fn new(layout: &Layout) -> Self {
        Self { root: layout.volume.clone(), pgdata: layout.pgdata() }
    }

    /// The mount point.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// PGDATA.
    pub fn pgdata(&self) -> &Path {
        &self.pgdata
    }

    /// Where new data is made.
    pub fn making(&self) -> PathBuf {
        self.root.join("pgdata.new")
    }

    /// Where replaced data waits for its removal.
    pub fn replaced(&self) -> PathBuf {
        self.root.join("pgdata.old")
    }

    /// Directory of the rendered configuration.
    pub fn conf_dir(&self) -> PathBuf {
        self.root.join("conf")
    }

    /// Identity of the data.
    pub fn member(&self) -> io::Result<Option<MemberFile>> {
        read_json(&self.root.join("member.json"))
    }

    /// Gives the data its identity and era, fsynced.
    pub fn set_member(&self, file: &MemberFile) -> io::Result<()> {
        write_durably(&self.root.join("member.json"), &to_json(file))
    }

    /// What is being made.
    pub fn marker(&self) -> io::Result<Option<Unfinished>> {
        let Some(file) = read_json::<MarkerFile>(&self.root.join("marker.json"))? else { return Ok(None) };
        Ok(Some(match file.making.as_str() {
            "initdb" => Unfinished::Initdb,
            "rewind" => Unfinished::Rewind,
            // Whatever a newer agent was making: a clone asks for the least trust in what is there.
            _ => Unfinished::Clone,
        }))
    }

    /// Says that pgdata is no data until [`Self::clear_marker`], fsynced.
    pub fn set_marker(&self, what: Unfinished) -> io::Result<()> {
        let making = match what {
            Unfinished::Initdb => "initdb",
            Unfinished::Clone => "clone",
            Unfinished::Rewind => "rewind",
        };
        write_durably(&self.root.join("marker.json"), &to_json(&MarkerFile { making: making.to_owned() }))
    }

    /// pgdata is data again, fsynced.
    pub fn clear_marker(&self) -> io::Result<()> {
        remove_if_there(&self.root.join("marker.json"))?;
        sync_dir(&self.root)
    }

    /// The record as last kept.
    pub fn kept_record(&self) -> io::Result<Option<Record>> {
        read_json(&self.root.join("record.json"))
    }

    /// Keeps the record, fsynced.
    pub fn keep_record(&self, record: &Record) -> io::Result<()> {
        write_durably(&self.root.join("record.json"), &to_json(record))
    }

    /// The promise that was given.
    pub fn promise(&self) -> io::Result<Option<RecordVersion>> {
        read_json(&self.root.join("promise.json"))
    }

    /// Keeps a promise, fsynced with its directory before anybody is told of it.
    pub fn keep_promise(&self, version: &RecordVersion) -> io::Result<()> {
        write_durably(&self.root.join("promise.json"), &to_json(version))
    }

    /// Forgets it.
    pub fn drop_promise(&self) -> io::Result<()> {
        remove_if_there(&self.root.join("promise.json"))?;
        sync_dir(&self.root)
    }

    /// PG_VERSION of the data; `None`: no data directory.
    pub fn postgres_major(&self) -> io::Result<Option<u32>> {
        match fs::read_to_string(self.pgdata.join("PG_VERSION")) {
            Ok(text) => Ok(text.trim().parse().ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The fork of a timeline from its parent, by its history file; 0 for one without.
    pub fn timeline_start(&self, timeline: u32) -> io::Result<pgha_schema::lsn::Lsn> {
        let path = self.pgdata.join("pg_wal").join(format!("{timeline:08X}.history"));
        match fs::read_to_string(path) {
            Ok(text) => Ok(history_start(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(pgha_schema::lsn::Lsn::ZERO),
            Err(error) => Err(error),
        }
    }

    /// Puts `pgdata.new` into pgdata's place; what was there goes to `pgdata.old` first.
    pub fn install_made(&self) -> io::Result<()> {
        remove_tree(&self.replaced())?;
        match fs::rename(&self.pgdata, self.replaced()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        fs::rename(self.making(), &self.pgdata)?;
        sync_dir(&self.root)
    }
}

/// The last line of a history file: where its timeline begins.
fn history_start(text: &str) -> pgha_schema::lsn::Lsn {
    text.lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .filter_map(|line| line.split_whitespace().nth(1)?.parse().ok())
        .next_back()
        .unwrap_or_default()
}

/// A member id: random, and usable unquoted as application_name.
pub fn new_member_id() -> io::Result<MemberId> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(MemberId(format!("m{}", hex::encode(bytes))))
}

fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec_pretty(value).unwrap_or_default()
}

fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces a file so that after a crash the old or the new content is there, whole.
pub fn write_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_dir(path.parent().unwrap_or(Path::new("/")))
}

/// Makes renames and removals in a directory durable.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Removes a file that may be gone already.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a directory that may be gone already.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(root: &Path) -> Volume {
        Volume { root: root.to_owned(), pgdata: root.join("pgdata") }
    }

    #[test]
    fn identity_marker_and_record_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let volume = volume(dir.path());
        assert_eq!(volume.member().unwrap(), None);
        let marks =
            Marks { anchor_uid: "a".into(), system_identifier: SystemIdentifier(7_300_000_000_000_000_001) };
        let new = MemberFile::new(new_member_id().unwrap(), Some(Era(3)));
        for file in [MemberFile { marks: Some(MarksFile::from(&marks)), ..new.clone() }, new] {
            volume.set_member(&file).unwrap();
            assert_eq!(volume.member().unwrap(), Some(file));
        }
        assert_eq!(Marks::from(MarksFile::from(&marks)), marks);
        for what in [Unfinished::Initdb, Unfinished::Clone, Unfinished::Rewind] {
            volume.set_marker(what).unwrap();
            assert_eq!(volume.marker().unwrap(), Some(what));
        }
        volume.clear_marker().unwrap();
        assert_eq!(volume.marker().unwrap(), None);
        let record = Record::initial("uid", pgha_schema::desired::SyncMode::Sync);
        volume.keep_record(&record).unwrap();
        assert_eq!(volume.kept_record().unwrap(), Some(record));
        assert_eq!(volume.promise().unwrap(), None);
        let version = RecordVersion { uid: "l".into(), resource_version: "7".into() };
        volume.keep_promise(&version).unwrap();
        assert_eq!(volume.promise().unwrap(), Some(version));
        volume.drop_promise().unwrap();
        assert_eq!(volume.promise().unwrap(), None);
    }

    #[test]
    fn a_file_that_is_no_document_is_an_error_and_not_an_absence() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("member.json"), "{").unwrap();
        assert!(volume(dir.path()).member().is_err());
    }

    #[test]
    fn made_data_takes_the_place_of_the_old() {
        let dir = tempfile::tempdir().unwrap();
        let volume = volume(dir.path());
        for (directory, content) in [(volume.pgdata.clone(), "old"), (volume.making(), "new")] {
            fs::create_dir(&directory).unwrap();
            fs::write(directory.join("PG_VERSION"), content).unwrap();
        }
        volume.install_made().unwrap();
        assert_eq!(fs::read_to_string(volume.pgdata.join("PG_VERSION")).unwrap(), "new");
        assert_eq!(fs::read_to_string(volume.replaced().join("PG_VERSION")).unwrap(), "old");
        assert!(!volume.making().exists());
    }

    #[test]
    fn a_timeline_begins_where_its_history_ends() {
        let text =
            "1\t0/3000148\tno recovery target specified\n\n2\t0/5000A28\tno recovery target specified\n";
        assert_eq!(history_start(text).to_string(), "0/5000A28");
        assert_eq!(history_start("").to_string(), "0/0");
    }

    #[test]
    fn member_ids_can_stand_unquoted() {
        let id = new_member_id().unwrap();
        assert!(id.as_str().starts_with('m'));
        assert!(id.as_str().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
        assert_ne!(id, new_member_id().unwrap());
    }
}
