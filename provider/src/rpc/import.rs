//! Import, by id or by identity.

use super::{Provider, encode, identity, known_type};
use crate::engine::{Answer, Import, RESOURCE_TYPE};
use crate::proto::tfplugin6 as pb;
use crate::wire::diagnostics::to_proto;
use pb::import_resource_state::ImportedResource;
use pgha_provider_core::diagnostic::Diagnostics;
use pgha_provider_core::import::parse_id;

impl Provider {
    pub(super) async fn import(
        &self,
        request: pb::import_resource_state::Request,
    ) -> Result<pb::import_resource_state::Response, Diagnostics> {
        known_type(&request.type_name)?;
        let cluster = match &request.identity {
            Some(identity) if identity.identity_data.is_some() => identity::from_wire(identity)?,
            _ => parse_id(&request.id)?,
        };
        let import = Import { cluster, stop: self.stop.token() };
        let Answer { state, private, diagnostics } = self.engine.import(import).await;
        let mut response =
            pb::import_resource_state::Response { diagnostics: to_proto(&diagnostics), ..Default::default() };
        // A null state says that there is nothing: the diagnostics say why.
        if !state.is_null() {
            response.imported_resources.push(ImportedResource {
                type_name: RESOURCE_TYPE.to_owned(),
                state: Some(encode(&state, &self.cluster_type, "state")?),
                private: private.encode(),
                identity: identity::of(&state)?,
            });
        }
        Ok(response)
    }
}
