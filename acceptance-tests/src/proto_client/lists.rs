//! Lists of clusters, which only Terraform 1.14 and newer asks for, and imports by identity, which came with 1.12.

use super::host::Host;
use super::pb::tfplugin6 as pb;
use super::values::{argument, config, messages};
use super::view::TYPE;
use anyhow::{Context as _, Result};
use serde_json::Value as Json;

impl Host {
    /// The schema of the list resource's `config` block.
    ///
    /// # Errors
    /// When it is not served.
    pub fn list_resource(&self) -> Result<&pb::Schema> {
        self.schemas.list_resource_schemas.get(TYPE).context("no list resource")
    }

    /// Validates a `list` block; gives what is wrong with it.
    ///
    /// # Errors
    /// When the call fails, or `given` does not fit.
    pub async fn validate_list(&self, given: &Json, whole: &Json, limit: &Json) -> Result<Vec<String>> {
        let request = pb::validate_list_resource_config::Request {
            type_name: TYPE.to_owned(),
            config: Some(config(self.list_resource()?, given)?),
            include_resource_object: Some(argument(whole)?),
            limit: Some(argument(limit)?),
        };
        Ok(messages(&self.rpc().validate_list_resource_config(request).await?.into_inner().diagnostics))
    }

    /// Lists to the end; a limit of 0 is none.
    ///
    /// # Errors
    /// When the call fails, or `given` does not fit.
    pub async fn list(&self, given: &Json, whole: bool, limit: i64) -> Result<Vec<pb::list_resource::Event>> {
        let request = pb::list_resource::Request {
            type_name: TYPE.to_owned(),
            config: Some(config(self.list_resource()?, given)?),
            include_resource_object: whole,
            limit,
        };
        let mut stream = self.rpc().list_resource(request).await?.into_inner();
        let mut events = Vec::new();
        while let Some(event) = stream.message().await? {
            events.push(event);
        }
        Ok(events)
    }

    /// What identifies a resource.
    ///
    /// # Errors
    /// When it is not served.
    pub async fn identity(&self) -> Result<pb::ResourceIdentitySchema> {
        let request = pb::get_resource_identity_schemas::Request {};
        let mut served = self.rpc().get_resource_identity_schemas(request).await?.into_inner();
        served.identity_schemas.remove(TYPE).context("no identity schema")
    }

    /// Imports by an identity, or by a text where there is none.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn import(
        &self,
        id: &str,
        identity: Option<&Json>,
    ) -> Result<pb::import_resource_state::Response> {
        let data = identity.map(argument).transpose()?;
        let request = pb::import_resource_state::Request {
            type_name: TYPE.to_owned(),
            id: id.to_owned(),
            identity: data.map(|data| pb::ResourceIdentityData { identity_data: Some(data) }),
            ..Default::default()
        };
        Ok(self.rpc().import_resource_state(request).await?.into_inner())
    }
}
