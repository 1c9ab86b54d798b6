//! docs/benchmarks.md: written by the benchmark, never by hand.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::Results;
use super::chart;
use super::cost::Cost;
use super::pgbench::Run;
use super::stats::Summary;
use super::timeline::STEPS;
use super::trial::{Fault, System, Trial};

const PAGE: &str = "benchmarks.md";
const PICTURE: &str = "benchmarks/failover.svg";
/// What stands below this line is carried over to the next page: summaries of other runs.
const KEPT: &str = "<!-- kept: the benchmark does not write below this line -->";
/// What the memory of an agent and its guard is to stay below, MiB a pod.
const MEMORY_TARGET_MIB: f64 = 15.0;

/// Writes page and picture below a folder.
///
/// # Errors
/// When they can't be written.
pub fn write(results: &Results, docs: &Path) -> Result<()> {
    let picture = docs.join(PICTURE);
    fs::create_dir_all(picture.parent().context("a picture is in a folder")?)?;
    fs::write(&picture, chart::gaps(&results.trials)?)?;
    let page = docs.join(PAGE);
    let old = fs::read_to_string(&page).unwrap_or_default();
    let kept = old.split_once(KEPT).map_or("\n", |(_, kept)| kept);
    fs::write(&page, format!("{}{KEPT}{kept}", text(results)))
        .with_context(|| format!("write {}", page.display()))
}

/// The page's own part.
pub fn text(results: &Results) -> String {
    let mut text = introduction(results);
    if results.machine.load_before > results.machine.cores as f64 {
        text += "**The machine was busy with other work when this run began**: times are longer than on a quiet one, and \
                 ratios tell little.\n\n";
    }
    if let Some(why) = &results.unfinished {
        let _ = writeln!(
            text,
            "**This run did not come to its end**: {}.\n",
            why.lines().next().unwrap_or_default()
        );
    }
    text += &gaps(&results.trials);
    text += &timelines(&results.trials);
    text += &costs(&results.costs);
    text += &throughput(&results.runs);
    text
}

fn introduction(results: &Results) -> String {
    let machine = &results.machine;
    let count = |system: System| {
        results.trials.iter().filter(|trial| trial.system == system).map(|trial| trial.trial).max()
    };
    let trials: Vec<String> = System::ALL
        .into_iter()
        .filter_map(|system| Some(format!("{} of {}", count(system)?, system.title())))
        .collect();
    let quiet = Summary::of(results.trials.iter().map(|trial| trial.noise_s));
    let noise = quiet.map_or(String::new(), |quiet| {
        format!(
            "With no fault at all the same clients saw, in the three to four seconds before each fault, a longest time without a \
             commit of {} (median; worst {}): no gap below that means anything.\n",
            seconds(quiet.median),
            seconds(quiet.worst)
        )
    });
    format!(
        "# Benchmarks\n\n\
         Written by `{}`; not by hand.\n\n\
         | | |\n|---|---|\n\
         | Date | {} |\n| Commit | {} |\n| Machine | {} cores ({}), {:.0} GiB, Linux {}; load {:.2} when it began |\n\
         | Software | Kubernetes {}, PostgreSQL {}, Patroni 4.1.5 |\n| Trials of each fault | {} |\n\n\
         Three instances on the sandbox's three nodes, sync mode, one standby confirms. Four clients write through the rw Service \
         from outside the nodes, a row a transaction; they give up a connection after 1 s and a statement after 2 s. A **gap** is \
         the longest time without an acknowledged commit between the fault and redundancy. **Lost** are acknowledged rows that are \
         not there once all has healed. Both systems run the same PostgreSQL and are struck by the same code; only the one under \
         measurement runs, and their trials take turns. Patroni keeps its state in ConfigMaps; its Service selects the role label \
         alone. \"Fast\" is `ttl` 20, `loop_wait` 1, `retry_timeout` 3, `primary_start_timeout` 0.\n\n\
         {noise}\n",
        machine.command,
        machine.date,
        machine.commit,
        machine.cores,
        machine.processor,
        machine.memory_gib,
        machine.kernel,
        machine.load_before,
        machine.kubernetes,
        machine.postgres,
        trials.join(", "),
    )
}

/// The complete trials of a system under a fault.
fn complete(trials: &[Trial], system: System, fault: Fault) -> impl Iterator<Item = &Trial> {
    trials
        .iter()
        .filter(move |trial| trial.system == system && trial.fault == fault && trial.failed.is_none())
}

fn summary(trials: &[Trial], system: System, fault: Fault) -> Option<Summary> {
    Summary::of(complete(trials, system, fault).map(|trial| trial.gap_s))
}

fn gaps(trials: &[Trial]) -> String {
    let systems: Vec<System> =
        System::ALL.into_iter().filter(|system| trials.iter().any(|trial| trial.system == *system)).collect();
    let faults = Fault::ALL.into_iter().filter(|fault| trials.iter().any(|trial| trial.fault == *fault));
    let mut text = "## Longest time without an acknowledged commit\n\nMedian, and the worst in brackets, in seconds.\n\n| Fault |".to_owned();
    for system in &systems {
        let _ = write!(text, " {} |", system.title());
    }
    let others: Vec<System> = systems.iter().copied().filter(|system| system.is_patroni()).collect();
    for other in &others {
        let _ = write!(text, " {} ÷ ours |", other.title());
    }
    text += " target (median) | met |\n|---|";
    text += &"---|".repeat(systems.len() + others.len() + 2);
    text += "\n";
    for fault in faults {
        let ours = summary(trials, System::Ours, fault);
        let _ = write!(text, "| {} |", fault.title());
        for system in &systems {
            let cell = summary(trials, *system, fault)
                .map_or("–".to_owned(), |gap| format!("{:.2} ({:.2})", gap.median, gap.worst));
            let _ = write!(text, " {cell} |");
        }
        for other in &others {
            let cell = match (ours, summary(trials, *other, fault)) {
                (Some(ours), Some(other)) => format!("{:.1}×", other.median / ours.median),
                _ => "–".to_owned(),
            };
            let _ = write!(text, " {cell} |");
        }
        let target = fault.target_s();
        let met = ours.map_or("–", |ours| match (ours.median <= target, ours.worst <= 2.0 * target) {
            (true, true) => "yes",
            (true, false) => "median yes, worst beyond twice the target",
            (false, _) => "**no**",
        });
        let _ = writeln!(text, " ≤ {target:.1} | {met} |");
    }
    text += &sums(trials, &systems);
    let _ = writeln!(text, "\n![Gaps of every trial]({PICTURE})\n");
    text + &failures(trials)
}

/// What was acknowledged, what was lost, and how long redundancy was away.
fn sums(trials: &[Trial], systems: &[System]) -> String {
    let mut text =
        "\n| | acknowledged | lost | redundant again, median (worst) | trials |\n|---|---|---|---|---|\n"
            .to_owned();
    for system in systems {
        let of: Vec<&Trial> = trials.iter().filter(|trial| trial.system == *system).collect();
        let redundant = Summary::of(of.iter().filter_map(|trial| trial.redundant_again_s))
            .map_or("–".to_owned(), |all| format!("{:.1} s ({:.1} s)", all.median, all.worst));
        let _ = writeln!(
            text,
            "| {} | {} | {} | {redundant} | {} |",
            system.title(),
            of.iter().map(|trial| trial.acked).sum::<usize>(),
            of.iter().map(|trial| trial.lost).sum::<usize>(),
            of.len(),
        );
    }
    text += "\nRedundancy counts from the fault, for a node that was cut off from its return: three instances stream, one confirms.\n";
    text
}

fn failures(trials: &[Trial]) -> String {
    let failed: Vec<String> = trials
        .iter()
        .filter_map(|trial| {
            let why = trial.failed.as_ref()?.lines().next().unwrap_or_default().replace('|', "\\|");
            Some(format!(
                "- {}, {}, trial {}: {why}\n",
                trial.system.title(),
                trial.fault.title(),
                trial.trial
            ))
        })
        .collect();
    if failed.is_empty() {
        return String::new();
    }
    format!("Trials that did not come to their end, and are in no median:\n\n{}\n", failed.concat())
}

/// Where our time goes: the median of each step, seconds after the fault.
fn timelines(trials: &[Trial]) -> String {
    let mut rows = String::new();
    let mut head = Vec::new();
    for fault in Fault::ALL {
        let steps: Vec<[(&str, Option<f64>); STEPS]> = complete(trials, System::Ours, fault)
            .filter_map(|trial| trial.timeline.as_ref())
            .map(|timeline| timeline.steps())
            .collect();
        let Some(first) = steps.first() else { continue };
        head = first.iter().map(|(name, _)| *name).collect();
        let _ = write!(rows, "| {} |", fault.title());
        for step in 0..first.len() {
            let median = Summary::of(steps.iter().filter_map(|steps| steps[step].1));
            let _ = write!(rows, " {} |", median.map_or("–".to_owned(), |all| format!("{:.2}", all.median)));
        }
        rows += "\n";
    }
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "## Where our time goes\n\nSeconds after the fault, the median of each step by itself; – where a step is not needed. From \
         the agents' logs, watches of the Lease, the pods and the endpoints, and the clients.\n\n| Fault | {} |\n|---|{}\n{rows}\n",
        head.join(" | "),
        "---|".repeat(head.len()),
    )
}

fn costs(costs: &[Cost]) -> String {
    if costs.is_empty() {
        return String::new();
    }
    let over = costs[0].seconds;
    let mut text = format!(
        "## What it costs when nothing happens\n\nOver {over:.0} s without load: guard and agent for ours, Patroni's processes for \
         Patroni; PostgreSQL left out. Memory that processes share counts once (PSS), or for each (RSS).\n\n\
         | | memory a pod, PSS (RSS) | processor, primary | processor, standby | API requests a minute, three pods |\n\
         |---|---|---|---|---|\n"
    );
    for cost in costs {
        let most =
            |number: fn(&super::cost::PodCost) -> f64| cost.pods.iter().map(number).fold(0.0, f64::max);
        let cpu = |primary: bool| {
            Summary::of(cost.pods.iter().filter(|pod| pod.primary == primary).map(|pod| pod.cpu_milli))
        };
        let shown = |cpu: Option<Summary>| cpu.map_or("–".to_owned(), |cpu| format!("{:.1} m", cpu.worst));
        let _ = writeln!(
            text,
            "| {} | {:.1} MiB ({:.1} MiB) | {} | {} | {:.0} |",
            cost.system.title(),
            most(|pod| pod.pss_mib),
            most(|pod| pod.rss_mib),
            shown(cpu(true)),
            shown(cpu(false)),
            cost.api_requests_per_minute,
        );
    }
    let _ = writeln!(
        text,
        "\nOurs is to stay at or below {MEMORY_TARGET_MIB:.0} MiB a pod. 1 m is a thousandth of a processor.\n"
    );
    text
}

fn throughput(runs: &[Run]) -> String {
    if runs.is_empty() {
        return String::new();
    }
    let mut modes: Vec<&str> = Vec::new();
    for run in runs {
        if !modes.contains(&run.mode.as_str()) {
            modes.push(&run.mode);
        }
    }
    let mut text = "## What writers pay\n\npgbench (simple update, prepared, 4 clients through rw) on our cluster, with its agents \
         at work and with all agents and guards suspended: the very same postgres without an agent. Medians, and the range in \
         brackets.\n\n| Mode | runs | tps, agents at work | tps, no agent | latency, agents at work | latency, no agent | \
         difference of medians |\n|---|---|---|---|---|---|---|\n"
        .to_owned();
    for mode in modes {
        let of = |agents: bool, number: fn(&Run) -> f64| {
            Summary::of(runs.iter().filter(|run| run.mode == mode && run.agents == agents).map(number))
        };
        let (Some(tps), Some(bare_tps)) = (of(true, |run| run.tps), of(false, |run| run.tps)) else {
            continue;
        };
        let (Some(latency), Some(bare)) = (of(true, |run| run.latency_ms), of(false, |run| run.latency_ms))
        else {
            continue;
        };
        let _ = writeln!(
            text,
            "| {mode} | {} | {:.0} ({:.0}–{:.0}) | {:.0} ({:.0}–{:.0}) | {:.2} ms | {:.2} ms | {:+.1} % latency |",
            tps.count,
            tps.median,
            tps.best,
            tps.worst,
            bare_tps.median,
            bare_tps.best,
            bare_tps.worst,
            latency.median,
            bare.median,
            (latency.median / bare.median - 1.0) * 100.0,
        );
    }
    text + "\n"
}

fn seconds(value: f64) -> String {
    format!("{value:.2} s")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::cost::PodCost;
    use crate::bench::machine::Machine;
    use crate::bench::timeline::Timeline;

    pub(in crate::bench) fn trial(system: System, fault: Fault, number: u32, gap_s: f64) -> Trial {
        Trial {
            system,
            fault,
            trial: number,
            gap_s,
            noise_s: 0.04,
            acked: 100,
            lost: 0,
            redundant_again_s: Some(8.0),
            failed: None,
            timeline: None,
        }
    }

    fn results() -> Results {
        let mut first = trial(System::Ours, Fault::NodePartition, 1, 4.0);
        first.timeline = Some(Timeline { taken_s: Some(2.5), first_commit_s: 4.01, ..Timeline::default() });
        let mut failed = trial(System::PatroniDefault, Fault::NodePartition, 2, 0.0);
        failed.failed = Some("no primary|\nmore".into());
        failed.redundant_again_s = None;
        let mut lossy = trial(System::PatroniDefault, Fault::NodePartition, 1, 28.0);
        lossy.lost = 3;
        let pod = PodCost { pod: "pg-0".into(), primary: true, rss_mib: 12.3, pss_mib: 9.1, cpu_milli: 7.0 };
        let run = |agents, latency_ms| Run { mode: "sync".into(), agents, tps: 1_000.0, latency_ms };
        Results {
            machine: Machine {
                cores: 2,
                processor: "Some CPU".into(),
                memory_gib: 24.0,
                kernel: "6.1".into(),
                load_before: 0.4,
                kubernetes: "v1.35.4".into(),
                postgres: "15.14".into(),
                commit: "abc123".into(),
                date: "2026-11-25".into(),
                command: "cargo dev bench failover".into(),
            },
            trials: vec![first, trial(System::Ours, Fault::NodePartition, 2, 11.0), lossy, failed],
            costs: vec![Cost {
                system: System::Ours,
                pods: vec![pod],
                api_requests_per_minute: 61.0,
                seconds: 60.0,
            }],
            runs: vec![run(true, 2.2), run(false, 2.0)],
            unfinished: None,
        }
    }

    #[test]
    fn the_page_tells_medians_worst_ratios_targets_and_losses() {
        let page = text(&results());
        for line in [
            "| Fault | ours | Patroni, default | Patroni, default ÷ ours | target (median) | met |",
            "| node cut off | 7.50 (11.00) | 28.00 (28.00) | 3.7× | ≤ 5.0 | **no** |",
            "| ours | 200 | 0 | 8.0 s (8.0 s) | 2 |",
            "| Patroni, default | 200 | 3 | 8.0 s (8.0 s) | 2 |",
            "- Patroni, default, node cut off, trial 2: no primary\\|",
            "| node cut off | 0.00 | – | – | 2.50 | – | – | – | – | – | – | 4.01 |",
            "| ours | 9.1 MiB (12.3 MiB) | 7.0 m | – | 61 |",
            "| sync | 1 | 1000 (1000–1000) | 1000 (1000–1000) | 2.20 ms | 2.00 ms | +10.0 % latency |",
        ] {
            assert!(page.contains(&format!("{line}\n")), "{line}\nis not in\n{page}");
        }
    }

    #[test]
    fn a_run_that_ended_early_says_so() {
        let unfinished = Some("no primary\nand more".to_owned());
        let page = text(&Results { unfinished, ..results() });
        assert!(page.contains("**This run did not come to its end**: no primary.\n"), "{page}");
        assert!(!text(&results()).contains("did not come to its end**"));
    }

    #[test]
    fn a_busy_machine_is_said() {
        let mut busy = results();
        busy.machine.load_before = 15.8;
        assert!(text(&busy).contains("**The machine was busy"));
        assert!(!text(&results()).contains("**The machine was busy"));
    }

    #[test]
    fn what_is_kept_below_the_page_is_carried_over() {
        let docs = tempfile::tempdir().unwrap();
        write(&results(), docs.path()).unwrap();
        let page = docs.path().join(PAGE);
        let added = fs::read_to_string(&page).unwrap() + "\n## Chaos\n";
        fs::write(&page, added.replace("Some CPU", "Another CPU")).unwrap();
        write(&results(), docs.path()).unwrap();
        let again = fs::read_to_string(&page).unwrap();
        assert!(again.contains("Some CPU") && again.ends_with("\n## Chaos\n"), "{again}");
        assert!(docs.path().join(PICTURE).exists());
    }
}
