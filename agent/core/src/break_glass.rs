//! Break-glass: leader and V are lost for good, and a person accepts what is lost with them (A31).
//!
//! Only the member that the desired state names, only in the era that it names, and only after expiry. Everything else
//! holds as ever: on the chain, the stream left, the very version in the swap. While the holder or any of V is heard they are
//! not lost, and nothing is taken.

use pgha_schema::record::Record;

use crate::cycle::Cycle;
use crate::decision::{Action, Bar, Reason};
use crate::divergence::{self, Place};
use crate::failover::{self, Ground};
use crate::observation::{LeaseRead, Observation, StreamSeen};
use crate::{election, promise};

/// The desired state allows it to this member in this era.
pub(crate) fn is_named(seen: &Observation, record: &Record) -> bool {
    seen.wish().and_then(|wish| wish.break_glass.as_ref()).is_some_and(|allowed| {
        allowed.accept_data_loss && allowed.era == record.era() && Some(&allowed.member) == seen.member()
    })
}

/// `None`: it is not allowed here, or not yet. Else what is done, or what stands against it still.
pub(crate) fn stand(
    cycle: &mut Cycle<'_>,
    read: &LeaseRead,
    grounds: &[Ground],
) -> Option<Result<Reason, Bar>> {
    (grounds.contains(&Ground::Expired) && is_named(cycle.seen, &read.record)).then(|| try_take(cycle, read))
}

fn try_take(cycle: &mut Cycle<'_>, read: &LeaseRead) -> Result<Reason, Bar> {
    let (seen, record) = (cycle.seen, &read.record);
    match election::is_wanted(seen, record) {
        // Whoever is all that is left leads, and moves the lead on.
        Ok(()) | Err(Bar::BeyondReplicas) => {}
        Err(why) => return Err(why),
    }
    if let Some(pod) = heard_of_the_lost(seen, record) {
        return Err(Bar::NotLost(pod));
    }
    let ours = seen.local_data().is_some_and(|data| record.system_identifier == Some(data.system_identifier));
    let (Some(standby), true) = (seen.standby(), ours) else { return Err(Bar::NotOnChain) };
    let position = standby.position().ok_or(Bar::PositionUnknown)?;
    match divergence::place_to_lead(record, divergence::local_era(seen, record), Some(position)) {
        Place::OnChain => {}
        Place::NeedsPosition | Place::NeedsEra => return Err(Bar::PositionUnknown),
        Place::Forked => return Err(Bar::NotOnChain),
    }
    if standby.replay_paused {
        cycle.push(Action::ResumeReplay);
    }
    cycle.wake_in(50);
    if standby.stream != StreamSeen::Detached {
        cycle.push(Action::LeaveStream);
        return Ok(Reason::LeavesStream);
    }
    if promise::binds(seen) && !promise::is_given(seen, read) {
        return Err(Bar::HolderAlive);
    }
    failover::take(cycle, read);
    Ok(Reason::TakeForced)
}

/// The holder's member, or one of V, answers: whoever has every commit is not lost.
fn heard_of_the_lost(seen: &Observation, record: &Record) -> Option<String> {
    let holder = record.holder.as_ref().and_then(|holder| holder.member.as_ref());
    seen.reports()
        .find(|report| {
            report
                .member
                .as_ref()
                .is_some_and(|member| Some(member) == holder || record.voters.contains(member))
        })
        .map(|report| report.pod.clone())
}
