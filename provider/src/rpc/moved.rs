//! Moves between resource types and providers: the same type of the same provider under another address, as after a fork or a
//! change of the registry's namespace.

use super::{Provider, decode_private, encode, identity, known_type};
use crate::engine::RESOURCE_TYPE;
use crate::proto::tfplugin6 as pb;
use pgha_provider_core::diagnostic::{Diagnostic, Diagnostics};

/// The last part of the provider's address, whoever publishes it.
const PROVIDER_TYPE: &str = "postgres";

impl Provider {
    pub(super) async fn move_state(
        &self,
        request: pb::move_resource_state::Request,
    ) -> Result<pb::move_resource_state::Response, Diagnostics> {
        known_type(&request.target_type_name)?;
        let publisher = request.source_provider_address.rsplit('/').next().unwrap_or_default();
        if request.source_type_name != RESOURCE_TYPE || publisher != PROVIDER_TYPE {
            return Err(another(&request).into());
        }
        let stored = request.source_state.unwrap_or_default();
        let state = self.engine.upgrade(request.source_schema_version, &stored.json).await?;
        let Some(target_identity) = identity::of(&state)? else {
            let detail = "The state to be moved has no name or no namespace, so it is none of a cluster. Remove it from the \
                state (a `removed` block), and import the cluster (an `import` block).";
            return Err(Diagnostic::error("The state can't be moved", detail).into());
        };
        Ok(pb::move_resource_state::Response {
            target_state: Some(encode(&state, &self.cluster_type, "state")?),
            // Which cluster it is, is in it: without it a later plan could not prove that nothing else is meant.
            target_private: decode_private(&request.source_private)?.encode(),
            target_identity: Some(target_identity),
            diagnostics: Vec::new(),
        })
    }
}

fn another(request: &pb::move_resource_state::Request) -> Diagnostic {
    Diagnostic::error(
        format!("A {} can't become a {RESOURCE_TYPE}", request.source_type_name),
        format!(
            "Only a {RESOURCE_TYPE} of a provider of type {PROVIDER_TYPE} can be moved here, and this is a {} of {}. If both mean the \
             same cluster, remove the old resource from the state (a `removed` block with `destroy = false`), and import the \
             cluster under its new address (an `import` block with the id namespace/name).",
            request.source_type_name, request.source_provider_address
        ),
    )
}
