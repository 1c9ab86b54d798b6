//! As which law a rule that is left out is noticed.

use pgha_acceptance_tests::host::Rule;

use super::Mutation;
use crate::laws::Law;

impl Mutation {
    /// Whether this is a law that the missing rule has to break.
    pub fn is_noticed_as(self, law: Law) -> bool {
        let expected: &[Law] = match self {
            Self::Dies => &[Law::Answers],
            Self::NamesNoPath => &[Law::NamesThePath],
            Self::ReadsASecret => &[Law::ReadsLittle],
            Self::ForcesWhatWasNotShown => &[Law::TakesNoFields],
            Self::ForgetsTheRecord | Self::DropsKeptVolumes => &[Law::Volumes],
            Self::MakesNewPasswords => &[Law::Passwords],
            Self::BudgetsForOne => &[Law::Budget],
            Self::ValidatesNothing | Self::ValidatesNoNumbers => &[Law::RefusesBadInput],
            Self::ValidatesUnknowns => &[Law::UnknownsPass],
            Self::PlansUnknownAsNull | Self::PlansAnotherValue => &[Law::Host(Rule::PlanValid)],
            // Where the prior state was changed from outside, that is taken over.
            Self::DefaultsFromPrior => &[Law::FromConfig, Law::Repaired],
            Self::DropsADefault => &[Law::KnownAtCreate, Law::NothingToDo],
            Self::WordForWord => &[Law::FromConfig],
            Self::KeepsPartOfAWhole => &[Law::FromConfig, Law::Host(Rule::PlanValid)],
            Self::OwnSpelling => &[Law::Host(Rule::PlanValid), Law::NothingToDo],
            Self::MovesByItself => &[Law::Pure],
            Self::MarksUnknown | Self::OtherBytes => &[Law::NothingToDo],
            Self::KnowsNothingAtCreate => &[Law::KnownAtCreate],
            // Where more than the timeouts changes, what is told is wrong too, and where they are not known at first, told anew.
            Self::TimeoutsTouch => &[Law::OutputsKept, Law::Story, Law::Host(Rule::FinalPlan)],
            Self::ForgetsIdentifier => &[Law::OutputsKept],
            Self::LowersAgent => &[Law::AgentNeverLower],
            Self::HalfDoneIsReady | Self::NeverReady => &[Law::Ready],
            Self::OldStory => &[Law::Story],
            Self::WarnsOfNothing | Self::HidesWhatBecomesOfData => &[Law::Warned],
            Self::BringsOldDataBack => &[Law::BringsNothingBack],
            Self::GoneWhenUnconfigured | Self::SilentWhenUnconfigured | Self::AppliesUnconfigured => {
                &[Law::Unconfigured]
            }
            Self::KeepsDrift => &[Law::Repaired, Law::Host(Rule::PlanValid)],
            Self::TakesReplicasOver => &[Law::FromConfig, Law::Repaired, Law::Host(Rule::PlanValid)],
            Self::DropsPrivate => &[Law::PrivateKept],
            Self::MovesWithoutPrivate | Self::GeneratesLess => &[Law::ComesBack],
            Self::StoredOtherwise => &[Law::NothingToDo],
            Self::ProtectionByConfig
            | Self::DestroysProtected
            | Self::ReplacesProtected
            | Self::ProtectsEverything => &[Law::Protected],
            // A name that is not known yet moves the identity.
            Self::ReplacesNothing => &[Law::Replaces, Law::Host(Rule::Identity)],
            // Where the data is protected, the replacement is refused.
            Self::ReplacesAlways => &[Law::Replaces, Law::Repaired, Law::Refused],
            Self::PlansTheImpossible => &[Law::Refused],
            Self::RefusesGrowth => &[Law::Refused, Law::BringsNothingBack],
            Self::PlansASecret | Self::TellsASecret | Self::HidesASecret | Self::KeepsASecret => {
                &[Law::Host(Rule::WriteOnly)]
            }
            Self::RenamesInAPlan | Self::ReadsNoIdentity | Self::AppliesNoIdentity => {
                &[Law::Host(Rule::Identity)]
            }
            Self::IdentifiesAnother => &[Law::Identified],
            Self::LeavesAPartOut => &[Law::Host(Rule::Conforms)],
            Self::ReplacesNowhere => &[Law::Host(Rule::ReplacePath)],
            Self::ChangesDuringApply => &[Law::Host(Rule::FinalPlan)],
            Self::ShowsWhoLeads | Self::ServerDefaultsAreDrift => &[Law::AtRest],
            Self::ReadyUnacknowledged => &[Law::Ready],
            Self::DryRunRefuses => &[Law::DryRun],
            Self::SeesNoDrift | Self::ShowsReplicasTwice => &[Law::Shown],
            // What one may not look at is no proof either.
            Self::GoneWithoutProof => &[Law::Gone, Law::Unseen],
            Self::NeverGone => &[Law::Gone],
            Self::HidesTheUnseen | Self::GuessesTheUnseen => &[Law::Unseen],
            Self::WritesBlind => &[Law::WritesBlind],
            Self::StuckIsDone => &[Law::HalfDone],
            Self::LeavesWhatWasAltered => &[Law::AtRest],
            Self::MissesHandEdits
            | Self::MissesAlterSystem
            | Self::MissesSmallVolumes
            | Self::ForgetsTheSilent => &[Law::Shown],
            Self::TakesOver => &[Law::Owned],
            Self::FailsWhatWorks => &[Law::Applies],
            Self::TaintsWhatServes | Self::ClaimsWhatFailed => &[Law::HalfDone],
            Self::DestroysTainted => &[Law::Protected],
            Self::ImportsLess => &[Law::ComesBack],
            Self::AppliesAnotherValue => &[Law::Host(Rule::Result)],
            Self::AppliesUnknown => &[Law::Host(Rule::WhollyKnown)],
        };
        expected.contains(&law)
    }
}
