//! Actions as a host runs them: checked and planned before anything is done, then invoked, with events until the last one.

use anyhow::{Result, ensure};
use serde_json::Value as Json;
use tonic::transport::Channel;

use crate::proto_client::pb::tfplugin6 as pb;
use crate::proto_client::pb::tfplugin6::provider_client::ProviderClient;
use crate::proto_client::values::config;

/// What an action told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Invoked {
    /// Its progress, in order.
    pub progress: Vec<String>,
    /// How it ended; errors mean that it failed.
    pub diagnostics: Vec<pb::Diagnostic>,
}

/// An action of a provider.
#[derive(Debug, Clone)]
pub struct ActionHost<'a> {
    /// The provider.
    pub rpc: ProviderClient<Channel>,
    /// The action's type.
    pub action_type: &'a str,
    /// Its schema, as served.
    pub schema: &'a pb::Schema,
}

impl ActionHost<'_> {
    /// ValidateActionConfig: what is wrong with the configuration, which may hold unknowns.
    ///
    /// # Errors
    /// When the call itself fails, or `given` doesn't fit the schema.
    pub async fn validate(&self, given: &Json) -> Result<Vec<pb::Diagnostic>> {
        let request = pb::validate_action_config::Request {
            action_type: self.action_type.to_owned(),
            config: Some(config(self.schema, given)?),
        };
        Ok(self.rpc.clone().validate_action_config(request).await?.into_inner().diagnostics)
    }

    /// PlanAction: what would go wrong.
    ///
    /// # Errors
    /// When the call itself fails, or the answer is deferred although this host never allowed that.
    pub async fn plan(&self, given: &Json) -> Result<Vec<pb::Diagnostic>> {
        let request = pb::plan_action::Request {
            action_type: self.action_type.to_owned(),
            config: Some(config(self.schema, given)?),
            client_capabilities: None,
        };
        let answer = self.rpc.clone().plan_action(request).await?.into_inner();
        ensure!(answer.deferred.is_none(), "the plan was deferred, which was not allowed");
        Ok(answer.diagnostics)
    }

    /// InvokeAction: runs it to its end. A stream has one last event, and nothing after it.
    ///
    /// # Errors
    /// When the call itself fails, or its events are not those of the protocol.
    pub async fn invoke(&self, given: &Json) -> Result<Invoked> {
        use pb::invoke_action::event::Type;
        let request = pb::invoke_action::Request {
            action_type: self.action_type.to_owned(),
            config: Some(config(self.schema, given)?),
            client_capabilities: None,
        };
        let mut events = self.rpc.clone().invoke_action(request).await?.into_inner();
        let (mut invoked, mut completed) = (Invoked::default(), false);
        while let Some(event) = events.message().await? {
            ensure!(!completed, "an event after the last one");
            match event.r#type {
                Some(Type::Progress(progress)) => invoked.progress.push(progress.message),
                Some(Type::Completed(last)) => {
                    completed = true;
                    invoked.diagnostics = last.diagnostics;
                }
                None => anyhow::bail!("an event without a type"),
            }
        }
        ensure!(completed, "the events ended without a last one");
        Ok(invoked)
    }
}
