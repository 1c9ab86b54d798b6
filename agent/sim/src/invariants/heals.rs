//! Once the faults end, it heals: one primary serves, every wanted member streams, the wished mode is in force.

use pgha_schema::desired::SyncMode;

use super::Violation;
use crate::postgres::Postgres;
use crate::world::World;

/// Why it is not healed (yet).
pub fn check(world: &World) -> Option<Violation> {
    why(world).map(|why| Violation::NotHealed { why })
}

fn why(world: &World) -> Option<String> {
    let Some((_, record)) = &world.api.lease else { return Some("there is no Lease".to_owned()) };
    let wish = &world.api.desired;
    let serving: Vec<usize> = (0..world.pods.len()).filter(|index| world.serves(*index)).collect();
    let [primary] = serving[..] else { return Some(format!("{} pods serve", serving.len())) };
    if world.now.saturating_sub(world.oracle.last_at) > 1_000 {
        return Some("no commit was acknowledged for a second".to_owned());
    }
    let Postgres::Running(process) = &world.pods[primary].postgres else {
        return Some("no primary".to_owned());
    };
    let last = wish.replicas as usize;
    for (index, pod) in world.pods.iter().enumerate().take(last + 1).filter(|(index, _)| *index != primary) {
        let streams = process
            .senders
            .get(&index)
            .is_some_and(|sender| Some(&sender.member) == pod.volume.counted().map(|data| &data.member));
        if !streams {
            return Some(format!("{} does not stream", pod.name));
        }
    }
    if record.mode != wish.sync_mode {
        return Some(format!("the mode in force is {:?}", record.mode));
    }
    if record.mode != SyncMode::Async
        && last >= wish.sync_replicas as usize
        && record.voters.len() < wish.sync_replicas as usize
    {
        return Some("too few are in V".to_owned());
    }
    if primary > last {
        return Some("the primary's ordinal is beyond the wish".to_owned());
    }
    None
}
