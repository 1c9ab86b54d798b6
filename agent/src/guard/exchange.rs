//! Another agent in the running one's place, under the running postgres; back to the old one when it is not healthy (A8).
//!
//! ```text
//!   Exchange ── SIGKILL old, start new ──> trial ── Healthy in time ──> renamed over the old one
//!                                            └── ended, or too late ──> removed, old one started, refusal kept
//! ```
//! The fence's deadline, the volume's lock and the listening socket are the guard's own all the while. The guard itself stays
//! what it was until the container next starts: then the new binary is the guard too.

use std::path::PathBuf;

use super::message::TakenBack;
use super::{Guard, RESTART_FIRST_MS, log};

/// A new agent until it counts as healthy.
pub(super) struct Trial {
    program: PathBuf,
    sha256: String,
    generation: u64,
    until_ms: u64,
    tries: u32,
    /// The new one runs; until then the old one is still ending.
    runs: bool,
}

impl Trial {
    pub(super) fn new(program: PathBuf, sha256: String, generation: u64, until_ms: u64, tries: u32) -> Self {
        Self { program, sha256, generation, until_ms, tries, runs: false }
    }

    /// When its time is up, in milliseconds since boot.
    pub(super) fn until_ms(&self) -> u64 {
        self.until_ms
    }
}

impl Guard {
    /// Begins: the asking agent is killed, which every action of it allows for at any point.
    pub(super) fn exchange(&mut self, trial: Trial) -> Result<(), String> {
        if self.trial.is_some() {
            return Err("an exchange of the agent is under way".to_owned());
        }
        if self.state.terminating || self.is_ending() {
            return Err("the container is told to stop".to_owned());
        }
        let refused = self.state.taken_back.as_ref().filter(|back| {
            back.for_good && back.sha256 == trial.sha256 && back.generation == trial.generation
        });
        if let Some(back) = refused {
            return Err(format!("this agent was taken back already: {}", back.why));
        }
        let current = PathBuf::from(self.settings.agent.first().map_or("", String::as_str));
        if trial.program.parent() != current.parent() || !trial.program.is_file() {
            return Err(format!("{} is no file beside the agent", trial.program.display()));
        }
        log(&format!("the agent is exchanged for {}", trial.sha256));
        self.trial = Some(trial);
        self.start_at_once = true;
        self.kill_agent();
        Ok(())
    }

    /// The program and arguments of the agent that starts next.
    pub(super) fn agent_to_start(&mut self) -> Vec<String> {
        let mut argv = self.settings.agent.clone();
        self.state.on_trial = self.trial.is_some();
        if let (Some(trial), Some(program)) = (&mut self.trial, argv.first_mut()) {
            trial.runs = true;
            *program = trial.program.to_string_lossy().into_owned();
        }
        argv
    }

    /// The agent is gone: the new one, or the old one again, starts without delay.
    pub(super) fn exchange_after(&mut self, now: u64, how: &str) {
        if self.trial.as_ref().is_some_and(|trial| trial.runs) {
            self.take_back(now, how, true);
        }
        if std::mem::take(&mut self.start_at_once) {
            self.restart_at_ms = now;
            self.restart_delay_ms = RESTART_FIRST_MS;
        }
    }

    /// The time of the agent on trial is up.
    pub(super) fn end_trial_in_time(&mut self, now: u64) {
        let Some(trial) = self.trial.as_ref().filter(|trial| trial.until_ms <= now) else { return };
        if trial.runs {
            self.take_back(now, "it did not say in time that it is healthy", false);
            self.kill_agent();
        }
    }

    fn take_back(&mut self, now: u64, why: &str, crashed: bool) {
        let Some(trial) = self.trial.take() else { return };
        let before = self
            .state
            .taken_back
            .take()
            .filter(|back| back.sha256 == trial.sha256 && back.generation == trial.generation);
        self.start_at_once = true;
        let tries = before.map_or(0, |back| back.tries).saturating_add(1);
        let for_good = crashed || tries >= trial.tries;
        log(&format!("the new agent {} is taken back: {why}", trial.sha256));
        if let Err(error) = std::fs::remove_file(&trial.program) {
            log(&format!("{} was not removed: {error}", trial.program.display()));
        }
        self.state.taken_back = Some(TakenBack {
            sha256: trial.sha256,
            generation: trial.generation,
            why: why.to_owned(),
            at_ms: now,
            tries,
            for_good,
        });
    }

    /// The agent on trial is healthy: it takes the old one's name, so that people and the container's next start find it.
    pub(super) fn keep_new_agent(&mut self) {
        let Some(trial) = self.trial.take_if(|trial| trial.runs) else { return };
        self.state.on_trial = false;
        self.state.taken_back = None;
        log(&format!("the new agent {} stays", trial.sha256));
        let Some(current) = self.settings.agent.first_mut() else { return };
        if let Err(error) = std::fs::rename(&trial.program, &*current) {
            log(&format!("it keeps its own name, {}: {error}", trial.program.display()));
            *current = trial.program.to_string_lossy().into_owned();
        }
    }
}
