//! The services that a go-plugin host expects beside the provider itself.

use crate::proto::health::health_check_response::ServingStatus;
use crate::proto::health::health_server::{Health, HealthServer};
use crate::proto::health::{HealthCheckRequest, HealthCheckResponse};
use crate::proto::plugin::grpc_broker_server::{GrpcBroker, GrpcBrokerServer};
use crate::proto::plugin::grpc_controller_server::{GrpcController, GrpcControllerServer};
use crate::proto::plugin::grpc_stdio_server::{GrpcStdio, GrpcStdioServer};
use crate::proto::plugin::{ConnInfo, Empty, StdioData};
use futures::Stream;
use futures::StreamExt as _;
use futures::stream;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;
use tonic::{Request, Response, Status, Streaming};

/// The name under which go-plugin asks for the health of a plugin.
const HEALTH_SERVICE: &str = "plugin";

type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Adds health, controller, stdio and broker. `shutdown` is cancelled when the host says that it is done.
pub fn add_to(routes: &mut RoutesBuilder, shutdown: &CancellationToken) {
    let duties = Arc::new(Duties { shutdown: shutdown.clone(), stdio_taken: AtomicBool::new(false) });
    routes
        .add_service(HealthServer::from_arc(duties.clone()))
        .add_service(GrpcControllerServer::from_arc(duties.clone()))
        .add_service(GrpcStdioServer::from_arc(duties.clone()))
        .add_service(GrpcBrokerServer::from_arc(duties));
}

struct Duties {
    shutdown: CancellationToken,
    stdio_taken: AtomicBool,
}

impl Duties {
    /// A stream with nothing in it that ends with the process.
    fn silence<T: Send + 'static>(&self) -> BoxStream<T> {
        let shutdown = self.shutdown.clone().cancelled_owned();
        Box::pin(stream::pending().take_until(shutdown))
    }
}

fn health_of(service: &str) -> Result<HealthCheckResponse, Status> {
    // The empty name asks for the server as a whole.
    if service.is_empty() || service == HEALTH_SERVICE {
        return Ok(HealthCheckResponse { status: ServingStatus::Serving.into() });
    }
    Err(Status::not_found("unknown service"))
}

#[tonic::async_trait]
impl Health for Duties {
    type WatchStream = BoxStream<HealthCheckResponse>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        health_of(&request.into_inner().service).map(Response::new)
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let first = health_of(&request.into_inner().service)
            .unwrap_or(HealthCheckResponse { status: ServingStatus::ServiceUnknown.into() });
        Ok(Response::new(Box::pin(stream::iter([Ok(first)]).chain(self.silence()))))
    }
}

#[tonic::async_trait]
impl GrpcController for Duties {
    async fn shutdown(&self, _request: Request<Empty>) -> Result<Response<Empty>, Status> {
        // The host waits for this answer without a deadline, then two seconds for the exit.
        self.shutdown.cancel();
        Ok(Response::new(Empty {}))
    }
}

#[tonic::async_trait]
impl GrpcStdio for Duties {
    type StreamStdioStream = BoxStream<StdioData>;

    async fn stream_stdio(&self, _request: Request<()>) -> Result<Response<Self::StreamStdioStream>, Status> {
        // Hosts log whatever comes here as unexpected; our words go to stderr. So the stream only stays open.
        if self.stdio_taken.swap(true, Ordering::SeqCst) {
            return Err(Status::failed_precondition("StreamStdio may be called only once"));
        }
        Ok(Response::new(self.silence()))
    }
}

#[tonic::async_trait]
impl GrpcBroker for Duties {
    type StartStreamStream = BoxStream<ConnInfo>;

    async fn start_stream(
        &self,
        request: Request<Streaming<ConnInfo>>,
    ) -> Result<Response<Self::StartStreamStream>, Status> {
        // A provider offers no further connections: what the host says is read so that it never blocks, and dropped.
        let mut incoming = request.into_inner();
        let shutdown = self.shutdown.clone().cancelled_owned();
        let drained = async move { while let Ok(Some(_)) = incoming.message().await {} };
        let until_done = futures::future::select(Box::pin(drained), Box::pin(shutdown));
        Ok(Response::new(Box::pin(stream::pending().take_until(until_done))))
    }
}
