//! Which faults, when, and for how long.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::sandbox::Cut;

/// Faults begin within this time.
const BEGIN_WITHIN_MS: u64 = 12_000;
/// A fault that has a length lasts at least, and less than.
const LASTS_MS: std::ops::Range<u64> = 300..12_000;
/// At least two, so that they may overlap.
const FAULTS: std::ops::RangeInclusive<u32> = 2..=5;
const PODS: u32 = 3;
const NODES: u8 = 3;

/// What is done to the cluster. Pods are named by ordinal, nodes by number from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL to the postmaster.
    KillPostgres {
        /// Ordinal.
        pod: u32,
    },
    /// SIGKILL to a child of the postmaster: what an out-of-memory killer hits.
    KillBackend {
        /// Ordinal.
        pod: u32,
    },
    /// SIGKILL to the container's first process.
    KillContainer {
        /// Ordinal.
        pod: u32,
    },
    /// SIGKILL to the agent; the guard goes on.
    KillAgent {
        /// Ordinal.
        pod: u32,
    },
    /// The pod is deleted, gracefully or by force.
    DeletePod {
        /// Ordinal.
        pod: u32,
        /// Without waiting for its end.
        force: bool,
    },
    /// Everything in the container is suspended.
    Freeze {
        /// Ordinal.
        pod: u32,
    },
    /// The agent alone is suspended.
    FreezeAgent {
        /// Ordinal.
        pod: u32,
    },
    /// The container gets hardly any processor.
    Starve {
        /// Ordinal.
        pod: u32,
        /// Of one processor.
        percent: u64,
    },
    /// Somebody gives the pod the primary's label.
    Label {
        /// Ordinal.
        pod: u32,
    },
    /// The node is cut off.
    CutNode {
        /// Number, from 1.
        node: u8,
        /// From what.
        cut: Cut,
    },
    /// The API server is killed.
    StopApi,
    /// The API server is suspended.
    PauseApi,
    /// Every piece to and from the API server is held up.
    SlowApi {
        /// Milliseconds.
        delay_ms: u64,
    },
    /// What is asked of the API server is carried out and not answered.
    LoseReplies,
    /// Connections to the API server are reset.
    RefuseApi,
    /// A person asks for a switchover to this pod.
    Switchover {
        /// Ordinal.
        pod: u32,
    },
    /// The volume of an instance that does not lead is emptied.
    WipeStandby {
        /// Ordinal.
        pod: u32,
    },
}

impl Fault {
    /// Whether it has an end of its own.
    pub fn lasts(self) -> bool {
        matches!(
            self,
            Self::Freeze { .. }
                | Self::FreezeAgent { .. }
                | Self::Starve { .. }
                | Self::CutNode { .. }
                | Self::StopApi
                | Self::PauseApi
                | Self::SlowApi { .. }
                | Self::LoseReplies
                | Self::RefuseApi
        )
    }

    /// Whether writes that are on their way may land after it began.
    pub fn delays_writes(self) -> bool {
        matches!(self, Self::PauseApi | Self::SlowApi { .. } | Self::LoseReplies | Self::CutNode { .. })
    }

    fn any(random: &mut StdRng) -> Self {
        let pod = random.random_range(0..PODS);
        let node = random.random_range(1..=NODES);
        match random.random_range(0..19_u32) {
            0 | 1 => Self::KillPostgres { pod },
            2 | 3 => Self::KillContainer { pod },
            4 => Self::KillAgent { pod },
            5 => Self::DeletePod { pod, force: false },
            6 => Self::DeletePod { pod, force: true },
            7 => Self::Freeze { pod },
            8 => Self::FreezeAgent { pod },
            9 => Self::CutNode { node, cut: Cut::All },
            10 => {
                let cuts = [Cut::ApiOnly, Cut::PeersOnly, Cut::ClientsOnly, Cut::OneWayIn, Cut::OneWayOut];
                Self::CutNode { node, cut: cuts[random.random_range(0..cuts.len())] }
            }
            11 => Self::StopApi,
            12 => Self::PauseApi,
            13 => match random.random_range(0..3_u32) {
                0 => Self::LoseReplies,
                1 => Self::RefuseApi,
                _ => Self::SlowApi { delay_ms: random.random_range(50..2_500) },
            },
            14 => Self::Switchover { pod },
            15 => Self::KillBackend { pod },
            16 => Self::Starve { pod, percent: random.random_range(1..20) },
            17 => Self::Label { pod },
            _ => Self::WipeStandby { pod },
        }
    }
}

/// A fault with its time, counted from the round's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timed {
    /// When it begins.
    pub at: Duration,
    /// How long it lasts; zero when it has no end of its own.
    pub lasts: Duration,
    /// What.
    pub fault: Fault,
}

/// The faults of one round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// What it was made from.
    pub seed: u64,
    /// In the order in which they begin.
    pub faults: Vec<Timed>,
}

impl Schedule {
    /// The same for the same seed.
    pub fn of(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let count = random.random_range(FAULTS);
        let mut faults: Vec<Timed> = (0..count)
            .map(|_| {
                let at = Duration::from_millis(random.random_range(0..BEGIN_WITHIN_MS));
                let fault = Fault::any(&mut random);
                let lasts_ms = if fault.lasts() { random.random_range(LASTS_MS) } else { 0 };
                Timed { at, lasts: Duration::from_millis(lasts_ms), fault }
            })
            .collect();
        faults.sort_by_key(|timed| timed.at);
        Self { seed, faults }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}:", self.seed)?;
        for timed in &self.faults {
            write!(f, "\n  {:>5.1} s {:?}", timed.at.as_secs_f64(), timed.fault)?;
            if timed.fault.lasts() {
                write!(f, " for {:.1} s", timed.lasts.as_secs_f64())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_faults_again_and_seeds_differ() {
        assert_eq!(Schedule::of(7), Schedule::of(7));
        assert_ne!(Schedule::of(7).faults, Schedule::of(8).faults);
    }

    #[test]
    fn every_kind_of_fault_comes_and_some_overlap() {
        let all: Vec<Timed> = (0..400).flat_map(|seed| Schedule::of(seed).faults).collect();
        let kinds: std::collections::BTreeSet<String> = all
            .iter()
            .map(|timed| format!("{:?}", timed.fault).split([' ', '{']).next().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(kinds.len(), 17, "{kinds:?}");
        let overlap = (0..400)
            .map(Schedule::of)
            .any(|schedule| schedule.faults.windows(2).any(|pair| pair[1].at < pair[0].at + pair[0].lasts));
        assert!(overlap);
    }
}
