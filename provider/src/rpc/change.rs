//! Plan and apply. Before an answer leaves, it is judged by the host's own rules: a violation would show as the host's
//! accusation without any hint at the cause.

use super::{Provider, broken, decode, decode_private, encode, identity, known_type};
use crate::engine::{Answer, Apply, Plan, Planned};
use crate::proto::tfplugin6 as pb;
use crate::wire::diagnostics::{path, to_proto};
use pgha_provider_core::check;
use pgha_provider_core::diagnostic::Diagnostics;

impl Provider {
    pub(super) async fn plan(
        &self,
        request: pb::plan_resource_change::Request,
    ) -> Result<pb::plan_resource_change::Response, Diagnostics> {
        known_type(&request.type_name)?;
        let ty = &self.cluster_type;
        let plan = Plan {
            config: decode(request.config.as_ref(), ty, "configuration")?,
            prior: decode(request.prior_state.as_ref(), ty, "state")?,
            proposed: decode(request.proposed_new_state.as_ref(), ty, "proposed state")?,
            prior_private: decode_private(&request.prior_private)?,
            stop: self.stop.token(),
        };
        let (config, prior) = (plan.config.clone(), plan.prior.clone());
        let Planned { state, requires_replace, private, mut diagnostics } = self.engine.plan(plan).await;
        if !diagnostics.has_errors() {
            let found = check::plan(self.schemas.cluster, &config, &prior, &state, &requires_replace);
            diagnostics.extend(broken("plan", &found));
        }
        // What is destroyed has the identity that it had.
        let identified = if state.is_null() { &prior } else { &state };
        Ok(pb::plan_resource_change::Response {
            planned_identity: identity::of(identified)?,
            planned_state: Some(encode(&state, ty, "plan")?),
            requires_replace: requires_replace.iter().map(path).collect(),
            planned_private: private.encode(),
            diagnostics: to_proto(&diagnostics),
            ..Default::default()
        })
    }

    pub(super) async fn apply(
        &self,
        request: pb::apply_resource_change::Request,
    ) -> Result<pb::apply_resource_change::Response, Diagnostics> {
        known_type(&request.type_name)?;
        let ty = &self.cluster_type;
        let apply = Apply {
            config: decode(request.config.as_ref(), ty, "configuration")?,
            prior: decode(request.prior_state.as_ref(), ty, "state")?,
            planned: decode(request.planned_state.as_ref(), ty, "planned state")?,
            private: decode_private(&request.planned_private)?,
            stop: self.stop.token(),
        };
        let planned = apply.planned.clone();
        let Answer { state, private, mut diagnostics } = self.engine.apply(apply).await;
        // After an error the host takes any state that can be stored: it holds what is really in force.
        let expected = if diagnostics.has_errors() { &state } else { &planned };
        let found = check::apply(self.schemas.cluster, expected, &state);
        diagnostics.extend(broken("state", &found));
        Ok(pb::apply_resource_change::Response {
            new_identity: identity::of(&state)?,
            new_state: Some(encode(&state, ty, "state")?),
            private: private.encode(),
            diagnostics: to_proto(&diagnostics),
            ..Default::default()
        })
    }
}
