//! Rules left out, to show that the simulator would see it.

use pgha_agent_core::Action;
use pgha_agent_core::Observation;
use pgha_agent_core::observation::{DataSeen, InForce, LeaseSeen, PostgresSeen, StreamSeen};

/// A rule left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mutation {
    /// A6, A7: neither agent nor guard fences.
    NoFence,
    /// A6: a candidate does not wait for expiry.
    NoExpiry,
    /// A12: a taker stays in the old stream.
    KeepsStream,
    /// A11: anybody may take in sync, not only V.
    AnybodyVotes,
    /// A16, A17: a standby is recorded before it has caught up.
    RecordsBeforeCatchUp,
    /// A17: no checkpoint when going from no names to names.
    NoCheckpoint,
    /// A18: names are emptied although the record still holds V.
    DegradesUnrecorded,
    /// A9: clients are let in without a renewal after promotion.
    GateBeforeRenewal,
    /// A3: only timelines are compared, not eras.
    TimelinesOnly,
    /// A23: any other data is replaced at once, whether the holder lives or not.
    CrashesNeverRecover,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::NoFence,
        Self::NoExpiry,
        Self::KeepsStream,
        Self::AnybodyVotes,
        Self::RecordsBeforeCatchUp,
        Self::NoCheckpoint,
        Self::DegradesUnrecorded,
        Self::GateBeforeRenewal,
        Self::TimelinesOnly,
        Self::CrashesNeverRecover,
    ];

    /// What the agent is made to believe.
    pub fn distort(self, seen: &mut Observation) {
        match self {
            Self::NoExpiry => {
                if let LeaseSeen::Read(read) = &mut seen.lease {
                    read.first_seen_ms = read.first_seen_ms.saturating_sub(60_000);
                }
            }
            Self::KeepsStream => {
                if let PostgresSeen::Standby(standby) = &mut seen.postgres {
                    if !matches!(standby.stream, StreamSeen::Waiting { .. }) {
                        standby.stream = StreamSeen::Detached;
                    }
                }
            }
            Self::AnybodyVotes => {
                let member = seen.member().cloned();
                let leads = seen.primary().is_some();
                if let (LeaseSeen::Read(read), Some(member), false) = (&mut seen.lease, member, leads) {
                    read.record.voters.insert(member);
                }
            }
            Self::RecordsBeforeCatchUp => {
                if let PostgresSeen::Primary(primary) = &mut seen.postgres {
                    primary.in_force = Some(InForce {
                        names: primary.names_shown.clone(),
                        from_lsn: pgha_schema::lsn::Lsn::ZERO,
                    });
                }
            }
            Self::GateBeforeRenewal => {
                if let PostgresSeen::Primary(primary) = &mut seen.postgres {
                    primary.primary_since_ms = 0;
                }
            }
            Self::TimelinesOnly => {
                if let (DataSeen::Present(data), LeaseSeen::Read(read)) = (&mut seen.data, &seen.lease) {
                    data.era = Some(read.record.era());
                }
            }
            Self::NoFence | Self::NoCheckpoint | Self::DegradesUnrecorded | Self::CrashesNeverRecover => {}
        }
    }

    /// What becomes of an action; `None`: it is left out.
    pub fn twist(self, action: Action) -> Option<Action> {
        match (self, action) {
            (Self::NoFence, Action::Fence) => None,
            (Self::NoCheckpoint, Action::ConfirmInForce { names, .. }) => {
                Some(Action::ConfirmInForce { names, checkpoint: false })
            }
            (Self::CrashesNeverRecover, Action::StartPostgres { .. }) => None,
            (_, action) => Some(action),
        }
    }
}
