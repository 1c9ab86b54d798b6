//! Who may stand, and who goes first (A3, A11, A14, A15).

use std::cmp::Reverse;

use pgha_schema::desired::{RunState, SyncMode};
use pgha_schema::lsn::Lsn;
use pgha_schema::record::Record;
use pgha_schema::status::{AgentReport, Role};

use crate::decision::Bar;
use crate::divergence::{self, Place};
use crate::failover::Ground;
use crate::observation::{LeaseRead, Observation, Peer, ordinal_of};
use crate::promise;

/// How long a recorded member that does not answer is waited for in async (A11).
const PEER_PATIENCE_MS: u64 = 500;
/// In sync: how long a member that answers is waited for to tell how far it has come.
const TELLS_WITHIN_MS: u64 = 200;
/// In sync: how long who is ahead is waited for to take.
const TAKES_WITHIN_MS: u64 = 1_000;
/// How long a member that answers but still replays is waited for.
const REPLAY_PATIENCE_MS: u64 = 10_000;

/// Whether this member may ever lead now: wanted, not told to stop. An ordinal that is to be scaled away leads only when
/// the record says that nobody else may, and moves the lead on at once.
pub(crate) fn is_wanted(seen: &Observation, record: &Record) -> Result<(), Bar> {
    let Some(wish) = seen.wish() else { return Err(Bar::Stopped) };
    if wish.state == RunState::Stopped {
        return Err(Bar::Stopped);
    }
    if seen.signals.terminate_ms.is_some() {
        return Err(Bar::Terminating);
    }
    let last_hope =
        record.mode != SyncMode::Async && seen.member().is_some_and(|member| record.voters.contains(member));
    if seen.me.ordinal > wish.replicas && !last_hope {
        return Err(Bar::BeyondReplicas);
    }
    Ok(())
}

/// Whether this member may take the record on this ground.
pub(crate) fn may_lead(
    seen: &Observation,
    read: &LeaseRead,
    ground: Ground,
    expired: bool,
    waited_ms: u64,
) -> Result<(), Bar> {
    let record = &read.record;
    is_wanted(seen, record)?;
    let Some(data) = seen.local_data() else { return Err(Bar::NotOnChain) };
    if record.system_identifier != Some(data.system_identifier) {
        return Err(Bar::NotOnChain);
    }
    let in_sync = ground != Ground::Released && record.mode != SyncMode::Async;
    if in_sync && record.voters.is_empty() {
        return Err(Bar::NoVoters);
    }
    // Outside V only who was asked, and with promises of V.
    if in_sync && !record.voters.contains(&data.member) && !promise::is_given(seen, read) {
        return Err(Bar::NotAVoter);
    }
    let Some(position) = divergence::local_position(seen) else { return Err(Bar::PositionUnknown) };
    match divergence::place_to_lead(record, divergence::local_era(seen, record), Some(position)) {
        Place::OnChain => {}
        Place::NeedsPosition | Place::NeedsEra => return Err(Bar::PositionUnknown),
        Place::Forked => return Err(Bar::NotOnChain),
    }
    match &record.release {
        Some(release) if ground == Ground::Released => {
            if position < release.position {
                return Err(Bar::BehindRelease);
            }
            match &release.target {
                Some(target) if *target == data.member => return Ok(()),
                Some(_) if !expired => return Err(Bar::NotTheTarget),
                Some(_) | None => {}
            }
        }
        Some(_) | None => {}
    }
    if in_sync {
        return Ok(());
    }
    if ground == Ground::Expired && !record.members.contains_key(&data.member) {
        // The holder may be vouched for by the recorded ones, and does not ask any other (A20).
        return Err(Bar::NotRecorded);
    }
    within_max_lag(seen, record, position)?;
    goes_first(seen, record, position, waited_ms)
}

fn within_max_lag(seen: &Observation, record: &Record, position: Lsn) -> Result<(), Bar> {
    let bound = seen.wish().and_then(|wish| wish.failover.max_lag_bytes);
    match bound {
        Some(bound) if position.behind(record.position).0 > bound => Err(Bar::BeyondMaxLag),
        Some(_) | None => Ok(()),
    }
}

/// Compares with every recorded member that answers; those that are silent are waited for a little, those that still
/// replay for longer, nobody for ever.
fn goes_first(seen: &Observation, record: &Record, position: Lsn, waited_ms: u64) -> Result<(), Bar> {
    for (pod, peer) in &seen.peers {
        let recorded = record.members.values().any(|entry| entry.pod == *pod);
        match peer {
            Peer::Silent { .. } => {
                if recorded && waited_ms < PEER_PATIENCE_MS {
                    return Err(Bar::AnotherGoesFirst(pod.clone()));
                }
            }
            Peer::Heard { report, .. } => {
                if !is_rival(seen, record, report) {
                    continue;
                }
                let first = match report.position {
                    None => waited_ms < REPLAY_PATIENCE_MS,
                    Some(theirs) => {
                        (theirs, Reverse(&report.pod)) > (position, Reverse(&seen.me.pod))
                            && waited_ms < 2 * REPLAY_PATIENCE_MS
                    }
                };
                if first {
                    return Err(Bar::AnotherGoesFirst(pod.clone()));
                }
            }
        }
    }
    Ok(())
}

/// Whose turn it is to take where commits wait for V.
pub(crate) enum Turn {
    /// This member's.
    Own,
    /// Somebody who answers has not told how far it has come.
    Unknown,
    /// This pod's: it has received more. What it has and nobody else was not acknowledged; but once others lead it has to
    /// be rewound for it, and with the old primary gone as well nobody might confirm meanwhile.
    Of(String),
}

/// Compares final positions, as they are told with promises. Safety does not hang on it: whoever takes has enough promises.
pub(crate) fn turn(seen: &Observation, read: &LeaseRead, waited_ms: u64) -> Turn {
    let record = &read.record;
    let holder = record.holder.as_ref().and_then(|holder| holder.member.as_ref());
    let mine = (divergence::local_position(seen), promise::votes(seen, record));
    let rivals = seen.reports().filter(|report| {
        report.position.is_some()
            && report.member.as_ref().is_some_and(|member| record.members.contains_key(member))
            && report.member.as_ref() != holder
            && is_rival(seen, record, report)
    });
    let mut turn = Turn::Own;
    for report in rivals {
        if !promise::is_told(report, read) {
            if waited_ms < TELLS_WITHIN_MS {
                turn = Turn::Unknown;
            }
            continue;
        }
        let votes = report.member.as_ref().is_some_and(|member| record.voters.contains(member));
        if (report.position, votes) > mine && waited_ms < TAKES_WITHIN_MS {
            return Turn::Of(report.pod.clone());
        }
    }
    turn
}

/// Whether anybody of V answers, who could promise.
pub(crate) fn is_a_voter_heard(seen: &Observation, record: &Record) -> bool {
    seen.reports().any(|report| report.member.as_ref().is_some_and(|member| record.voters.contains(member)))
}

/// Whether this other member may lead too, so that it is worth comparing with.
fn is_rival(seen: &Observation, record: &Record, report: &AgentReport) -> bool {
    let wanted = seen.wish().zip(ordinal_of(&report.pod)).is_some_and(|(wish, at)| at <= wish.replicas);
    wanted
        && !report.stopping
        && report.member.is_some()
        && report.system_identifier == record.system_identifier
        && divergence::place_to_lead(record, divergence::reported_era(record, report), report.position)
            != Place::Forked
}

/// For a lost Lease: every claim that carries the identifier belongs to this pod or to one that answers, and nobody
/// leads.
pub(crate) fn every_volume_heard(seen: &Observation) -> bool {
    seen.listed
        && seen.volumes.iter().filter(|(_, volume)| volume.system_identifier.is_some()).all(|(ordinal, _)| {
            *ordinal == seen.me.ordinal
                || seen.reports().any(|report| {
                    ordinal_of(&report.pod) == Some(*ordinal)
                        && (report.member.is_some() || report.unfinished)
                })
        })
        && seen.reports().all(|report| report.role != Role::Primary)
}

/// For a lost Lease: nobody heard has a higher era, or in the same a higher position; ties go by name.
pub(crate) fn is_newest(seen: &Observation) -> bool {
    let Some(mine) = seen.local_data() else { return false };
    let Some(position) = divergence::local_position(seen) else { return false };
    seen.reports().filter(|report| report.member.is_some()).all(|report| {
        let Some(theirs) = report.position else { return false };
        (report.era, theirs, Reverse(&report.pod)) < (mine.era, position, Reverse(&seen.me.pod))
    })
}
