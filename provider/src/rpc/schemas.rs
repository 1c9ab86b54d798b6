//! What the provider has: metadata and schemas.

use super::Provider;
use crate::engine::RESOURCE_TYPE;
use crate::proto::tfplugin6 as pb;
use crate::wire::schema;
use pb::get_metadata::ResourceMetadata;
use pgha_provider_core::diagnostic::Diagnostics;

fn capabilities() -> pb::ServerCapabilities {
    pb::ServerCapabilities {
        plan_destroy: true,
        get_provider_schema_optional: true,
        move_resource_state: false,
        generate_resource_config: false,
    }
}

pub(super) fn metadata() -> Result<pb::get_metadata::Response, Diagnostics> {
    Ok(pb::get_metadata::Response {
        server_capabilities: Some(capabilities()),
        resources: vec![ResourceMetadata { type_name: RESOURCE_TYPE.to_owned() }],
        ..Default::default()
    })
}

impl Provider {
    pub(super) fn schema_response(&self) -> Result<pb::get_provider_schema::Response, Diagnostics> {
        let resources = [(RESOURCE_TYPE.to_owned(), schema::to_proto(self.schemas.cluster))];
        Ok(pb::get_provider_schema::Response {
            provider: Some(schema::to_proto(self.schemas.provider)),
            resource_schemas: resources.into(),
            server_capabilities: Some(capabilities()),
            ..Default::default()
        })
    }
}
