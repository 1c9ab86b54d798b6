//! The list resource: a stream with one event a cluster.

use super::answers::FromDiagnostics;
use super::{Provider, absent, broken, decode, encode, identity};
use crate::engine::{LIST_TYPE, List, Listed};
use crate::proto::tfplugin6 as pb;
use crate::wire::diagnostics::to_proto;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use pgha_provider_core::check;
use pgha_provider_core::diagnostic::{Diagnostic, Diagnostics};
use pgha_provider_core::value::Value;
use pgha_schema::tf::Type;

impl Provider {
    pub(super) async fn validate_list(
        &self,
        request: pb::validate_list_resource_config::Request,
    ) -> Result<pb::validate_list_resource_config::Response, Diagnostics> {
        known_type(&request.type_name)?;
        let config = decode(request.config.as_ref(), &self.schemas.list.ty(), "configuration")?;
        let mut found = self.engine.validate_list(config).await;
        let limit = decode(request.limit.as_ref(), &Type::Number, "limit")?;
        if matches!(&limit, Value::Number(number) if number.as_f64() < 0.0) {
            found.push(Diagnostic::error(
                "The limit is below zero",
                "Leave it out, or write how many are wanted at most.",
            ));
        }
        Ok(pb::validate_list_resource_config::Response { diagnostics: to_proto(&found) })
    }

    pub(super) async fn list(
        &self,
        request: pb::list_resource::Request,
    ) -> Result<BoxStream<'static, pb::list_resource::Event>, Diagnostics> {
        known_type(&request.type_name)?;
        let list = List {
            config: decode(request.config.as_ref(), &self.schemas.list.ty(), "configuration")?,
            include_resource: request.include_resource_object,
            limit: request.limit,
            stop: self.stop.token(),
        };
        let (schema, ty) = (self.schemas.cluster, self.cluster_type.clone());
        let listed = self.engine.list(list).await.map(move |mut listed| {
            if let Some(state) = &listed.state {
                listed.diagnostics.extend(broken("state", &check::apply(schema, state, state)));
            }
            event(listed, &ty).unwrap_or_else(failed)
        });
        Ok(listed.boxed())
    }
}

fn known_type(name: &str) -> Result<(), Diagnostics> {
    if name == LIST_TYPE {
        return Ok(());
    }
    Err(absent::no_such("list resource", name).into())
}

fn event(listed: Listed, ty: &Type) -> Result<pb::list_resource::Event, Diagnostic> {
    Ok(pb::list_resource::Event {
        identity: listed.identity.as_ref().map(identity::to_wire).transpose()?,
        display_name: listed.display_name,
        resource_object: listed.state.map(|state| encode(&state, ty, "state")).transpose()?,
        diagnostic: to_proto(&listed.diagnostics),
    })
}

fn failed(problem: Diagnostic) -> pb::list_resource::Event {
    FromDiagnostics::from_diagnostics(to_proto(&problem.into()))
}
