//! The ephemeral resource. It holds nothing between open and close, so there is nothing to renew and nothing to give back.

use super::{Provider, absent, broken, data_source, decode, encode};
use crate::engine::{EPHEMERAL_TYPE, Looked, ReadData};
use crate::proto::tfplugin6 as pb;
use crate::wire::diagnostics::to_proto;
use pgha_provider_core::check;
use pgha_provider_core::diagnostic::Diagnostics;

impl Provider {
    pub(super) async fn validate_ephemeral(
        &self,
        request: pb::validate_ephemeral_resource_config::Request,
    ) -> Result<pb::validate_ephemeral_resource_config::Response, Diagnostics> {
        known_type(&request.type_name)?;
        let config = decode(request.config.as_ref(), &self.schemas.credentials.ty(), "configuration")?;
        let found = self.engine.validate_credentials(config).await;
        Ok(pb::validate_ephemeral_resource_config::Response { diagnostics: to_proto(&found) })
    }

    pub(super) async fn open_ephemeral(
        &self,
        request: pb::open_ephemeral_resource::Request,
    ) -> Result<pb::open_ephemeral_resource::Response, Diagnostics> {
        known_type(&request.type_name)?;
        let (schema, ty) = (self.schemas.credentials, self.schemas.credentials.ty());
        let deferral_allowed = request.client_capabilities.is_some_and(|host| host.deferral_allowed);
        let config = decode(request.config.as_ref(), &ty, "configuration")?;
        let open = ReadData { config, deferral_allowed, stop: self.stop.token() };
        let Looked { state, mut diagnostics, deferred } = self.engine.open_credentials(open).await;
        if deferred.is_none() {
            diagnostics.extend(broken("ephemeral resource", &check::apply(schema, &state, &state)));
        }
        Ok(pb::open_ephemeral_resource::Response {
            result: Some(encode(&state, &ty, "ephemeral resource")?),
            diagnostics: to_proto(&diagnostics),
            deferred: deferred.map(data_source::to_wire),
            ..Default::default()
        })
    }

    pub(super) fn renew_ephemeral(
        request: &pb::renew_ephemeral_resource::Request,
    ) -> Result<pb::renew_ephemeral_resource::Response, Diagnostics> {
        known_type(&request.type_name).map(|()| Default::default())
    }

    pub(super) fn close_ephemeral(
        request: &pb::close_ephemeral_resource::Request,
    ) -> Result<pb::close_ephemeral_resource::Response, Diagnostics> {
        known_type(&request.type_name).map(|()| Default::default())
    }
}

fn known_type(name: &str) -> Result<(), Diagnostics> {
    if name == EPHEMERAL_TYPE {
        return Ok(());
    }
    Err(absent::no_such("ephemeral resource", name).into())
}
