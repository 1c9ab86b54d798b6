//! Rules left out, to show that a law would notice: what stands between host and provider breaks one rule each.
//!
//! The provider runs as it is. A rule that says what an answer is like is broken in the answer; one that says what the provider
//! goes by is broken in what it is asked.

mod calls;
mod mutant;
mod noticed;
pub mod values;

pub use mutant::Mutant;

macro_rules! mutations {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// A rule left out.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Mutation {
            $($(#[$doc])* $name),*
        }

        impl Mutation {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

mutations! {
    /// A call is never answered.
    Dies,
    /// An error says not where.
    NamesNoPath,
    /// Whatever is written is valid.
    ValidatesNothing,
    /// P2: a minimum and a maximum of the schema are no rule.
    ValidatesNoNumbers,
    /// P3: what is not known is judged as if it were empty.
    ValidatesUnknowns,
    /// P3: what is not known is planned as if it were not set.
    PlansUnknownAsNull,
    /// P4: defaults are filled from the proposed state, which carries the prior one.
    DefaultsFromPrior,
    /// P4: an attribute without a configured value has none.
    DropsADefault,
    /// P5: another spelling is planned word for word.
    WordForWord,
    /// P5: the prior spelling is kept for a part of a value that is not equal as a whole.
    KeepsPartOfAWhole,
    /// P5: values are planned in a spelling of the provider's own.
    OwnSpelling,
    /// P6: an answer depends on when it is asked for.
    MovesByItself,
    /// P7: the plan of a change marks outputs unknown, also where nothing changes.
    MarksUnknown,
    /// P7: the same value in other bytes.
    OtherBytes,
    /// P7: at create nothing is known that could be.
    KnowsNothingAtCreate,
    /// P7: a change of `timeouts` is told as one of the cluster.
    TimeoutsTouch,
    /// P7: a change forgets which data it is.
    ForgetsIdentifier,
    /// P7: this provider's agent, however new the one in place is.
    LowersAgent,
    /// P8: a half-done cluster counts as done.
    HalfDoneIsReady,
    /// P8: a change does not promise to be finished.
    NeverReady,
    /// P9: the story of the change before.
    OldStory,
    /// P9: nobody is warned.
    WarnsOfNothing,
    /// P11: what can't be looked at is gone.
    GoneWhenUnconfigured,
    /// P11: what can't be looked at is said to be as it was, without a word.
    SilentWhenUnconfigured,
    /// P11: an apply without a provider succeeds.
    AppliesUnconfigured,
    /// P13: drift is planned to stay.
    KeepsDrift,
    /// P13: a replica count that was changed from outside is taken over.
    TakesReplicasOver,
    /// P15, P16: a plan drops what is known of the cluster.
    DropsPrivate,
    /// P16: a moved state forgets which cluster it is.
    MovesWithoutPrivate,
    /// P20: protection is judged on the configuration.
    ProtectionByConfig,
    /// P20: a destroy is never refused.
    DestroysProtected,
    /// P20: a replacement is never refused.
    ReplacesProtected,
    /// P20: everything is protected.
    ProtectsEverything,
    /// P21: another `bootstrap` is planned over volumes that are kept.
    BringsOldDataBack,
    /// P9: nobody hears what becomes of the data.
    HidesWhatBecomesOfData,
    /// A change of the name is one in place.
    ReplacesNothing,
    /// Every change needs a new cluster.
    ReplacesAlways,
    /// P22: a state's configuration lacks something.
    GeneratesLess,
    /// P22: a state's configuration holds outputs.
    StoredOtherwise,
    /// P23: what can't be done in place is planned all the same.
    PlansTheImpossible,
    /// P23: volumes never grow.
    RefusesGrowth,
    /// The host's rule: a configured value is planned as configured.
    PlansAnotherValue,
    /// The host's rule: a value has every part of its schema.
    LeavesAPartOut,
    /// The host's rule: a write-only value is not planned.
    PlansASecret,
    /// The host's rule: a write-only value is in no message.
    TellsASecret,
    /// The host's rule: a write-only value is in no private state.
    HidesASecret,
    /// The host's rule: what exists keeps its identity.
    RenamesInAPlan,
    /// The host's rule: what is read has its identity.
    ReadsNoIdentity,
    /// The host's rule: an identity is that of the resource.
    IdentifiesAnother,
    /// The host's rule: paths of a replacement exist.
    ReplacesNowhere,
    /// The host's rule: what becomes known during apply is what was planned.
    ChangesDuringApply,
    /// P1: a state says who leads.
    ShowsWhoLeads,
    /// P8: what was not acknowledged is called ready.
    ReadyUnacknowledged,
    /// P10: what a dry run refuses is refused.
    DryRunRefuses,
    /// P12: what an API server adds is drift.
    ServerDefaultsAreDrift,
    /// P12: drift is not shown.
    SeesNoDrift,
    /// P13: a replica count shows twice.
    ShowsReplicasTwice,
    /// P14: a read looks into a Secret.
    ReadsASecret,
    /// P15: whatever can't be found is gone.
    GoneWithoutProof,
    /// P15: what is gone stays in the state.
    NeverGone,
    /// P16: a create takes over what exists.
    TakesOver,
    /// P17: fields are taken over that no plan showed.
    ForcesWhatWasNotShown,
    /// P18: an apply fails although it is carried out.
    FailsWhatWorks,
    /// P19: a create that is not complete fails.
    TaintsWhatServes,
    /// P19: an update that fails claims what it planned.
    ClaimsWhatFailed,
    /// P20: the destroy of a tainted instance is not refused.
    DestroysTainted,
    /// P21: volumes are kept without the record of whose data they hold.
    ForgetsTheRecord,
    /// P21: volumes that are to be kept go too.
    DropsKeptVolumes,
    /// P22: an import forgets something.
    ImportsLess,
    /// P24: each apply makes passwords.
    MakesNewPasswords,
    /// P24: a cluster of one has a disruption budget.
    BudgetsForOne,
    /// The host's rule: a state after apply is the planned one.
    AppliesAnotherValue,
    /// The host's rule: a state after apply is wholly known.
    AppliesUnknown,
    /// The host's rule: what was made has a whole identity.
    AppliesNoIdentity,
    /// The host's rule: a write-only value is not kept.
    KeepsASecret,
    /// P13: a desired document that was edited by hand is no drift.
    MissesHandEdits,
    /// P13: what ALTER SYSTEM gave is no drift.
    MissesAlterSystem,
    /// P13: volumes that are too small are no drift.
    MissesSmallVolumes,
    /// P1: who can't be asked has nothing to tell.
    ForgetsTheSilent,
    /// P17: what ALTER SYSTEM gave stays after an apply whose plan showed it.
    LeavesWhatWasAltered,
    /// P19: an apply whose volumes don't grow succeeds.
    StuckIsDone,
    /// P14: what may not be read is not named.
    HidesTheUnseen,
    /// P14: what may not be read is taken to be different.
    GuessesTheUnseen,
    /// P6: what may not be read is written to all the same.
    WritesBlind,
}

impl Mutation {
    /// Whether it takes agents that do half of their work to notice.
    pub fn needs_half(self) -> bool {
        matches!(self, Self::ReadyUnacknowledged | Self::TaintsWhatServes | Self::ClaimsWhatFailed)
    }

    /// Whether it takes an apply to notice.
    pub fn needs_apply(self) -> bool {
        self as usize >= Self::ShowsWhoLeads as usize
    }
}
