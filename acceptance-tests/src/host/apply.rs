//! The apply walk: what was planned is planned once more, with what has become known since, and carried out.

use anyhow::{Result, ensure};
use serde_json::Value as Json;

use super::judged::{Applied, Plan, Stored, has_errors};
use super::rules::Rule;
use super::rules::action::{Action, same_action};
use super::rules::compatible::compatible;
use super::rules::conform::{conforms, wholly_known};
use super::rules::identity;
use super::rules::write_only::{leaks, secrets};
use super::schema::{complete, is_wholly_known};
use super::{Calls, Core};
use crate::proto_client::pb::tfplugin6 as pb;

impl<C: Calls> Core<C> {
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
            Action::Replace => Stored::nothing(),
            Action::NoOp | Action::Create | Action::Update | Action::Delete => first.prior.clone(),
        };
        let written = complete(&self.attributes, settled);
        let ignored = first.ignored.clone();
        let diagnostics = self.validate(&written).await?;
        if has_errors(&diagnostics) {
            return Ok(Plan { prior, written, ignored, diagnostics, ..Plan::default() });
        }
        let config = ignored.over(&self.attributes, &prior.state, &written);
        let mut last = Plan { written, ignored, ..self.plan_once(&prior, config).await? };
        if !last.is_refused() {
            let moved = compatible(Rule::FinalPlan, &self.attributes, &first.planned, &last.planned);
            last.violations.extend(moved);
            last.violations.extend(compatible(
                Rule::Identity,
                &self.identity,
                &first.identity,
                &last.identity,
            ));
            last.violations.extend(same_action(first.action, last.action));
        }
        Ok(last)
    }

    /// ApplyResourceChange of a plan whose configuration is wholly known by now.
    ///
    /// # Errors
    /// When the call itself fails, or the plan during apply is refused.
    pub async fn apply(&self, first: &Plan, settled: &Json) -> Result<Applied> {
        ensure!(is_wholly_known(settled), "an apply has no unknown configuration");
        let plan = self.plan_again(first, settled).await?;
        ensure!(!plan.is_refused(), "{:?}", plan.diagnostics);
        let request = pb::apply_resource_change::Request {
            type_name: self.type_name.clone(),
            prior_state: Some(self.encode(&plan.prior.state)?),
            planned_state: Some(self.encode(&plan.planned)?),
            config: Some(self.encode(&plan.config)?),
            planned_private: plan.private.clone(),
            planned_identity: Self::encode_identity(&plan.identity)?,
            ..Default::default()
        };
        let answer = self.calls.apply(request).await?;
        let leaks = leaks(&secrets(&self.attributes, &plan.config), &answer);
        let new = self.decode(answer.new_state.as_ref())?;
        let mut violations = plan.violations.clone();
        violations.extend(leaks);
        violations.extend(conforms(&self.attributes, &new));
        violations.extend(wholly_known(&new));
        if !has_errors(&answer.diagnostics) {
            violations.extend(compatible(Rule::Result, &self.attributes, &plan.planned, &new));
        }
        let identified = Self::decode_identity(answer.new_identity.as_ref())?;
        if !new.is_null() {
            // Of a failed destroy or update it is the one from before.
            violations.extend(identity::settled(&self.identity, &plan.identity, &identified));
        }
        let stored = Stored { state: new, private: answer.private, identity: identified };
        Ok(Applied { stored, plan, diagnostics: answer.diagnostics, violations })
    }
}
