//! The roles' passwords follow the Secrets (P24): set by the primary when clients are let in, and whenever the Secrets change.
//!
//! Secrets reach a pod by its kubelet, and late: what is mounted may be older than what the desired state wants, and then it is
//! waited for, so that no new primary puts an old password back.

use pgha_schema::desired::Desired;

use crate::cycle::Cycle;
use crate::decision::Action;
use crate::observation::Observation;

/// Whether the roles have the wished passwords.
pub(crate) fn in_force(seen: &Observation, wish: &Desired) -> bool {
    seen.credentials.is_some_and(|there| there.reach(wish.credentials))
}

/// Sets them where they are not. Returns whether a change of them is on its way; the look at them that every primary begins with is
/// none.
pub(crate) fn keep(cycle: &mut Cycle<'_>) -> bool {
    let seen = cycle.seen;
    let Some(wish) = seen.wish().filter(|wish| !in_force(seen, wish)) else { return false };
    cycle.push(Action::SetPasswords { wanted: wish.credentials });
    !wish.credentials.are_first()
}
