//! One resource's turn in a plan: every call that a host makes for it, in the host's order, each answer judged.

use anyhow::Result;
use serde_json::Value as Json;

use super::judged::{Plan, Seen, Stored, has_errors};
use super::rules::action::{Action, action};
use super::rules::conform::conforms;
use super::rules::identity;
use super::rules::ignored::Ignored;
use super::rules::plan_valid::plan_valid;
use super::rules::proposed::proposed;
use super::rules::replace::{effective, replace_paths};
use super::rules::write_only::{leaks, secrets};
use super::rules::{Rule, Violation};
use super::schema::complete;
use super::{Calls, Core};
use crate::proto_client::pb::tfplugin6 as pb;

/// What a host has in hand when the turn begins.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    /// What the last run left.
    pub stored: &'a Stored,
    /// What the user wrote; null for a destroy.
    pub config: &'a Json,
    /// Which changes of it the user wants ignored.
    pub ignored: &'a Ignored,
}

impl<'a> Turn<'a> {
    /// One in which nothing is ignored.
    #[must_use]
    pub fn of(stored: &'a Stored, config: &'a Json) -> Self {
        Self { stored, config, ignored: &Ignored::Nothing }
    }
}

/// What a turn came to. Parts that were not reached are missing: an error ends it, and of nothing there is nothing to read.
#[derive(Debug, Clone, Default)]
pub struct Turned {
    /// The stored state in its present form.
    pub upgraded: Option<Seen>,
    /// What was there.
    pub read: Option<Seen>,
    /// What is wrong with the configuration.
    pub validated: Vec<pb::Diagnostic>,
    /// Rules that this is told against.
    pub violations: Vec<Violation>,
    /// The plan.
    pub plan: Option<Plan>,
}

impl<C: Calls> Core<C> {
    /// Plans for one resource, from the stored state and what the user wrote to a judged plan.
    ///
    /// # Errors
    /// When a call itself fails.
    pub async fn turn(&self, turn: Turn<'_>) -> Result<Turned> {
        let mut turned = Turned::default();
        let mut prior = Stored::nothing();
        if !turn.stored.state.is_null() {
            let upgraded = turned.upgraded.insert(self.upgrade(turn.stored).await?);
            if upgraded.is_unusable() {
                return Ok(turned);
            }
            let read = self.read(&upgraded.stored).await?;
            let read = turned.read.insert(read);
            if read.is_unusable() {
                return Ok(turned);
            }
            prior = read.stored.clone();
        }
        if !turn.config.is_null() {
            turned.validated = self.validate(turn.config).await?;
            let secrets = secrets(&self.attributes, turn.config);
            turned.violations = turned.validated.iter().flat_map(|one| leaks(&secrets, one)).collect();
        }
        let nothing_at_all = turn.config.is_null() && prior.state.is_null();
        if !has_errors(&turned.validated) && !nothing_at_all {
            turned.plan = Some(self.plan(&prior, turn.config, turn.ignored).await?);
        }
        Ok(turned)
    }

    /// PlanResourceChange alone, and for a replacement the second plan, which knows of no prior state. A host asks for it only
    /// in a turn.
    ///
    /// # Errors
    /// When the call itself fails.
    pub async fn plan(&self, prior: &Stored, written: &Json, ignored: &Ignored) -> Result<Plan> {
        let written = complete(&self.attributes, written);
        let config = ignored.over(&self.attributes, &prior.state, &written);
        let first = self.plan_once(prior, config).await?;
        let plan = if first.is_refused() || first.action != Action::Replace {
            first
        } else {
            self.plan_of_replacement(first, &written).await?
        };
        Ok(Plan { written, ignored: ignored.clone(), ..plan })
    }

    /// Of what is new nothing is ignored, and the mark of the first plan is all that the second knows of what is replaced.
    async fn plan_of_replacement(&self, first: Plan, written: &Json) -> Result<Plan> {
        let without = Stored { private: first.private, ..Stored::nothing() };
        let second = self.plan_once(&without, written.clone()).await?;
        let mut replaced =
            Plan { action: Action::Replace, prior: first.prior, replaces: first.replaces, ..second };
        replaced.diagnostics.splice(0..0, first.diagnostics);
        replaced.violations.splice(0..0, first.violations);
        Ok(replaced)
    }

    /// One call, with a configuration in which what is ignored is as it was.
    pub(super) async fn plan_once(&self, prior: &Stored, config: Json) -> Result<Plan> {
        let merged =
            if config.is_null() { Json::Null } else { proposed(&self.attributes, &prior.state, &config) };
        let request = pb::plan_resource_change::Request {
            type_name: self.type_name.clone(),
            prior_state: Some(self.encode(&prior.state)?),
            proposed_new_state: Some(self.encode(&merged)?),
            config: Some(self.encode(&config)?),
            prior_private: prior.private.clone(),
            prior_identity: Self::encode_identity(&prior.identity)?,
            ..Default::default()
        };
        let answer = self.calls.plan(request).await?;
        let leaks = leaks(&secrets(&self.attributes, &config), &answer);
        let mut plan = Plan {
            prior: prior.clone(),
            config,
            wire: answer.planned_state.clone().unwrap_or_default().msgpack,
            identity: Self::decode_identity(answer.planned_identity.as_ref())?,
            private: answer.planned_private,
            diagnostics: answer.diagnostics,
            violations: leaks,
            ..Plan::default()
        };
        // Of a refused plan nothing is used.
        if plan.is_refused() {
            return Ok(plan);
        }
        plan.planned = self.decode(answer.planned_state.as_ref())?;
        plan.violations.extend(self.judge(&plan, &answer.requires_replace));
        plan.replaces = effective(&answer.requires_replace, &prior.state, &plan.planned);
        plan.action = action(&prior.state, &plan.planned, !plan.replaces.is_empty());
        let identified = identity::planned(&self.identity, plan.action, &prior.identity, &plan.identity);
        plan.violations.extend(identified);
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
}
