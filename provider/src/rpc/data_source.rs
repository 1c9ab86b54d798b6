//! The data source.

use super::{Provider, absent, broken, decode, encode};
use crate::engine::{DATA_SOURCE_TYPE, Deferred, Looked, ReadData};
use crate::proto::tfplugin6 as pb;
use crate::wire::diagnostics::to_proto;
use pb::deferred::Reason;
use pgha_provider_core::check;
use pgha_provider_core::diagnostic::Diagnostics;

impl Provider {
    pub(super) async fn validate_data(
        &self,
        request: pb::validate_data_resource_config::Request,
    ) -> Result<pb::validate_data_resource_config::Response, Diagnostics> {
        known_type(&request.type_name)?;
        let config = decode(request.config.as_ref(), &self.schemas.view.ty(), "configuration")?;
        let found = self.engine.validate_data(config).await;
        Ok(pb::validate_data_resource_config::Response { diagnostics: to_proto(&found) })
    }

    pub(super) async fn read_data(
        &self,
        request: pb::read_data_source::Request,
    ) -> Result<pb::read_data_source::Response, Diagnostics> {
        known_type(&request.type_name)?;
        let ty = self.schemas.view.ty();
        let deferral_allowed = request.client_capabilities.is_some_and(|host| host.deferral_allowed);
        let config = decode(request.config.as_ref(), &ty, "configuration")?;
        let read = ReadData { config, deferral_allowed, stop: self.stop.token() };
        let Looked { state, mut diagnostics, deferred } = self.engine.read_data(read).await;
        if deferred.is_none() {
            diagnostics.extend(broken("data source", &check::apply(self.schemas.view, &state, &state)));
        }
        Ok(pb::read_data_source::Response {
            state: Some(encode(&state, &ty, "data source")?),
            diagnostics: to_proto(&diagnostics),
            deferred: deferred.map(to_wire),
        })
    }
}

fn known_type(name: &str) -> Result<(), Diagnostics> {
    if name == DATA_SOURCE_TYPE {
        return Ok(());
    }
    Err(absent::no_such("data source", name).into())
}

/// In the protocol's form.
pub(super) fn to_wire(deferred: Deferred) -> pb::Deferred {
    let reason = match deferred {
        Deferred::ConfigUnknown => Reason::ResourceConfigUnknown,
        Deferred::ProviderUnknown => Reason::ProviderConfigUnknown,
    };
    pb::Deferred { reason: reason.into() }
}
