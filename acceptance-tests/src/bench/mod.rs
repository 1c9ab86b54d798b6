//! `cargo dev bench failover`: our agent and Patroni on the same sandbox, under the same faults, seen by the same clients.
//!
//! ```text
//!   Bench (mod.rs) ── activates one system at a time ──> Subject (ours from Terraform, Patroni from its manifests)
//!     └─ trials: Scene (measure.rs) ── load, fault, gap, redundancy, losses ──> Trial (+ Timeline from recorder.rs)
//!     └─ steady state: cost.rs, pgbench.rs
//!   Results ── report.rs (Markdown), chart.rs (SVG) ──> docs/benchmarks.md
//! ```
//!
//! Only the system under measurement runs; the others are scaled to nothing. Trials of the systems take turns, so that what the
//! machine does beside it hits all alike.

mod chart;
mod cost;
mod machine;
mod measure;
mod options;
mod patroni;
mod pgbench;
pub mod provider;
mod recorder;
mod report;
mod stats;
mod subject;
pub mod timeline;
mod trial;

use std::fs;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use tokio::signal::unix::{SignalKind, signal};

pub use self::measure::Scene;
pub use self::options::Options;
pub use self::subject::Subject;
pub use self::trial::{Fault, System, Trial};

use self::cost::Cost;
use self::machine::Machine;
use self::subject::REPLICAS;
use crate::dev::cli::{build_provider, find_cli};
use crate::load::{Dialler, from_client_namespace};
use crate::progress::Progress;
use crate::sandbox::Sandbox;
use crate::terraform::{Cli, Plugin};

/// Pairs of pgbench runs in each mode: an even number, since the two take turns to be first.
const PAIRS: u32 = 4;

/// Everything that was measured.
#[derive(Debug)]
pub struct Results {
    machine: Machine,
    trials: Vec<Trial>,
    costs: Vec<Cost>,
    runs: Vec<pgbench::Run>,
    /// Why the run ended early.
    unfinished: Option<String>,
}

/// Runs the benchmark and writes its page; gives the exit code, which is 1 when a commit of ours was lost or a trial of ours failed.
///
/// # Errors
/// When a system can't be deployed or the results can't be written.
pub async fn failover(options: &Options, progress: &Progress) -> Result<u8> {
    let load_before = machine::load()?;
    let mut bench = Bench::make(options, progress).await?;
    let machine = Machine::look(&bench.sandbox, load_before).await?;
    let mut results =
        Results { machine, trials: Vec::new(), costs: Vec::new(), runs: Vec::new(), unfinished: None };
    let outcome = tokio::select! {
        outcome = bench.run(options, &mut results) => outcome,
        why = told_to_stop() => Err(why),
    };
    // Whatever happened: no node stays cut off, nothing stays deployed, and what was measured is told.
    bench.close().await;
    if let Err(error) = outcome {
        // The page keeps the last whole run.
        results.unfinished = Some(format!("{error:#}"));
        if !results.trials.is_empty() {
            progress.say(report::text(&results));
        }
        return Err(error);
    }
    report::write(&results, &options.docs)?;
    progress.say(format!("written: {}", options.docs.join("benchmarks.md").display()));
    let ours = results.trials.iter().filter(|trial| trial.system == System::Ours);
    Ok(u8::from(ours.clone().any(|trial| trial.lost > 0 || trial.failed.is_some())))
}

/// Waits until somebody interrupts the run or asks it to end.
async fn told_to_stop() -> anyhow::Error {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => anyhow!("interrupted"),
        _ = terminate.recv() => anyhow!("told to end"),
    }
}

/// The sandbox and what is deployed on it.
struct Bench {
    sandbox: Sandbox,
    progress: Progress,
    dialler: Dialler,
    /// CLI and provider, when ours is measured.
    terraform: Option<(Cli, Plugin)>,
    /// Name of the image, when Patroni is measured.
    image: Option<String>,
    ours: Option<Subject>,
    patroni: Option<Subject>,
}

impl Bench {
    async fn make(options: &Options, progress: &Progress) -> Result<Self> {
        let wants = |patroni: bool| options.systems.iter().any(|system| system.is_patroni() == patroni);
        let (ours, shown) = (wants(false), progress.clone());
        let terraform = tokio::task::spawn_blocking(move || {
            let build = || anyhow::Ok((find_cli(&shown)?, build_provider(&shown)?));
            ours.then(build).transpose()
        });
        let sandbox = Sandbox::up(progress).await?;
        let terraform = terraform.await??;
        let image = if wants(true) {
            let (sandbox, shown) = (sandbox.clone(), progress.clone());
            Some(tokio::task::spawn_blocking(move || sandbox.patroni_image(&shown)).await??)
        } else {
            None
        };
        let dialler = from_client_namespace();
        Ok(Self { sandbox, progress: progress.clone(), dialler, terraform, image, ours: None, patroni: None })
    }

    async fn run(&mut self, options: &Options, results: &mut Results) -> Result<()> {
        let first = *options.systems.first().context("no system is named")?;
        results.machine.postgres = self.activate(first).await?.cluster.setting("server_version").await?;
        let mut json =
            options.json.as_ref().map(fs::File::create).transpose().context("write the JSON file")?;
        for number in 1..=options.rounds() {
            let systems = options.systems.iter().filter(|system| number <= options.trials_of(**system));
            for system in systems {
                for fault in &options.faults {
                    let trial = self.trial(*system, *fault, number).await?;
                    if let Some(file) = &mut json {
                        writeln!(file, "{}", serde_json::to_string(&trial)?)?;
                    }
                    results.trials.push(trial);
                }
                if number == 1 && options.cost_seconds > 0 {
                    results.costs.push(self.cost(*system, Duration::from_secs(options.cost_seconds)).await?);
                }
            }
        }
        if options.pgbench_seconds > 0 && options.systems.contains(&System::Ours) {
            results.runs = self.pgbench(options).await?;
        }
        Ok(())
    }

    async fn trial(&mut self, system: System, fault: Fault, number: u32) -> Result<Trial> {
        self.activate(system).await?;
        let scene = Scene { sandbox: &self.sandbox, subject: self.subject(system)?, system };
        let trial = scene.trial(fault, number).await;
        self.progress.say(line(&trial));
        if trial.failed.is_some() {
            // Made anew, so that one trial costs no other.
            let namespace = self.subject(system)?.cluster.namespace.clone();
            self.progress.say(self.sandbox.describe_namespace(&namespace).await);
            self.remove(system).await;
        }
        Ok(trial)
    }

    async fn cost(&mut self, system: System, over: Duration) -> Result<Cost> {
        self.activate(system).await?;
        let subject = self.subject(system)?;
        subject.until_redundant().await?;
        let cost = cost::measure(&self.sandbox, subject, system, over).await?;
        self.progress.say(cost.words());
        Ok(cost)
    }

    async fn pgbench(&mut self, options: &Options) -> Result<Vec<pgbench::Run>> {
        self.activate(System::Ours).await?;
        let length = Duration::from_secs(options.pgbench_seconds).min(pgbench::LONGEST);
        let subject = self.ours.as_mut().context("ours is deployed")?;
        let mut all = Vec::new();
        for mode in &options.sync_modes {
            let stage = self.progress.stage(format!("pgbench in {mode}"));
            all.extend(pgbench::measure(&self.sandbox, subject, mode, PAIRS, length).await?);
            stage.done();
        }
        Ok(all)
    }

    /// Sees to it that this system runs, and no other.
    async fn activate(&mut self, system: System) -> Result<&Subject> {
        let (held, other) = if system.is_patroni() {
            (&mut self.patroni, &mut self.ours)
        } else {
            (&mut self.ours, &mut self.patroni)
        };
        if let Some(other) = other.as_mut().filter(|other| other.runs()) {
            other.scale(0).await?;
        }
        match held {
            Some(subject) if subject.runs() => {}
            Some(subject) => {
                let stage = self.progress.stage(format!("start {system} again"));
                subject.scale(REPLICAS + 1).await?;
                subject.until_redundant().await?;
                stage.done();
            }
            None => self.deploy(system).await?,
        }
        let subject = self.subject(system)?;
        subject.become_system(system).await?;
        Ok(subject)
    }

    async fn deploy(&mut self, system: System) -> Result<()> {
        let stage = self.progress.stage(format!("deploy {system}"));
        let namespace = self.sandbox.create_namespace(&format!("bench-{system}")).await?;
        match self.deployed(system, &namespace).await {
            Ok(subject) if system.is_patroni() => self.patroni = Some(subject),
            Ok(subject) => self.ours = Some(subject),
            Err(error) => {
                self.progress.say(self.sandbox.describe_namespace(&namespace).await);
                self.sandbox.delete_namespace(&namespace).await?;
                return Err(error.context(format!("deploy {system}")));
            }
        }
        stage.done();
        Ok(())
    }

    async fn deployed(&self, system: System, namespace: &str) -> Result<Subject> {
        let dialler = self.dialler.clone();
        if system.is_patroni() {
            let image = self.image.as_deref().context("Patroni's image is made")?;
            Subject::patroni(&self.sandbox, namespace, image, dialler).await
        } else {
            let terraform = self.terraform.as_ref().context("the provider is built")?;
            Subject::ours(&self.sandbox, namespace, terraform, dialler).await
        }
    }

    fn subject(&self, system: System) -> Result<&Subject> {
        let held = if system.is_patroni() { &self.patroni } else { &self.ours };
        held.as_ref().with_context(|| format!("{system} is not deployed"))
    }

    async fn remove(&mut self, system: System) {
        let held = if system.is_patroni() { self.patroni.take() } else { self.ours.take() };
        if let Some(subject) = held
            && let Err(error) = self.sandbox.delete_namespace(&subject.cluster.namespace).await
        {
            self.progress.say(format!("{} was not deleted: {error:#}", subject.cluster.namespace));
        }
    }

    async fn close(&mut self) {
        if let Err(error) = self.sandbox.heal_everything().await {
            self.progress.say(format!("the sandbox could not be healed: {error:#}"));
        }
        for system in [System::Ours, System::PatroniDefault] {
            self.remove(system).await;
        }
    }
}

/// A trial for people who watch.
fn line(trial: &Trial) -> String {
    let redundant = trial.redundant_again_s.map_or("never".to_owned(), |seconds| format!("{seconds:.1} s"));
    let failed = trial.failed.as_ref().map_or(String::new(), |why| format!("; FAILED: {why}"));
    format!(
        "{:<16} {:<18} #{}: gap {:>6.2} s (quiet {:.2} s), {} acknowledged, {} lost, redundant again after {redundant}{failed}",
        trial.system.to_string(),
        trial.fault.to_string(),
        trial.trial,
        trial.gap_s,
        trial.noise_s,
        trial.acked,
        trial.lost,
    )
}
