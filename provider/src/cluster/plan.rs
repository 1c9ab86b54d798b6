//! Planning: the pure plan, and a dry run that can only warn.

use pgha_provider_core::diagnostic::Diagnostic;
use pgha_provider_core::plan as core;
use pgha_provider_core::render::{Agent, Inputs, objects};
use pgha_provider_core::value::Value;
use pgha_schema::resource::{ClusterSpec, schema};

use super::carried::{carried, facts, private};
use crate::engine::{Plan, Planned};
use crate::live::api::Api;
use crate::live::config::Connector;
use crate::live::dry_run::{Extent, refusals};

/// Stands in for the anchor's uid, which only apply can tell.
const NO_UID: &str = "00000000-0000-0000-0000-000000000000";

pub(super) async fn plan(request: Plan, connector: Option<&Connector>) -> Planned {
    let agent_version = &carried().agent.version;
    let core::Plan { planned, requires_replace, facts, mut diagnostics } = core::plan(&core::Request {
        config: &request.config,
        prior: &request.prior,
        facts: &facts(&request.prior_private),
        agent_version,
    });
    let writes = !planned.is_null() && planned != request.prior && requires_replace.is_empty();
    if let Some(connector) = connector.filter(|_| writes && !diagnostics.has_errors()) {
        let extent = if request.prior.is_null() { Extent::Create } else { Extent::Update };
        let uid = facts.anchor_uid.as_deref().unwrap_or(NO_UID);
        diagnostics.extend(dry_run(connector, &planned, uid, extent).await);
    }
    Planned { state: planned, requires_replace, private: private(&facts), diagnostics }
}

/// What the API server would refuse now. Nothing when it can't be asked, or when not every input is known.
async fn dry_run(connector: &Connector, planned: &Value, uid: &str, extent: Extent) -> Option<Diagnostic> {
    let spec = spec(planned)?;
    let connection = match connector.connection().await {
        Ok(connection) => connection,
        Err(problem) => {
            tracing::info!(%problem, "no dry run at plan time");
            return None;
        }
    };
    // An immutable field would be refused whatever its generation, so any number does.
    let (agent, _) = Agent::of(&spec, &carried().agent, &[]);
    let inputs = Inputs::new(&spec, uid, &agent, 1);
    let api = Api::new(connection, &spec.namespace);
    refusals(&api, &objects(&inputs), extent).await
}

/// The specification, when every input is known.
pub(super) fn spec(planned: &Value) -> Option<ClusterSpec> {
    let inputs = schema().attributes.iter().filter(|attribute| !attribute.is_output());
    let known: Option<serde_json::Map<_, _>> =
        inputs.map(|input| Some((input.name.clone(), planned.get(&input.name).to_json()?))).collect();
    ClusterSpec::from_value(&known?.into()).ok()
}
