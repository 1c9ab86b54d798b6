//! What the agent does and why, in plain words: for `status`, the status document and the progress of an apply (A32).

use std::fmt;

use crate::decision::{Bar, Reason, Settling};

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::LeaseUnread => "has not read the Lease yet",
            Self::DesiredUnread => "has not read the desired state yet",
            Self::LeaseUnusable(why) => return write!(f, "can't use the Lease: {why}"),
            Self::DataUnknown => "has not looked at its volume yet",
            Self::ForeignData => "leaves its volume alone: the data is of another cluster",
            Self::WrongMajor => {
                "does not start: the data is of another major version of PostgreSQL than the image"
            }
            Self::BeyondReplicas => "is beyond the wanted number of replicas and waits for its removal",
            Self::Leading => "leads, and all is in place",
            Self::LeadingSettling(settling) => return write!(f, "leads; {settling}"),
            Self::RenewalOverdue => "stopped postgres: the Lease could not be renewed in time",
            Self::LeaseTaken(by) => return write!(f, "stopped postgres: {by} holds the Lease"),
            Self::DiskHung => "stopped postgres: the disk does not answer",
            Self::TakeAgain => "takes the lead again after a restart of its container",
            Self::TakeReleased => "takes the lead that was handed over",
            Self::TakeProven => "takes the lead: the old primary is known to be dead",
            Self::TakeSilent => "takes the lead: the old primary is silent, and enough voters have left it",
            Self::TakeExpired => "takes the lead: the old primary's Lease has expired",
            Self::TakeForced => {
                "takes the lead because a person gave the old primary and its voters up: what only they had is lost"
            }
            Self::TakePending => "takes the lead of the new cluster, to make its data",
            Self::RecreateLease => "makes the lost Lease again",
            Self::LeaseLost => {
                "waits: the Lease is gone, and every volume with data has to be heard before the newest makes it again"
            }
            Self::Bootstrapping => "makes the new cluster's data",
            Self::WaitsForBootstrap => "waits for another instance to make the new cluster's data",
            Self::LeavesStream => "leaves the old primary's stream before it takes the lead",
            Self::GathersPromises => "waits for enough voters to leave the silent primary",
            Self::HoldsPromise => "has left the silent primary, and waits for the new one",
            Self::Promoting => "has the lead and is being promoted",
            Self::Following => "follows the primary",
            Self::FindingPosition => "replays its own WAL to find out where it stands",
            Self::WaitsForEra => "waits for the new primary to record where its timeline begins",
            Self::Rewinding => "rewinds its data to the primary's history",
            Self::Cloning => "clones the primary",
            Self::WaitsForSource => "waits for the primary to be ready to be cloned or rewound from",
            Self::MayNotLead(bar) => return write!(f, "sees no primary, and does not take the lead: {bar}"),
            Self::HandingOver => "hands the lead over",
            Self::Released => "has handed the lead over, and waits for the other instance to take it",
            Self::Terminating => "is shutting down",
            Self::Stopped => "is stopped, as the desired state says",
            Self::Restarting => "restarts postgres",
            Self::HeldByPause => "waits with data that has to be made anew: the cluster is paused",
            Self::TimingRefused(why) => return write!(f, "uses the default failover times: {why}"),
        };
        f.write_str(words)
    }
}

impl fmt::Display for Settling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "postgres is starting",
            Self::Gate => "clients are let in after the next renewal of the Lease",
            Self::SyncSet => "the set of synchronous standbys is changing, or not enough of them stream",
            Self::Rolling => "instances are being restarted in order",
            Self::Passwords => {
                "the roles get the passwords of the Secrets that were written anew, once these are mounted"
            }
            Self::Agents => "agents are being exchanged under the running postgres, one after the other",
        })
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::HolderAlive => "nothing is known to be wrong with the primary",
            Self::NotExpired => "the primary has to be silent for longer",
            Self::NotAVoter => {
                "it did not confirm commits, so it may lack some; those that did have to be heard"
            }
            Self::NoVoters => {
                "the primary went on without a synchronous standby, so only the primary has every commit"
            }
            Self::NotOnChain => "its data is none, or left the primary's history",
            Self::PositionUnknown => "its own WAL is not replayed to the end yet",
            Self::BehindRelease => "it lacks WAL that the old primary wrote before it handed over",
            Self::AnotherGoesFirst(pod) => return write!(f, "{pod} is ahead, or goes first among equals"),
            Self::NotRecorded => "the record does not name it yet, so nobody counts on it",
            Self::BeyondMaxLag => "it lags behind the old primary by more than max_lag allows",
            Self::NotTheTarget => "the lead was handed over to another instance",
            Self::Stopped => "the desired state says stopped",
            Self::BeyondReplicas => "it is beyond the wanted number of replicas",
            Self::Terminating => "it is shutting down",
            Self::Paused => "the cluster is paused; `pgha-agent resume` ends that",
            Self::NotLost(pod) => return write!(f, "{pod} answers, so what it has is not lost"),
        };
        f.write_str(words)
    }
}

/// A number of bytes, short.
pub fn bytes(count: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let power = (count.max(1).ilog2() / 10).min(4);
    if power == 0 {
        return format!("{count} bytes");
    }
    let tenths = (u128::from(count) * 10) >> (10 * power);
    format!("{}.{} {}", tenths / 10, tenths % 10, units[power as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_short() {
        let told: Vec<String> = [0, 1_023, 1_024, 1_600, 16 << 20, u64::MAX].map(bytes).to_vec();
        assert_eq!(told, ["0 bytes", "1023 bytes", "1.0 KiB", "1.5 KiB", "16.0 MiB", "16777215.9 TiB"]);
    }

    #[test]
    fn names_and_causes_are_part_of_the_words() {
        let other = || "db-1".to_owned();
        let told = |reason: Reason| reason.to_string();
        assert_eq!(told(Reason::LeaseTaken(other())), "stopped postgres: db-1 holds the Lease");
        assert_eq!(
            told(Reason::MayNotLead(Bar::AnotherGoesFirst(other()))),
            "sees no primary, and does not take the lead: db-1 is ahead, or goes first among equals"
        );
        assert_eq!(
            told(Reason::LeadingSettling(Settling::Gate)),
            "leads; clients are let in after the next renewal of the Lease"
        );
        let why = "renew_interval is too long".to_owned();
        assert!(told(Reason::TimingRefused(why)).ends_with(": renew_interval is too long"));
    }
}
