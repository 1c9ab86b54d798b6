//! What is measured: systems, faults, and what one trial found. Plain data, written as one JSON object a line.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::timeline::Timeline;

/// A system that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// This project's agent.
    Ours,
    /// Patroni as it comes.
    PatroniDefault,
    /// Patroni with the shortest times that its documentation allows.
    PatroniFast,
}

impl System {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 3] = [Self::Ours, Self::PatroniDefault, Self::PatroniFast];

    /// Whether it is Patroni, in one of its settings.
    pub fn is_patroni(self) -> bool {
        self != Self::Ours
    }

    /// For the head of a column.
    pub fn title(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::PatroniDefault => "Patroni, default",
            Self::PatroniFast => "Patroni, fast",
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&word(self))
    }
}

/// What is done to a cluster that is whole and under load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// A planned hand-over to the synchronous standby.
    Switchover,
    /// SIGKILL to the primary's postmaster.
    PostgresKill,
    /// The primary's pod is deleted.
    PodDelete,
    /// The primary's pod is deleted without a grace period.
    PodDeleteForce,
    /// SIGKILL to the first process of the primary's container.
    ContainerKill,
    /// The primary's node is cut off from everything.
    NodePartition,
    /// SIGKILL to the first process of the synchronous standby's container.
    StandbyKill,
    /// The synchronous standby's node is cut off from everything.
    StandbyPartition,
}

impl Fault {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 8] = [
        Self::Switchover,
        Self::PostgresKill,
        Self::PodDelete,
        Self::PodDeleteForce,
        Self::ContainerKill,
        Self::NodePartition,
        Self::StandbyKill,
        Self::StandbyPartition,
    ];

    /// Whether the harness has to undo it.
    pub fn cuts_a_node(self) -> bool {
        matches!(self, Self::NodePartition | Self::StandbyPartition)
    }

    /// Whether it strikes the synchronous standby; else the primary.
    pub fn strikes_the_standby(self) -> bool {
        matches!(self, Self::StandbyKill | Self::StandbyPartition)
    }

    /// For the head of a row.
    pub fn title(self) -> &'static str {
        match self {
            Self::Switchover => "switchover",
            Self::PostgresKill => "postmaster SIGKILL",
            Self::PodDelete => "pod deleted, graceful",
            Self::PodDeleteForce => "pod deleted, forced",
            Self::ContainerKill => "container killed (PID 1)",
            Self::NodePartition => "node cut off",
            Self::StandbyKill => "sync standby killed",
            Self::StandbyPartition => "sync standby cut off",
        }
    }

    /// What the median of our gaps is to stay below, in seconds.
    pub fn target_s(self) -> f64 {
        match self {
            Self::Switchover | Self::PodDelete => 0.7,
            Self::PostgresKill => 1.0,
            Self::PodDeleteForce | Self::ContainerKill => 1.2,
            Self::NodePartition => 5.0,
            Self::StandbyKill => 0.5,
            Self::StandbyPartition => 3.0,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&word(self))
    }
}

/// The name that options and JSON use.
fn word(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |known| known.get_name().to_owned())
}

/// What one trial found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Which system.
    pub system: System,
    /// Which fault.
    pub fault: Fault,
    /// Which repeat, from 1.
    pub trial: u32,
    /// The longest time without an acknowledged commit, in seconds, between the fault and redundancy.
    pub gap_s: f64,
    /// The same in the quiet seconds before the fault: what the machine itself does.
    pub noise_s: f64,
    /// Commits that were acknowledged.
    pub acked: usize,
    /// Acknowledged commits that are not there once all has healed.
    pub lost: usize,
    /// From the fault (for a cut: from its end) until three instances stream and one confirms commits, in seconds.
    pub redundant_again_s: Option<f64>,
    /// What went wrong; nothing when the trial is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// What happened when; ours alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Timeline>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_is_one_line_with_the_names_that_options_use() {
        let trial = Trial {
            system: System::PatroniFast,
            fault: Fault::PodDeleteForce,
            trial: 2,
            gap_s: 2.625,
            noise_s: 0.05,
            acked: 412,
            lost: 0,
            redundant_again_s: Some(9.5),
            failed: None,
            timeline: None,
        };
        let line = serde_json::to_string(&trial).unwrap();
        assert_eq!(
            line,
            r#"{"system":"patroni-fast","fault":"pod-delete-force","trial":2,"gap_s":2.625,"noise_s":0.05,"acked":412,"lost":0,"redundant_again_s":9.5}"#
        );
        assert_eq!(serde_json::from_str::<Trial>(&line).unwrap(), trial);
        for fault in Fault::ALL {
            assert_eq!(serde_json::to_string(&fault).unwrap(), format!("\"{fault}\""));
        }
    }
}
