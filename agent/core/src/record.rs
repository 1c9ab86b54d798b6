//! Next versions of the record.

use pgha_schema::ids::Era;
use pgha_schema::record::{ERAS_KEPT, EraEntry, Holder, MemberEntry, RECORD_FORMAT, Record};

use crate::observation::{DataSeen, Observation};
use crate::timing::Timing;

/// The record with this container as holder and one renewal more.
pub(crate) fn held_by(record: &Record, seen: &Observation, timing: &Timing) -> Record {
    let mut next = record.clone();
    let held = record.holder.as_ref().filter(|holder| holder.nonce == seen.me.nonce);
    let member = match (&seen.data, held) {
        (DataSeen::Present(data), _) => Some(data.member.clone()),
        (DataSeen::Unfinished { data: Some(data), .. }, None) if record.system_identifier.is_some() => {
            Some(data.member.clone())
        }
        (_, Some(holder)) => holder.member.clone(),
        (_, None) => None,
    };
    next.holder = Some(Holder {
        pod: seen.me.pod.clone(),
        member: member.clone(),
        nonce: seen.me.nonce.clone(),
        node: seen.me.node.clone(),
        boot_id: seen.me.boot_id.clone(),
        address: seen.me.address.clone(),
    });
    if let Some(member) = member {
        next.members.retain(|_, entry| entry.pod != seen.me.pod);
        next.members.insert(member, MemberEntry { pod: seen.me.pod.clone(), node: seen.me.node.clone() });
    }
    next.lease_duration_ms = timing.lease_duration_ms();
    next.fence_after_ms = timing.fence_after_ms();
    next.renewals = record.renewals.wrapping_add(1);
    next
}

/// The format that the holder writes: its own once every recorded member's agent is heard to read it, else the one that
/// is there, so that nobody is shut out while agents are exchanged (A8).
pub(crate) fn format_to_write(seen: &Observation, record: &Record) -> u32 {
    let readers = record.members.values().filter(|entry| entry.pod != seen.me.pod);
    raised(record.format, RECORD_FORMAT, readers.map(|entry| Some(seen.heard(&entry.pod)?.reads_record)))
}

/// `ours` if all `readers` are known to read it.
fn raised(there: u32, ours: u32, mut readers: impl Iterator<Item = Option<u32>>) -> u32 {
    let read_by_all = readers.all(|reads| reads.is_some_and(|reads| reads >= ours));
    if read_by_all { ours.max(there) } else { there }
}

/// Opens an era whose parent is the last era of the taker's data (A3).
pub(crate) fn open_era(record: &mut Record, parent: Option<Era>) {
    let era = Era(record.era().0.saturating_add(1));
    record.eras.push(EraEntry { era, parent, timeline: None, start: None });
    let surplus = record.eras.len().saturating_sub(ERAS_KEPT);
    record.eras.drain(..surplus);
}

/// Whether the two differ in anything but what each renewal changes anyway.
pub(crate) fn differs(one: &Record, other: &Record) -> bool {
    let (mut one, mut other) = (one.clone(), other.clone());
    for record in [&mut one, &mut other] {
        record.renewals = 0;
        record.position = pgha_schema::lsn::Lsn::ZERO;
        record.confirmed = pgha_schema::lsn::Lsn::ZERO;
    }
    one != other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_format_is_written_once_all_members_read_it() {
        let format = |readers: &[Option<u32>]| raised(1, 2, readers.iter().copied());
        assert_eq!(format(&[]), 2, "alone");
        assert_eq!(format(&[Some(2), Some(3)]), 2);
        assert_eq!(format(&[Some(2), Some(1)]), 1, "one agent is old");
        assert_eq!(format(&[Some(2), None]), 1, "one is not heard");
        assert_eq!(raised(2, 1, [Some(1)].into_iter()), 2, "never taken back");
    }
}
