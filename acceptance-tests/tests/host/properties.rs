//! No case breaks a law: thousands of cases on two processes, from one seed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Result, anyhow};
use pgha_acceptance_tests::host::schema::Attribute;
use pgha_acceptance_tests::host::{Calls, Core};
use pgha_acceptance_tests::proto_client::agents::Agents;
use pgha_acceptance_tests::proto_client::kubernetes::{FakeApi, Objects};
use proptest::strategy::{BoxedStrategy, Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::cases::{self, Came, Case};
use crate::laws::World;
use crate::learn::{Learned, rng};
use crate::live::{self, LiveWorld};
use crate::provider::{Provider, runtime};

/// The seed of a normal run, so that two runs are alike.
pub const SEED: u64 = 20_261_126;
/// At least so many cases run in all.
const CASES: u32 = 5_000;

/// A kind of case: its name, how it is made, and how often.
type Kind = (&'static str, fn(&[Attribute], &Learned) -> BoxedStrategy<Case>, u32);

/// In two lanes of about the same length.
const LANES: [&[Kind]; 2] = [
    &[("bad input", cases::bad, 3_000), ("moved clusters", cases::moved, 600)],
    &[("lives", cases::life, 700), ("changes", cases::change, 700)],
];

pub fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs cases of one kind; gives what they came to.
pub fn run<C: Calls>(
    world: &World<'_, C>,
    runtime: &Runtime,
    strategy: &BoxedStrategy<Case>,
    cases: u32,
    seed: u64,
) -> Result<BTreeMap<Came, u32>, String> {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, rng(seed));
    let came = RefCell::new(BTreeMap::new());
    let outcome = runner.run(strategy, |case| {
        let kept = runtime.block_on(world.run(&case));
        let end = kept.map_err(|broken| TestCaseError::fail(broken.to_string()))?;
        *came.borrow_mut().entry(end).or_default() += 1;
        Ok(())
    });
    match outcome {
        Ok(()) => Ok(came.into_inner()),
        Err(TestError::Fail(why, case)) => Err(format!("{why}\nof {case:#?}")),
        Err(TestError::Abort(why)) => Err(format!("given up: {why}")),
    }
}

fn lane(kinds: &[Kind], seed: u64) -> Result<u32> {
    let provider = Provider::start()?;
    let began = Instant::now();
    let learned = provider.learned()?;
    println!("what {} attributes take: {:.1} s", learned.leaves.len(), began.elapsed().as_secs_f64());
    let world = World { core: &provider.core, learned, live: false };
    let mut all = 0;
    for (name, strategy, usual) in kinds {
        let began = Instant::now();
        let cases = number("PGHA_CASES").map_or(*usual, |cases| cases as u32);
        let strategy = strategy(&provider.core.attributes, learned);
        let came = run(&world, &provider.runtime, &strategy, cases, seed);
        let came = came.map_err(|why| anyhow!("{name}, PGHA_SEED={seed}: {why}"))?;
        let ran: u32 = came.values().sum();
        assert_eq!(ran, cases, "{name}");
        println!("{name}: {ran} cases in {:.1} s: {came:?}", began.elapsed().as_secs_f64());
        assert_telling(name, &came, ran);
        all += ran;
    }
    provider.ends_well()?;
    Ok(all)
}

/// Cases that all come to the same tell little.
fn assert_telling(name: &str, came: &BTreeMap<Came, u32>, ran: u32) {
    let share = |end: Came| f64::from(came.get(&end).copied().unwrap_or(0)) / f64::from(ran.max(1));
    let wanted: &[(Came, f64)] = match name {
        "lives" => &[(Came::Made, 0.3)],
        "changes" => &[(Came::Updated, 0.15), (Came::Refused, 0.05), (Came::Replaced, 0.01)],
        "moved clusters" => &[(Came::Updated, 0.25), (Came::Nothing, 0.02)],
        _ => &[],
    };
    for (end, least) in wanted.iter().filter(|_| ran >= 500) {
        assert!(share(*end) >= *least, "{name}: too few {end:?}: {came:?}");
    }
}

#[test]
fn no_case_breaks_a_law() {
    let seed = number("PGHA_SEED").unwrap_or(SEED);
    let began = Instant::now();
    let total: u32 = std::thread::scope(|scope| {
        let lanes = LANES.map(|kinds| scope.spawn(move || lane(kinds, seed).expect("a provider at work")));
        lanes.map(|lane| lane.join().expect("no law is broken")).iter().sum()
    });
    println!("{total} cases in {:.1} s, PGHA_SEED={seed}", began.elapsed().as_secs_f64());
    assert!(number("PGHA_CASES").is_some() || total >= CASES, "only {total} cases");
}

/// A provider in front of an API server with agents.
pub struct LiveProvider {
    pub provider: Provider,
    pub api: FakeApi,
    agents: Agents,
}

impl LiveProvider {
    pub fn start() -> Result<Self> {
        let (runtime, agents) = (runtime()?, Agents::default());
        let api = runtime.block_on(FakeApi::start_with(agents.reaction()))?;
        let provider = Provider::configured(runtime, &json!({ "host": api.address() }))?;
        Ok(Self { provider, api, agents })
    }

    /// Nothing is there yet.
    pub fn begin(&self) {
        live::begin(&self.api);
    }

    /// All that is there.
    pub fn objects(&self) -> Objects {
        let mut all = Objects::new();
        self.api.edit(|objects| all.clone_from(objects));
        all
    }

    pub fn world<'a, C>(&'a self, core: &'a Core<C>, learned: &'a Learned) -> LiveWorld<'a, C> {
        LiveWorld { world: World { core, learned, live: true }, api: &self.api, agents: &self.agents }
    }
}

/// Lives with applies in a normal run.
const LIVES: u32 = 20;
/// Share of those whose agents do half of their work once: each of them waits in vain for seconds.
const HALF_DONE: f64 = 0.1;

#[test]
fn no_life_with_applies_breaks_a_law() {
    let (seed, began) = (number("PGHA_SEED").unwrap_or(SEED), Instant::now());
    let live = LiveProvider::start().expect("a provider");
    let learned = live.provider.learned().expect("what it takes");
    let strategy = live::lives(&live.provider.core.attributes, learned, HALF_DONE);
    let world = live.world(&live.provider.core, learned);
    let cases = number("PGHA_LIVES").map_or(LIVES, |cases| cases as u32);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng(seed));
    let (mut lived, mut broken) = (0, Vec::new());
    for _ in 0..cases {
        let case = strategy.new_tree(&mut runner).expect("a case").current();
        match live.provider.runtime.block_on(world.run(&case)) {
            Ok(valid) => lived += u32::from(valid),
            Err(law) => broken.push(format!("{law}\nof {case:#?}")),
        }
    }
    println!(
        "{lived} of {cases} lives with applies in {:.1} s, PGHA_SEED={seed}",
        began.elapsed().as_secs_f64()
    );
    assert!(broken.is_empty(), "PGHA_SEED={seed}: {}", broken.join("\n\n"));
    assert!(lived * 4 >= cases, "too few configurations are valid");
    live.provider.ends_well().expect("a provider that lives");
}
