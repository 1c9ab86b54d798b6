//! The driver of one node: what its kubelet calls.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, MsFlags, mount};
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::pb::csi::node_server::{Node, NodeServer};
use super::pb::csi::node_service_capability::rpc::Type as Can;
use super::pb::csi::node_service_capability::{Rpc, Type};
use super::pb::csi::{
    NodeExpandVolumeRequest, NodeExpandVolumeResponse, NodeGetCapabilitiesRequest,
    NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse, NodePublishVolumeRequest,
    NodePublishVolumeResponse, NodeServiceCapability, NodeUnpublishVolumeRequest,
    NodeUnpublishVolumeResponse,
};
use super::pb::registration::PluginInfo;
use super::{GROWING_DISK_MOST_BYTES, disks, registration, set_size};
use crate::sandbox::disks::{is_mount_point, unmount};
use crate::sandbox::layout::{self, Layout};

/// Serves a node's disks to its kubelet, until the tasks end.
///
/// # Errors
/// When a socket can't be opened.
pub fn start(tasks: &mut JoinSet<Result<()>>, name: &str, layout: &Layout, node: layout::Node) -> Result<()> {
    // Paths of sockets have to be short.
    let socket = layout.node_run(node).join("growing.sock");
    let known_as = PluginInfo {
        r#type: "CSIPlugin".to_owned(),
        name: name.to_owned(),
        endpoint: socket.display().to_string(),
        supported_versions: vec!["1.0.0".to_owned()],
    };
    let driver = Driver { node: node.name(), disks: disks(layout, node) };
    let calls = UnixListenerStream::new(listen(&socket)?);
    tasks.spawn(async move {
        Server::builder().add_service(NodeServer::new(driver)).serve_with_incoming(calls).await?;
        Ok(())
    });
    // The kubelet calls as soon as it sees this one.
    let found_by = listen(&layout.kubelet(node).join("plugins_registry/growing.sock"))?;
    tasks.spawn(registration::serve(found_by, known_as));
    Ok(())
}

fn listen(socket: &Path) -> Result<UnixListener> {
    // Another process's, which ended.
    let _ = fs::remove_file(socket);
    UnixListener::bind(socket).with_context(|| format!("listen at {}", socket.display()))
}

struct Driver {
    node: String,
    disks: PathBuf,
}

impl Driver {
    fn disk(&self, id: &str) -> Result<PathBuf, Status> {
        let folder = self.disks.join(id);
        if is_mount_point(&folder) { Ok(folder) } else { Err(Status::not_found(format!("no disk {id}"))) }
    }
}

fn failed(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

/// Each may be called again after it has succeeded.
#[tonic::async_trait]
impl Node for Driver {
    async fn node_get_info(
        &self,
        _: Request<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        Ok(Response::new(NodeGetInfoResponse { node_id: self.node.clone() }))
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
        let range = capacity_range.ok_or_else(|| Status::invalid_argument("no capacity_range"))?;
        let bytes = u64::try_from(range.required_bytes).map_err(failed)?;
        if bytes > GROWING_DISK_MOST_BYTES {
            return Err(Status::out_of_range("this disk is as large as it gets"));
        }
        set_size(&self.disk(&volume_id)?, bytes, MsFlags::MS_REMOUNT | MsFlags::MS_NOATIME)
            .map_err(failed)?;
        Ok(Response::new(NodeExpandVolumeResponse { capacity_bytes: range.required_bytes }))
    }
}
