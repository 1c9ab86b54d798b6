//! A provider's process for a thread, and what is known of it.

use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow, ensure};
use pgha_acceptance_tests::host::Core;
use pgha_acceptance_tests::proto_client::pb::plugin::Empty;
use pgha_acceptance_tests::proto_client::pb::tfplugin6 as pb;
use pgha_acceptance_tests::proto_client::pb::tfplugin6::provider_client::ProviderClient;
use pgha_acceptance_tests::proto_client::process::Plugin;
use pgha_acceptance_tests::proto_client::values::{UNKNOWN, config, messages};
use pgha_acceptance_tests::proto_client::{Connection, binary};
use serde_json::{Value as Json, json};
use tokio::runtime::Runtime;
use tonic::transport::Channel;

use crate::learn::{Learned, learn};

const TYPE: &str = "postgres_ha_cluster";

/// A runtime of one thread: calls of a case follow one another.
pub fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// A process, a runtime to talk to it in, and a host.
pub struct Provider {
    pub runtime: Runtime,
    pub core: Core<ProviderClient<Channel>>,
    plugin: Plugin,
    connection: Connection,
}

impl Provider {
    /// A provider whose configuration is not known yet, as one that depends on another resource of the same run (P11): plans
    /// need no cluster, and none is looked for.
    pub fn start() -> Result<Self> {
        Self::configured(runtime()?, &json!({ "host": UNKNOWN }))
    }

    /// A provider with this configuration.
    pub fn configured(runtime: Runtime, given: &Json) -> Result<Self> {
        binary::path()?;
        let (plugin, connection, core) = runtime.block_on(async {
            let plugin = Plugin::start().await?;
            let connection = plugin.connect().await?;
            let mut rpc = connection.provider();
            let request = pb::get_provider_schema::Request {};
            let schemas = rpc.get_provider_schema(request).await?.into_inner();
            let block = schemas.provider.as_ref().context("no provider schema")?;
            let request = pb::configure_provider::Request {
                terraform_version: "1.14.0".to_owned(),
                config: Some(config(block, given)?),
                client_capabilities: None,
            };
            let answer = rpc.configure_provider(request).await?.into_inner();
            ensure!(answer.diagnostics.is_empty(), "{:?}", messages(&answer.diagnostics));
            let served = schemas.resource_schemas.get(TYPE).context("no resource")?;
            let request = pb::get_resource_identity_schemas::Request {};
            let identities = rpc.get_resource_identity_schemas(request).await?.into_inner();
            let identified = identities.identity_schemas.get(TYPE).context("no identity")?;
            let core = Core::new(connection.provider(), TYPE, served, identified)?;
            Ok::<_, anyhow::Error>((plugin, connection, core))
        })?;
        Ok(Self { runtime, core, plugin, connection })
    }

    /// What its attributes take; asked once for all threads.
    pub fn learned(&self) -> Result<&'static Learned> {
        static LEARNED: OnceLock<Result<Learned, String>> = OnceLock::new();
        // One thread asks, the others wait for it.
        let asked = LEARNED
            .get_or_init(|| self.runtime.block_on(learn(&self.core)).map_err(|error| format!("{error:#}")));
        asked.as_ref().map_err(|error| anyhow!("{error}"))
    }

    /// It lives, ends when it is told to, and has complained of nothing.
    pub fn ends_well(self) -> Result<()> {
        let Self { runtime, core, mut plugin, connection } = self;
        runtime.block_on(async {
            ensure!(plugin.runs()?, "the provider has ended");
            core.validate(&crate::learn::minimal()).await.context("the provider answers no more")?;
            connection.controller().shutdown(Empty {}).await?;
            let (status, stdout, stderr) = plugin.ended().await?;
            ensure!(status.success(), "{status}");
            ensure!(stdout.is_empty() && stderr.is_empty(), "stdout {stdout:?}, stderr {stderr:?}");
            Ok(())
        })
    }
}
