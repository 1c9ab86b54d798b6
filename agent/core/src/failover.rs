//! Unplanned: on what ground a member may take the record from a holder that is gone, and the taking (A6, A10–A12, A15).

use pgha_schema::desired::SyncMode;
use pgha_schema::record::{Bootstrap, Holder};

use crate::cycle::Cycle;
use crate::decision::{Action, Attempt, Bar, Decision, Reason};
use crate::election::Turn;
use crate::observation::{LeaseRead, LeaseSeen, Observation, Peer, StreamSeen};
use crate::promise::{self, Giving};
use crate::{divergence, election, failsafe, heartbeat, lease, pause, record, requests};

/// Why the old holder can't acknowledge any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    /// It stopped and said so (A21).
    Released,
    /// Proof of its death (A10).
    Proven,
    /// It is silent, and with V's promises nobody confirms for it (A13).
    Silent,
    /// It was silent for a lease duration (A6).
    Expired,
}

/// The grounds there are. Orders an uncached read when only that is missing.
pub(crate) fn grounds(cycle: &mut Cycle<'_>, read: &LeaseRead) -> Vec<Ground> {
    let seen = cycle.seen;
    let Some(holder) = &read.record.holder else { return Vec::new() };
    let mut grounds = Vec::new();
    if read.record.release.is_some() {
        grounds.push(Ground::Released);
    }
    if is_proven_dead(seen, read, holder) {
        grounds.push(Ground::Proven);
    }
    if promise::may_preempt(cycle, read) {
        grounds.push(Ground::Silent);
    }
    let vouched_ms = failsafe::vouched_for_ms(seen, read).unwrap_or_default();
    let since_ms = read.first_seen_ms.max(vouched_ms);
    let expires_ms = since_ms.saturating_add(lease::lease_duration_ms(cycle.timing, read));
    if seen.now_ms < expires_ms {
        cycle.wake_at(expires_ms);
    } else if let Some(silent_ms) = promise::heard_until_ms(seen, read) {
        cycle.wake_at(silent_ms);
    } else if read.fresh_ms.is_none_or(|fresh_ms| fresh_ms < expires_ms) {
        // A watch may lag: only an uncached read after the whole time says that it is unchanged (A1).
        cycle.read_lease();
        cycle.wake_in(200);
    } else {
        grounds.push(Ground::Expired);
    }
    grounds
}

/// A10: the recorded container's own termination message, or the recorded node in another boot.
fn is_proven_dead(seen: &Observation, read: &LeaseRead, holder: &Holder) -> bool {
    let terminated = seen.pods.values().any(|pod| pod.terminated.contains(&holder.nonce));
    let own_node = seen.me.node == holder.node && seen.me.boot_id != holder.boot_id;
    // An agent that was asked after the holder wrote this, on the same node, in another boot: that boot came later.
    let told = seen.peers.values().any(|peer| match peer {
        Peer::Heard { asked_ms, report } => {
            *asked_ms >= read.first_seen_ms
                && report.node == holder.node
                && report.boot_id.as_ref().is_some_and(|boot| *boot != holder.boot_id)
        }
        Peer::Silent { .. } => false,
    });
    terminated || own_node || told
}

/// There are grounds: stand for election, leave the stream, take. `Err`: why not.
pub(crate) fn stand(cycle: &mut Cycle<'_>, read: &LeaseRead, grounds: &[Ground]) -> Result<Reason, Bar> {
    let seen = cycle.seen;
    let since_ms = *cycle.memory.candidate_since_ms.get_or_insert(seen.now_ms);
    let waited_ms = cycle.elapsed_ms(since_ms);
    let expired = grounds.contains(&Ground::Expired);
    let mut bar = Bar::HolderAlive;
    let mut fitting = None;
    for ground in grounds {
        match election::may_lead(seen, read, *ground, expired, waited_ms) {
            Ok(()) => {
                fitting = Some(*ground);
                break;
            }
            Err(why) => bar = why,
        }
    }
    let Some(ground) = fitting else { return Err(bar) };
    let Some(standby) = seen.standby() else { return Err(Bar::PositionUnknown) };
    if standby.replay_paused {
        cycle.push(Action::ResumeReplay);
    }
    let in_sync = read.record.mode != SyncMode::Async && ground != Ground::Released;
    if in_sync {
        promise::ask(cycle, read);
    }
    let promises = needs_promises(seen, read, ground);
    if promises && !promise::is_given(seen, read) {
        return promises_itself(cycle, read, grounds);
    }
    // The old holder may be frozen rather than dead: without this stream it has nobody left to confirm (A12). One that
    // released has ended its postgres, and all that it ever wrote is here.
    if standby.stream != StreamSeen::Detached && ground != Ground::Released {
        cycle.push(Action::LeaveStream);
        cycle.wake_in(50);
        return Ok(Reason::LeavesStream);
    }
    cycle.wake_in(50);
    if in_sync {
        match election::turn(seen, read, waited_ms) {
            Turn::Own => {}
            Turn::Unknown => return Ok(Reason::GathersPromises),
            Turn::Of(_) if !promise::is_given(seen, read) => return promises_itself(cycle, read, grounds),
            Turn::Of(pod) => return Err(Bar::AnotherGoesFirst(pod)),
        }
    }
    if promises && !promise::enough(seen, read) {
        let from_somebody =
            promise::votes(seen, &read.record) || election::is_a_voter_heard(seen, &read.record);
        return if from_somebody { Ok(Reason::GathersPromises) } else { Err(Bar::NotAVoter) };
    }
    let gone = matches!(ground, Ground::Released | Ground::Proven);
    cycle.memory.predecessor_gone = gone || heartbeat::refused_since_ms(seen, read).is_some();
    take(cycle, read);
    Ok(match ground {
        Ground::Released => Reason::TakeReleased,
        Ground::Proven => Reason::TakeProven,
        Ground::Silent => Reason::TakeSilent,
        Ground::Expired => Reason::TakeExpired,
    })
}

/// The member that stands promises first.
fn promises_itself(cycle: &mut Cycle<'_>, read: &LeaseRead, grounds: &[Ground]) -> Result<Reason, Bar> {
    match promise::giving(cycle, read, grounds.contains(&Ground::Proven)) {
        Giving::Allowed => promise::give(cycle, read),
        Giving::AfterARead => cycle.read_lease(),
        Giving::Refused => return Err(Bar::HolderAlive),
    }
    cycle.wake_in(50);
    Ok(Reason::GathersPromises)
}

/// Where commits wait for V, nobody takes without the promises of q of its members: then no commit is confirmed that the
/// taker does not have. A member of V with q = 1 and a proof of death has nobody to ask for one.
fn needs_promises(seen: &Observation, read: &LeaseRead, ground: Ground) -> bool {
    let record = &read.record;
    let in_sync = record.mode != SyncMode::Async;
    match ground {
        Ground::Released => false,
        Ground::Proven => in_sync && (record.quorum > 1 || !promise::votes(seen, record)),
        Ground::Silent | Ground::Expired => in_sync,
    }
}

/// The taking: a new era, and V empty until somebody was seen at the position from which it starts (A22).
pub(crate) fn take(cycle: &mut Cycle<'_>, read: &LeaseRead) {
    let next = taken(cycle, &read.record);
    cycle.write(read, next);
}

fn taken(cycle: &Cycle<'_>, old: &pgha_schema::record::Record) -> pgha_schema::record::Record {
    let seen = cycle.seen;
    let mut next = record::held_by(old, seen, cycle.timing);
    record::open_era(&mut next, divergence::local_era(seen, old));
    next.release = None;
    requests::carry_over(seen, &mut next);
    next.voters.clear();
    next.quorum = 1;
    next.degraded = false;
    if let Some(position) = seen.standby().and_then(|standby| standby.position()) {
        next.position = position;
    }
    next
}

/// Same holder, another life of its container: its member has every commit that it acknowledged (A11). Also after its
/// own release, when nobody took it.
pub(crate) fn take_again(cycle: &mut Cycle<'_>, read: &LeaseRead) {
    let mut next = record::held_by(&read.record, cycle.seen, cycle.timing);
    next.release = None;
    requests::revert(cycle.seen, &mut next);
    cycle.write(read, next);
    cycle.wake_in(50);
}

/// The Lease is lost and this container does not lead: re-create it when every volume that holds data is heard, and
/// this one's is the newest (A4).
pub(crate) fn lost(mut cycle: Cycle<'_>, since_ms: u64) -> Decision {
    let seen = cycle.seen;
    let Some(kept) = &seen.kept else { return cycle.finish(Reason::LeaseLost) };
    let waited = cycle.elapsed_ms(since_ms) >= cycle.timing.lease_duration_ms().max(kept.lease_duration_ms);
    // Also an ordinal that is to be scaled away: whoever is newest has to, and moves the lead on.
    let may = matches!(election::is_wanted(seen, kept), Ok(()) | Err(Bar::BeyondReplicas));
    let knows_the_era = seen
        .local_data()
        .is_some_and(|data| data.era.is_none_or(|era| kept.eras.iter().any(|entry| entry.era == era)));
    let usable = kept.bootstrap == Bootstrap::Done && knows_the_era && may && !pause::binds(seen, kept);
    // Whoever makes it again opens an era at an address that others stream from: they would go on in it unasked, before
    // they know it (A3).
    if waited && seen.standby().is_some_and(|standby| standby.stream != StreamSeen::Detached) {
        cycle.push(Action::LeaveStream);
        cycle.wake_in(50);
        return cycle.finish(Reason::LeavesStream);
    }
    let detached = seen.standby().is_some();
    if !(waited && usable && detached && election::every_volume_heard(seen) && election::is_newest(seen)) {
        return cycle.finish(Reason::LeaseLost);
    }
    let mut next = taken(&cycle, kept);
    requests::give_up_open(seen, &mut next);
    cycle.memory.attempt = Some(Attempt { record: next.clone(), if_version: None, at_ms: seen.now_ms });
    cycle.push(Action::CreateLease { record: Box::new(next) });
    cycle.finish(Reason::RecreateLease)
}

/// The holder re-creates the Lease inside its fence time (A4).
pub(crate) fn recreate(cycle: &mut Cycle<'_>) {
    let seen = cycle.seen;
    debug_assert!(matches!(seen.lease, LeaseSeen::Missing { .. }));
    let Some(led) = cycle.memory.led.clone() else { return };
    let next = record::held_by(&led, seen, cycle.timing);
    cycle.memory.attempt = Some(Attempt { record: next.clone(), if_version: None, at_ms: seen.now_ms });
    cycle.push(Action::CreateLease { record: Box::new(next) });
    cycle.wake_in(200);
}
