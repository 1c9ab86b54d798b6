//! Rules left out, to show that a law would notice: what stands between host and provider breaks one rule each.
//!
//! The provider runs as it is. A rule that says what an answer is like is broken in the answer; one that says what the provider
//! goes by is broken in what it is asked.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pgha_acceptance_tests::host::schema::{
    Attribute, Nesting, Shape, Type, is_unknown, is_wholly_known, join, walk,
};
use pgha_acceptance_tests::host::{Calls, Core, Rule, has_errors};
use pgha_acceptance_tests::proto_client::kubernetes::FakeApi;
use pgha_acceptance_tests::proto_client::pb::tfplugin6 as pb;
use pgha_acceptance_tests::proto_client::values::{self, UNKNOWN, argument, dynamic};
use rmpv::Value as Pack;
use serde_json::{Value as Json, json};

use crate::generate::synonym;
use crate::kept::{BUDGET, CLAIMS, SECRETS};
use crate::laws::Law;
use crate::learn::Learned;

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
            Self::GoneWithoutProof | Self::NeverGone => &[Law::Gone],
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

/// A provider with a rule less.
pub struct Mutant<'a, C> {
    pub core: &'a Core<C>,
    pub learned: &'a Learned,
    pub mutation: Mutation,
    /// Where it does what it should not, when there is a cluster.
    pub api: Option<FakeApi>,
    /// Calls so far, for what moves by itself.
    pub calls: AtomicU64,
}

/// A write-only attribute.
const SECRET: &str = "superuser_password_wo";

/// What was asked, decoded.
struct Asked {
    config: Json,
    prior: Json,
    proposed: Json,
}

impl<C: Calls> Mutant<'_, C> {
    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == mutation
    }

    fn attributes(&self) -> &[Attribute] {
        &self.core.attributes
    }

    fn is_of_a_number(&self, diagnostic: &pb::Diagnostic) -> bool {
        let at = diagnostic.attribute.as_ref().map(values::path).unwrap_or_default();
        walk(self.attributes())
            .iter()
            .any(|(path, one)| *path == at && one.shape == Shape::Leaf(Type::Number))
    }

    /// What is done in the cluster that should not be, after an apply or a destroy.
    fn meddles(&self, planned: &Json) {
        let Some(api) = &self.api else { return };
        api.edit(|objects| match self.mutation {
            Mutation::ForgetsTheRecord => {
                let claims = objects.iter_mut().filter(|(path, _)| path.starts_with(CLAIMS));
                claims.for_each(|(_, claim)| claim["metadata"]["annotations"] = Json::Null);
            }
            Mutation::DropsKeptVolumes if planned.is_null() => {
                objects.retain(|path, _| !path.starts_with(CLAIMS));
            }
            Mutation::MakesNewPasswords => {
                let secrets = objects.iter_mut().filter(|(path, _)| path.starts_with(SECRETS));
                let call = self.calls.fetch_add(1, Ordering::Relaxed);
                secrets.for_each(|(_, secret)| secret["data"]["password"] = json!(format!("new-{call}")));
            }
            Mutation::BudgetsForOne if planned["replicas"] == 0 => {
                objects.insert(BUDGET.to_owned(), json!({ "kind": "PodDisruptionBudget" }));
            }
            _ => {}
        });
    }

    /// What the provider is made to believe.
    fn distort(&self, asked: &mut Asked) {
        let Asked { config, prior, proposed } = asked;
        match self.mutation {
            Mutation::PlansUnknownAsNull => unknown_to(config, &Json::Null),
            Mutation::DefaultsFromPrior if !config.is_null() => {
                *config = inputs_of(self.attributes(), proposed);
            }
            Mutation::HalfDoneIsReady if prior["ready"] == false => prior["ready"] = json!(true),
            Mutation::ProtectionByConfig if !prior.is_null() => {
                prior["deletion_protection"] = json!(config["deletion_protection"] != false);
            }
            Mutation::ProtectsEverything if !prior.is_null() => prior["deletion_protection"] = json!(true),
            Mutation::LowersAgent if prior["agent_version"] == "99.0.0" => {
                prior["agent_version"] = json!("0.0.1");
            }
            Mutation::TakesReplicasOver
                if config["replicas"].is_null() && !prior.is_null() && !config.is_null() =>
            {
                config["replicas"] = prior["replicas"].clone();
            }
            _ => {}
        }
    }

    /// What the host is told instead.
    fn twist(&self, asked: &Asked, planned: &mut Json) {
        let Asked { config, prior, .. } = asked;
        let exists = !planned.is_null() && !prior.is_null();
        match self.mutation {
            Mutation::DropsADefault if planned.is_object() && config["pg_hba"].is_null() => {
                planned["pg_hba"] = Json::Null;
            }
            Mutation::WordForWord if exists => {
                word_for_word("", self.attributes(), self.learned, config, planned);
            }
            Mutation::KeepsPartOfAWhole if exists => keep_parts(self.attributes(), prior, planned),
            Mutation::OwnSpelling => own_spelling("", self.attributes(), self.learned, planned),
            Mutation::MovesByItself if planned.is_object() => {
                planned["failover_bound_seconds"] = json!(self.calls.fetch_add(1, Ordering::Relaxed));
            }
            Mutation::MarksUnknown if exists => planned["ready"] = json!(UNKNOWN),
            Mutation::KnowsNothingAtCreate if prior.is_null() && planned.is_object() => {
                planned["app_secret"] = json!(UNKNOWN);
            }
            Mutation::TimeoutsTouch if exists && prior["timeouts"] != planned["timeouts"] => {
                planned["last_change"] = json!("online, no restart: timeouts");
            }
            Mutation::ForgetsIdentifier if exists && *prior != *planned => {
                planned["system_identifier"] = json!(UNKNOWN);
            }
            Mutation::NeverReady if exists && *prior != *planned => planned["ready"] = json!(false),
            Mutation::OldStory if exists => planned["last_change"] = prior["last_change"].clone(),
            Mutation::KeepsDrift if exists => planned["drift"] = prior["drift"].clone(),
            Mutation::PlansAnotherValue if !config["namespace"].is_null() => {
                planned["namespace"] = json!("other");
            }
            Mutation::PlansASecret if planned.is_object() => planned[SECRET] = config[SECRET].clone(),
            Mutation::ChangesDuringApply if planned.is_object() && is_wholly_known(config) => {
                planned["port"] = json!(5433);
            }
            _ => {}
        }
    }

    /// What the host is told of a cluster instead.
    fn twist_read(&self, was: &Json, state: &mut Json) {
        if state.is_null() {
            return;
        }
        let entry = |object: &str, field: &str| json!({ "object": object, "field": field, "diff": "", "changed_by": null, "changed_at": null });
        match self.mutation {
            Mutation::ShowsWhoLeads => {
                state["failover_bound_seconds"] = json!(self.calls.fetch_add(1, Ordering::Relaxed));
            }
            Mutation::ReadyUnacknowledged => state["ready"] = json!(true),
            Mutation::SeesNoDrift => state["drift"] = json!([]),
            Mutation::ServerDefaultsAreDrift => {
                state["drift"] = json!([entry("Service/orders-rw", "spec.sessionAffinity")]);
            }
            Mutation::ShowsReplicasTwice if was["replicas"] != state["replicas"] => {
                state["drift"] = json!([entry("StatefulSet/orders", "spec.replicas")]);
            }
            _ => {}
        }
    }

    /// What the host is told of an apply instead.
    fn twist_apply(&self, planned: &Json, state: &mut Json, diagnostics: &mut Vec<pb::Diagnostic>) {
        let failed = has_errors(diagnostics);
        let whole = |state: &mut Json| *state = crate::laws::made(&self.core.attributes, planned);
        match self.mutation {
            Mutation::AppliesUnconfigured | Mutation::TakesOver if failed && !planned.is_null() => {
                diagnostics.clear();
                whole(state);
            }
            Mutation::ClaimsWhatFailed if failed && !state.is_null() => whole(state),
            Mutation::DestroysTainted if failed && planned.is_null() => {
                diagnostics.clear();
                *state = Json::Null;
            }
            Mutation::FailsWhatWorks if !failed => diagnostics.push(error("name")),
            Mutation::TaintsWhatServes => {
                for one in diagnostics.iter_mut() {
                    one.severity = pb::diagnostic::Severity::Error.into();
                }
            }
            Mutation::AppliesAnotherValue if !failed && !state.is_null() => state["port"] = json!(5433),
            Mutation::AppliesUnknown if !failed && !state.is_null() => state["ready"] = json!(UNKNOWN),
            _ => {}
        }
    }

    /// Says of a write-only value what nobody may hear.
    fn betray(&self, secret: &str, answer: &mut pb::plan_resource_change::Response) {
        if self.is(Mutation::TellsASecret) {
            answer.diagnostics.push(pb::Diagnostic {
                severity: pb::diagnostic::Severity::Warning.into(),
                summary: format!("{secret} is a weak password"),
                ..Default::default()
            });
        }
        if self.is(Mutation::HidesASecret) {
            let mut private: Json =
                serde_json::from_slice(&answer.planned_private).unwrap_or_else(|_| json!({}));
            private["password"] = json!(STANDARD.encode(secret));
            answer.planned_private = private.to_string().into_bytes();
        }
    }

    fn drops(&self, asked: &Asked, diagnostic: &pb::Diagnostic) -> bool {
        let is_error = diagnostic.severity() == pb::diagnostic::Severity::Error;
        let at = diagnostic.attribute.as_ref().map(values::path);
        let at = at.unwrap_or_default();
        match self.mutation {
            Mutation::WarnsOfNothing => !is_error,
            Mutation::HidesWhatBecomesOfData => !is_error && !diagnostic.summary.starts_with("This change"),
            Mutation::BringsOldDataBack => is_error && diagnostic.summary.starts_with("Kept volumes"),
            Mutation::DestroysProtected => is_error && asked.config.is_null(),
            Mutation::ReplacesProtected => {
                is_error && !asked.config.is_null() && diagnostic.summary.contains("is protected")
            }
            Mutation::PlansTheImpossible => {
                is_error && ["storage", "postgres_version"].contains(&at.as_str())
            }
            _ => false,
        }
    }

    fn requires(&self, asked: &Asked, planned: &Json, paths: &mut Vec<pb::AttributePath>) {
        let changed = !asked.prior.is_null() && asked.prior["replicas"] != planned["replicas"];
        match self.mutation {
            Mutation::ReplacesNothing => paths.clear(),
            Mutation::ReplacesAlways if changed => paths.push(named("replicas")),
            Mutation::ReplacesNowhere if !asked.prior.is_null() => paths.push(named("no_such_attribute")),
            _ => {}
        }
    }
}

/// An identity as it goes over the wire.
fn identity(parts: &Json) -> Result<pb::ResourceIdentityData> {
    Ok(pb::ResourceIdentityData { identity_data: Some(argument(parts)?) })
}

/// A path of one name.
fn named(name: &str) -> pb::AttributePath {
    use pb::attribute_path::{Step, step::Selector};
    pb::AttributePath { steps: vec![Step { selector: Some(Selector::AttributeName(name.to_owned())) }] }
}

fn error(name: &str) -> pb::Diagnostic {
    pb::Diagnostic {
        severity: pb::diagnostic::Severity::Error.into(),
        summary: "Refused".to_owned(),
        detail: String::new(),
        attribute: Some(named(name)),
    }
}

/// Every unknown in a value, replaced.
fn unknown_to(value: &mut Json, other: &Json) {
    match value {
        Json::Array(items) => items.iter_mut().for_each(|item| unknown_to(item, other)),
        Json::Object(entries) => entries.values_mut().for_each(|item| unknown_to(item, other)),
        value if is_unknown(value) => *value = other.clone(),
        _ => {}
    }
}

/// A state as a configuration: without outputs.
fn inputs_of(attributes: &[Attribute], state: &Json) -> Json {
    let mut inputs = state.clone();
    for output in attributes.iter().filter(|one| one.is_output()) {
        inputs[&output.name] = Json::Null;
    }
    inputs
}

/// Texts with a meaning as they are configured.
fn word_for_word(
    prefix: &str,
    attributes: &[Attribute],
    learned: &Learned,
    config: &Json,
    planned: &mut Json,
) {
    for attribute in attributes {
        let path = join(prefix, &attribute.name);
        let (wanted, Some(item)) = (&config[&attribute.name], planned.get_mut(&attribute.name)) else {
            continue;
        };
        let meant = learned.leaves.get(&path).is_some_and(|pool| pool.meaning.is_some());
        match &attribute.shape {
            Shape::Nested(Nesting::Single, inner) => word_for_word(&path, inner, learned, wanted, item),
            Shape::Leaf(_) if meant && !wanted.is_null() => *item = wanted.clone(),
            _ => {}
        }
    }
}

fn own_spelling(prefix: &str, attributes: &[Attribute], learned: &Learned, planned: &mut Json) {
    each_meant(prefix, attributes, learned, planned, &mut |meaning, text| {
        synonym(meaning, text).map(str::to_owned)
    });
}

type Respell<'a> = dyn FnMut(crate::learn::Meaning, &str) -> Option<String> + 'a;

fn each_meant(
    prefix: &str,
    attributes: &[Attribute],
    learned: &Learned,
    value: &mut Json,
    change: &mut Respell<'_>,
) {
    for attribute in attributes {
        let path = join(prefix, &attribute.name);
        let Some(item) = value.get_mut(&attribute.name) else { continue };
        match (&attribute.shape, item) {
            (Shape::Nested(Nesting::Single, inner), item) => each_meant(&path, inner, learned, item, change),
            (Shape::Leaf(_), Json::String(text)) => {
                let meaning = learned.leaves.get(&path).and_then(|pool| pool.meaning);
                if let Some(other) = meaning.and_then(|meaning| change(meaning, text)) {
                    *text = other;
                }
            }
            _ => {}
        }
    }
}

/// Of maps and lists that changed, prior values of what stays.
fn keep_parts(attributes: &[Attribute], prior: &Json, planned: &mut Json) {
    for attribute in attributes {
        let (was, Some(is)) = (&prior[&attribute.name], planned.get_mut(&attribute.name)) else { continue };
        match (&attribute.shape, was, is) {
            (Shape::Nested(Nesting::Single, inner), was, is) => keep_parts(inner, was, is),
            (Shape::Leaf(_), Json::Array(was), Json::Array(is)) => {
                is.iter_mut().zip(was).take(1).for_each(|(is, was)| is.clone_from(was));
            }
            (Shape::Leaf(_), Json::Object(was), Json::Object(is)) => {
                for (key, value) in is.iter_mut() {
                    if let Some(before) = was.get(key) {
                        *value = before.clone();
                    }
                }
            }
            _ => {}
        }
    }
}

/// The same value with whole numbers in digits.
fn in_digits(value: &pb::DynamicValue) -> Result<pb::DynamicValue> {
    fn digits(pack: Pack) -> Pack {
        match pack {
            Pack::Integer(number) => Pack::from(number.to_string()),
            Pack::Array(items) => Pack::Array(items.into_iter().map(digits).collect()),
            Pack::Map(entries) => {
                Pack::Map(entries.into_iter().map(|(key, item)| (key, digits(item))).collect())
            }
            other => other,
        }
    }
    dynamic(&digits(rmpv::decode::read_value(&mut value.msgpack.as_slice())?))
}

/// Without its last part.
fn cut(value: &pb::DynamicValue) -> Result<pb::DynamicValue> {
    let mut pack = rmpv::decode::read_value(&mut value.msgpack.as_slice())?;
    if let Pack::Map(entries) = &mut pack {
        entries.pop();
    }
    dynamic(&pack)
}

impl<C: Calls> Calls for Mutant<'_, C> {
    async fn validate(
        &self,
        mut request: pb::validate_resource_config::Request,
    ) -> Result<pb::validate_resource_config::Response> {
        if self.is(Mutation::ValidatesUnknowns) {
            let mut given = self.core.decode(request.config.as_ref())?;
            unknown_to(&mut given, &Json::Null);
            request.config = Some(self.core.encode(&given)?);
        }
        let mut answer = self.core.calls.validate(request).await?;
        if self.is(Mutation::ValidatesNothing) {
            answer.diagnostics.clear();
        }
        if self.is(Mutation::ValidatesNoNumbers) {
            answer.diagnostics.retain(|one| !self.is_of_a_number(one));
        }
        if self.is(Mutation::NamesNoPath) {
            answer.diagnostics.iter_mut().for_each(|one| one.attribute = None);
        }
        Ok(answer)
    }

    async fn upgrade(
        &self,
        request: pb::upgrade_resource_state::Request,
    ) -> Result<pb::upgrade_resource_state::Response> {
        let mut answer = self.core.calls.upgrade(request).await?;
        if self.is(Mutation::StoredOtherwise) {
            let mut state = self.core.decode(answer.upgraded_state.as_ref())?;
            state["last_change"] = Json::Null;
            answer.upgraded_state = Some(self.core.encode(&state)?);
        }
        Ok(answer)
    }

    async fn upgrade_identity(
        &self,
        request: pb::upgrade_resource_identity::Request,
    ) -> Result<pb::upgrade_resource_identity::Response> {
        self.core.calls.upgrade_identity(request).await
    }

    async fn read(&self, request: pb::read_resource::Request) -> Result<pb::read_resource::Response> {
        let before = request.current_state.clone();
        if let Some(api) = self.api.as_ref().filter(|_| self.is(Mutation::ReadsASecret)) {
            drop(api.get(&format!("{SECRETS}superuser")));
        }
        let mut answer = self.core.calls.read(request).await?;
        let mut state = self.core.decode(answer.new_state.as_ref())?;
        let was = self.core.decode(before.as_ref())?;
        match self.mutation {
            Mutation::GoneWhenUnconfigured => state = Json::Null,
            Mutation::SilentWhenUnconfigured => answer.diagnostics.clear(),
            Mutation::GoneWithoutProof if !answer.diagnostics.is_empty() => {
                answer.diagnostics.clear();
                state = Json::Null;
            }
            Mutation::NeverGone if state.is_null() => state = was,
            Mutation::ReadsNoIdentity => answer.new_identity = None,
            _ => self.twist_read(&was, &mut state),
        }
        answer.new_state = Some(self.core.encode(&state)?);
        Ok(answer)
    }

    async fn plan(
        &self,
        mut request: pb::plan_resource_change::Request,
    ) -> Result<pb::plan_resource_change::Response> {
        if self.is(Mutation::Dies) {
            bail!("the plugin did not respond");
        }
        let decode = |value: &Option<pb::DynamicValue>| self.core.decode(value.as_ref());
        let asked = Asked {
            config: decode(&request.config)?,
            prior: decode(&request.prior_state)?,
            proposed: decode(&request.proposed_new_state)?,
        };
        let mut believed = Asked {
            config: asked.config.clone(),
            prior: asked.prior.clone(),
            proposed: asked.proposed.clone(),
        };
        self.distort(&mut believed);
        request.config = Some(self.core.encode(&believed.config)?);
        request.prior_state = Some(self.core.encode(&believed.prior)?);
        let mut answer = self.core.calls.plan(request).await?;
        answer.diagnostics.retain(|one| !self.drops(&asked, one));
        let mut planned = self.core.decode(answer.planned_state.as_ref())?;
        // What was only made to be believed is no part of the answer.
        if self.is(Mutation::HalfDoneIsReady) && believed.prior == planned {
            planned = asked.prior.clone();
        }
        self.twist(&asked, &mut planned);
        self.requires(&asked, &planned, &mut answer.requires_replace);
        if !planned.is_null() {
            let encoded = self.core.encode(&planned)?;
            answer.planned_state = Some(match self.mutation {
                Mutation::OtherBytes if !asked.prior.is_null() => in_digits(&encoded)?,
                Mutation::LeavesAPartOut => cut(&encoded)?,
                _ => encoded,
            });
        }
        let renames = self.is(Mutation::RenamesInAPlan) && !asked.prior.is_null();
        if renames || (self.is(Mutation::IdentifiesAnother) && asked.prior.is_null()) {
            answer.planned_identity = Some(identity(&json!({ "namespace": "shop", "name": "another" }))?);
        }
        if self.is(Mutation::DropsPrivate) {
            answer.planned_private.clear();
        }
        if let Some(secret) = asked.config[SECRET].as_str().filter(|text| *text != UNKNOWN) {
            self.betray(secret, &mut answer);
        }
        if self.is(Mutation::DryRunRefuses) {
            let told = answer.diagnostics.iter_mut().filter(|one| one.summary.contains("would refuse"));
            told.for_each(|one| one.severity = pb::diagnostic::Severity::Error.into());
        }
        let grows = asked.prior["storage"]["size"] != planned["storage"]["size"] && !asked.prior.is_null();
        if self.is(Mutation::RefusesGrowth) && grows && !planned.is_null() {
            answer.diagnostics.push(error("storage"));
        }
        Ok(answer)
    }

    async fn apply(
        &self,
        request: pb::apply_resource_change::Request,
    ) -> Result<pb::apply_resource_change::Response> {
        let planned = self.core.decode(request.planned_state.as_ref())?;
        let config = self.core.decode(request.config.as_ref())?;
        let planned_identity = request.planned_identity.clone();
        if let Some(api) = self.api.as_ref().filter(|_| self.is(Mutation::ForcesWhatWasNotShown)) {
            api.yield_fields();
        }
        let mut answer = self.core.calls.apply(request).await?;
        self.meddles(&planned);
        let mut state = self.core.decode(answer.new_state.as_ref())?;
        self.twist_apply(&planned, &mut state, &mut answer.diagnostics);
        if !state.is_null() {
            // A state that the mutant made has the identity that goes with it.
            answer.new_identity = answer.new_identity.or(planned_identity);
        }
        if self.is(Mutation::AppliesNoIdentity) {
            answer.new_identity = Some(identity(&json!({ "namespace": "shop", "name": null }))?);
        }
        if self.is(Mutation::KeepsASecret) && !state.is_null() {
            state[SECRET] = config[SECRET].clone();
        }
        answer.new_state = Some(self.core.encode(&state)?);
        Ok(answer)
    }

    async fn import(
        &self,
        request: pb::import_resource_state::Request,
    ) -> Result<pb::import_resource_state::Response> {
        let mut answer = self.core.calls.import(request).await?;
        if self.is(Mutation::ImportsLess) {
            for one in &mut answer.imported_resources {
                let mut state = self.core.decode(one.state.as_ref())?;
                state["pg_hba"] = json!(["host all all all reject"]);
                one.state = Some(self.core.encode(&state)?);
            }
        }
        Ok(answer)
    }

    async fn move_state(
        &self,
        request: pb::move_resource_state::Request,
    ) -> Result<pb::move_resource_state::Response> {
        let mut answer = self.core.calls.move_state(request).await?;
        if self.is(Mutation::MovesWithoutPrivate) {
            answer.target_private.clear();
        }
        Ok(answer)
    }

    async fn generate(
        &self,
        request: pb::generate_resource_config::Request,
    ) -> Result<pb::generate_resource_config::Response> {
        let mut answer = self.core.calls.generate(request).await?;
        if self.is(Mutation::GeneratesLess) {
            let mut config = self.core.decode(answer.config.as_ref())?;
            config["pg_hba"] = Json::Null;
            config["replicas"] = Json::Null;
            answer.config = Some(self.core.encode(&config)?);
        }
        Ok(answer)
    }
}
