//! Where local data stands in the history of eras: follow, wait, rewind or clone (A3, A23).

use pgha_schema::ids::Era;
use pgha_schema::lsn::{Lsn, TimelineId};
use pgha_schema::record::{EraEntry, Record};
use pgha_schema::status::{AgentReport, Role};

use crate::acknowledge;
use crate::decision::Memory;
use crate::observation::{
    DataSeen, DiskSeen, Job, LeaseRead, LocalData, Observation, PostgresSeen, Upstream,
};

/// Rewinds that may fail before the member is cloned instead.
const REWIND_TRIES: u32 = 2;
/// A start that takes longer without following anybody does not come to its end: who was killed just as it began to stream on
/// a new timeline has the beginning of that timeline's segment alone, reads no other, and waits for the rest for ever.
const STUCK_MS: u64 = 60_000;
/// Starts in a row that ended before postgres answered. After so many, about twenty seconds, they are given up where the
/// primary shows that settings and binaries are good; after so many more, about two minutes, wherever it leads: it may wait
/// for this very member before it restarts with what is wished.
const HOPELESS_STARTS: u32 = 8;
const HOPELESS_STARTS_ANYWAY: u32 = 20;
/// Proof that this data may be rewound: forked, not a voter, the holder alive. Only this module makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewindPermit {
    sealed: (),
}

/// Proof that this member may be cloned: no data, or forked data that is no voter. Only this module makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClonePermit {
    sealed: (),
}

/// Where data stands in the history that the record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is part of the history: it may follow, and is comparable.
    OnChain,
    /// That depends on its position, which is not known yet.
    NeedsPosition,
    /// It depends on where the current era starts, which is not recorded yet.
    NeedsEra,
    /// It holds WAL that is not part of the history, or lived in an era that is not.
    Forked,
}

/// What a member that does not lead has to do with its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// Stream from the holder.
    Follow(Upstream),
    /// Replay local WAL to its end, following nobody.
    FindPosition,
    /// The holder has not completed its era.
    WaitForEra,
    /// Forked or no data, and the holder can't serve as source yet, or this member is still a voter.
    WaitForSource,
    /// Rewind.
    Rewind(Upstream, RewindPermit),
    /// Clone.
    Clone(Upstream, ClonePermit),
    /// Never touch it: it is of another cluster.
    Refuse,
}

/// The current era's parent chain, newest first.
pub(crate) fn chain(record: &Record) -> Vec<&EraEntry> {
    let mut chain: Vec<&EraEntry> = Vec::new();
    let mut next = record.current();
    while let Some(entry) = next {
        // Parents are older: a record that says otherwise must not make this loop endless.
        if chain.last().is_some_and(|child| child.era <= entry.era) {
            break;
        }
        chain.push(entry);
        next = entry.parent.and_then(|parent| record.eras.iter().find(|entry| entry.era == parent));
    }
    chain
}

/// The era that data really lived in: the persisted one is written before the member streams in it, so a member that
/// never came to stream still has its parent's timeline, and what it does next forks from there.
pub(crate) fn lived_era(record: &Record, era: Option<Era>, timeline: Option<TimelineId>) -> Option<Era> {
    let (persisted, timeline) = (era?, timeline?);
    let mut at = Some(persisted);
    for _ in 0..=record.eras.len() {
        let entry = record.eras.iter().find(|entry| Some(entry.era) == at)?;
        if entry.timeline == Some(timeline) {
            return at;
        }
        at = entry.parent;
        if at.is_none() {
            break;
        }
    }
    Some(persisted)
}

/// The same for the local data.
pub(crate) fn local_era(seen: &Observation, record: &Record) -> Option<Era> {
    let data = seen.local_data()?;
    let timeline = seen.standby().map_or(data.timeline, |standby| standby.timeline);
    lived_era(record, data.era, Some(timeline)).or(data.era)
}

/// The same for another member.
pub(crate) fn reported_era(record: &Record, report: &AgentReport) -> Option<Era> {
    lived_era(record, report.era, report.timeline).or(report.era)
}

/// Where a member at (era, position) stands, for following the current era.
pub(crate) fn place(record: &Record, era: Option<Era>, position: Option<Lsn>) -> Place {
    place_on(&chain(record), era, position)
}

/// Where a member stands, for taking the record: an era that was never completed let nobody in, so it does not count
/// unless the member itself lived in it.
pub(crate) fn place_to_lead(record: &Record, era: Option<Era>, position: Option<Lsn>) -> Place {
    let mut chain = chain(record);
    if chain.first().is_some_and(|current| !current.is_complete() && Some(current.era) != era) {
        chain.remove(0);
    }
    place_on(&chain, era, position)
}

fn place_on(chain: &[&EraEntry], era: Option<Era>, position: Option<Lsn>) -> Place {
    let Some(at) = chain.iter().position(|entry| Some(entry.era) == era) else { return Place::Forked };
    let newer = &chain[..at];
    if newer.is_empty() {
        return Place::OnChain;
    }
    // Every newer start bounds it: a later era may have forked before an earlier one's start. Only the current one can
    // still be completed; where another began nobody will ever say.
    if newer.iter().skip(1).any(|entry| entry.start.is_none()) {
        return Place::Forked;
    }
    let Some(bound) = newer.iter().map(|entry| entry.start).collect::<Option<Vec<_>>>() else {
        return Place::NeedsEra;
    };
    match (position, bound.into_iter().min()) {
        (None, _) => Place::NeedsPosition,
        (Some(position), Some(bound)) if position > bound => Place::Forked,
        (Some(_), _) => Place::OnChain,
    }
}

/// Whether pg_rewind can tell this data's history from the current one: it compares timeline numbers and where they began,
/// never content. Two isolated promotions are both called timeline 2, and may begin at one position; so no number in this
/// data's history may also be that of an era that is neither ancestor nor descendant of the one it has it from.
fn rewindable(record: &Record, data: &LocalData) -> bool {
    let Some(own) = data.era.filter(|own| record.eras.iter().any(|entry| entry.era == *own)) else {
        return false;
    };
    record.eras.iter().filter(|entry| is_ancestor(record, entry.era, own)).all(|lived| {
        let timeline = if lived.era == own { Some(data.timeline) } else { lived.timeline };
        let Some(timeline) = timeline else { return false };
        record.eras.iter().filter(|entry| entry.era != lived.era && entry.timeline == Some(timeline)).all(
            |entry| is_ancestor(record, entry.era, lived.era) || is_ancestor(record, lived.era, entry.era),
        )
    })
}

fn is_ancestor(record: &Record, ancestor: Era, of: Era) -> bool {
    let mut at = Some(of);
    for _ in 0..=record.eras.len() {
        let Some(era) = at else { return false };
        if era == ancestor {
            return true;
        }
        at = record.eras.iter().find(|entry| entry.era == era).and_then(|entry| entry.parent);
    }
    false
}

/// The position of the local data that may be compared with others': a running standby's only.
pub(crate) fn local_position(seen: &Observation) -> Option<Lsn> {
    seen.standby().and_then(|standby| standby.position())
}

/// The same, or where a primary's clean stop ended: after that record nothing is left to be replayed.
fn local_end(seen: &Observation, data: &LocalData) -> Option<Lsn> {
    let at_rest = seen.postgres == PostgresSeen::Down;
    local_position(seen).or(data.shutdown_lsn.filter(|_| at_rest))
}

/// What to do with the local data while somebody else leads.
pub(crate) fn course(seen: &Observation, read: &LeaseRead, memory: &Memory) -> Course {
    let record = &read.record;
    let Some(upstream) = upstream(seen, record) else { return Course::WaitForEra };
    let data = match &seen.data {
        DataSeen::Present(data) => data,
        DataSeen::Unknown => return Course::WaitForSource,
        DataSeen::Empty | DataSeen::Unfinished { .. } => {
            return if source(seen, record).is_some() {
                Course::Clone(upstream, ClonePermit { sealed: () })
            } else {
                Course::WaitForSource
            };
        }
    };
    if record.system_identifier.is_some_and(|identifier| identifier != data.system_identifier) {
        return Course::Refuse;
    }
    let era = local_era(seen, record);
    let broken = is_broken(seen, record, memory);
    match place(record, era, local_end(seen, data)) {
        // What it can't read it can't tell of either: where the holder has everything, a clone is the way on.
        Place::NeedsPosition if is_stuck(seen) || broken => {
            replacement(seen, record, data, upstream).unwrap_or(Course::FindPosition)
        }
        Place::NeedsPosition => Course::FindPosition,
        Place::NeedsEra => Course::WaitForEra,
        // The tail of a record that replay has not come to yet may still turn out not to be whole.
        Place::Forked
            if !broken && !is_settled(&seen.postgres) && place(record, era, None) != Place::Forked =>
        {
            Course::FindPosition
        }
        Place::Forked => leave_fork(seen, record, data, upstream),
        // A start that streams what is missing writes it down; this one waits for what nobody has.
        Place::OnChain if lacks_wal(&seen.postgres) || broken || data.lacks_wal && is_stuck(seen) => {
            replacement(seen, record, data, upstream.clone()).unwrap_or(Course::Follow(upstream))
        }
        Place::OnChain => Course::Follow(upstream),
    }
}

fn leave_fork(seen: &Observation, record: &Record, data: &LocalData, upstream: Upstream) -> Course {
    let Some(source) = replaceable(seen, record, data) else { return Course::WaitForSource };
    let tries = match &seen.jobs.rewind {
        Job::Failed { failures, .. } => *failures,
        // It ended well in this very era, and yet this data is forked: rewinding again would not help either.
        Job::Done { .. } if data.era == Some(record.era()) => REWIND_TRIES,
        Job::Idle | Job::Running { .. } | Job::Done { .. } => 0,
    };
    if !rewindable(record, data) || tries >= REWIND_TRIES {
        return Course::Clone(upstream, ClonePermit { sealed: () });
    }
    // Before its first checkpoint on the new timeline the source's control file still names the old one.
    if source.rewind_source {
        Course::Rewind(upstream, RewindPermit { sealed: () })
    } else {
        Course::WaitForSource
    }
}

/// A clone in place of data that nothing else helps, where it may be replaced.
fn replacement(seen: &Observation, record: &Record, data: &LocalData, upstream: Upstream) -> Option<Course> {
    replaceable(seen, record, data).map(|_| Course::Clone(upstream, ClonePermit { sealed: () }))
}

/// The holder, when it serves in the recorded era and this data is no voter: then nothing that was acknowledged is only
/// here (A23).
fn replaceable<'a>(seen: &'a Observation, record: &Record, data: &LocalData) -> Option<&'a AgentReport> {
    if record.voters.contains(&data.member) {
        return None;
    }
    source(seen, record)
}

/// The holder's own report, when it leads in the recorded era.
fn source<'a>(seen: &'a Observation, record: &Record) -> Option<&'a AgentReport> {
    let holder = record.holder.as_ref()?;
    seen.heard(&holder.pod).filter(|report| {
        report.nonce == holder.nonce
            && report.member == holder.member
            && report.role == Role::Primary
            && report.era == Some(record.era())
            && record.release.is_none()
    })
}

/// A person asked for this data to be cloned anew, the holder vouched for it (A23), and it is no voter's: from whom.
pub(crate) fn asked_anew(seen: &Observation, record: &Record) -> Option<Upstream> {
    let data = seen.local_data()?;
    let asked = record.reinit.as_ref().is_some_and(|reinit| reinit.member == data.member);
    if !asked || record.system_identifier != Some(data.system_identifier) {
        return None;
    }
    replaceable(seen, record, data).and_then(|_| upstream(seen, record))
}

/// The same once this member is out of the stream, since `left_ms`, and an uncached read after that still says so: whoever
/// streams could be made a voter meanwhile.
pub(crate) fn asked_clone(
    seen: &Observation,
    read: &LeaseRead,
    left_ms: u64,
) -> Option<(Upstream, ClonePermit)> {
    let from = asked_anew(seen, &read.record)?;
    read.fresh_ms.is_some_and(|fresh_ms| fresh_ms >= left_ms).then_some((from, ClonePermit { sealed: () }))
}

/// Whom to stream from: the holder, once its era is complete.
pub(crate) fn upstream(seen: &Observation, record: &Record) -> Option<Upstream> {
    let holder = record.holder.as_ref()?;
    let current = record.current().filter(|entry| entry.is_complete())?;
    Some(Upstream {
        pod: holder.pod.clone(),
        address: holder.address.clone(),
        member: holder.member.clone()?,
        era: current.era,
        encrypted: seen.pods.get(&holder.pod).is_some_and(|pod| pod.has_certificate),
    })
}

fn lacks_wal(postgres: &PostgresSeen) -> bool {
    matches!(postgres, PostgresSeen::Standby(standby) if standby.upstream_lacks_wal)
}

fn is_stuck(seen: &Observation) -> bool {
    matches!(&seen.postgres, PostgresSeen::Starting { since_ms } if seen.now_ms.saturating_sub(*since_ms) >= STUCK_MS)
}

/// Postgres ends at every start, and the holder's runs from the same template with all that is wished in force: what is wrong is
/// the data (a segment of WAL that is gone or can't be read), and no start mends that. Where a clone has come to its end since
/// and does not start either, it is not the data.
fn is_broken(seen: &Observation, record: &Record, memory: &Memory) -> bool {
    let wished = seen.desired.as_ref().map(acknowledge::identity);
    let runs_with_the_same = |report: &AgentReport| {
        report.applied.is_some() && report.applied == wished && report.template_hash == seen.me.template_hash
    };
    let good = source(seen, record).is_some_and(runs_with_the_same);
    let cloned_since = matches!(&seen.jobs.clone, Job::Done { at_ms, .. } if memory.answered_ms.is_none_or(|up_ms| up_ms < *at_ms));
    seen.postgres == PostgresSeen::Down
        && seen.disk != DiskSeen::Full
        && memory.failed_starts >= if good { HOPELESS_STARTS } else { HOPELESS_STARTS_ANYWAY }
        && !cloned_since
}

fn is_settled(postgres: &PostgresSeen) -> bool {
    matches!(postgres, PostgresSeen::Standby(standby) if standby.replay_idle)
}
