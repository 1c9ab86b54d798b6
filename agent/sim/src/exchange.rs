//! Agents' binaries: fetched, tried by the guard in the running one's place, kept or taken back (A8).

use pgha_agent_core::Action;
use pgha_agent_core::observation::{AgentSeen, Job, RefusedAgent};
use pgha_schema::desired::AgentBinary;
use pgha_schema::record::{RECORD_FORMAT, Record};
use pgha_schema::status::AgentRefusal;

use crate::world::World;

/// What a container's guard knows of agents.
#[derive(Clone, Debug, Default)]
pub struct Binaries {
    /// The running one.
    pub runs: String,
    /// It is on trial; this one is gone back to.
    before: Option<String>,
    fetched: Option<String>,
    refused: Option<RefusedAgent>,
}

impl Binaries {
    /// Of a pod that was made with this one.
    pub fn new(runs: &str) -> Self {
        Self { runs: runs.to_owned(), ..Self::default() }
    }

    /// The container ends: what did not stay is not there after it, and the guard has forgotten.
    pub fn container_ends(&mut self) {
        let runs = self.before.take().unwrap_or_else(|| self.runs.clone());
        *self = Self { fetched: self.fetched.take(), ..Self::new(&runs) };
    }
}

/// An agent that can be wished for; a broken one ends before it is healthy.
pub fn binary(number: u64, broken: bool) -> AgentBinary {
    let sha256 = if broken { format!("broken-{number}") } else { format!("agent-{number}") };
    AgentBinary { version: number.to_string(), sha256, chunks: Vec::new() }
}

/// An agent from before the record's newest format.
pub const OLD_AGENT: &str = "agent-of-old";

impl World {
    /// The newest format of the record that this pod's agent reads.
    pub fn reads_record(&self, pod: usize) -> u32 {
        if self.pods[pod].binaries.runs == OLD_AGENT { RECORD_FORMAT - 1 } else { RECORD_FORMAT }
    }

    /// An old agent knows no newer format: it writes what it has read.
    pub fn write_as_read(&self, pod: usize, record: &mut Record) {
        record.format = record.format.min(self.reads_record(pod));
    }

    /// The newest agent, which a new pod starts with.
    pub fn newest_agent(&self) -> String {
        self.api.desired.agent.as_ref().map(|binary| binary.sha256.clone()).unwrap_or_default()
    }

    /// What an agent sees of it.
    pub fn see_agent(&self, pod: usize) -> AgentSeen {
        let binaries = &self.pods[pod].binaries;
        AgentSeen {
            sha256: binaries.runs.clone(),
            exchangeable: true,
            fetched: binaries.fetched.clone(),
            fetch: Job::Idle,
            on_trial: binaries.before.is_some(),
            refused: binaries.refused.clone(),
        }
    }

    /// Fetches, exchanges, or stays.
    pub fn see_to_agent(&mut self, pod: usize, action: Action) {
        match action {
            Action::FetchAgent { binary } => self.pods[pod].binaries.fetched = Some(binary.sha256),
            Action::ExchangeAgent { sha256, generation, .. } => {
                let text = format!("{} gives way to {sha256}", self.pods[pod].name);
                self.say(text);
                self.kill_agent(pod);
                let binaries = &mut self.pods[pod].binaries;
                let broken = sha256.starts_with("broken");
                binaries.before = Some(std::mem::replace(&mut binaries.runs, sha256));
                if broken {
                    self.take_back(pod, generation);
                }
            }
            _ => {
                self.pods[pod].binaries.before = None;
                let text = format!("{} keeps {}", self.pods[pod].name, self.pods[pod].binaries.runs);
                self.say(text);
            }
        }
    }

    /// The agent ends on trial: its guard starts the old one again.
    pub fn take_back(&mut self, pod: usize, generation: u64) {
        let at_ms = self.clock(pod);
        let binaries = &mut self.pods[pod].binaries;
        let Some(before) = binaries.before.take() else { return };
        let sha256 = std::mem::replace(&mut binaries.runs, before);
        let why = "it ended".to_owned();
        let text = format!("{} goes back from {sha256}", self.pods[pod].name);
        let refusal = AgentRefusal { sha256, generation, why };
        self.pods[pod].binaries.refused = Some(RefusedAgent { refusal, at_ms, for_good: true });
        self.say(text);
    }
}
