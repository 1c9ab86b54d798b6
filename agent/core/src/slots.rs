//! Physical slots for every member on every possible leader (A24).

use std::collections::BTreeMap;

use pgha_schema::lsn::Lsn;

use crate::cycle::Cycle;
use crate::decision::Action;
use crate::observation::{DiskSeen, Observation, PrimarySeen, SlotSeen, StandbySeen, ordinal_of};

/// Between two advances on a standby: each keeps this much time's WAL too much.
const ADVANCE_MS: u64 = 10_000;
/// The same without room for that.
const ADVANCE_FULL_MS: u64 = 1_000;

fn wanted(seen: &Observation) -> Option<Vec<u32>> {
    let wish = seen.wish()?;
    let there = seen.pods.values().map(|pod| pod.ordinal).max().unwrap_or(0);
    // A pod that is being scaled away still streams until it is gone.
    let last = wish.replicas.max(there);
    Some((0..=last).filter(|ordinal| *ordinal != seen.me.ordinal).collect())
}

fn differ(slots: &BTreeMap<u32, SlotSeen>, wanted: &[u32]) -> bool {
    slots.keys().copied().ne(wanted.iter().copied()) || slots.values().any(|slot| slot.lost && !slot.active)
}

/// On the primary walsenders move them.
pub(crate) fn on_primary(cycle: &mut Cycle<'_>, primary: &PrimarySeen) {
    let Some(wanted) = wanted(cycle.seen) else { return };
    if differ(&primary.slots, &wanted) {
        cycle.push(Action::SetSlots { slots: wanted.into_iter().map(|ordinal| (ordinal, None)).collect() });
    }
}

/// On a standby this agent moves them, to what their owners say that they have.
pub(crate) fn on_standby(cycle: &mut Cycle<'_>, standby: &StandbySeen) {
    let seen = cycle.seen;
    let Some(wanted) = wanted(seen) else { return };
    let every_ms = if seen.disk == DiskSeen::Full { ADVANCE_FULL_MS } else { ADVANCE_MS };
    let due = cycle.memory.slots_set_ms.is_none_or(|at_ms| cycle.elapsed_ms(at_ms) >= every_ms);
    if !standby.replayed_to_end || !(due || differ(&standby.slots, &wanted)) {
        return;
    }
    cycle.memory.slots_set_ms = Some(seen.now_ms);
    let position = |ordinal: u32| -> Option<Lsn> {
        let theirs = seen.reports().find(|report| ordinal_of(&report.pod) == Some(ordinal))?.replayed?;
        Some(theirs.min(standby.replayed_lsn))
    };
    cycle.push(Action::SetSlots {
        slots: wanted.into_iter().map(|ordinal| (ordinal, position(ordinal))).collect(),
    });
}
