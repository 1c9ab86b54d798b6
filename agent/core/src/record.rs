//! Next versions of the record.

use pgha_schema::ids::Era;
use pgha_schema::record::{ERAS_KEPT, EraEntry, Holder, MemberEntry, Record};

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
