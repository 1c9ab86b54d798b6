//! A plugin host of our own: it starts the provider's binary as the CLI does, and speaks tfplugin6 with it. It reaches
//! calls that the installed CLI never makes, and can misbehave where the CLI doesn't.
//!
//! It shares no code with the provider: values are written and read with plain msgpack, so that a mistake in the
//! provider's codec can't hide behind the same mistake here.

pub mod actions;
pub mod agents;
pub mod binary;
pub mod host;
pub mod identity;
pub mod kubernetes;
pub mod lists;
pub mod pb;
pub mod process;
pub mod proxy;
pub mod tls_front;
pub mod values;
pub mod view;

use anyhow::{Context as _, Result};
use hyper_util::rt::TokioIo;
use pb::health::health_client::HealthClient;
use pb::plugin::grpc_broker_client::GrpcBrokerClient;
use pb::plugin::grpc_controller_client::GrpcControllerClient;
use pb::plugin::grpc_stdio_client::GrpcStdioClient;
use pb::tfplugin6::provider_client::ProviderClient;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

/// Schemas are larger than tonic's limit of old.
const MESSAGE_MAX_BYTES: usize = 64 << 20;

/// One connection to a provider process.
#[derive(Debug, Clone)]
pub struct Connection(Channel);

impl Connection {
    /// Connects with mutual TLS.
    ///
    /// # Errors
    /// When the provider refuses, or is not who it should be.
    pub async fn tls(socket: &Path, config: Arc<ClientConfig>) -> Result<Self> {
        let socket: PathBuf = socket.to_path_buf();
        let connector = tower::service_fn(move |_| {
            let (socket, tls) = (socket.clone(), TlsConnector::from(config.clone()));
            async move {
                let stream = UnixStream::connect(socket).await?;
                let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
                tls.connect(name, stream).await.map(TokioIo::new)
            }
        });
        let channel = Endpoint::from_static("http://localhost").connect_with_connector(connector).await;
        Ok(Self(channel.context("connect with TLS")?))
    }

    /// Connects in plain text.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn plain(socket: &Path) -> Result<Self> {
        let socket: PathBuf = socket.to_path_buf();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://localhost").connect_with_connector(connector).await;
        Ok(Self(channel.context("connect in plain text")?))
    }

    /// The provider service.
    pub fn provider(&self) -> ProviderClient<Channel> {
        ProviderClient::new(self.0.clone()).max_decoding_message_size(MESSAGE_MAX_BYTES)
    }

    /// The health service.
    pub fn health(&self) -> HealthClient<Channel> {
        HealthClient::new(self.0.clone())
    }

    /// The service that ends the process.
    pub fn controller(&self) -> GrpcControllerClient<Channel> {
        GrpcControllerClient::new(self.0.clone())
    }

    /// The service for output.
    pub fn stdio(&self) -> GrpcStdioClient<Channel> {
        GrpcStdioClient::new(self.0.clone())
    }

    /// The service for further connections.
    pub fn broker(&self) -> GrpcBrokerClient<Channel> {
        GrpcBrokerClient::new(self.0.clone())
    }
}
