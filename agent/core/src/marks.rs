//! The identifier of the data on the StatefulSet and on the claims that hold some, so that nobody runs initdb beside them when the
//! Lease is lost, and so that it is made again only once all of them are heard (A4).
//!
//! Clients are not let in for the first time before the own claim and the StatefulSet carry it: until then nothing but the Lease
//! tells of what they write. That they do is kept beside the data, before the gate opens. From then on nothing waits for it, also
//! where a container that starts anew can't see it: Kubernetes may refuse it for as long as it likes (a right that was taken, a
//! policy). It is tried again, and told.

use std::collections::BTreeSet;

use pgha_schema::ids::{MemberId, SystemIdentifier};
use pgha_schema::record::Record;

use crate::cycle::Cycle;
use crate::decision::{Action, Memory};
use crate::observation::{Gate, Marks, Observation, PrimarySeen, VolumeSeen, ordinal_of};

/// Between two tries to mark the same ones.
const AGAIN_MS: u64 = 5_000;
/// The same while clients wait for it.
const AGAIN_SOON_MS: u64 = 500;

/// A marking that was ordered, and is not seen to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marking {
    ordinals: BTreeSet<u32>,
    at_ms: u64,
}

fn is_marked(volume: &VolumeSeen, identifier: SystemIdentifier) -> bool {
    volume.system_identifier == Some(identifier) && !volume.never_initialised
}

/// Orders what is missing, now and then.
pub(crate) fn keep(cycle: &mut Cycle<'_>, record: &Record, primary: &PrimarySeen) {
    let seen = cycle.seen;
    let Some(system_identifier) = record.system_identifier.filter(|_| seen.listed) else { return };
    let ordinals = unmarked(seen, record, primary, system_identifier);
    if ordinals.is_empty() && seen.stateful_set_identifier == Some(system_identifier) {
        // One that is away for a moment is unmarked nevertheless.
        let lacks =
            |at: &u32| seen.volumes.get(at).is_some_and(|volume| !is_marked(volume, system_identifier));
        cycle.memory.marking.take_if(|tried| !tried.ordinals.iter().any(lacks));
        return;
    }
    let again_ms = if primary.gate == Gate::Open { AGAIN_MS } else { AGAIN_SOON_MS };
    let tried = cycle.memory.marking.as_ref().filter(|tried| tried.ordinals == ordinals);
    if let Some(next_ms) = tried.map(|tried| tried.at_ms.saturating_add(again_ms))
        && seen.now_ms < next_ms
    {
        cycle.wake_at(next_ms);
        return;
    }
    cycle.memory.marking = Some(Marking { ordinals: ordinals.clone(), at_ms: seen.now_ms });
    cycle.push(Action::StampVolumes { system_identifier, ordinals });
    cycle.wake_in(again_ms);
}

/// The claims that hold data and don't say so.
fn unmarked(
    seen: &Observation,
    record: &Record,
    primary: &PrimarySeen,
    identifier: SystemIdentifier,
) -> BTreeSet<u32> {
    // Not a claim whose data is still being made, nor one whose data went since it was last heard of: a lost Lease is made
    // again only when all that are marked are heard.
    let streams = |member: &MemberId| {
        primary.walsenders.iter().any(|sender| sender.streaming && sender.application_name == member.as_str())
    };
    let with_data = |ordinal: u32| {
        ordinal == seen.me.ordinal
            || seen.reports().any(|report| {
                ordinal_of(&report.pod) == Some(ordinal)
                    && report
                        .member
                        .as_ref()
                        .is_some_and(|member| record.members.contains_key(member) && streams(member))
            })
    };
    seen.volumes
        .iter()
        .filter(|(ordinal, volume)| with_data(**ordinal) && !is_marked(volume, identifier))
        .map(|(ordinal, _)| *ordinal)
        .collect()
}

/// What has to be marked before clients are let in; `None`: an earlier leadership has let them in already.
fn wanted(record: &Record) -> Option<Marks> {
    let first = record.current().is_none_or(|era| era.parent.is_none());
    let system_identifier = record.system_identifier.filter(|_| first)?;
    Some(Marks { anchor_uid: record.anchor_uid.clone(), system_identifier })
}

/// The own claim and the StatefulSet tell of the data.
fn are_seen(seen: &Observation, marks: &Marks) -> bool {
    let identifier = marks.system_identifier;
    let own = seen.volumes.get(&seen.me.ordinal).is_none_or(|volume| is_marked(volume, identifier));
    seen.listed && own && seen.stateful_set_identifier == Some(identifier)
}

/// They were seen to, when clients were let in.
fn are_kept(seen: &Observation, marks: &Marks) -> bool {
    seen.local_data().is_some_and(|data| data.marks.as_ref() == Some(marks))
}

/// Whether clients may be let in as far as this goes.
pub(crate) fn allow_clients(seen: &Observation, record: &Record) -> bool {
    wanted(record).is_none_or(|marks| are_kept(seen, &marks) || are_seen(seen, &marks))
}

/// Keeps beside the data what lets clients in, for a start at which Kubernetes does not show it.
pub(crate) fn remember(cycle: &mut Cycle<'_>, record: &Record) {
    if let Some(marks) = wanted(record)
        && are_seen(cycle.seen, &marks)
        && !are_kept(cycle.seen, &marks)
    {
        cycle.push(Action::KeepMarks { marks });
    }
}

/// Why something is still unmarked here, in Kubernetes' words.
pub(crate) fn refusal(seen: &Observation, memory: &Memory) -> Option<String> {
    let why = seen.complaints.marks_refused.as_ref()?;
    seen.primary().filter(|_| memory.marking.is_some())?;
    Some(format!("Kubernetes does not let the volumes be marked with the identifier of their data: {why}"))
}
