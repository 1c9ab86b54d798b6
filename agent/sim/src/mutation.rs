//! Rules left out, to show that the simulator would see it.

use pgha_agent_core::Action;
use pgha_agent_core::Observation;
use pgha_agent_core::observation::{AckSeen, DataSeen, InForce, LeaseSeen, PostgresSeen};

use crate::invariants::Violation;

/// A rule left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mutation {
    /// A6, A7: neither agent nor guard fences.
    NoFence,
    /// A6: a candidate does not wait for expiry.
    NoExpiry,
    /// A12: a promise is not fsynced: whoever restarts goes back into the stream.
    ForgetsPromise,
    /// A12: promises although heartbeats arrive.
    PreemptsHeard,
    /// A12: the swap carries whatever version is the newest.
    TakesAnyVersion,
    /// A11: one promise is enough, whatever q says.
    TakesByOnePromise,
    /// A20: the holder stays although nobody acknowledges it.
    StaysUnheard,
    /// A20: in async an acknowledgement binds nobody.
    VouchesUnbound,
    /// A4: the holder makes a lost Lease again without asking who could have taken it before.
    RecreatesUnasked,
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
    /// A21: whoever is named by a release takes, whatever it has received.
    BehindRelease,
    /// A3: only timelines are compared, not eras.
    TimelinesOnly,
    /// A31: members other than the holder know of no pause.
    IgnoresPause,
    /// A31: a broken glass allows its member to take in every era.
    BreakGlassAnyEra,
    /// Nobody ever starts postgres again: it has to be seen that nothing heals.
    NeverStarts,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::NoFence,
        Self::NoExpiry,
        Self::ForgetsPromise,
        Self::PreemptsHeard,
        Self::TakesAnyVersion,
        Self::TakesByOnePromise,
        Self::StaysUnheard,
        Self::VouchesUnbound,
        Self::RecreatesUnasked,
        Self::KeepsStream,
        Self::AnybodyVotes,
        Self::RecordsBeforeCatchUp,
        Self::NoCheckpoint,
        Self::DegradesUnrecorded,
        Self::BehindRelease,
        Self::TimelinesOnly,
        Self::IgnoresPause,
        Self::BreakGlassAnyEra,
        Self::NeverStarts,
    ];

    /// The walk-through that shows what this rule is for, where seeds hardly ever meet it.
    pub fn story(self) -> Option<&'static str> {
        match self {
            Self::ForgetsPromise => Some("promise-outlives-its-process"),
            Self::IgnoresPause => Some("pause-while-the-primary-is-lost"),
            Self::BreakGlassAnyEra => Some("break-glass-outlives-its-era"),
            Self::VouchesUnbound => Some("async-api-away"),
            Self::RecreatesUnasked => Some("deposed-and-the-lease-deleted"),
            _ => None,
        }
    }

    /// Whether this is the property that has to break.
    pub fn is_noticed_as(self, violation: &Violation) -> bool {
        match self {
            Self::StaysUnheard => matches!(violation, Violation::DeposedServes { .. }),
            Self::PreemptsHeard => matches!(violation, Violation::HeardHolderPreempted { .. }),
            Self::NoFence
            | Self::NoExpiry
            | Self::KeepsStream
            | Self::ForgetsPromise
            | Self::VouchesUnbound
            | Self::TakesAnyVersion => {
                matches!(violation, Violation::TakenTooEarly { .. } | Violation::TwoWriters { .. })
            }
            Self::AnybodyVotes
            | Self::RecordsBeforeCatchUp
            | Self::NoCheckpoint
            | Self::DegradesUnrecorded
            | Self::BehindRelease
            | Self::BreakGlassAnyEra => {
                matches!(violation, Violation::CommitLost { .. } | Violation::LastCopyWiped { .. })
            }
            Self::TakesByOnePromise => matches!(
                violation,
                Violation::TakenTooEarly { .. } | Violation::TwoWriters { .. } | Violation::CommitLost { .. }
            ),
            // Two eras of one number: what follows from that is found first.
            Self::RecreatesUnasked => !matches!(violation, Violation::NotHealed { .. }),
            Self::TimelinesOnly => matches!(violation, Violation::HistoriesMixed { .. }),
            Self::IgnoresPause => matches!(violation, Violation::TakenInPause { .. }),
            Self::NeverStarts => matches!(violation, Violation::NotHealed { .. }),
        }
    }

    /// What the agent is made to believe.
    pub fn distort(self, seen: &mut Observation) {
        match self {
            Self::NoExpiry => {
                if let LeaseSeen::Read(read) = &mut seen.lease {
                    read.first_seen_ms = read.first_seen_ms.saturating_sub(60_000);
                }
            }
            Self::AnybodyVotes => {
                let member = seen.member().filter(|_| seen.standby().is_some()).cloned();
                let now_ms = seen.now_ms;
                if let (LeaseSeen::Read(read), Some(member)) = (&mut seen.lease, member)
                    && now_ms.saturating_sub(read.first_seen_ms) > 10_000
                {
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
            Self::BehindRelease => {
                if let LeaseSeen::Read(read) = &mut seen.lease
                    && let Some(release) = &mut read.record.release
                {
                    release.position = pgha_schema::lsn::Lsn::ZERO;
                    release.target = None;
                }
            }
            Self::TimelinesOnly => {
                if let (DataSeen::Present(data), LeaseSeen::Read(read)) = (&mut seen.data, &seen.lease) {
                    data.era = Some(read.record.era());
                }
            }
            Self::StaysUnheard => {
                if let LeaseSeen::Read(read) = &seen.lease {
                    let ack = AckSeen { era: read.record.era(), asked_ms: seen.now_ms, binds: true };
                    seen.acks.extend(read.record.voters.iter().map(|voter| (voter.clone(), ack.clone())));
                }
            }
            Self::TakesByOnePromise => {
                if let (LeaseSeen::Read(read), PostgresSeen::Standby(_)) = (&mut seen.lease, &seen.postgres) {
                    read.record.quorum = 1;
                }
            }
            Self::VouchesUnbound => seen.holder_heard.asks = None,
            Self::RecreatesUnasked => {
                if let (LeaseSeen::Missing { .. }, Some(kept)) = (&seen.lease, &seen.kept) {
                    let ack = AckSeen { era: kept.era(), asked_ms: seen.now_ms, binds: true };
                    seen.acks.extend(kept.voters.iter().map(|voter| (voter.clone(), ack.clone())));
                }
            }
            Self::IgnoresPause => forget_pause(seen),
            Self::BreakGlassAnyEra => break_in_every_era(seen),
            Self::PreemptsHeard => {
                seen.holder_heard.last = None;
                seen.holder_heard.listening_ms = 0;
            }
            Self::NoFence
            | Self::KeepsStream
            | Self::ForgetsPromise
            | Self::TakesAnyVersion
            | Self::NoCheckpoint
            | Self::DegradesUnrecorded
            | Self::NeverStarts => {}
        }
    }

    /// What becomes of an action; `None`: it is left out.
    pub fn twist(self, action: Action) -> Option<Action> {
        match (self, action) {
            (Self::NoFence, Action::Fence) => None,
            (Self::NoCheckpoint, Action::ConfirmInForce { names, .. }) => {
                Some(Action::ConfirmInForce { names, checkpoint: false })
            }
            (Self::NeverStarts, Action::StartPostgres { .. }) => None,
            (_, action) => Some(action),
        }
    }
}

fn forget_pause(seen: &mut Observation) {
    let nonce = &seen.me.nonce;
    if let LeaseSeen::Read(read) = &mut seen.lease
        && read.record.holder.as_ref().is_some_and(|holder| holder.nonce != *nonce)
    {
        read.record.pause = None;
    }
}

fn break_in_every_era(seen: &mut Observation) {
    if let (LeaseSeen::Read(read), Some(desired)) = (&seen.lease, &mut seen.desired)
        && let Some(allowed) = &mut desired.document.break_glass
    {
        allowed.era = read.record.era();
    }
}
