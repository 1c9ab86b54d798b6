//! Managed resources: what is there, and what is written about it.

use super::{Provider, broken, decode, decode_private, encode, identity, known_type};
use crate::engine::{Answer, Read};
use crate::proto::tfplugin6 as pb;
use crate::wire::diagnostics::to_proto;
use crate::wire::msgpack::in_digits;
use pgha_provider_core::check;
use pgha_provider_core::diagnostic::{Diagnostic, Diagnostics};
use pgha_provider_core::validate;

impl Provider {
    pub(super) async fn validate_resource(
        &self,
        request: pb::validate_resource_config::Request,
    ) -> Result<pb::validate_resource_config::Response, Diagnostics> {
        known_type(&request.type_name)?;
        let config = decode(request.config.as_ref(), &self.cluster_type, "configuration")?;
        let capable = request.client_capabilities.is_some_and(|host| host.write_only_attributes_allowed);
        let mut found = if capable {
            Diagnostics::new()
        } else {
            validate::write_only(&self.schemas.cluster.attributes, &config)
        };
        found.extend(self.engine.validate_resource(config).await);
        Ok(pb::validate_resource_config::Response { diagnostics: to_proto(&found) })
    }

    pub(super) async fn upgrade(
        &self,
        request: pb::upgrade_resource_state::Request,
    ) -> Result<pb::upgrade_resource_state::Response, Diagnostics> {
        known_type(&request.type_name)?;
        let Some(raw) = request.raw_state.filter(|raw| !raw.json.is_empty()) else {
            let detail = "The state holds the resource in a form that only ancient versions wrote.";
            return Err(Diagnostic::error("Unreadable state", detail).into());
        };
        let state = self.engine.upgrade(request.version, &raw.json).await?;
        let upgraded_state = Some(encode(&state, &self.cluster_type, "state")?);
        Ok(pb::upgrade_resource_state::Response { upgraded_state, diagnostics: Vec::new() })
    }

    pub(super) async fn read(
        &self,
        request: pb::read_resource::Request,
    ) -> Result<pb::read_resource::Response, Diagnostics> {
        known_type(&request.type_name)?;
        let ty = &self.cluster_type;
        let state = decode(request.current_state.as_ref(), ty, "state")?;
        let private = decode_private(&request.private)?;
        let Answer { state, private, mut diagnostics } =
            self.engine.read(Read { state, private, stop: self.stop.token() }).await;
        // Nothing was planned, so that it only must be fit to be stored.
        diagnostics.extend(broken("state", &check::apply(self.schemas.cluster, &state, &state)));
        Ok(pb::read_resource::Response {
            new_state: Some(encode(&in_digits(&state), ty, "state")?),
            new_identity: identity::of(&state)?,
            private: private.encode(),
            diagnostics: to_proto(&diagnostics),
            ..Default::default()
        })
    }
}
