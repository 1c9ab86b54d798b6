//! The driver's sockets: one on each node for its kubelet, and one for provisioner and resizer.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use super::controller::ForCluster;
use super::identity::Itself;
use super::node::OnNode;
use super::pb::csi::controller_server::ControllerServer;
use super::pb::csi::identity_server::IdentityServer;
use super::pb::csi::node_server::NodeServer;
use super::pb::registration::PluginInfo;
use super::volumes::Disks;
use super::{DRIVER, registration};
use crate::sandbox::layout::{Layout, Node};

/// Serves a node's disks to its kubelet, until the tasks end.
///
/// # Errors
/// When a socket can't be opened.
pub fn serve_node(tasks: &mut JoinSet<Result<()>>, layout: &Layout, node: Node) -> Result<()> {
    // Paths of sockets have to be short.
    let socket = layout.node_run(node).join("growing.sock");
    let known_as = PluginInfo {
        r#type: "CSIPlugin".to_owned(),
        name: DRIVER.to_owned(),
        endpoint: socket.display().to_string(),
        supported_versions: vec!["1.0.0".to_owned()],
    };
    let driver = OnNode { node, disks: Disks(layout.clone()) };
    let calls = UnixListenerStream::new(listen(&socket)?);
    let server =
        Server::builder().add_service(IdentityServer::new(Itself)).add_service(NodeServer::new(driver));
    tasks.spawn(async move { Ok(server.serve_with_incoming(calls).await?) });
    // The kubelet calls as soon as it sees this one.
    let found_by = listen(&layout.kubelet(node).join("plugins_registry/growing.sock"))?;
    tasks.spawn(registration::serve(found_by, known_as));
    Ok(())
}

/// Serves all disks to provisioner and resizer, until the tasks end; gives the socket.
///
/// # Errors
/// When it can't be opened.
pub fn serve_cluster(tasks: &mut JoinSet<Result<()>>, layout: &Layout) -> Result<PathBuf> {
    let socket = layout.run().join("growing.sock");
    let calls = UnixListenerStream::new(listen(&socket)?);
    let driver = ForCluster(Disks(layout.clone()));
    let server =
        Server::builder().add_service(IdentityServer::new(Itself)).add_service(ControllerServer::new(driver));
    tasks.spawn(async move { Ok(server.serve_with_incoming(calls).await?) });
    Ok(socket)
}

fn listen(socket: &Path) -> Result<UnixListener> {
    // Another process's, which ended.
    let _ = fs::remove_file(socket);
    UnixListener::bind(socket).with_context(|| format!("listen at {}", socket.display()))
}
