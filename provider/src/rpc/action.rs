//! Actions: checked, planned, invoked. The answer to an invocation is a stream of what goes on, and at last what came of it.

use super::answers::FromDiagnostics;
use super::{Provider, absent, decode};
use crate::engine::{Event, Invoke};
use crate::proto::tfplugin6 as pb;
use crate::wire::diagnostics::to_proto;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use pgha_provider_core::diagnostic::Diagnostics;
use pgha_provider_core::value::Value;
use pgha_schema::actions::Action;

impl Provider {
    pub(super) async fn validate_action(
        &self,
        request: pb::validate_action_config::Request,
    ) -> Result<pb::validate_action_config::Response, Diagnostics> {
        let (action, config) = subject(&request.action_type, request.config.as_ref())?;
        let found = self.engine.validate_action(action, config).await;
        Ok(pb::validate_action_config::Response { diagnostics: to_proto(&found) })
    }

    pub(super) async fn plan_action(
        &self,
        request: pb::plan_action::Request,
    ) -> Result<pb::plan_action::Response, Diagnostics> {
        let (action, config) = subject(&request.action_type, request.config.as_ref())?;
        let found = self.engine.plan_action(action, config).await;
        Ok(pb::plan_action::Response { diagnostics: to_proto(&found), deferred: None })
    }

    pub(super) async fn invoke(
        &self,
        request: pb::invoke_action::Request,
    ) -> Result<BoxStream<'static, pb::invoke_action::Event>, Diagnostics> {
        let (action, config) = subject(&request.action_type, request.config.as_ref())?;
        let events = self.engine.invoke(Invoke { action, config, stop: self.stop.token() }).await;
        Ok(events.map(to_wire).boxed())
    }
}

fn subject(name: &str, config: Option<&pb::DynamicValue>) -> Result<(Action, Value), Diagnostics> {
    let action = Action::named(name).ok_or_else(|| Diagnostics::from(absent::no_such("action", name)))?;
    Ok((action, decode(config, &action.schema().ty(), "configuration")?))
}

fn to_wire(event: Event) -> pb::invoke_action::Event {
    use pb::invoke_action::event::{Progress, Type};
    match event {
        Event::Progress(message) => {
            pb::invoke_action::Event { r#type: Some(Type::Progress(Progress { message })) }
        }
        Event::Completed(diagnostics) => FromDiagnostics::from_diagnostics(to_proto(&diagnostics)),
    }
}
