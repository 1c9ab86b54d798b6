//! The control file as `pg_controldata` prints it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use pgha_agent_core::observation::ControlState;
use pgha_schema::ids::SystemIdentifier;
use pgha_schema::lsn::{Lsn, TimelineId};

/// Length of a shutdown checkpoint's record in PostgreSQL 15 to 18: header 24, data header 2, CheckPoint 88.
const CHECKPOINT_RECORD_BYTES: u64 = 114;
const SHORT_PAGE_HEADER_BYTES: u64 = 24;
const LONG_PAGE_HEADER_BYTES: u64 = 40;
/// What PostgreSQL can be built and set up with.
const BLOCK_BYTES: RangeInclusive<u64> = 1 << 10..=1 << 16;
const SEGMENT_BYTES: RangeInclusive<u64> = 1 << 20..=1 << 30;

/// What a start would find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlData {
    /// The cluster that this data belongs to.
    pub system_identifier: SystemIdentifier,
    /// How it was left.
    pub state: ControlState,
    /// Timeline of the latest checkpoint, or of minimum recovery if higher.
    pub timeline: TimelineId,
    /// Where recovery starts.
    pub redo_lsn: Lsn,
    /// Up to where a start has to replay before the data is consistent; at least `redo_lsn`.
    pub consistent_lsn: Lsn,
    /// End of the shutdown checkpoint's record, when the state says that there is one.
    pub shutdown_lsn: Option<Lsn>,
    /// Bytes of a WAL file.
    pub segment_bytes: u64,
    /// Settings whose values a standby must not undercut.
    pub settings: BTreeMap<&'static str, u64>,
}

/// The settings in the control file, with the names of their settings.
const SETTINGS: [(&str, &str); 5] = [
    ("max_connections setting", "max_connections"),
    ("max_worker_processes setting", "max_worker_processes"),
    ("max_wal_senders setting", "max_wal_senders"),
    ("max_prepared_xacts setting", "max_prepared_transactions"),
    ("max_locks_per_xact setting", "max_locks_per_transaction"),
];

/// The output lacks something, or says it in words that are not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pg_controldata: no usable `{0}`")]
pub struct ControlDataError(&'static str);

impl ControlData {
    /// From what `LC_ALL=C pg_controldata` prints.
    pub fn parse(text: &str) -> Result<Self, ControlDataError> {
        let lines: BTreeMap<&str, &str> =
            text.lines().filter_map(|line| line.split_once(':')).map(|(k, v)| (k.trim(), v.trim())).collect();
        let get = |key: &'static str| lines.get(key).copied().ok_or(ControlDataError(key));
        let number = |key: &'static str| get(key)?.parse::<u64>().map_err(|_| ControlDataError(key));
        let lsn = |key: &'static str| get(key)?.parse::<Lsn>().map_err(|_| ControlDataError(key));

        let state = match get("Database cluster state")? {
            "shut down" => ControlState::ShutDown,
            "shut down in recovery" => ControlState::ShutDownInRecovery,
            "in archive recovery" => ControlState::InRecovery,
            // All of a primary: what a crash leaves, at whatever moment.
            "in production" | "shutting down" | "in crash recovery" | "starting up" => {
                ControlState::InProduction
            }
            _ => return Err(ControlDataError("Database cluster state")),
        };
        let checkpoint_timeline = number("Latest checkpoint's TimeLineID")?;
        let recovery_timeline = number("Min recovery ending loc's timeline").unwrap_or(0);
        let size = |key: &'static str, sizes: RangeInclusive<u64>| {
            let bytes = number(key)?;
            let is_one = bytes.is_power_of_two() && sizes.contains(&bytes);
            is_one.then_some(bytes).ok_or(ControlDataError(key))
        };
        let segment_bytes = size("Bytes per WAL segment", SEGMENT_BYTES)?;
        let block_bytes = size("WAL block size", BLOCK_BYTES)?;
        let redo_lsn = lsn("Latest checkpoint's REDO location")?;
        let shutdown_lsn = if state == ControlState::ShutDown {
            let start = lsn("Latest checkpoint location")?;
            // None is that near to the end of all positions.
            let start = start.0.checked_add(segment_bytes).and(Some(start));
            let start = start.ok_or(ControlDataError("Latest checkpoint location"))?;
            Some(end_of_record(start, CHECKPOINT_RECORD_BYTES, block_bytes, segment_bytes))
        } else {
            None
        };
        Ok(Self {
            system_identifier: SystemIdentifier(number("Database system identifier")?),
            state,
            timeline: TimelineId(
                u32::try_from(checkpoint_timeline.max(recovery_timeline))
                    .map_err(|_| ControlDataError("Latest checkpoint's TimeLineID"))?,
            ),
            redo_lsn,
            consistent_lsn: lsn("Minimum recovery ending location")?.max(redo_lsn),
            shutdown_lsn,
            segment_bytes,
            settings: SETTINGS.iter().filter_map(|(line, name)| Some((*name, number(line).ok()?))).collect(),
        })
    }
}

/// Where a record ends that starts at `start`: the page headers that it crosses count.
fn end_of_record(start: Lsn, length: u64, block_bytes: u64, segment_bytes: u64) -> Lsn {
    let mut at = start.0;
    let mut left = length;
    loop {
        let room = block_bytes - at % block_bytes;
        if left <= room {
            let end = at + left;
            return Lsn(end.next_multiple_of(8));
        }
        left -= room;
        at += room;
        at += if at.is_multiple_of(segment_bytes) { LONG_PAGE_HEADER_BYTES } else { SHORT_PAGE_HEADER_BYTES };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "pg_control version number:            1300
Catalog version number:               202209061
Database system identifier:           7412345678901234567
Database cluster state:               shut down
pg_control last modified:             Mon 23 Nov 2026 08:00:00 AM UTC
Latest checkpoint location:           0/1528F38
Latest checkpoint's REDO location:    0/1528F38
Latest checkpoint's REDO WAL file:    000000010000000000000001
Latest checkpoint's TimeLineID:       1
Minimum recovery ending location:     0/0
Min recovery ending loc's timeline:   0
max_connections setting:              100
max_worker_processes setting:         8
max_wal_senders setting:              10
max_prepared_xacts setting:           0
max_locks_per_xact setting:           64
WAL block size:                       8192
Bytes per WAL segment:                16777216
";

    #[test]
    fn a_clean_shutdown_ends_behind_its_checkpoint() {
        let data = ControlData::parse(SAMPLE).unwrap();
        assert_eq!(data.system_identifier, SystemIdentifier(7_412_345_678_901_234_567));
        assert_eq!(data.state, ControlState::ShutDown);
        assert_eq!(data.timeline, TimelineId(1));
        assert_eq!(data.shutdown_lsn.unwrap().to_string(), "0/1528FB0");
        assert_eq!(data.settings["max_connections"], 100);
        assert_eq!(data.settings["max_prepared_transactions"], 0);
    }

    #[test]
    fn every_state_of_a_crash_is_that_of_a_primary_or_of_a_standby() {
        for (words, state) in [
            ("in production", ControlState::InProduction),
            ("shutting down", ControlState::InProduction),
            ("in crash recovery", ControlState::InProduction),
            ("in archive recovery", ControlState::InRecovery),
            ("shut down in recovery", ControlState::ShutDownInRecovery),
        ] {
            let text = SAMPLE.replace(" shut down\n", &format!(" {words}\n"));
            let data = ControlData::parse(&text).unwrap();
            assert_eq!((data.state, data.shutdown_lsn), (state, None), "{words}");
        }
        assert!(ControlData::parse(&SAMPLE.replace(" shut down\n", " molten\n")).is_err());
    }

    #[test]
    fn a_timeline_reached_in_recovery_counts() {
        let text = SAMPLE
            .replace("Min recovery ending loc's timeline:   0", "Min recovery ending loc's timeline:   4");
        assert_eq!(ControlData::parse(&text).unwrap().timeline, TimelineId(4));
    }

    #[test]
    fn a_record_that_crosses_pages_ends_behind_their_headers() {
        let segment = 16 << 20;
        assert_eq!(end_of_record(Lsn(0x1F38), 114, 8192, segment), Lsn(0x1FB0));
        // 56 bytes on the first page, a short header, 58 on the next.
        assert_eq!(
            end_of_record(Lsn(0x1FC8), 114, 8192, segment),
            Lsn((0x2000_u64 + 24 + 58).next_multiple_of(8))
        );
        // The next page opens a segment: a long header.
        assert_eq!(
            end_of_record(Lsn(segment - 56), 114, 8192, segment),
            Lsn((segment + 40 + 58).next_multiple_of(8))
        );
    }
}
