//! A thousand seeds, one seed twice, and rules left out.

use std::sync::atomic::{AtomicU64, Ordering};

use pgha_agent_sim::{Mutation, run};

const SEEDS: u64 = 1_000;
/// Seeds that may go by before a left-out rule shows.
const PATIENCE: u64 = 3_000;

/// Runs `work` for every number below `count`, on two threads: every seed is a world of its own.
fn on_two_threads(count: u64, work: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    work(number);
                }
            });
        }
    });
}

#[test]
fn no_seed_breaks_a_property() {
    let acknowledged = AtomicU64::new(0);
    on_two_threads(SEEDS, |seed| {
        let outcome = run(seed, None);
        acknowledged.fetch_add(outcome.acknowledged as u64, Ordering::Relaxed);
        assert!(
            outcome.violation.is_none(),
            "seed {seed}: {}\nreplay: cargo dev sim --replay {seed}",
            outcome.violation.map(|violation| violation.to_string()).unwrap_or_default()
        );
    });
    // A simulator in which nothing happens finds nothing.
    assert!(acknowledged.into_inner() > SEEDS * 500);
}

#[test]
fn one_seed_run_twice_gives_the_same_log() {
    for seed in [3, 17, 4_711] {
        assert_eq!(run(seed, None).log, run(seed, None).log);
    }
}

#[test]
fn every_left_out_rule_is_noticed() {
    let unnoticed: Vec<Mutation> = Mutation::all()
        .iter()
        .copied()
        .filter(|mutation| mutation.story().is_none())
        .filter(|mutation| {
            !(0..PATIENCE).any(|seed| {
                run(seed, Some(*mutation))
                    .violation
                    .is_some_and(|violation| mutation.is_noticed_as(&violation))
            })
        })
        .collect();
    assert_eq!(unnoticed, Vec::<Mutation>::new());
}
