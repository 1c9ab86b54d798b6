//! Rules left out, to show that the simulator would see it.

mod distort;

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
    /// A11: takes although those who promised have received more.
    TakesBehindPromises,
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
    /// A15: a position counts before local WAL has been replayed to its end.
    TrustsUnreplayed,
    /// A16: a name is added to those that confirm before the record has it.
    WidensUnrecorded,
    /// A18: names are emptied although the record still holds V.
    DegradesUnrecorded,
    /// A21: whoever is named by a release takes, whatever it has received.
    BehindRelease,
    /// A3: only timelines are compared, not eras.
    TimelinesOnly,
    /// A3, A23: forked data is rewound even where timeline numbers can't tell the histories apart.
    RewindsBlindly,
    /// A4: a lost Lease is made again by whoever is the newest among those that are heard.
    RecreatesUnheard,
    /// A6: while the wished durations change only the new ones count.
    OneTiming,
    /// A10: a pod that is being deleted counts as dead.
    DiesByStatus,
    /// A11: the holder's own member does not take its record again.
    NeverTakesAgain,
    /// A11: in async whoever comes first takes.
    ComparesNobody,
    /// A12: the holder sends no heartbeat.
    SendsNoHeartbeat,
    /// A14: in async nobody is too far behind.
    IgnoresMaxLag,
    /// A18: `required` goes on alone as `preferred` does.
    RequiredDegrades,
    /// A21: what nobody took is not taken back.
    NeverTakesBack,
    /// A22: a new leadership begins with every recorded member in V.
    VotersUnseen,
    /// A26: a disk without room is no reason to give way.
    IgnoresFullDisk,
    /// A31: an answered request is forgotten.
    ForgetsAnswers,
    /// P8: what a member has in force is not asked for.
    AcknowledgesEarly,
    /// P21: a stopped cluster's record may be taken.
    TakesStopped,
    /// A31: members other than the holder know of no pause.
    IgnoresPause,
    /// A31: a broken glass allows its member to take in every era.
    BreakGlassAnyEra,
    /// A1: a write of the record replaces whatever is there.
    WritesBlindly,
    /// A4: initdb runs although volumes and members tell of data.
    InitdbBesideData,
    /// A8: every agent is exchanged as soon as there is another one.
    ExchangesAllAtOnce,
    /// A23: what ends at every start is started again, for ever.
    StartsForEver,
    /// A11: who may take does, though one that promised has received more.
    LetsNobodyAheadFirst,
    /// A13: a pod whose token counts no more stays when its postgres has stopped.
    OutlivesItsToken,
    /// A29: the primary's pod is rolled before the others.
    RollsPrimaryFirst,
    /// P15: ordinals beyond the wish count as those within it.
    BeyondCounts,
    /// A8: an agent that one pod has taken back goes on to the next.
    SpreadsRefusedAgent,
    /// A31: the only other copy of the data may be cloned anew too.
    ReinitsTheOnlyCopy,
    /// A31: whoever is named in a switchover fits.
    HandsOverToTheUnfit,
    /// A31: a restart that was asked for ends whatever postmaster runs.
    RestartsAgain,
    /// A2: a clone keeps the identity of the data that it was copied from.
    ClonesKeepIdentity,
    /// A5: a container starts on a volume on which processes of the one before still run.
    SharesVolume,
    /// A9: clients are let in as soon as postgres may write.
    OpensGateAtOnce,
    /// A23: forked data is replaced although the record still counts on it.
    ReplacesVoters,
    /// A26: a standby without room asks for no restartpoint.
    AsksForNoRoom,
    /// A23: a standby that waits for WAL that nobody has goes on waiting.
    WaitsForEver,
    /// A8: a new agent ends what runs and starts it itself.
    StartsAfresh,
    /// A8: the holder writes the newest format that it knows, whoever reads it.
    WritesNewFormat,
    /// A20: a turn ends with a read or write of the record that gets no answer.
    EndsWithTheRecord,
    /// A4: clients are let in although nothing but the Lease tells of the data.
    OpensUnmarked,
    /// A4: it is not kept that clients were let in.
    ForgetsMarks,
    /// A4: what is kept of another cluster's life, or of other data, counts.
    TrustsAnyMarks,
    /// A4: a marking that is refused ends its turn, every turn.
    MarksInTheWay,
    /// P23: what one postgres does not start with, the next is restarted for.
    RestartsForWhatFails,
    /// Nobody ever starts postgres again: it has to be seen that nothing heals.
    NeverStarts,
}

impl Mutation {
    /// All of them.
    pub fn all() -> &'static [Self] {
        <Self as clap::ValueEnum>::value_variants()
    }

    /// The walk-through that shows what this rule is for, where seeds hardly ever meet it.
    pub fn story(self) -> Option<&'static str> {
        match self {
            Self::ForgetsPromise => Some("promise-outlives-its-process"),
            Self::IgnoresPause => Some("pause-while-the-primary-is-lost"),
            Self::BreakGlassAnyEra => Some("break-glass-outlives-its-era"),
            Self::VouchesUnbound => Some("async-api-away"),
            Self::RecreatesUnasked => Some("deposed-and-the-lease-deleted"),
            Self::RecreatesUnheard => Some("lease-deleted-and-the-newest-away"),
            Self::OneTiming => Some("shorter-lease-unknown-to-the-holder"),
            Self::TrustsUnreplayed => Some("replay-goes-on"),
            Self::WidensUnrecorded => Some("named-and-not-recorded"),
            Self::ComparesNobody => Some("async-laggard"),
            Self::SendsNoHeartbeat => Some("primary-heard-but-not-renewing"),
            Self::IgnoresMaxLag => Some("async-beyond-max-lag"),
            Self::RequiredDegrades => Some("standby-then-primary-dies-required"),
            Self::NeverTakesBack => Some("switchover-that-nobody-takes"),
            Self::VotersUnseen => Some("nobody-votes-before-it-has-caught-up"),
            Self::ForgetsAnswers => Some("switchover-by-desired-state"),
            Self::IgnoresFullDisk => Some("disk-full"),
            Self::AcknowledgesEarly => Some("acknowledged-by-all"),
            Self::TakesStopped => Some("destroy-and-create"),
            Self::InitdbBesideData => Some("pending-record-beside-data"),
            Self::ExchangesAllAtOnce | Self::SpreadsRefusedAgent => Some("agent-upgrade"),
            Self::LetsNobodyAheadFirst => Some("who-is-ahead-leads"),
            Self::HandsOverToTheUnfit => Some("switchover-refused"),
            Self::OutlivesItsToken => Some("forced-deletion"),
            Self::RollsPrimaryFirst => Some("rolling"),
            Self::BeyondCounts => Some("scale-down"),
            Self::RestartsAgain | Self::ReinitsTheOnlyCopy => Some("restart-and-reinit"),
            Self::SharesVolume => Some("left-behind"),
            Self::OpensGateAtOnce => Some("frozen-between-promotion-and-gate"),
            Self::ReplacesVoters => Some("voter-that-forked"),
            Self::AsksForNoRoom => Some("standby-disk-full"),
            Self::WaitsForEver => Some("standby-waits-for-wal"),
            Self::StartsAfresh => Some("agents-restarted"),
            Self::WritesNewFormat => Some("agents-of-two-formats"),
            Self::OpensUnmarked => Some("marks-refused-at-first"),
            Self::ForgetsMarks => Some("marks-hidden"),
            Self::TrustsAnyMarks => Some("marks-refused-to-another-cluster"),
            Self::MarksInTheWay => Some("marks-refused"),
            Self::RestartsForWhatFails => Some("setting-that-ends-starts"),
            Self::EndsWithTheRecord => Some("api-away-and-a-postgres-ends"),
            _ => None,
        }
    }

    /// Whether the story is noticed to go otherwise by what it expects, since no property speaks of it.
    pub fn breaks_an_expectation(self) -> bool {
        self.breaks().is_none()
    }

    /// Whether this is the property that has to break.
    pub fn is_noticed_as(self, violation: &Violation) -> bool {
        self.breaks().is_some_and(|breaks| breaks(violation))
    }

    /// The property that has to break; `None`: only what its story expects speaks of the rule.
    fn breaks(self) -> Option<fn(&Violation) -> bool> {
        Some(match self {
            Self::StaysUnheard => |violation| matches!(violation, Violation::DeposedServes { .. }),
            Self::PreemptsHeard => |violation| matches!(violation, Violation::HeardHolderPreempted { .. }),
            Self::NoFence
            | Self::NoExpiry
            | Self::KeepsStream
            | Self::ForgetsPromise
            | Self::VouchesUnbound
            | Self::OneTiming
            | Self::DiesByStatus
            | Self::WritesBlindly
            | Self::ClonesKeepIdentity
            | Self::OpensGateAtOnce
            | Self::TakesAnyVersion => |violation| {
                matches!(violation, Violation::TakenTooEarly { .. } | Violation::TwoWriters { .. })
            },
            Self::AnybodyVotes
            | Self::RecordsBeforeCatchUp
            | Self::NoCheckpoint
            | Self::TrustsUnreplayed
            | Self::WidensUnrecorded
            | Self::DegradesUnrecorded
            | Self::BehindRelease
            | Self::TakesBehindPromises
            | Self::RecreatesUnheard
            | Self::VotersUnseen
            | Self::InitdbBesideData
            | Self::SharesVolume
            | Self::BreakGlassAnyEra => |violation| {
                matches!(violation, Violation::CommitLost { .. } | Violation::LastCopyWiped { .. })
            },
            Self::TakesByOnePromise => |violation| {
                matches!(
                    violation,
                    Violation::TakenTooEarly { .. }
                        | Violation::TwoWriters { .. }
                        | Violation::CommitLost { .. }
                )
            },
            // Two eras of one number: what follows from that is found first.
            Self::RecreatesUnasked => |violation| !matches!(violation, Violation::NotHealed { .. }),
            Self::TimelinesOnly | Self::RewindsBlindly => {
                |violation| matches!(violation, Violation::HistoriesMixed { .. })
            }
            Self::IgnoresPause => |violation| matches!(violation, Violation::TakenInPause { .. }),
            Self::NeverStarts | Self::NeverTakesAgain | Self::StartsForEver => {
                |violation| matches!(violation, Violation::NotHealed { .. })
            }
            Self::ComparesNobody
            | Self::SendsNoHeartbeat
            | Self::IgnoresMaxLag
            | Self::RequiredDegrades
            | Self::NeverTakesBack
            | Self::ForgetsAnswers
            | Self::IgnoresFullDisk
            | Self::AcknowledgesEarly
            | Self::TakesStopped
            | Self::ExchangesAllAtOnce
            | Self::SpreadsRefusedAgent
            | Self::LetsNobodyAheadFirst
            | Self::OutlivesItsToken
            | Self::RollsPrimaryFirst
            | Self::BeyondCounts
            | Self::HandsOverToTheUnfit
            | Self::ReinitsTheOnlyCopy
            | Self::ReplacesVoters
            | Self::AsksForNoRoom
            | Self::WaitsForEver
            | Self::StartsAfresh
            | Self::WritesNewFormat
            | Self::EndsWithTheRecord
            | Self::RestartsForWhatFails
            | Self::OpensUnmarked
            | Self::ForgetsMarks
            | Self::TrustsAnyMarks
            | Self::MarksInTheWay
            | Self::RestartsAgain => return None,
        })
    }
}
