//! One run: a first start, faults, and their end.

use std::collections::{BTreeMap, BTreeSet};

use pgha_schema::desired::{
    BootstrapSpec, Credentials, DESIRED_FORMAT, Desired, Durability, FailoverSpec, RunState, SyncMode,
};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus as Chance;

use crate::exchange::binary;
use crate::faults::{self, Fault};
use crate::invariants::{Violation, acked_commits_survive, heals};
use crate::mutation::Mutation;
use crate::world::{PODS, TICK_MS, World};

/// How long it may take to heal once the faults have ended.
const HEAL_MS: u64 = 180_000;
/// How long it has to stay healed.
const STAY_MS: u64 = 3_000;

/// What came of a run.
pub struct Outcome {
    /// The first broken property.
    pub violation: Option<Violation>,
    /// What happened.
    pub log: Vec<String>,
    /// Commits that clients were told of.
    pub acknowledged: usize,
    /// Of these, those that nothing may lose.
    pub promised: usize,
    /// Eras at the end.
    pub era: u64,
}

/// The wish that a run starts with.
pub fn wish(replicas: u32, sync_mode: SyncMode, durability: Durability) -> Desired {
    Desired {
        format: DESIRED_FORMAT,
        generation: 1,
        anchor_uid: crate::world::ANCHOR.to_owned(),
        state: RunState::Running,
        replicas,
        sync_mode,
        sync_replicas: 1,
        durability,
        postgres_major: 18,
        template_hash: "template-0".to_owned(),
        agent: Some(binary(0, false)),
        parameters: BTreeMap::new(),
        pg_hba: Vec::new(),
        tls: None,
        bootstrap: BootstrapSpec {
            database: "app".to_owned(),
            owner: "app".to_owned(),
            encoding: "UTF8".to_owned(),
            locale: "C.UTF-8".to_owned(),
            data_checksums: true,
        },
        failover: FailoverSpec::default(),
        requests: Vec::new(),
        credentials: Credentials::default(),
        break_glass: None,
        taken_back: BTreeSet::new(),
    }
}

fn wish_of(rng: &mut Chance) -> Desired {
    let replicas = match rng.random_range(0..10) {
        0 => 0,
        1..3 => 1,
        3..8 => 2,
        _ => 3,
    };
    let mode = match rng.random_range(0..20) {
        0..9 => SyncMode::Sync,
        9..15 => SyncMode::Quorum,
        _ => SyncMode::Async,
    };
    let required = replicas > 0 && rng.random_bool(0.3);
    let durability = if required { Durability::Required } else { Durability::Preferred };
    let sync_replicas = if replicas > 1 && rng.random_bool(0.25) { 2 } else { 1 };
    Desired { sync_replicas, ..wish(replicas, mode, durability) }
}

/// Runs one seed.
pub fn run(seed: u64, mutation: Option<Mutation>) -> Outcome {
    let mut rng = Chance::seed_from_u64(seed ^ 0x5eed_fa17);
    let desired = wish_of(&mut rng);
    let mut world = World::new(seed, desired, mutation);
    let length = rng.random_range(20_000..60_000);
    let start_with_faults = rng.random_bool(0.2);
    let start = if start_with_faults { 0 } else { 15_000 };
    let mut next = start + rng.random_range(0..2_000);
    let mut over: Vec<(u64, Fault)> = Vec::new();
    let pace = if rng.random_bool(0.5) { 3_000 } else { 9_000 };
    while world.now < start + length && world.violation.is_none() {
        world.step();
        if world.now >= next {
            let fault = faults::choose(&mut rng, &world);
            world.inflict(&fault);
            if let Some(after) = World::ends_after(&fault) {
                over.push((world.now + after, fault));
            }
            next = world.now + rng.random_range(100..pace);
        }
        let now = world.now;
        for (_, fault) in over.iter().filter(|(at, _)| *at <= now) {
            world.mend(fault);
        }
        over.retain(|(at, _)| *at > now);
    }
    settle(&mut world);
    finish(world)
}

/// All faults end; it has to heal, and to stay so.
pub fn settle(world: &mut World) {
    if world.violation.is_some() {
        return;
    }
    make_possible(world);
    world.mend_all();
    let deadline = world.now + HEAL_MS;
    let mut healed_since = None;
    while world.violation.is_none() {
        world.step();
        let why = if world.now % 100 < TICK_MS { heals::check(world) } else { None };
        match why {
            Some(violation) => {
                healed_since = None;
                if world.now >= deadline {
                    world.broken(Some(violation));
                }
            }
            None => {
                let since = *healed_since.get_or_insert(world.now);
                if world.now - since >= STAY_MS {
                    world.say("healed".to_owned());
                    break;
                }
            }
        }
    }
    for pod in 0..PODS {
        if world.serves(pod)
            && let Some(data) = &world.pods[pod].volume.data
        {
            let lost = acked_commits_survive::check(&world.oracle, &data.wal, &world.pods[pod].name);
            world.broken(lost);
        }
    }
}

/// A wish that can't be had is none of the faults: `required` needs a standby, and nobody asks for more than there are.
fn make_possible(world: &mut World) {
    let possible = world.api.desired.replicas.max(1);
    if world.api.desired.sync_replicas > possible {
        world.api.wish(|desired| desired.sync_replicas = possible);
    }
    if world.api.desired.replicas == 0 && world.api.desired.durability == Durability::Required {
        world.api.wish(|desired| desired.durability = Durability::Preferred);
    }
}

/// Closes the books.
pub fn finish(world: World) -> Outcome {
    Outcome {
        era: world.api.lease.as_ref().map_or(0, |(_, record)| record.era().0),
        violation: world.violation,
        log: world.log,
        acknowledged: world.oracle.acknowledged.len(),
        promised: world.oracle.promised.len(),
    }
}
