//! Requests to other agents, by address.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::signed::Clocks;

const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// Idle connections to one agent: one for questions, one for heartbeats.
const KEPT: usize = 2;
/// For how long one is kept: less than the other side waits for the next request on it.
const KEPT_FOR: Duration = Duration::from_secs(4);

/// Connections that are kept between requests: who asks the same agents again and again opens none for each question.
#[derive(Clone, Debug)]
pub struct Lines {
    client: Client<HttpConnector, Full<Bytes>>,
    pub(super) clocks: Clocks,
}

/// An answer, whole.
#[derive(Debug)]
pub struct Reply {
    /// How it went.
    pub status: StatusCode,
    /// What stands above the body.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Default for Lines {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT_FOR)
            .pool_max_idle_per_host(KEPT)
            .build(connector);
        Self { client, clocks: Clocks::default() }
    }
}

impl Lines {
    /// One request, over a kept connection when there is one. One that gets no answer in time is not used again.
    ///
    /// # Errors
    /// Of the kind that the system gave, as `ConnectionRefused`; `TimedOut` after `deadline`.
    pub async fn request(
        &self,
        address: SocketAddr,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        body: Vec<u8>,
        deadline: Duration,
    ) -> io::Result<Reply> {
        let mut request = Request::builder().method(method).uri(format!("http://{address}{path}"));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(io::Error::other)?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(as_io)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await.map_err(io::Error::other)?;
            Ok(Reply { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        tokio::time::timeout(deadline, exchange).await.unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {deadline:?}")))
        })
    }
}

/// With the kind of the system's error that it came from.
fn as_io(error: hyper_util::client::legacy::Error) -> io::Error {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(inner) = cause {
        if let Some(system) = inner.downcast_ref::<io::Error>() {
            return io::Error::new(system.kind(), error);
        }
        cause = inner.source();
    }
    io::Error::other(error)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const WITHIN: Duration = Duration::from_secs(5);

    async fn listen() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    async fn ask(lines: &Lines, address: SocketAddr, deadline: Duration) -> io::Result<Reply> {
        lines.request(address, Method::GET, "/status", &[], Vec::new(), deadline).await
    }

    /// Reads one request, and answers it.
    async fn serve_one(stream: &mut TcpStream) {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    }

    #[tokio::test]
    async fn the_same_connection_carries_request_after_request() {
        let (listener, address) = listen().await;
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for _ in 0..3 {
                serve_one(&mut stream).await;
            }
        });
        let lines = Lines::default();
        for _ in 0..3 {
            let reply = ask(&lines, address, WITHIN).await.unwrap();
            assert_eq!((reply.status, &*reply.body), (StatusCode::OK, b"ok".as_slice()));
        }
        server.await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_that_the_other_side_ended_is_opened_anew() {
        let (listener, address) = listen().await;
        let lines = Lines::default();
        for _ in 0..2 {
            let served = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                serve_one(&mut stream).await;
                stream
            };
            let (asked, mut stream) = tokio::join!(ask(&lines, address, WITHIN), served);
            assert!(asked.is_ok(), "{asked:?}");
            // Until the client has seen the end and closed its own side.
            stream.shutdown().await.unwrap();
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn a_connection_without_an_answer_in_time_is_not_used_again() {
        let (listener, address) = listen().await;
        let lines = Lines::default();
        let silent = ask(&lines, address, Duration::from_millis(50)).await;
        assert_eq!(silent.err().map(|error| error.kind()), Some(io::ErrorKind::TimedOut));
        let (_held, _) = listener.accept().await.unwrap();
        let served = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            serve_one(&mut stream).await;
        };
        let (asked, ()) = tokio::join!(ask(&lines, address, WITHIN), served);
        assert!(asked.is_ok(), "{asked:?}");
    }

    #[tokio::test]
    async fn a_port_that_refuses_is_told_as_such() {
        let (listener, address) = listen().await;
        drop(listener);
        let refused = ask(&Lines::default(), address, WITHIN).await;
        assert_eq!(refused.err().map(|error| error.kind()), Some(io::ErrorKind::ConnectionRefused));
    }
}
