//! One snapshot of the world: what `decide` sees.

use std::collections::BTreeSet;
use std::time::SystemTime;

use pgha_agent_core::Observation;
use pgha_agent_core::observation::{
    Complaints, ControlState, DataSeen, LeaseVersion, LocalData, PostgresSeen, Promises, Signals, Unfinished,
};
use pgha_schema::lsn::Lsn;
use pgha_schema::record::Record;

use crate::agent::Agent;
use crate::boottime::now_ms;
use crate::postgres::control_data::ControlData;
use crate::postgres::tools::Tools;
use crate::volume::Volume;

/// While postgres is down the volume is looked at this often.
const LOOK_EVERY_MS: u64 = 2_000;
/// And this often while a start takes longer than that.
const LOOK_AT_START_MS: u64 = 10_000;

/// What lies on the volume: read while postgres is down, and after every change of ours.
#[derive(Debug, Default)]
pub struct DataCache {
    seen: Option<DataSeen>,
    looked_ms: u64,
    postmaster: Option<u32>,
    kept: Option<Record>,
    kept_read: bool,
    problem: Option<String>,
    promise: Option<LeaseVersion>,
}

impl DataCache {
    /// Something on the volume changed.
    pub fn touch(&mut self) {
        self.seen = None;
    }

    /// A start or an end of postgres changes the data; while it is down, so may a person.
    fn note_life(&mut self, postmaster: Option<u32>, makes_data: bool) {
        let stale = postmaster.is_none() && self.looked_ms + LOOK_EVERY_MS <= now_ms();
        if self.postmaster != postmaster || makes_data || stale {
            self.seen = None;
        }
        self.postmaster = postmaster;
    }

    /// A start that takes long may wait for WAL that is not there, or that comes in.
    fn note_start(&mut self, postgres: &PostgresSeen) {
        let now = now_ms();
        let long =
            |since_ms: u64| since_ms + LOOK_AT_START_MS <= now && self.looked_ms + LOOK_AT_START_MS <= now;
        if matches!(postgres, PostgresSeen::Starting { since_ms } if long(*since_ms)) {
            self.seen = None;
        }
    }

    /// The kept record changed.
    pub fn touch_kept(&mut self) {
        self.kept_read = false;
    }

    async fn look(&mut self, volume: &Volume, tools: &Tools) -> DataSeen {
        if let Some(seen) = &self.seen {
            return seen.clone();
        }
        self.looked_ms = now_ms();
        match read_all(volume, tools).await {
            Ok((seen, promise)) => {
                self.promise = promise;
                self.problem = None;
                self.seen = Some(seen.clone());
                seen
            }
            Err(problem) => {
                if self.problem.as_ref() != Some(&problem) {
                    tracing::error!(problem, "the volume can't be read");
                }
                self.problem = Some(problem);
                DataSeen::Unknown
            }
        }
    }

    fn kept(&mut self, volume: &Volume) -> Option<Record> {
        if !self.kept_read
            && let Ok(kept) = volume.kept_record()
        {
            self.kept = kept;
            self.kept_read = true;
        }
        self.kept.clone()
    }
}

/// A promise that can't be read may say anything: then the data is not known either, and nothing starts.
async fn read_all(volume: &Volume, tools: &Tools) -> Result<(DataSeen, Option<LeaseVersion>), String> {
    let promise = volume.promise().map_err(|error| error.to_string())?;
    let promise = promise.map(|told| LeaseVersion { uid: told.uid, resource_version: told.resource_version });
    Ok((read_data(volume, tools).await?, promise))
}

async fn read_data(volume: &Volume, tools: &Tools) -> Result<DataSeen, String> {
    let words = |error: std::io::Error| error.to_string();
    let marker = volume.marker().map_err(words)?;
    let data = match volume.postgres_major().map_err(words)? {
        None => None,
        Some(postgres_major) => match (volume.member().map_err(words)?, marker) {
            (Some(file), _) => {
                let control = tools.control_data(volume.pgdata()).await.map_err(|error| error.to_string());
                match (control, marker) {
                    (Ok(control), _) => Some(LocalData {
                        member: file.member,
                        system_identifier: control.system_identifier,
                        era: file.era,
                        marks: file.marks.map(Into::into),
                        timeline: control.timeline,
                        control: control.state,
                        shutdown_lsn: control.shutdown_lsn,
                        replay_bytes: replay_bytes(volume, &control),
                        lacks_wal: lacks_wal(volume, &control),
                        postgres_major,
                    }),
                    (Err(_), Some(_)) => None,
                    (Err(problem), None) => return Err(problem),
                }
            }
            (None, Some(_)) => None,
            // Not made by an agent: nobody knows whose it is, so nobody may touch it.
            (None, None) => {
                return Err(format!("{} holds data without an identity", volume.pgdata().display()));
            }
        },
    };
    Ok(match (marker, data) {
        (Some(what), data) => {
            DataSeen::Unfinished { what, data: data.filter(|_| what == Unfinished::Initdb) }
        }
        (None, Some(data)) => DataSeen::Present(data),
        (None, None) => DataSeen::Empty,
    })
}

/// WAL behind the last checkpoint, by the file that was written last: an estimate, for choosing between restart and
/// hand-over only (A25).
fn replay_bytes(volume: &Volume, control: &ControlData) -> u64 {
    if matches!(control.state, ControlState::ShutDown | ControlState::ShutDownInRecovery) {
        return 0;
    }
    let Ok(entries) = std::fs::read_dir(volume.pgdata().join("pg_wal")) else { return 0 };
    let newest = entries
        .flatten()
        .filter_map(|entry| {
            let end = segment_end(entry.file_name().to_str()?, control.segment_bytes)?;
            Some((entry.metadata().ok()?.modified().ok()?, end))
        })
        .max_by_key(|(modified, _): &(SystemTime, u64)| *modified);
    newest.map_or(0, |(_, end)| end.saturating_sub(control.redo_lsn.0))
}

/// Whether a WAL file that a start reads before the data is consistent is not there, on any timeline.
fn lacks_wal(volume: &Volume, control: &ControlData) -> bool {
    let Ok(entries) = std::fs::read_dir(volume.pgdata().join("pg_wal")) else { return false };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    has_gap(names, control.segment_bytes, control.redo_lsn, control.consistent_lsn)
}

pub(crate) fn has_gap(names: impl Iterator<Item = String>, segment_bytes: u64, from: Lsn, to: Lsn) -> bool {
    let ends: BTreeSet<u64> = names.filter_map(|name| segment_end(&name, segment_bytes)).collect();
    let bytes = segment_bytes.max(1);
    let is_there = |number: u64| (number + 1).checked_mul(bytes).is_some_and(|end| ends.contains(&end));
    !(from.0 / bytes..=to.0 / bytes).all(is_there)
}

/// Where a WAL file ends, by its name.
pub(crate) fn segment_end(name: &str, segment_bytes: u64) -> Option<u64> {
    if name.len() != 24 || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let high = u64::from_str_radix(&name[8..16], 16).ok()?;
    let low = u64::from_str_radix(&name[16..], 16).ok()?;
    (high << 32).checked_add((low + 1).checked_mul(segment_bytes)?)
}

impl Agent {
    /// The snapshot.
    pub async fn observe(&mut self) -> Observation {
        let observed_ms = now_ms();
        if self.jobs.settle().await {
            self.data.touch();
        }
        let guard = self.guard.state();
        if guard.terminating {
            self.terminate_ms.get_or_insert(observed_ms);
        }
        self.data.note_life(guard.postmaster, self.jobs.makes_data());
        let data = self.data.look(&self.volume, &self.tools).await;
        let desired = self.world.lock().desired.clone();
        let postgres = self.postgres.look(&guard, &self.volume, desired.as_ref()).await;
        self.data.note_start(&postgres);
        let peers = self.peers.seen();
        let asking = self.shared.asking().clone();
        let signals = Signals {
            terminate_ms: self.terminate_ms,
            requests: asking.received,
            lifted: asking.lifted,
            fenced_alone_ms: guard.fenced_alone_ms,
        };
        let world = self.world.lock();
        Observation {
            now_ms: observed_ms,
            me: self.me.clone(),
            desired,
            lease: world.lease.seen(),
            last_write: self.last_write.clone(),
            api_answered_ms: world.api_answered_ms,
            data,
            kept: self.data.kept(&self.volume),
            postgres,
            complaints: Complaints {
                marks_refused: world.marks_refused.clone(),
                ..self.postgres.complaints()
            },
            postmaster: guard.postmaster.map(u64::from),
            credentials: self.passwords.seen(&self.secrets),
            jobs: self.jobs.seen(),
            peers,
            pods: world.pods.clone(),
            listed: world.pods_listed && world.volumes_listed && world.stateful_set_read,
            volumes: world.volumes.clone(),
            stateful_set_identifier: world.stateful_set_identifier,
            holder_heard: self.hearing.holder(),
            acks: self.beats.acks(),
            promises: Promises { given: self.data.promise.clone(), asked: self.hearing.asked() },
            signals,
            disk: self.disk.seen(),
            agent: self.agent_seen(&guard),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wal_files_name_says_where_it_ends() {
        assert_eq!(segment_end("000000010000000000000001", 16 << 20), Some(32 << 20));
        assert_eq!(segment_end("0000000200000001000000FF", 16 << 20), Some((1 << 32) + (256 << 24)));
        assert_eq!(segment_end("00000002.history", 16 << 20), None);
        assert_eq!(segment_end("000000010000000000000001.partial", 16 << 20), None);
    }

    #[test]
    fn every_file_from_redo_to_consistency_has_to_be_there_on_some_timeline() {
        const SEGMENT: u64 = 16 << 20;
        let gap = |names: &[&str], from: u64, to: u64| {
            has_gap(names.iter().map(|name| (*name).to_owned()), SEGMENT, Lsn(from), Lsn(to))
        };
        let names =
            ["000000010000000000000004", "000000020000000000000005", "00000002.history", "archive_status"];
        assert!(!gap(&names, 4 * SEGMENT + 40, 5 * SEGMENT + 80));
        assert!(!gap(&names, 5 * SEGMENT, 5 * SEGMENT));
        assert!(gap(&names, 3 * SEGMENT + 40, 5 * SEGMENT));
        assert!(gap(&names, 4 * SEGMENT, 6 * SEGMENT));
        assert!(gap(&[], 4 * SEGMENT, 4 * SEGMENT));
        let beyond_4_gib = ["000000010000000100000000"];
        assert!(!gap(&beyond_4_gib, 1 << 32, 1 << 32));
    }
}
