//! What the provider has: metadata and schemas.

use super::{Provider, functions as served};
use crate::engine::{DATA_SOURCE_TYPE, EPHEMERAL_TYPE, LIST_TYPE, RESOURCE_TYPE};
use crate::proto::tfplugin6 as pb;
use crate::wire::schema;
use pb::get_metadata::{
    ActionMetadata, DataSourceMetadata, EphemeralResourceMetadata, FunctionMetadata, ListResourceMetadata,
    ResourceMetadata,
};
use pgha_provider_core::diagnostic::Diagnostics;
use pgha_schema::actions::Action;
use pgha_schema::functions::functions;

fn capabilities() -> pb::ServerCapabilities {
    pb::ServerCapabilities {
        plan_destroy: true,
        get_provider_schema_optional: true,
        move_resource_state: true,
        generate_resource_config: true,
    }
}

pub(super) fn metadata() -> Result<pb::get_metadata::Response, Diagnostics> {
    Ok(pb::get_metadata::Response {
        server_capabilities: Some(capabilities()),
        resources: vec![ResourceMetadata { type_name: RESOURCE_TYPE.to_owned() }],
        data_sources: vec![DataSourceMetadata { type_name: DATA_SOURCE_TYPE.to_owned() }],
        ephemeral_resources: vec![EphemeralResourceMetadata { type_name: EPHEMERAL_TYPE.to_owned() }],
        list_resources: vec![ListResourceMetadata { type_name: LIST_TYPE.to_owned() }],
        actions: Action::ALL.map(|one| ActionMetadata { type_name: one.type_name().to_owned() }).to_vec(),
        functions: functions().iter().map(|one| FunctionMetadata { name: one.name.to_owned() }).collect(),
        ..Default::default()
    })
}

fn action_schema(action: Action) -> (String, pb::ActionSchema) {
    (action.type_name().to_owned(), pb::ActionSchema { schema: Some(schema::to_proto(action.schema())) })
}

impl Provider {
    pub(super) fn schema_response(&self) -> Result<pb::get_provider_schema::Response, Diagnostics> {
        let resources = [(RESOURCE_TYPE.to_owned(), schema::to_proto(self.schemas.cluster))];
        let ephemeral = [(EPHEMERAL_TYPE.to_owned(), schema::to_proto(self.schemas.credentials))];
        let lists = [(LIST_TYPE.to_owned(), schema::to_proto(self.schemas.list))];
        let views = [(DATA_SOURCE_TYPE.to_owned(), schema::to_proto(self.schemas.view))];
        Ok(pb::get_provider_schema::Response {
            provider: Some(schema::to_proto(self.schemas.provider)),
            resource_schemas: resources.into(),
            data_source_schemas: views.into(),
            ephemeral_resource_schemas: ephemeral.into(),
            list_resource_schemas: lists.into(),
            action_schemas: Action::ALL.map(action_schema).into(),
            functions: served::declared(),
            server_capabilities: Some(capabilities()),
            ..Default::default()
        })
    }
}
