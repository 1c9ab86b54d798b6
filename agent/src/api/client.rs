//! Requests over connections of our own: each has a deadline, none is repeated here (A6). After one that failed, the next waits a
//! moment: a server that refuses at once is not asked as often as it can answer.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::pace::Pace;
use crate::settings::ApiSettings;

/// No answer of the API that the agent asks for is larger.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// Idle connections kept for the next request.
const MAX_IDLE: usize = 2;

/// Why a request brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No connection to the API server.
    #[error("no connection to the API server: {0}")]
    Connect(#[source] io::Error),
    /// The deadline passed; a write may or may not have been done.
    #[error("the API server did not answer within {0:?}")]
    Timeout(Duration),
    /// The connection broke; a write may or may not have been done.
    #[error("the connection to the API server broke: {0}")]
    Broken(String),
    /// The server refused.
    #[error("the API server answered {code} {reason}: {message}")]
    Status {
        /// HTTP status.
        code: u16,
        /// Kubernetes' reason, as `Conflict`.
        reason: String,
        /// For people.
        message: String,
    },
    /// The answer is not what was asked for.
    #[error("the API server's answer can't be read: {0}")]
    Answer(String),
}

impl ApiError {
    /// The HTTP status, when the server answered.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Status { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Nothing of that name is there.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// The object changed since it was read, or exists already.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// The server does not let us: the token counts for nothing (any more), or its role allows too little.
    pub fn is_refusal(&self) -> bool {
        matches!(self.code(), Some(401 | 403))
    }
}

/// The kind of a request's body.
#[derive(Clone, Copy, Debug)]
pub enum Body {
    /// A whole object.
    Json,
    /// A merge patch.
    MergePatch,
}

impl Body {
    fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::MergePatch => "application/merge-patch+json",
        }
    }
}

type Sender = SendRequest<Full<Bytes>>;

/// A client with connections of its own.
#[derive(Debug)]
pub struct Api {
    settings: ApiSettings,
    tls: Mutex<Option<Arc<ClientConfig>>>,
    idle: Mutex<Vec<Sender>>,
    pace: Mutex<Pace>,
    errors: AtomicU64,
}

impl Api {
    /// A client that has no connection yet.
    pub fn new(settings: ApiSettings) -> Self {
        Self {
            settings,
            tls: Mutex::new(None),
            idle: Mutex::new(Vec::new()),
            pace: Mutex::new(Pace::default()),
            errors: AtomicU64::new(0),
        }
    }

    /// Requests that failed, but for conflicts and what was not found: those are answers.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// GET.
    pub async fn get(&self, path: &str, deadline: Duration) -> Result<Value, ApiError> {
        self.request(Method::GET, path, None, deadline).await
    }

    /// PUT of a whole object; its metadata carries the precondition.
    pub async fn put(&self, path: &str, object: &Value, deadline: Duration) -> Result<Value, ApiError> {
        self.request(Method::PUT, path, Some((Body::Json, object)), deadline).await
    }

    /// POST of a new object.
    pub async fn post(&self, path: &str, object: &Value, deadline: Duration) -> Result<Value, ApiError> {
        self.request(Method::POST, path, Some((Body::Json, object)), deadline).await
    }

    /// Merge patch; put uid and resourceVersion into its metadata to make them preconditions.
    pub async fn patch(&self, path: &str, patch: &Value, deadline: Duration) -> Result<Value, ApiError> {
        self.request(Method::PATCH, path, Some((Body::MergePatch, patch)), deadline).await
    }

    /// DELETE with options (preconditions).
    pub async fn delete(&self, path: &str, options: &Value, deadline: Duration) -> Result<Value, ApiError> {
        self.request(Method::DELETE, path, Some((Body::Json, options)), deadline).await
    }

    /// One request, once. After a failure no idle connection is used again: the next request opens its own.
    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<(Body, &Value)>,
        deadline: Duration,
    ) -> Result<Value, ApiError> {
        let paced = async {
            let pause = lock(&self.pace).pause(Instant::now());
            tokio::time::sleep(pause).await;
            let began = Instant::now();
            (began, self.exchange(method, path, body).await)
        };
        let asked = Instant::now();
        let (began, result) =
            tokio::time::timeout(deadline, paced).await.unwrap_or((asked, Err(ApiError::Timeout(deadline))));
        let failed = result.as_ref().is_err_and(|error| !error.is_conflict() && !error.is_not_found());
        lock(&self.pace).note(began, failed);
        if failed {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        if matches!(&result, Err(error) if error.code().is_none()) {
            lock(&self.idle).clear();
            *lock(&self.tls) = None;
        }
        result
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<(Body, &Value)>,
    ) -> Result<Value, ApiError> {
        let request = self.build(method, path, body)?;
        let mut sender = self.sender().await?;
        let response =
            sender.send_request(request).await.map_err(|error| ApiError::Broken(error.to_string()))?;
        let code = response.status();
        let bytes = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await
            .map_err(|error| ApiError::Broken(error.to_string()))?
            .to_bytes();
        {
            let mut idle = lock(&self.idle);
            if idle.len() < MAX_IDLE && !sender.is_closed() {
                idle.push(sender);
            }
        }
        if !code.is_success() {
            return Err(refusal(code.as_u16(), &bytes));
        }
        serde_json::from_slice(&bytes).map_err(|error| ApiError::Answer(error.to_string()))
    }

    /// Opens a watch: a connection of its own, whose body is lines of events.
    pub async fn open_watch(&self, path: &str, deadline: Duration) -> Result<Incoming, ApiError> {
        let open = async {
            let request = self.build(Method::GET, path, None)?;
            let mut sender = self.connect().await?;
            let response =
                sender.send_request(request).await.map_err(|error| ApiError::Broken(error.to_string()))?;
            let code = response.status();
            if code.is_success() {
                return Ok(response.into_body());
            }
            let bytes = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
                .collect()
                .await
                .map_err(|error| ApiError::Broken(error.to_string()))?
                .to_bytes();
            Err(refusal(code.as_u16(), &bytes))
        };
        tokio::time::timeout(deadline, open).await.unwrap_or(Err(ApiError::Timeout(deadline)))
    }

    fn build(
        &self,
        method: Method,
        path: &str,
        body: Option<(Body, &Value)>,
    ) -> Result<Request<Full<Bytes>>, ApiError> {
        // Read each time: the kubelet renews it, and a file in memory costs nothing.
        let token =
            std::fs::read_to_string(self.settings.credentials.join("token")).map_err(ApiError::Connect)?;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.settings.address.to_string())
            .header(header::AUTHORIZATION, format!("Bearer {}", token.trim()))
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("pgha-agent/", env!("CARGO_PKG_VERSION")));
        let mut bytes = Bytes::new();
        if let Some((kind, value)) = body {
            request = request.header(header::CONTENT_TYPE, kind.content_type());
            bytes = serde_json::to_vec(value).map_err(|error| ApiError::Answer(error.to_string()))?.into();
        }
        request.body(Full::new(bytes)).map_err(|error| ApiError::Answer(error.to_string()))
    }

    async fn sender(&self) -> Result<Sender, ApiError> {
        loop {
            let Some(mut sender) = lock(&self.idle).pop() else { return self.connect().await };
            // A connection that the server closed meanwhile is known by now; it is not worth a failed request.
            if !sender.is_closed() && sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
    }

    async fn connect(&self) -> Result<Sender, ApiError> {
        let tls = self.tls_config()?;
        let stream = TcpStream::connect(self.settings.address).await.map_err(ApiError::Connect)?;
        stream.set_nodelay(true).map_err(ApiError::Connect)?;
        let name = ServerName::from(self.settings.address.ip());
        let stream = TlsConnector::from(tls).connect(name, stream).await.map_err(ApiError::Connect)?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| ApiError::Broken(error.to_string()))?;
        // Its end shows at the sender; there is nobody else to tell.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    fn tls_config(&self) -> Result<Arc<ClientConfig>, ApiError> {
        let mut cached = lock(&self.tls);
        if let Some(config) = &*cached {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(
            ClientConfig::builder()
                .with_root_certificates(roots(&self.settings.credentials.join("ca.crt"))?)
                .with_no_client_auth(),
        );
        *cached = Some(Arc::clone(&config));
        Ok(config)
    }
}

fn roots(path: &Path) -> Result<RootCertStore, ApiError> {
    let wrong = |error: String| ApiError::Connect(io::Error::new(io::ErrorKind::InvalidData, error));
    let text = std::fs::read(path).map_err(ApiError::Connect)?;
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| wrong(format!("{}: {error}", path.display())))?;
        store.add(certificate).map_err(|error| wrong(format!("{}: {error}", path.display())))?;
    }
    Ok(store)
}

pub(crate) fn refusal(code: u16, body: &[u8]) -> ApiError {
    let status: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
    ApiError::Status { code, reason: text("reason"), message: text("message") }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic while it was held leaves a list or an option: both are usable as they are.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_what_the_server_said() {
        let error = refusal(409, br#"{"kind":"Status","reason":"Conflict","message":"changed"}"#);
        assert!(error.is_conflict() && !error.is_not_found());
        assert_eq!(error.to_string(), "the API server answered 409 Conflict: changed");
        assert!(refusal(404, b"not json").is_not_found());
    }
}
