//! Resource identity.

use super::{Provider, decode, encode, known_type};
use crate::engine::RESOURCE_TYPE;
use crate::proto::tfplugin6 as pb;
use crate::wire::{diagnostics, json, schema};
use pgha_provider_core::diagnostic::{Diagnostic, Diagnostics};
use pgha_provider_core::identity;
use pgha_provider_core::value::Value;
use pgha_schema::identity::{ClusterIdentity, schema as identity_schema};

impl Provider {
    pub(super) fn identity_schemas() -> pb::get_resource_identity_schemas::Response {
        let schemas = [(RESOURCE_TYPE.to_owned(), schema::identity(identity_schema()))];
        pb::get_resource_identity_schemas::Response {
            identity_schemas: schemas.into(),
            diagnostics: Vec::new(),
        }
    }

    pub(super) fn upgrade_identity(
        request: pb::upgrade_resource_identity::Request,
    ) -> Result<pb::upgrade_resource_identity::Response, Diagnostics> {
        known_type(&request.type_name)?;
        let raw = request.raw_identity.unwrap_or_default();
        let stored = json::decode(&raw.json, &identity_schema().ty())
            .map_err(|error| diagnostics::unreadable("identity", &error))?;
        let upgraded = identity::upgrade(request.version, stored)?;
        Ok(pb::upgrade_resource_identity::Response {
            upgraded_identity: Some(to_wire(&upgraded)?),
            diagnostics: Vec::new(),
        })
    }
}

/// The identity of a state or plan in the protocol's form; none of nothing.
pub(super) fn of(state: &Value) -> Result<Option<pb::ResourceIdentityData>, Diagnostic> {
    identity::of(state).as_ref().map(to_wire).transpose()
}

/// An identity in the protocol's form.
pub(super) fn to_wire(identity: &Value) -> Result<pb::ResourceIdentityData, Diagnostic> {
    Ok(pb::ResourceIdentityData {
        identity_data: Some(encode(identity, &identity_schema().ty(), "identity")?),
    })
}

/// The cluster that the host means.
pub(super) fn from_wire(data: &pb::ResourceIdentityData) -> Result<ClusterIdentity, Diagnostics> {
    identity::parse(&decode(data.identity_data.as_ref(), &identity_schema().ty(), "identity")?)
}
