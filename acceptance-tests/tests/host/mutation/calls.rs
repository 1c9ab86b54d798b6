//! The calls that a mutant stands in for.

use anyhow::{Result, bail};
use pgha_acceptance_tests::host::{Calls, has_errors};
use pgha_acceptance_tests::proto_client::pb::tfplugin6 as pb;
use pgha_acceptance_tests::proto_client::values::UNKNOWN;
use serde_json::{Value as Json, json};

use super::Mutation;
use super::mutant::{Asked, Mutant, SECRET};
use super::values::{cut, error, identity, in_digits, unknown_to};
use crate::kept::SECRETS;

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
            Mutation::GoneWithoutProof if has_errors(&answer.diagnostics) => {
                answer.diagnostics.clear();
                state = Json::Null;
            }
            Mutation::HidesTheUnseen if !has_errors(&answer.diagnostics) => answer.diagnostics.clear(),
            Mutation::GuessesTheUnseen
                if !answer.diagnostics.is_empty() && !has_errors(&answer.diagnostics) =>
            {
                state["replicas"] = json!(77);
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
        let prior = self.core.decode(request.prior_state.as_ref())?;
        let planned_identity = request.planned_identity.clone();
        if let Some(api) = self.api.as_ref().filter(|_| self.is(Mutation::ForcesWhatWasNotShown)) {
            api.yield_fields();
        }
        let mut answer = self.core.calls.apply(request).await?;
        self.meddles(&prior, &planned, has_errors(&answer.diagnostics));
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
