//! The calls of a resource's life, as something that can be stood in for.

use std::future::Future;

use anyhow::Result;
use tonic::transport::Channel;

use crate::proto_client::pb::tfplugin6 as pb;
use crate::proto_client::pb::tfplugin6::provider_client::ProviderClient;

/// Who answers.
pub trait Calls: Send + Sync {
    /// ValidateResourceConfig.
    fn validate(
        &self,
        request: pb::validate_resource_config::Request,
    ) -> impl Future<Output = Result<pb::validate_resource_config::Response>> + Send;

    /// UpgradeResourceState.
    fn upgrade(
        &self,
        request: pb::upgrade_resource_state::Request,
    ) -> impl Future<Output = Result<pb::upgrade_resource_state::Response>> + Send;

    /// UpgradeResourceIdentity.
    fn upgrade_identity(
        &self,
        request: pb::upgrade_resource_identity::Request,
    ) -> impl Future<Output = Result<pb::upgrade_resource_identity::Response>> + Send;

    /// ReadResource.
    fn read(
        &self,
        request: pb::read_resource::Request,
    ) -> impl Future<Output = Result<pb::read_resource::Response>> + Send;

    /// PlanResourceChange.
    fn plan(
        &self,
        request: pb::plan_resource_change::Request,
    ) -> impl Future<Output = Result<pb::plan_resource_change::Response>> + Send;

    /// ApplyResourceChange.
    fn apply(
        &self,
        request: pb::apply_resource_change::Request,
    ) -> impl Future<Output = Result<pb::apply_resource_change::Response>> + Send;

    /// ImportResourceState.
    fn import(
        &self,
        request: pb::import_resource_state::Request,
    ) -> impl Future<Output = Result<pb::import_resource_state::Response>> + Send;

    /// MoveResourceState.
    fn move_state(
        &self,
        request: pb::move_resource_state::Request,
    ) -> impl Future<Output = Result<pb::move_resource_state::Response>> + Send;

    /// GenerateResourceConfig.
    fn generate(
        &self,
        request: pb::generate_resource_config::Request,
    ) -> impl Future<Output = Result<pb::generate_resource_config::Response>> + Send;
}

/// The provider itself. A clone of a client shares its connection.
impl Calls for ProviderClient<Channel> {
    async fn validate(
        &self,
        request: pb::validate_resource_config::Request,
    ) -> Result<pb::validate_resource_config::Response> {
        Ok(self.clone().validate_resource_config(request).await?.into_inner())
    }

    async fn upgrade(
        &self,
        request: pb::upgrade_resource_state::Request,
    ) -> Result<pb::upgrade_resource_state::Response> {
        Ok(self.clone().upgrade_resource_state(request).await?.into_inner())
    }

    async fn upgrade_identity(
        &self,
        request: pb::upgrade_resource_identity::Request,
    ) -> Result<pb::upgrade_resource_identity::Response> {
        Ok(self.clone().upgrade_resource_identity(request).await?.into_inner())
    }

    async fn read(&self, request: pb::read_resource::Request) -> Result<pb::read_resource::Response> {
        Ok(self.clone().read_resource(request).await?.into_inner())
    }

    async fn plan(
        &self,
        request: pb::plan_resource_change::Request,
    ) -> Result<pb::plan_resource_change::Response> {
        Ok(self.clone().plan_resource_change(request).await?.into_inner())
    }

    async fn apply(
        &self,
        request: pb::apply_resource_change::Request,
    ) -> Result<pb::apply_resource_change::Response> {
        Ok(self.clone().apply_resource_change(request).await?.into_inner())
    }

    async fn import(
        &self,
        request: pb::import_resource_state::Request,
    ) -> Result<pb::import_resource_state::Response> {
        Ok(self.clone().import_resource_state(request).await?.into_inner())
    }

    async fn move_state(
        &self,
        request: pb::move_resource_state::Request,
    ) -> Result<pb::move_resource_state::Response> {
        Ok(self.clone().move_resource_state(request).await?.into_inner())
    }

    async fn generate(
        &self,
        request: pb::generate_resource_config::Request,
    ) -> Result<pb::generate_resource_config::Response> {
        Ok(self.clone().generate_resource_config(request).await?.into_inner())
    }
}
