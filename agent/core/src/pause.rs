//! Pause: a person holds the cluster as it is. Renewals and fencing go on; nobody takes over, hands over, rewinds, clones
//! or restarts (A31; docs/decisions/0032-what-a-pause-stops.md).

use pgha_schema::record::Record;

use crate::observation::Observation;

/// Whether a pause is in force here. One that a person has lifted at this agent, while no holder could be reached to record
/// it, is not.
pub(crate) fn binds(seen: &Observation, record: &Record) -> bool {
    record.pause.as_ref().is_some_and(|pause| !seen.signals.lifted.contains(&pause.id))
}

/// Takes a pause that was lifted here out of the next record.
pub(crate) fn lift(seen: &Observation, next: &mut Record) {
    if next.pause.is_some() && !binds(seen, next) {
        next.pause = None;
    }
}
