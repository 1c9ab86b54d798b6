//! When another member's take is written, the old primary is stopped, or nobody is left to confirm for it.

use super::Violation;
use crate::world::World;

/// `taker` has just been written as holder in place of another member.
pub fn check(world: &World, taker: usize) -> Option<Violation> {
    world
        .pods
        .iter()
        .enumerate()
        .filter(|(index, _)| *index != taker)
        .find(|(index, _)| world.could_acknowledge(*index))
        .map(|(_, pod)| Violation::TakenTooEarly {
            by: world.pods[taker].name.clone(),
            from: pod.name.clone(),
        })
}
