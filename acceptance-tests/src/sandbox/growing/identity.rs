//! What the driver says of itself to whoever finds one of its sockets.

use tonic::{Request, Response, Status};

use super::DRIVER;
use super::pb::csi::identity_server::Identity;
use super::pb::csi::plugin_capability::{Service, Type, VolumeExpansion, service, volume_expansion};
use super::pb::csi::{
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest, GetPluginInfoResponse,
    PluginCapability, ProbeRequest, ProbeResponse,
};

pub struct Itself;

#[tonic::async_trait]
impl Identity for Itself {
    async fn get_plugin_info(
        &self,
        _: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        let vendor_version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Response::new(GetPluginInfoResponse { name: DRIVER.to_owned(), vendor_version }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        let service = |one: service::Type| Type::Service(Service { r#type: one.into() });
        let online = VolumeExpansion { r#type: volume_expansion::Type::Online.into() };
        let can = [
            service(service::Type::ControllerService),
            service(service::Type::VolumeAccessibilityConstraints),
            Type::VolumeExpansion(online),
        ];
        let capabilities = can.map(|one| PluginCapability { r#type: Some(one) }).to_vec();
        Ok(Response::new(GetPluginCapabilitiesResponse { capabilities }))
    }

    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        Ok(Response::new(ProbeResponse {}))
    }
}
