//! Actions, which only Terraform 1.14 and newer calls.

use super::host::Host;
use super::pb::tfplugin6 as pb;
use super::values::{config, messages};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value as Json;
use tonic::Streaming;

/// What an action told, and its diagnostics at the end.
#[derive(Debug)]
pub struct Told {
    /// Its progress, message by message.
    pub progress: Vec<String>,
    /// How it ended; nothing when all went well.
    pub problems: Vec<String>,
}

impl Host {
    /// The schema of an action's `config` block.
    ///
    /// # Errors
    /// When it is not served.
    pub fn action(&self, action: &str) -> Result<&pb::Schema> {
        let served = self.schemas.action_schemas.get(action).with_context(|| format!("no {action}"))?;
        served.schema.as_ref().context("no schema")
    }

    /// Validates an action's configuration; gives what is wrong with it.
    ///
    /// # Errors
    /// When the call fails, or `given` does not fit.
    pub async fn validate_action(&self, action: &str, given: &Json) -> Result<Vec<String>> {
        let request = pb::validate_action_config::Request {
            action_type: action.to_owned(),
            config: Some(config(self.action(action)?, given)?),
        };
        Ok(messages(&self.rpc().validate_action_config(request).await?.into_inner().diagnostics))
    }

    /// Plans an action; gives what is told then.
    ///
    /// # Errors
    /// When the call fails, or the provider puts the action off.
    pub async fn plan_action(&self, action: &str, given: &Json) -> Result<Vec<String>> {
        let request = pb::plan_action::Request {
            action_type: action.to_owned(),
            config: Some(config(self.action(action)?, given)?),
            client_capabilities: None,
        };
        let answer = self.rpc().plan_action(request).await?.into_inner();
        ensure!(answer.deferred.is_none(), "nothing has to wait");
        Ok(messages(&answer.diagnostics))
    }

    /// Begins an action.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn invoke(&self, action: &str, given: &Json) -> Result<Streaming<pb::invoke_action::Event>> {
        let request = pb::invoke_action::Request {
            action_type: action.to_owned(),
            config: Some(config(self.action(action)?, given)?),
            client_capabilities: None,
        };
        Ok(self.rpc().invoke_action(request).await?.into_inner())
    }
}

/// Hears an action to its end.
///
/// # Errors
/// When it has none, or goes on after it.
pub async fn told(mut events: Streaming<pb::invoke_action::Event>) -> Result<Told> {
    use pb::invoke_action::event::Type;
    let mut progress = Vec::new();
    while let Some(event) = events.message().await? {
        match event.r#type.context("an empty event")? {
            Type::Progress(told) => progress.push(told.message),
            Type::Completed(ended) => {
                ensure!(events.message().await?.is_none(), "something follows the end");
                return Ok(Told { progress, problems: messages(&ended.diagnostics) });
            }
        }
    }
    bail!("no end after {progress:?}")
}
