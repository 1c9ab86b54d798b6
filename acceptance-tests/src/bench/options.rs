//! What `cargo dev bench failover` is told.

use std::path::PathBuf;

use super::trial::{Fault, System};

/// Options of the benchmark.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Which systems, separated by commas or blanks
    #[arg(long, value_enum, value_delimiter = ',', num_args = 1.., default_values_t = System::ALL)]
    pub systems: Vec<System>,
    /// Which faults, separated by commas or blanks
    #[arg(long, value_enum, value_delimiter = ',', num_args = 1.., default_values_t = Fault::ALL)]
    pub faults: Vec<Fault>,
    /// How often each fault strikes each system
    #[arg(long, default_value_t = 3)]
    pub trials: u32,
    /// How often it strikes each Patroni, whose trials take long; as often as ours when not given
    #[arg(long)]
    pub patroni_trials: Option<u32>,
    /// File for one JSON object per trial, a line each
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Folder for benchmarks.md and its pictures
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs"))]
    pub docs: PathBuf,
    /// Over how many seconds memory, processor time and API requests are measured; 0 leaves it out
    #[arg(long, default_value_t = 60)]
    pub cost_seconds: u64,
    /// Seconds of each pgbench run, 15 at most; 0 leaves them out
    #[arg(long, default_value_t = 10)]
    pub pgbench_seconds: u64,
    /// Modes in which pgbench runs
    #[arg(long, value_delimiter = ',', num_args = 1.., default_values_t = ["sync", "quorum", "async"].map(str::to_owned))]
    pub sync_modes: Vec<String>,
}

impl Options {
    /// How often each fault strikes a system.
    pub fn trials_of(&self, system: System) -> u32 {
        if system.is_patroni() { self.patroni_trials.unwrap_or(self.trials) } else { self.trials }
    }

    /// How many rounds of trials there are.
    pub fn rounds(&self) -> u32 {
        self.systems.iter().map(|system| self.trials_of(*system)).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }

    fn parsed(words: &str) -> Options {
        Command::parse_from(std::iter::once("bench").chain(words.split_whitespace())).options
    }

    #[test]
    fn commas_and_blanks_part_the_names() {
        let options = parsed("--systems ours,patroni-fast --faults switchover node-partition --trials 20");
        assert_eq!(options.systems, [System::Ours, System::PatroniFast]);
        assert_eq!(options.faults, [Fault::Switchover, Fault::NodePartition]);
        assert_eq!((options.rounds(), options.trials_of(System::PatroniFast)), (20, 20));
    }

    #[test]
    fn patroni_may_have_fewer_trials() {
        let options = parsed("--trials 20 --patroni-trials 3");
        assert_eq!(options.systems, System::ALL);
        assert_eq!((options.rounds(), options.trials_of(System::PatroniDefault)), (20, 3));
        assert_eq!(parsed("--systems patroni-fast --trials 20 --patroni-trials 3").rounds(), 3);
    }
}
