//! Every rule that is left out is noticed, and as what it is.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use pgha_acceptance_tests::host::Calls;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Runtime;

use crate::cases;
use crate::laws::{Broken, World};
use crate::learn::rng;
use crate::live;
use crate::mutation::{Mutant, Mutation};
use crate::properties::{LiveProvider, number};
use crate::provider::Provider;

/// Rounds of one case of each kind that may go by before a left-out rule shows.
const PATIENCE: usize = 1_000;

/// The first law that breaks, other than by what is no consequence of the rule.
fn first_broken<C: Calls>(world: &World<'_, C>, runtime: &Runtime, seed: u64) -> Option<(usize, Broken)> {
    let attributes = &world.core.attributes;
    let kinds = [
        cases::life(attributes, world.learned),
        cases::change(attributes, world.learned),
        cases::moved(attributes, world.learned),
        cases::bad(attributes, world.learned),
    ];
    let mut runner = TestRunner::new_with_rng(Config::default(), rng(seed));
    for round in 1..=PATIENCE {
        for kind in &kinds {
            let case = kind.new_tree(&mut runner).expect("a case").current();
            if let Err(broken) = runtime.block_on(world.run(&case)) {
                return Some((round, broken));
            }
        }
    }
    None
}

#[test]
fn every_left_out_rule_is_noticed() {
    let seed = number("PGHA_SEED").unwrap_or(1);
    let (next, unnoticed, slowest) = (AtomicUsize::new(0), Mutex::new(Vec::new()), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let provider = Provider::start().expect("a provider");
                let learned = provider.learned().expect("what it takes");
                while let Some(mutation) = Mutation::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if mutation.needs_apply() {
                        continue;
                    }
                    let core = provider.core.with(|_| Mutant {
                        core: &provider.core,
                        learned,
                        mutation: *mutation,
                        api: None,
                        calls: AtomicU64::new(0),
                    });
                    let broken =
                        first_broken(&World { core: &core, learned, live: false }, &provider.runtime, seed);
                    let noticed =
                        broken.as_ref().is_some_and(|(_, broken)| mutation.is_noticed_as(broken.law));
                    if let Some((round, broken)) = &broken {
                        slowest.fetch_max(*round, Ordering::Relaxed);
                        println!("{mutation:?}: {:?} in round {round}", broken.law);
                    }
                    if !noticed {
                        let mut unnoticed = unnoticed.lock().unwrap_or_else(PoisonError::into_inner);
                        unnoticed.push((*mutation, broken));
                    }
                }
                provider.ends_well().expect("a provider that lives");
            });
        }
    });
    println!("every rule left out was looked for, the last one for {} rounds", slowest.into_inner());
    let unnoticed = unnoticed.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(unnoticed.is_empty(), "{unnoticed:#?}");
}

/// Lives that may go by before a left-out rule shows that takes an apply.
const LIVES: usize = 60;

#[test]
fn every_rule_of_apply_that_is_left_out_is_noticed() {
    let provider = LiveProvider::start().expect("a provider");
    let (runtime, plain) = (&provider.provider.runtime, &provider.provider.core);
    let learned = provider.provider.learned().expect("what it takes");
    let mut unnoticed = Vec::new();
    for mutation in Mutation::ALL.iter().filter(|mutation| mutation.needs_apply()) {
        let core = plain.with(|_| Mutant {
            core: plain,
            learned,
            mutation: *mutation,
            api: Some(provider.api.clone()),
            calls: AtomicU64::new(0),
        });
        let world = provider.world(&core, learned);
        let half = if mutation.needs_half() { 1.0 } else { 0.0 };
        let strategy = live::lives(&plain.attributes, learned, half);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng(number("PGHA_SEED").unwrap_or(1)));
        let broken = (1..=LIVES).find_map(|round| {
            let case = strategy.new_tree(&mut runner).expect("a case").current();
            runtime.block_on(world.run(&case)).err().map(|broken| (round, broken))
        });
        if let Some((round, broken)) = &broken {
            println!("{mutation:?}: {:?} in life {round}", broken.law);
        }
        if !broken.as_ref().is_some_and(|(_, broken)| mutation.is_noticed_as(broken.law)) {
            unnoticed.push((*mutation, broken));
        }
    }
    provider.provider.ends_well().expect("a provider that lives");
    assert!(unnoticed.is_empty(), "{unnoticed:#?}");
}
