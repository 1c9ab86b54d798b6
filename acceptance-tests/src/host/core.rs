//! One resource's way through a host.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value as Json;

use super::rules::action::{Action, action, same_action};
use super::rules::compatible::compatible;
use super::rules::conform::{conforms, wholly_known};
use super::rules::plan_valid::plan_valid;
use super::rules::proposed::proposed;
use super::rules::replace::{effective, replace_paths};
use super::rules::{Rule, Violation};
use super::schema::{Attribute, attributes, complete};
use super::{Calls, schema};
use crate::proto_client::pb::tfplugin6 as pb;
use crate::proto_client::values::{config, json, null, stored};

/// A state with its private part, as a host keeps it between runs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stored {
    /// The state; null when there is nothing.
    pub state: Json,
    /// What the provider keeps beside it.
    pub private: Vec<u8>,
}

impl Stored {
    /// Nothing is there.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }
}

/// What a call of refresh or import gave.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// What there is.
    pub stored: Stored,
    /// The state as it came, for comparing bytes.
    pub wire: Vec<u8>,
    /// What the user hears.
    pub diagnostics: Vec<pb::Diagnostic>,
    /// Rules that the answer breaks.
    pub violations: Vec<Violation>,
}

/// A plan, judged.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What it was made from.
    pub prior: Stored,
    /// What the user wrote; null for a destroy.
    pub config: Json,
    /// The state after apply.
    pub planned: Json,
    /// The same as it came, for comparing bytes.
    pub wire: Vec<u8>,
    /// Private state for apply.
    pub private: Vec<u8>,
    /// What it comes to.
    pub action: Action,
    /// The paths whose change needs a replacement.
    pub replaces: Vec<String>,
    /// What the user hears, of the second plan too.
    pub diagnostics: Vec<pb::Diagnostic>,
    /// Rules that the answer breaks.
    pub violations: Vec<Violation>,
}

impl Plan {
    /// The provider refused it.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        has_errors(&self.diagnostics)
    }
}

/// What apply left behind, judged.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The new state.
    pub stored: Stored,
    /// The plan that was applied: the one made during apply.
    pub plan: Plan,
    /// What the user hears.
    pub diagnostics: Vec<pb::Diagnostic>,
    /// Rules that the answers break.
    pub violations: Vec<Violation>,
}

/// Some of them are errors.
#[must_use]
pub fn has_errors(diagnostics: &[pb::Diagnostic]) -> bool {
    diagnostics.iter().any(|one| one.severity() == pb::diagnostic::Severity::Error)
}

/// A host with one resource type.
#[derive(Debug, Clone)]
pub struct Core<C> {
    /// Who answers.
    pub calls: C,
    /// The resource's type.
    pub type_name: String,
    /// Its attributes.
    pub attributes: Vec<Attribute>,
    served: pb::Schema,
}

impl<C: Calls> Core<C> {
    /// A host for a served type.
    ///
    /// # Errors
    /// When the schema can't be read.
    pub fn new(calls: C, type_name: &str, served: &pb::Schema) -> Result<Self> {
        let attributes = attributes(served)?;
        Ok(Self { calls, type_name: type_name.to_owned(), attributes, served: served.clone() })
    }

    /// The same with somebody between.
    pub fn with<D: Calls>(&self, wrap: impl FnOnce(C) -> D) -> Core<D>
    where
        C: Clone,
    {
        Core {
            calls: wrap(self.calls.clone()),
            type_name: self.type_name.clone(),
            attributes: self.attributes.clone(),
            served: self.served.clone(),
        }
    }

    /// ValidateResourceConfig: what is wrong, unknowns allowed.
    ///
    /// # Errors
    /// When the call itself fails.
    pub async fn validate(&self, given: &Json) -> Result<Vec<pb::Diagnostic>> {
        let request = pb::validate_resource_config::Request {
            type_name: self.type_name.clone(),
            config: Some(self.encode(given)?),
            client_capabilities: None,
        };
        Ok(self.calls.validate(request).await?.diagnostics)
    }

    /// UpgradeResourceState of a state of this version, as at the begin of every run.
    ///
    /// # Errors
    /// When the call itself fails.
    pub async fn upgrade(&self, stored: &Stored) -> Result<Seen> {
        let request = pb::upgrade_resource_state::Request {
            type_name: self.type_name.clone(),
            version: self.served.version,
            raw_state: Some(pb::RawState {
                json: stored.state.to_string().into_bytes(),
                ..Default::default()
            }),
        };
        let answer = self.calls.upgrade(request).await?;
        self.seen(answer.upgraded_state.as_ref(), stored.private.clone(), answer.diagnostics)
    }

    /// ReadResource.
    ///
    /// # Errors
    /// When the call itself fails.
    pub async fn read(&self, before: &Stored) -> Result<Seen> {
        let request = pb::read_resource::Request {
            type_name: self.type_name.clone(),
            current_state: Some(self.encode(&before.state)?),
            private: before.private.clone(),
            ..Default::default()
        };
        let answer = self.calls.read(request).await?;
        self.seen(answer.new_state.as_ref(), answer.private, answer.diagnostics)
    }

    /// ImportResourceState by id, and the read that follows it.
    ///
    /// # Errors
    /// When the call itself fails, or gives several resources.
    pub async fn import(&self, id: &str) -> Result<Seen> {
        let request = pb::import_resource_state::Request {
            type_name: self.type_name.clone(),
            id: id.to_owned(),
            ..Default::default()
        };
        let mut answer = self.calls.import(request).await?;
        ensure!(answer.imported_resources.len() <= 1, "an id names one resource");
        let Some(imported) = answer.imported_resources.pop() else {
            return Ok(Seen { diagnostics: answer.diagnostics, ..Seen::default() });
        };
        let first = self.seen(imported.state.as_ref(), imported.private, answer.diagnostics)?;
        if !first.violations.is_empty() || has_errors(&first.diagnostics) {
            return Ok(first);
        }
        self.read(&first.stored).await
    }

    /// MoveResourceState from another provider's address.
    ///
    /// # Errors
    /// When the call itself fails.
    pub async fn move_from(&self, provider: &str, source_type: &str, stored: &Stored) -> Result<Seen> {
        let request = pb::move_resource_state::Request {
            source_provider_address: provider.to_owned(),
            source_type_name: source_type.to_owned(),
            source_schema_version: self.served.version,
            source_state: Some(pb::RawState {
                json: stored.state.to_string().into_bytes(),
                ..Default::default()
            }),
            target_type_name: self.type_name.clone(),
            source_private: stored.private.clone(),
            ..Default::default()
        };
        let answer = self.calls.move_state(request).await?;
        self.seen(answer.target_state.as_ref(), answer.target_private, answer.diagnostics)
    }

    /// GenerateResourceConfig: the configuration of a state.
    ///
    /// # Errors
    /// When the call fails or gives errors.
    pub async fn generate(&self, state: &Json) -> Result<Json> {
        let request = pb::generate_resource_config::Request {
            type_name: self.type_name.clone(),
            state: Some(self.encode(state)?),
        };
        let answer = self.calls.generate(request).await?;
        ensure!(!has_errors(&answer.diagnostics), "{:?}", answer.diagnostics);
        self.decode(answer.config.as_ref())
    }

    /// PlanResourceChange, and for a replacement the second plan, which knows of no prior state.
    ///
    /// # Errors
    /// When the call itself fails.
    pub async fn plan(&self, prior: &Stored, given: &Json) -> Result<Plan> {
        let first = self.plan_once(prior, given).await?;
        if first.is_refused() || first.action != Action::Replace {
            return Ok(first);
        }
        // The mark of the first plan is all that the second one knows of what is replaced.
        let without = Stored { state: Json::Null, private: first.private.clone() };
        let second = self.plan_once(&without, given).await?;
        let mut replaced =
            Plan { action: Action::Replace, prior: first.prior, replaces: first.replaces, ..second };
        replaced.diagnostics.splice(0..0, first.diagnostics);
        replaced.violations.splice(0..0, first.violations);
        Ok(replaced)
    }

    async fn plan_once(&self, prior: &Stored, given: &Json) -> Result<Plan> {
        let given = complete(&self.attributes, given);
        let merged =
            if given.is_null() { Json::Null } else { proposed(&self.attributes, &prior.state, &given) };
        let request = pb::plan_resource_change::Request {
            type_name: self.type_name.clone(),
            prior_state: Some(self.encode(&prior.state)?),
            proposed_new_state: Some(self.encode(&merged)?),
            config: Some(self.encode(&given)?),
            prior_private: prior.private.clone(),
            ..Default::default()
        };
        let answer = self.calls.plan(request).await?;
        let wire = answer.planned_state.clone().unwrap_or_default().msgpack;
        let mut plan = Plan {
            prior: prior.clone(),
            config: given,
            planned: Json::Null,
            wire,
            private: answer.planned_private,
            action: Action::NoOp,
            replaces: Vec::new(),
            diagnostics: answer.diagnostics,
            violations: Vec::new(),
        };
        // Of a refused plan nothing is used.
        if plan.is_refused() {
            return Ok(plan);
        }
        plan.planned = self.decode(answer.planned_state.as_ref())?;
        plan.violations = self.judge(&plan, &answer.requires_replace);
        plan.replaces = effective(&answer.requires_replace, &prior.state, &plan.planned);
        plan.action = action(&prior.state, &plan.planned, !plan.replaces.is_empty());
        Ok(plan)
    }

    fn judge(&self, plan: &Plan, requires_replace: &[pb::AttributePath]) -> Vec<Violation> {
        let mut found = conforms(&self.attributes, &plan.planned);
        if plan.config.is_null() != plan.planned.is_null() {
            let what = "what is planned exists exactly when it is configured".to_owned();
            found.push(Violation { rule: Rule::Existence, path: String::new(), what });
        } else if found.is_empty() && !plan.planned.is_null() {
            found.extend(plan_valid(&self.attributes, &plan.prior.state, &plan.config, &plan.planned));
        }
        found.extend(replace_paths(requires_replace, &plan.prior.state, &plan.planned));
        found
    }

    /// The plan made anew during apply, with what has become known since; what of it does not complete the first is in its
    /// violations. A destroy is not planned again.
    ///
    /// # Errors
    /// When the call itself fails.
    pub async fn plan_again(&self, first: &Plan, settled: &Json) -> Result<Plan> {
        if first.action == Action::Delete {
            return Ok(first.clone());
        }
        let prior = match first.action {
            // The first half, the destroy, is over; its private state went with it.
            Action::Replace => Stored { state: Json::Null, private: Vec::new() },
            Action::NoOp | Action::Create | Action::Update | Action::Delete => first.prior.clone(),
        };
        let mut last = self.plan_once(&prior, settled).await?;
        if !last.is_refused() {
            let moved = compatible(Rule::FinalPlan, &self.attributes, &first.planned, &last.planned);
            last.violations.extend(moved);
            last.violations.extend(same_action(first.action, last.action));
        }
        Ok(last)
    }

    /// ApplyResourceChange of a plan whose configuration is wholly known by now.
    ///
    /// # Errors
    /// When the call itself fails, or the plan during apply is refused.
    pub async fn apply(&self, first: &Plan, settled: &Json) -> Result<Applied> {
        ensure!(schema::is_wholly_known(settled), "an apply has no unknown configuration");
        let plan = self.plan_again(first, settled).await?;
        ensure!(!plan.is_refused(), "{:?}", plan.diagnostics);
        let request = pb::apply_resource_change::Request {
            type_name: self.type_name.clone(),
            prior_state: Some(self.encode(&plan.prior.state)?),
            planned_state: Some(self.encode(&plan.planned)?),
            config: Some(self.encode(&plan.config)?),
            planned_private: plan.private.clone(),
            ..Default::default()
        };
        let answer = self.calls.apply(request).await?;
        let new = self.decode(answer.new_state.as_ref())?;
        let mut violations = plan.violations.clone();
        violations.extend(conforms(&self.attributes, &new));
        violations.extend(wholly_known(&new));
        if !has_errors(&answer.diagnostics) {
            violations.extend(compatible(Rule::Result, &self.attributes, &plan.planned, &new));
        }
        let stored = Stored { state: new, private: answer.private };
        Ok(Applied { stored, plan, diagnostics: answer.diagnostics, violations })
    }

    fn seen(
        &self,
        answer: Option<&pb::DynamicValue>,
        private: Vec<u8>,
        diagnostics: Vec<pb::Diagnostic>,
    ) -> Result<Seen> {
        let wire = answer.map(|value| value.msgpack.clone()).unwrap_or_default();
        let state = self.decode(answer)?;
        let mut violations = Vec::new();
        if !has_errors(&diagnostics) {
            violations.extend(conforms(&self.attributes, &state));
            violations.extend(wholly_known(&state));
        }
        Ok(Seen { stored: Stored { state, private }, wire, diagnostics, violations })
    }

    /// A value as the host sends it.
    ///
    /// # Errors
    /// When it has parts that the schema lacks.
    pub fn encode(&self, value: &Json) -> Result<pb::DynamicValue> {
        if value.is_null() { null() } else { config(&self.served, value) }
    }

    /// What an answer holds.
    ///
    /// # Errors
    /// When it is no value.
    pub fn decode(&self, value: Option<&pb::DynamicValue>) -> Result<Json> {
        // Without a value there is nothing: a host reads it so.
        let Some(value) = value.filter(|value| !value.msgpack.is_empty()) else { return json(None) };
        stored(&self.served, Some(value)).context("an answer that is no value")
    }
}
