//! `pgha-sim`: thousands of seeds, or one again with its log.

use std::process::ExitCode;

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
    let (mut bad, mut eras, mut acknowledged) = (0_u64, 0, 0);
    for seed in arguments.start..arguments.start + arguments.seeds {
        let outcome = run(seed, arguments.mutation);
        eras += outcome.era;
        acknowledged += outcome.acknowledged;
        if let Some(violation) = outcome.violation {
            if arguments.mutation.is_some_and(|mutation| !mutation.is_noticed_as(&violation)) {
                continue;
            }
            bad += 1;
            println!("seed {seed}: {violation}");
            println!("replay: cargo dev sim --replay {seed}");
            if !arguments.keep_going {
                return ExitCode::FAILURE;
            }
        }
        if (seed + 1) % 500 == 0 {
            println!(
                "{} seeds, {eras} eras, {acknowledged} commits acknowledged",
                seed + 1 - arguments.start
            );
        }
    }
    println!("{} seeds, {eras} eras, {acknowledged} commits acknowledged, {bad} violations", arguments.seeds);
    if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
