//! What a server that is too busy says about when to come again: `Retry-After`, in seconds. The library's errors have no headers, so a layer around
//! its client reads it, and it is put where the API server itself puts it when it answers with a status.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::header::RETRY_AFTER;
use http::{HeaderMap, Request, Response};
use kube::client::Body;
use kube::core::response::StatusDetails;
use tower::{Layer, Service};

/// Goes along with a request, and has the header's seconds after the answer; zero when there was none.
#[derive(Clone, Default)]
struct Told(Arc<AtomicU32>);

/// Sends a request through a client that has [`Listen`] around it. What `Retry-After` says is in the details of the status that the error holds.
///
/// # Errors
/// What the server answers, or why no answer came.
pub async fn send(client: &kube::Client, mut request: Request<Vec<u8>>) -> Result<String, kube::Error> {
    let told = Told::default();
    request.extensions_mut().insert(told.clone());
    client.request_text(request).await.map_err(|error| with(error, told.0.load(Ordering::Relaxed)))
}

fn with(error: kube::Error, seconds: u32) -> kube::Error {
    match error {
        kube::Error::Api(mut status) if seconds > 0 => {
            let details = status.details.get_or_insert_with(|| StatusDetails {
                name: String::new(),
                group: String::new(),
                kind: String::new(),
                uid: String::new(),
                causes: Vec::new(),
                retry_after_seconds: 0,
            });
            details.retry_after_seconds = seconds;
            kube::Error::Api(status)
        }
        other => other,
    }
}

/// The seconds; none when a date stands there, which no Kubernetes API server sends.
fn seconds(headers: &HeaderMap) -> Option<u32> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

/// Lays [`Listening`] around a client.
pub struct Listen;

impl<S> Layer<S> for Listen {
    type Service = Listening<S>;

    fn layer(&self, inner: S) -> Listening<S> {
        Listening(inner)
    }
}

/// Reads the header of each answer.
pub struct Listening<S>(S);

impl<S, B> Service<Request<Body>> for Listening<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let told = request.extensions().get::<Told>().cloned();
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            if let (Some(told), Some(seconds)) = (told, seconds(answer.headers())) {
                told.0.store(seconds, Ordering::Relaxed);
            }
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// What comes of a request that a server refuses with this body and header: the seconds that the error holds.
    async fn told(body: &'static str, header: Option<&'static str>) -> u32 {
        let server = tower::service_fn(move |_: Request<Body>| async move {
            let mut answer = Response::new(Body::from(body.as_bytes().to_vec()));
            *answer.status_mut() = http::StatusCode::TOO_MANY_REQUESTS;
            if let Some(header) = header {
                answer.headers_mut().insert(RETRY_AFTER, http::HeaderValue::from_static(header));
            }
            Ok::<_, Infallible>(answer)
        });
        let client = kube::Client::new(Listen.layer(server), "default");
        match send(&client, Request::new(Vec::new())).await.unwrap_err() {
            kube::Error::Api(status) => {
                assert_eq!(status.code, 429);
                status.details.map_or(0, |details| details.retry_after_seconds)
            }
            other => panic!("{other}"),
        }
    }

    #[tokio::test]
    async fn the_header_is_in_the_error_whether_the_body_is_a_status_or_not() {
        const STATUS: &str =
            r#"{"kind": "Status", "code": 429, "details": {"kind": "pods", "retryAfterSeconds": 3}}"#;
        assert_eq!(told("Too many requests, please try again later.", Some("7")).await, 7);
        assert_eq!(told(STATUS, Some("7")).await, 7);
        assert_eq!(told(STATUS, None).await, 3);
        assert_eq!(told("busy", None).await, 0);
        assert_eq!(told("busy", Some("Wed, 21 Oct 2026 07:28:00 GMT")).await, 0);
    }
}
