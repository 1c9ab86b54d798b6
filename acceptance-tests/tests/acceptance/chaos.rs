//! Faults that overlap, round after round, under load in sync mode (issue: the fault matrix). After each round everything that
//! the harness did is undone, and then the cluster has to be whole without a hand, with every acknowledged row.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use pgha_acceptance_tests::chaos::{Schedule, carry_out};
use pgha_acceptance_tests::checker;

use crate::bed::{chaos_minutes, chaos_seed};
use crate::cases;
use crate::group::Group;
use crate::runner::Case;
use crate::workloads::Workloads;

pub fn cases() -> Vec<Case> {
    cases![exclusive => overlapping_faults]
}

/// A time without a commit that is looked into by people, though nothing failed: longer than a lease, a promotion and the
/// restart of an API server one after the other.
const TO_EXPLAIN: Duration = Duration::from_secs(15);

/// Sums over all rounds.
#[derive(Default)]
struct Sums {
    rounds: u64,
    faults: usize,
    acknowledged: usize,
    longest: Duration,
}

async fn overlapping_faults(group: &mut Group) -> Result<()> {
    let first = chaos_seed().unwrap_or_else(seed_of_the_hour);
    let until = Instant::now() + Duration::from_secs(chaos_minutes() * 60);
    let mut sums = Sums::default();
    while sums.rounds == 0 || Instant::now() < until {
        let schedule = Schedule::of(first.wrapping_add(sums.rounds));
        round(group, &schedule, &mut sums).await.with_context(|| {
            format!("again with PGHA_CHAOS_SEED={}; the faults of {schedule}", schedule.seed)
        })?;
    }
    group.bed.say(format!(
        "chaos: {} rounds, {} faults, {} commits acknowledged, none lost; longest time without one {:.1} s",
        sums.rounds,
        sums.faults,
        sums.acknowledged,
        sums.longest.as_secs_f64()
    ));
    Ok(())
}

async fn round(group: &mut Group, schedule: &Schedule, sums: &mut Sums) -> Result<()> {
    let bed = std::sync::Arc::clone(&group.bed);
    let site = group.cluster_with(2).await?;
    checker::sync_set_in_force(&site.cluster, 1).await?;
    let load = Workloads::start(site, &format!("chaos_{}", schedule.seed)).await?;
    bed.say(format!("chaos, {schedule}"));

    let effects = Mutex::new(String::new());
    let say = |line: String| {
        effects.lock().unwrap_or_else(PoisonError::into_inner).push_str(&format!("{line}\n"));
        bed.say(line);
    };
    carry_out(&bed.sandbox, &site.cluster, schedule, &say).await?;
    let healed = load.healed(site).await;
    let promised = load.finish().await?;
    let outcome = match healed {
        Ok(()) => promised.kept(site).await,
        Err(error) => Err(error),
    };
    let (gap, began) = (promised.ids.gap.as_secs_f64(), promised.ids.gap_began.as_secs_f64());
    let without = format!("longest time without a commit {gap:.1} s, from {began:.1} s on");
    bed.say(format!("  {without}"));
    let effects = effects.into_inner().unwrap_or_else(PoisonError::into_inner);
    let story = format!("{schedule}\n\nwhat could not be done:\n{effects}\n{without}\n");
    if let Err(error) = outcome {
        return Err(promised.with_evidence(&bed, site, &story, error).await);
    }
    if promised.ids.gap >= TO_EXPLAIN {
        bed.say(format!("  {}", promised.keep_evidence(&bed, site, &story).await));
    }

    sums.rounds += 1;
    sums.faults += schedule.faults.len();
    sums.acknowledged += promised.acknowledged();
    sums.longest = sums.longest.max(promised.ids.gap);
    Ok(())
}

/// Other faults in every run; the seed is printed with each round.
fn seed_of_the_hour() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs() / 60 * 1_000)
}
