//! `pgha-sim`: thousands of seeds, or one again with its log.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser;
use pgha_agent_sim::{Mutation, run};

/// Runs the failover protocol against seeded faults.
#[derive(Parser)]
#[command(name = "pgha-sim")]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// Run this one seed and print its log.
    #[arg(long)]
    replay: Option<u64>,
    /// Leave this rule out.
    #[arg(long, value_enum)]
    mutation: Option<Mutation>,
    /// Go on after a violation and count them.
    #[arg(long)]
    keep_going: bool,
}

#[allow(clippy::print_stdout)]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.replay {
        let outcome = run(seed, arguments.mutation);
        for line in &outcome.log {
            println!("{line}");
        }
        println!(
            "seed {seed}: {} commits acknowledged, {} of them promised, era {}",
            outcome.acknowledged, outcome.promised, outcome.era
        );
        return match outcome.violation {
            Some(violation) => {
                println!("seed {seed}: {violation}");
                ExitCode::FAILURE
            }
            None => ExitCode::SUCCESS,
        };
    }
    let sums = Sums::default();
    std::thread::scope(|scope| {
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        for _ in 0..workers {
            scope.spawn(|| work(&arguments, &sums));
        }
    });
    let (eras, acknowledged, bad) = (sums.eras.get(), sums.acknowledged.get(), sums.bad.get());
    println!("{} seeds, {eras} eras, {acknowledged} commits acknowledged, {bad} violations", sums.done.get());
    if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A count that several threads add to.
#[derive(Default)]
struct Count(AtomicU64);

impl Count {
    fn add(&self, more: u64) -> u64 {
        self.0.fetch_add(more, Ordering::Relaxed) + more
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
struct Sums {
    taken: Count,
    done: Count,
    eras: Count,
    acknowledged: Count,
    bad: Count,
}

/// Takes one seed after the other; ends with the seeds, or after the first violation unless it shall go on.
#[allow(clippy::print_stdout)]
fn work(arguments: &Arguments, sums: &Sums) {
    loop {
        let number = sums.taken.add(1) - 1;
        if number >= arguments.seeds || (sums.bad.get() > 0 && !arguments.keep_going) {
            return;
        }
        let seed = arguments.start + number;
        let outcome = run(seed, arguments.mutation);
        let eras = sums.eras.add(outcome.era);
        let acknowledged = sums.acknowledged.add(outcome.acknowledged as u64);
        let noticed = outcome
            .violation
            .filter(|violation| arguments.mutation.is_none_or(|mutation| mutation.is_noticed_as(violation)));
        if let Some(violation) = noticed {
            sums.bad.add(1);
            println!("seed {seed}: {violation}\nreplay: cargo dev sim --replay {seed}");
        }
        let done = sums.done.add(1);
        if done.is_multiple_of(1_000) {
            println!("{done} seeds, {eras} eras, {acknowledged} commits acknowledged");
        }
    }
}
