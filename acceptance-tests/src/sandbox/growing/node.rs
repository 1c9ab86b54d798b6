//! The driver of one node: what its kubelet calls.

use std::fs;
use std::path::PathBuf;

use nix::mount::{MntFlags, MsFlags, mount};
use tonic::{Request, Response, Status};

use super::pb::csi::node_server::Node;
use super::pb::csi::node_service_capability::rpc::Type as Can;
use super::pb::csi::node_service_capability::{Rpc, Type};
use super::pb::csi::{
    NodeExpandVolumeRequest, NodeExpandVolumeResponse, NodeGetCapabilitiesRequest,
    NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse, NodePublishVolumeRequest,
    NodePublishVolumeResponse, NodeServiceCapability, NodeUnpublishVolumeRequest,
    NodeUnpublishVolumeResponse,
};
use super::volumes::{Disks, failed, topology, wanted_bytes};
use super::{GROWING_DISK_MOST_BYTES, set_size};
use crate::sandbox::disks::{is_mount_point, unmount};
use crate::sandbox::layout;

/// A node, and the disks that are there.
pub struct OnNode {
    pub node: layout::Node,
    pub disks: Disks,
}

impl OnNode {
    fn disk(&self, id: &str) -> Result<PathBuf, Status> {
        let none = || Status::not_found(format!("no disk {id} on {}", self.node));
        self.disks.find(id).filter(|(node, _)| *node == self.node).map(|(_, folder)| folder).ok_or_else(none)
    }
}

/// Each may be called again after it has succeeded.
#[tonic::async_trait]
impl Node for OnNode {
    async fn node_get_info(
        &self,
        _: Request<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        let accessible_topology = Some(topology(self.node));
        Ok(Response::new(NodeGetInfoResponse { node_id: self.node.name(), accessible_topology }))
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        let grows =
            NodeServiceCapability { r#type: Some(Type::Rpc(Rpc { r#type: Can::ExpandVolume.into() })) };
        Ok(Response::new(NodeGetCapabilitiesResponse { capabilities: vec![grows] }))
    }

    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let NodePublishVolumeRequest { volume_id, target_path } = request.into_inner();
        let (disk, target) = (self.disk(&volume_id)?, PathBuf::from(target_path));
        fs::create_dir_all(&target).map_err(failed)?;
        if !is_mount_point(&target) {
            let none: Option<&str> = None;
            mount(Some(&disk), &target, none, MsFlags::MS_BIND, none).map_err(failed)?;
        }
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let target = PathBuf::from(request.into_inner().target_path);
        if target.exists() {
            unmount(&target, MntFlags::empty()).map_err(failed)?;
        }
        Ok(Response::new(NodeUnpublishVolumeResponse {}))
    }

    async fn node_expand_volume(
        &self,
        request: Request<NodeExpandVolumeRequest>,
    ) -> Result<Response<NodeExpandVolumeResponse>, Status> {
        let NodeExpandVolumeRequest { volume_id, capacity_range } = request.into_inner();
        let disk = self.disk(&volume_id)?;
        let bytes = wanted_bytes(capacity_range)?;
        if bytes > GROWING_DISK_MOST_BYTES {
            return Err(Status::out_of_range("this disk is as large as it gets"));
        }
        set_size(&disk, bytes, MsFlags::MS_REMOUNT | MsFlags::MS_NOATIME).map_err(failed)?;
        Ok(Response::new(NodeExpandVolumeResponse { capacity_bytes: bytes.cast_signed() }))
    }
}
