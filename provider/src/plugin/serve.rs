//! Accepts the host's connections and serves until it is told to end.

use super::socket::Socket;
use super::tls::ServerTls;
use super::{Ending, services};
use futures::{Stream, StreamExt as _, stream};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;
use tonic::service::RoutesBuilder;
use tonic::transport::Server;
use tonic::transport::server::Connected;

/// How long running calls may go on after the host has said that it is done. It kills us after two seconds.
const LAST_CALLS: Duration = Duration::from_millis(500);
/// A peer that connects and then says nothing must not hold a place for ever.
const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
/// Handshakes under way at once. The host opens one connection; the rest are strangers.
const TLS_HANDSHAKES_MAX: usize = 16;

/// Serves `routes` and go-plugin's own services on `listener` until `ending` says so, then removes the socket.
///
/// # Errors
/// When the server itself fails; a broken connection is not an error.
pub async fn serve(
    (socket, listener): (Socket, UnixListener),
    tls: Option<ServerTls>,
    mut routes: RoutesBuilder,
    ending: &Ending,
) -> Result<(), tonic::transport::Error> {
    services::add_to(&mut routes, ending.token());
    let done = ending.token().clone().cancelled_owned();
    let connections = connections(listener, tls);
    let serving = Server::builder()
        .add_routes(routes.routes())
        .serve_with_incoming_shutdown(Box::pin(connections), done);
    let deadline = async {
        ending.token().cancelled().await;
        tokio::time::sleep(LAST_CALLS).await;
    };
    let result = tokio::select! {
        result = serving => result,
        () = deadline => Ok(()),
    };
    drop(socket);
    result
}

/// Connections ready for HTTP/2. One that fails is dropped: it must not end the stream.
fn connections(
    listener: UnixListener,
    tls: Option<ServerTls>,
) -> impl Stream<Item = io::Result<Connection>> + Send {
    let acceptor = tls.map(|tls| TlsAcceptor::from(tls.config));
    let accepted = stream::unfold(listener, |listener| async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((stream, listener)),
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    // Out of file descriptors, most likely: trying again at once would only spin.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    accepted
        .map(move |stream| handshake(acceptor.clone(), stream))
        .buffer_unordered(TLS_HANDSHAKES_MAX)
        .filter_map(|connection| async move { connection.map(Ok) })
}

async fn handshake(acceptor: Option<TlsAcceptor>, stream: UnixStream) -> Option<Connection> {
    let Some(acceptor) = acceptor else { return Some(Connection(Box::new(stream))) };
    match tokio::time::timeout(TLS_HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some(Connection(Box::new(stream))),
        Ok(Err(error)) => {
            tracing::warn!(%error, "a client was refused: it did not prove to be the host");
            None
        }
        Err(_) => {
            tracing::warn!("a client was dropped: it never finished the TLS handshake");
            None
        }
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// One connection, encrypted or not.
struct Connection(Box<dyn Io>);

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
