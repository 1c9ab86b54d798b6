//! `cargo dev test`: everything, in stages; the sandbox's long builds run beside the first ones.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::ValueEnum;

use super::commands::cargo;
use crate::process::on_path;
use crate::progress::{Progress, seconds};
use crate::sandbox::{Layout, Sandbox, assets, selfcheck};

/// Seeds for the simulator.
const SEEDS: &str = "10000";

/// A part of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    /// cargo fmt --check
    Format,
    /// clippy, warnings denied
    Lint,
    /// unit, golden and protocol tests
    Unit,
    /// the simulator, seed after seed
    Sim,
    /// the sandbox itself, then the acceptance tests on it
    Acceptance,
}

const ALL: [Stage; 5] = [Stage::Format, Stage::Lint, Stage::Unit, Stage::Sim, Stage::Acceptance];

/// What to run.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Only these stages, separated by commas
    #[arg(long, value_delimiter = ',')]
    only: Vec<Stage>,
    /// Only acceptance tests whose name holds this text
    #[arg(long)]
    filter: Option<String>,
    /// How often each fault is repeated
    #[arg(long, default_value_t = 2)]
    repeats: u32,
    /// Leave the sandbox up
    #[arg(long)]
    keep: bool,
    /// Use the sandbox that is up as it is, and leave out OpenTofu where Terraform is there
    #[arg(long)]
    quick: bool,
    /// Run every group that a CLI has to do with on OpenTofu too: for a night
    #[arg(long)]
    tofu_everywhere: bool,
    /// For how many minutes faults overlap; 0: not at all
    #[arg(long, default_value_t = 6)]
    chaos_minutes: u32,
    /// Seed of their first round
    #[arg(long)]
    chaos_seed: Option<u64>,
}

/// Numbers of the test runners, added up.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Counts {
    passed: u32,
    failed: u32,
    ignored: u32,
    filtered: u32,
}

impl Counts {
    /// Adds a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s`.
    fn add_line(&mut self, line: &str) {
        let Some(rest) = line.trim().strip_prefix("test result: ") else { return };
        for part in rest.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(Ok(number)), Some(what)) = (words.next().map(str::parse::<u32>), words.next()) else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                "filtered" => self.filtered += number,
                _ => {}
            }
        }
    }
}

struct Done {
    name: &'static str,
    took: Duration,
    outcome: Result<()>,
}

/// Runs the stages; gives the exit code.
///
/// # Errors
/// When the run itself can't go on. Failures of stages are in the summary and the exit code.
pub fn run(options: &Options, progress: &Progress) -> Result<u8> {
    let wanted = |stage: Stage| options.only.is_empty() || options.only.contains(&stage);
    let preparing = wanted(Stage::Acceptance).then(|| prepare(options, progress));
    let mut counts = Counts::default();
    let mut all = Vec::new();
    for stage in ALL.into_iter().filter(|stage| *stage != Stage::Acceptance && wanted(*stage)) {
        all.push(timed(stage_name(stage), progress, || match stage {
            Stage::Format => quietly(cargo().args(["fmt", "--all", "--check"])),
            Stage::Lint => quietly(cargo().args([
                "clippy",
                "--workspace",
                "--all-targets",
                "--locked",
                "--",
                "-D",
                "warnings",
            ])),
            Stage::Unit => {
                let mut command = cargo();
                command.args(["test", "--workspace", "--locked", "--no-fail-fast"]);
                if wanted(Stage::Acceptance) {
                    // What needs no cluster is tried on every CLI that the rest is tried on; this one waits for its build.
                    command.env("PGHA_TOFU", tofu(options));
                }
                tests(&mut command, &mut counts)
            }
            Stage::Sim | Stage::Acceptance => simulate(),
        }));
    }
    if let Some(preparing) = preparing {
        acceptance(options, preparing, progress, &mut counts, &mut all);
    }
    Ok(summary(&all, &counts, progress))
}

/// `chaos`: the one acceptance test that goes on for as long as it is asked to. The sandbox stays up.
///
/// # Errors
/// When it can't be started.
pub fn chaos(minutes: u32, seed: Option<u64>, progress: &Progress) -> Result<u8> {
    let options = Options {
        only: vec![Stage::Acceptance],
        filter: Some("chaos::".to_owned()),
        repeats: 1,
        keep: true,
        quick: true,
        tofu_everywhere: false,
        chaos_minutes: minutes,
        chaos_seed: seed,
    };
    run(&options, progress)
}

fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Format => "format",
        Stage::Lint => "lint",
        Stage::Unit => "unit, golden and protocol tests",
        Stage::Sim => "simulator",
        Stage::Acceptance => "acceptance tests",
    }
}

/// Long builds of the sandbox, beside the stages that need none of them.
fn prepare(options: &Options, progress: &Progress) -> JoinHandle<Result<()>> {
    let (progress, tofu) = (progress.clone(), wants_tofu(options));
    std::thread::spawn(move || {
        Sandbox::prepare(&progress)?;
        if tofu && on_path("tofu").is_none() {
            assets::opentofu(&Layout::new(), &progress)?;
        }
        Ok(())
    })
}

fn wants_tofu(options: &Options) -> bool {
    !options.quick || options.tofu_everywhere || on_path("terraform").is_none()
}

/// The value of `PGHA_TOFU`.
fn tofu(options: &Options) -> &'static str {
    match (options.tofu_everywhere, wants_tofu(options)) {
        (true, _) => "2",
        (false, true) => "1",
        (false, false) => "0",
    }
}

fn acceptance(
    options: &Options,
    preparing: JoinHandle<Result<()>>,
    progress: &Progress,
    counts: &mut Counts,
    all: &mut Vec<Done>,
) {
    let built = timed("provider and agent", progress, || {
        quietly(cargo().args(["build", "--locked", "--package", "terraform-provider-postgres"]))
    });
    let up = timed("sandbox", progress, || {
        preparing.join().map_err(|_| anyhow!("the preparation of the sandbox panicked"))??;
        start_sandbox(options, progress)
    });
    let ready = built.outcome.is_ok() && up.outcome.is_ok();
    all.extend([built, up]);
    if ready {
        all.push(timed(stage_name(Stage::Acceptance), progress, || {
            let mut command = cargo();
            command.args([
                "test",
                "--locked",
                "--package",
                "pgha-acceptance-tests",
                "--test",
                "acceptance",
                "--",
            ]);
            command.args(options.filter.iter());
            command.env("PGHA_ACCEPTANCE", "1").env("PGHA_REPEATS", options.repeats.to_string());
            command.env("PGHA_TOFU", tofu(options)).env_remove("KUBECONFIG");
            command.env("PGHA_CHAOS_MINUTES", options.chaos_minutes.to_string());
            command.envs(options.chaos_seed.map(|seed| ("PGHA_CHAOS_SEED", seed.to_string())));
            tests(&mut command, counts)
        }));
    }
    if !options.keep {
        all.push(timed("nothing is left", progress, || {
            Sandbox::down(progress)?;
            let left = Sandbox::leftovers();
            ensure!(left.is_empty(), "`down` left:\n  {}", left.join("\n  "));
            Ok(())
        }));
    }
}

fn start_sandbox(options: &Options, progress: &Progress) -> Result<()> {
    if !options.quick {
        Sandbox::down(progress)?;
    }
    super::block_on(async {
        let sandbox = Sandbox::up(progress).await?;
        if options.quick { Ok(()) } else { selfcheck::run(&sandbox, progress).await }
    })
}

fn timed(name: &'static str, progress: &Progress, work: impl FnOnce() -> Result<()>) -> Done {
    progress.heading(name);
    let started = Instant::now();
    let outcome = work();
    if let Err(error) = &outcome {
        progress.say(format!("{name}: FAILED: {error:#}"));
    }
    Done { name, took: started.elapsed(), outcome }
}

/// Runs a command on this terminal.
fn quietly(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("start {}", command.get_program().display()))?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// Runs test programs: their output is shown and their summaries are counted.
fn tests(command: &mut Command, counts: &mut Counts) -> Result<()> {
    let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().context("start cargo")?;
    let output = child.stdout.take().context("cargo's output")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        counts.add_line(&line);
        // A reader that went away must not end the tests in the middle.
        let _ = writeln!(std::io::stdout(), "{line}");
    }
    let status = child.wait()?;
    ensure!(status.success(), "{status}");
    Ok(())
}

fn simulate() -> Result<()> {
    let code = super::commands::sim(&["--seeds".to_owned(), SEEDS.to_owned()])?;
    if code != 0 {
        bail!("exit code {code}");
    }
    Ok(())
}

fn summary(all: &[Done], counts: &Counts, progress: &Progress) -> u8 {
    let mut text = String::from("\n== summary\n");
    for done in all {
        let how = if done.outcome.is_ok() { "ok" } else { "FAILED" };
        text += &format!("  {:<34} {how:<7} {}\n", done.name, seconds(done.took));
    }
    for program in ["terraform", "tofu"].iter().filter(|program| on_path(program).is_none()) {
        text += &format!("  {program} is not on PATH\n");
    }
    let failed_stages = all.iter().filter(|done| done.outcome.is_err()).count();
    let good = failed_stages == 0 && counts.failed == 0;
    // A stage that fails without a failed test (a lint, say) counts as one.
    let failed = counts.failed.max(u32::try_from(failed_stages).unwrap_or(u32::MAX));
    text += &format!(
        "\ntest result: {}. {} passed; {} failed; {} ignored; 0 measured; {} filtered out; finished in {:.2}s",
        if good { "ok" } else { "FAILED" },
        counts.passed,
        if good { 0 } else { failed },
        counts.ignored,
        counts.filtered,
        progress.elapsed().as_secs_f64()
    );
    let _ = writeln!(std::io::stdout(), "{text}");
    u8::from(!good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_of_test_programs_add_up() {
        let mut counts = Counts::default();
        counts.add_line(
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.10s",
        );
        counts.add_line("test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out");
        counts.add_line("test names_like_test result: are not counted");
        assert_eq!(counts, Counts { passed: 4, failed: 2, ignored: 1, filtered: 2 });
    }
}
