//! What each left-out rule does to questions, answers and the cluster.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pgha_acceptance_tests::host::schema::{Attribute, Shape, Type, is_wholly_known, walk};
use pgha_acceptance_tests::host::{Calls, Core, has_errors};
use pgha_acceptance_tests::proto_client::kubernetes::FakeApi;
use pgha_acceptance_tests::proto_client::pb::tfplugin6 as pb;
use pgha_acceptance_tests::proto_client::values::{self, UNKNOWN};
use serde_json::{Value as Json, json};

use super::Mutation;
use super::values::{error, inputs_of, keep_parts, named, own_spelling, unknown_to, word_for_word};
use crate::edit::alter;
use crate::kept::{BUDGET, CLAIMS, SECRETS};
use crate::learn::Learned;

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
pub(super) const SECRET: &str = "superuser_password_wo";

/// What was asked, decoded.
pub(super) struct Asked {
    pub config: Json,
    pub prior: Json,
    pub proposed: Json,
}

impl<C: Calls> Mutant<'_, C> {
    pub(super) fn is(&self, mutation: Mutation) -> bool {
        self.mutation == mutation
    }

    pub(super) fn attributes(&self) -> &[Attribute] {
        &self.core.attributes
    }

    pub(super) fn is_of_a_number(&self, diagnostic: &pb::Diagnostic) -> bool {
        let at = diagnostic.attribute.as_ref().map(values::path).unwrap_or_default();
        walk(self.attributes())
            .iter()
            .any(|(path, one)| *path == at && one.shape == Shape::Leaf(Type::Number))
    }

    /// What is done in the cluster that should not be, after an apply or a destroy.
    pub(super) fn meddles(&self, prior: &Json, planned: &Json, failed: bool) {
        let Some(api) = &self.api else { return };
        if failed != self.is(Mutation::WritesBlind) {
            return;
        }
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
            Mutation::WritesBlind if !prior.is_null() && !planned.is_null() => {
                objects.insert(BUDGET.to_owned(), json!({ "kind": "PodDisruptionBudget", "blind": true }));
            }
            Mutation::LeavesWhatWasAltered if prior["drift"].to_string().contains("PostgreSQL/") => {
                alter(objects, "log_statement", "ddl");
            }
            Mutation::BudgetsForOne if planned["replicas"] == 0 => {
                objects.insert(BUDGET.to_owned(), json!({ "kind": "PodDisruptionBudget" }));
            }
            _ => {}
        });
    }

    /// What the provider is made to believe.
    pub(super) fn distort(&self, asked: &mut Asked) {
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
    pub(super) fn twist(&self, asked: &Asked, planned: &mut Json) {
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
    pub(super) fn twist_read(&self, was: &Json, state: &mut Json) {
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
            Mutation::MissesHandEdits => without(state, "ConfigMap/orders-desired"),
            Mutation::MissesAlterSystem => without(state, "PostgreSQL/"),
            Mutation::MissesSmallVolumes => without(state, "PersistentVolumeClaim/"),
            Mutation::ForgetsTheSilent if was["drift"] == state["drift"] => without(state, "PostgreSQL/"),
            _ => {}
        }
    }

    /// What the host is told of an apply instead.
    pub(super) fn twist_apply(
        &self,
        planned: &Json,
        state: &mut Json,
        diagnostics: &mut Vec<pb::Diagnostic>,
    ) {
        let failed = has_errors(diagnostics);
        let whole = |state: &mut Json| *state = crate::laws::made(&self.core.attributes, planned);
        match self.mutation {
            Mutation::AppliesUnconfigured | Mutation::TakesOver if failed && !planned.is_null() => {
                diagnostics.clear();
                whole(state);
            }
            Mutation::StuckIsDone if failed && told_of_a_volume(diagnostics) => {
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
    pub(super) fn betray(&self, secret: &str, answer: &mut pb::plan_resource_change::Response) {
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

    pub(super) fn drops(&self, asked: &Asked, diagnostic: &pb::Diagnostic) -> bool {
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

    pub(super) fn requires(&self, asked: &Asked, planned: &Json, paths: &mut Vec<pb::AttributePath>) {
        let changed = !asked.prior.is_null() && asked.prior["replicas"] != planned["replicas"];
        match self.mutation {
            Mutation::ReplacesNothing => paths.clear(),
            Mutation::ReplacesAlways if changed => paths.push(named("replicas")),
            Mutation::ReplacesNowhere if !asked.prior.is_null() => paths.push(named("no_such_attribute")),
            _ => {}
        }
    }
}

/// A state whose `drift` says nothing of some objects.
fn without(state: &mut Json, objects: &str) {
    if let Some(entries) = state["drift"].as_array_mut() {
        entries.retain(|entry| !entry["object"].as_str().unwrap_or_default().starts_with(objects));
    }
}

fn told_of_a_volume(diagnostics: &[pb::Diagnostic]) -> bool {
    values::messages(diagnostics).iter().any(|text| text.contains("data-orders-"))
}
