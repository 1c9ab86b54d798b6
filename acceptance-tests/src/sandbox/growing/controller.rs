//! The driver of the whole cluster: what provisioner and resizer call.

use std::fs;

use nix::mount::{MntFlags, MsFlags};
use tonic::{Request, Response, Status};

use super::pb::csi::controller_server::Controller;
use super::pb::csi::controller_service_capability::rpc::Type as Can;
use super::pb::csi::controller_service_capability::{Rpc, Type};
use super::pb::csi::validate_volume_capabilities_response::Confirmed;
use super::pb::csi::volume_capability::AccessType;
use super::pb::csi::volume_capability::access_mode::Mode;
use super::pb::csi::{
    ControllerExpandVolumeRequest, ControllerExpandVolumeResponse, ControllerGetCapabilitiesRequest,
    ControllerGetCapabilitiesResponse, ControllerServiceCapability, CreateVolumeRequest,
    CreateVolumeResponse, DeleteVolumeRequest, DeleteVolumeResponse, ValidateVolumeCapabilitiesRequest,
    ValidateVolumeCapabilitiesResponse, Volume, VolumeCapability,
};
use super::volumes::{Disks, failed, size_of, topology, wanted_bytes, wanted_node};
use super::{GROWING_DISK_GRANTED_BYTES, set_size};
use crate::sandbox::disks::unmount;

/// Makes disks on the nodes, and removes them.
pub struct ForCluster(pub Disks);

/// A folder for the pods of one node: nothing else is a disk here.
fn refusal(asked: &[VolumeCapability]) -> Option<&'static str> {
    let is_folder = |one: &VolumeCapability| matches!(one.access_type, Some(AccessType::Mount(_)));
    let on_one_node = |one: &VolumeCapability| {
        one.access_mode.is_some_and(|mode| mode.mode == i32::from(Mode::SingleNodeWriter))
    };
    if !asked.iter().all(is_folder) {
        Some("a disk is mounted, and no block device")
    } else if !asked.iter().all(on_one_node) {
        Some("a disk is on one node")
    } else {
        None
    }
}

/// Each may be called again after it has succeeded.
#[tonic::async_trait]
impl Controller for ForCluster {
    async fn controller_get_capabilities(
        &self,
        _: Request<ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<ControllerGetCapabilitiesResponse>, Status> {
        let can =
            |what: Can| ControllerServiceCapability { r#type: Some(Type::Rpc(Rpc { r#type: what.into() })) };
        let capabilities = [Can::CreateDeleteVolume, Can::ExpandVolume].map(can).to_vec();
        Ok(Response::new(ControllerGetCapabilitiesResponse { capabilities }))
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<ValidateVolumeCapabilitiesRequest>,
    ) -> Result<Response<ValidateVolumeCapabilitiesResponse>, Status> {
        let ValidateVolumeCapabilitiesRequest { volume_id, volume_capabilities } = request.into_inner();
        self.0.find(&volume_id).ok_or_else(|| Status::not_found(format!("no disk {volume_id}")))?;
        let message = refusal(&volume_capabilities);
        let confirmed = message.is_none().then_some(Confirmed { volume_capabilities });
        let message = message.unwrap_or_default().to_owned();
        Ok(Response::new(ValidateVolumeCapabilitiesResponse { confirmed, message }))
    }

    async fn create_volume(
        &self,
        request: Request<CreateVolumeRequest>,
    ) -> Result<Response<CreateVolumeResponse>, Status> {
        let asked = request.into_inner();
        if let Some(why) = refusal(&asked.volume_capabilities) {
            return Err(Status::invalid_argument(why));
        }
        let bytes = wanted_bytes(asked.capacity_range)?;
        if bytes > GROWING_DISK_GRANTED_BYTES {
            return Err(Status::out_of_range("no disk is as large as that"));
        }
        // The name is the volume's for ever, so whoever asks twice gets the same.
        let (node, folder) = match self.0.find(&asked.name) {
            Some((node, folder)) => (node, folder),
            None => {
                let node = wanted_node(asked.accessibility_requirements)?;
                let folder = self.0.folder(node, &asked.name);
                fs::create_dir_all(&folder).map_err(failed)?;
                set_size(&folder, bytes, MsFlags::MS_NOATIME).map_err(failed)?;
                (node, folder)
            }
        };
        let there = size_of(&folder)?;
        if there < bytes {
            return Err(Status::already_exists(format!("{} is there with {there} bytes", asked.name)));
        }
        let volume = Volume {
            capacity_bytes: there.cast_signed(),
            volume_id: asked.name,
            accessible_topology: vec![topology(node)],
        };
        Ok(Response::new(CreateVolumeResponse { volume: Some(volume) }))
    }

    async fn delete_volume(
        &self,
        request: Request<DeleteVolumeRequest>,
    ) -> Result<Response<DeleteVolumeResponse>, Status> {
        if let Some((_, folder)) = self.0.find(&request.into_inner().volume_id) {
            unmount(&folder, MntFlags::empty()).map_err(failed)?;
        }
        Ok(Response::new(DeleteVolumeResponse {}))
    }

    async fn controller_expand_volume(
        &self,
        request: Request<ControllerExpandVolumeRequest>,
    ) -> Result<Response<ControllerExpandVolumeResponse>, Status> {
        let ControllerExpandVolumeRequest { volume_id, capacity_range } = request.into_inner();
        self.0.find(&volume_id).ok_or_else(|| Status::not_found(format!("no disk {volume_id}")))?;
        let bytes = wanted_bytes(capacity_range)?;
        if bytes > GROWING_DISK_GRANTED_BYTES {
            return Err(Status::out_of_range("no disk gets as large as that"));
        }
        let capacity_bytes = bytes.cast_signed();
        Ok(Response::new(ControllerExpandVolumeResponse { capacity_bytes, node_expansion_required: true }))
    }
}
