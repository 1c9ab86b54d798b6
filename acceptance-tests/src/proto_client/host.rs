//! A host as tests want it: a process, a connection, the schemas, and a configured provider.

use super::Connection;
use super::pb::plugin::Empty;
use super::pb::tfplugin6 as pb;
use super::pb::tfplugin6::provider_client::ProviderClient;
use super::process::Plugin;
use super::values::{config, messages};
use super::view::TYPE;
use crate::host::Core;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value as Json;
use tokio::process::Command;
use tonic::transport::Channel;

/// A provider at work.
pub struct Host {
    plugin: Plugin,
    connection: Connection,
    /// What it serves.
    pub schemas: pb::get_provider_schema::Response,
}

impl Host {
    /// Starts a provider that nobody configured.
    ///
    /// # Errors
    /// When it doesn't start.
    pub async fn start() -> Result<Self> {
        Self::over(Plugin::start().await?).await
    }

    async fn over(plugin: Plugin) -> Result<Self> {
        let connection = plugin.connect().await?;
        let answer = connection.provider().get_provider_schema(pb::get_provider_schema::Request {}).await?;
        Ok(Self { plugin, connection, schemas: answer.into_inner() })
    }

    /// Starts one with this provider block.
    ///
    /// # Errors
    /// When it doesn't start or refuses the block.
    pub async fn configured(given: &Json) -> Result<Self> {
        Self::start().await?.configure(given).await
    }

    /// Starts one with this provider block and a changed environment.
    ///
    /// # Errors
    /// When it doesn't start or refuses the block.
    pub async fn configured_in(change: impl FnOnce(&mut Command), given: &Json) -> Result<Self> {
        Self::over(Plugin::start_with(change).await?).await?.configure(given).await
    }

    /// The same with everything logged that there is.
    ///
    /// # Errors
    /// When it doesn't start or refuses the block.
    pub async fn traced(given: &Json) -> Result<Self> {
        Self::configured_in(
            |command| {
                command.env("TF_LOG", "TRACE");
            },
            given,
        )
        .await
    }

    async fn configure(self, given: &Json) -> Result<Self> {
        let schema = self.schemas.provider.as_ref().context("no provider schema")?;
        let request = pb::configure_provider::Request {
            terraform_version: "1.14.0".to_owned(),
            config: Some(config(schema, given)?),
            client_capabilities: None,
        };
        let answer = self.rpc().configure_provider(request).await?.into_inner();
        ensure!(answer.diagnostics.is_empty(), "{:?}", messages(&answer.diagnostics));
        Ok(self)
    }

    /// A core that drives this provider, as to its resource.
    ///
    /// # Errors
    /// When a schema is missing or can't be read.
    pub async fn core(&self) -> Result<Core<ProviderClient<Channel>>> {
        let request = pb::get_resource_identity_schemas::Request {};
        let identities = self.rpc().get_resource_identity_schemas(request).await?.into_inner();
        let identified = identities.identity_schemas.get(TYPE).context("no identity")?;
        Core::new(self.rpc(), TYPE, self.resource()?, identified)
    }

    /// Ends the provider as a CLI does; gives its log.
    ///
    /// # Errors
    /// When it doesn't end.
    pub async fn end(self) -> Result<String> {
        self.connection.controller().shutdown(Empty {}).await?;
        Ok(self.plugin.ended().await?.2)
    }

    /// The provider service.
    #[must_use]
    pub fn rpc(&self) -> ProviderClient<Channel> {
        self.connection.provider()
    }

    /// The one resource.
    ///
    /// # Errors
    /// When it is not served.
    pub fn resource(&self) -> Result<&pb::Schema> {
        self.schemas.resource_schemas.values().next().context("no resource")
    }

    /// The one data source.
    ///
    /// # Errors
    /// When it is not served.
    pub fn data_source(&self) -> Result<&pb::Schema> {
        self.schemas.data_source_schemas.values().next().context("no data source")
    }
}
