//! The server on the socket that the guard holds: an agent's restart refuses no connection.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use pgha_agent_core::failsafe::Acknowledges;
use pgha_agent_core::observation::SwitchoverRequest;
use pgha_schema::peer::{PATH_HEARTBEAT, PATH_PROMISE};
use pgha_schema::record::Record;
use pgha_schema::status::{AgentReport, Role};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::{auth, metrics, peers};
use crate::boottime::now_ms;
use crate::heartbeats::Hearing;
use crate::secrets::Secrets;

/// The loop turns at least once a second; one that has not for this long is hung.
const LOOP_SILENCE_MS: u64 = 10_000;
/// A report older than this is renewed in the background when somebody asks.
const REPORT_FRESH_MS: u64 = 150;
const MAX_BODY_BYTES: usize = 16 * 1024;
const HEADER_DEADLINE: Duration = Duration::from_secs(5);

/// What the loop puts up for the server to read.
#[derive(Clone, Debug)]
pub struct Board {
    /// This agent's report.
    pub report: AgentReport,
    /// The record as last read.
    pub record: Option<Record>,
    /// Why the agent does what it does.
    pub reason: String,
    /// Postgres accepts connections.
    pub ready: bool,
    /// This instance is the primary, and lets clients in.
    pub serves_writes: bool,
    /// This instance follows the primary.
    pub follows: bool,
    /// Recorded.
    pub degraded: bool,
    /// Recorded.
    pub voters: usize,
    /// When the loop turned last.
    pub turned_ms: u64,
    /// How often it turned.
    pub cycles: u64,
    /// How often the guard fenced.
    pub fences: u64,
    /// Whom this member acknowledges until the next turn.
    pub acknowledges: Option<Acknowledges>,
}

/// Body of `POST /switchover`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchoverBody {
    /// The pod that is to lead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// Between server and loop.
#[derive(Debug)]
pub struct Shared {
    /// What is shown.
    pub board: Mutex<Option<Board>>,
    /// The newest switchover request.
    pub switchover: Mutex<Option<SwitchoverRequest>>,
    /// Wakes the loop.
    pub wake: Arc<Notify>,
    /// For the key.
    pub secrets: Secrets,
    /// What other agents send.
    pub hearing: Hearing,
    /// The cluster's anchor: what is meant for another one is refused.
    pub anchor_uid: String,
}

pub(super) type Answer = Response<Full<Bytes>>;

impl Shared {
    /// What is shown now.
    pub fn board(&self) -> Option<Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows something else.
    pub fn show(&self, board: Board) {
        *self.board.lock().unwrap_or_else(PoisonError::into_inner) = Some(board);
    }

    /// The newest switchover request.
    pub fn switchover(&self) -> Option<SwitchoverRequest> {
        self.switchover.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Serves for ever.
pub async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, or a connection that broke at once: both pass.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, Infallible>(answer(request, &shared).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_DEADLINE)
                .serve_connection(TokioIo::new(stream), service);
            drop(connection.await);
        });
    }
}

pub(super) fn text(status: StatusCode, body: impl Into<String>) -> Answer {
    respond(status, "text/plain; charset=utf-8", body.into())
}

pub(super) fn respond(status: StatusCode, kind: &'static str, body: String) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

fn check(good: bool, board: &Board) -> Answer {
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    text(status, format!("{}\n", board.reason))
}

async fn answer(request: Request<Incoming>, shared: &Shared) -> Answer {
    let path = request.uri().path().to_owned();
    if request.method() == Method::POST {
        match path.as_str() {
            "/switchover" => return switchover(request, shared).await,
            PATH_HEARTBEAT => return peers::heartbeat(request, shared).await,
            PATH_PROMISE => return peers::promise(request, shared).await,
            _ => {}
        }
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "GET, or a signed POST to /switchover\n");
    }
    let Some(board) = shared.board() else {
        // An agent that has just started lives; it only knows nothing yet.
        let status = if path == "/liveness" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        return text(status, "starting\n");
    };
    let age_ms = now_ms().saturating_sub(board.turned_ms);
    if age_ms > REPORT_FRESH_MS && matches!(path.as_str(), "/status" | "/readiness") {
        shared.wake.notify_one();
    }
    match path.as_str() {
        "/primary" => check(board.serves_writes, &board),
        "/standby" | "/replica" => check(board.follows && board.ready, &board),
        "/readiness" => check(board.ready, &board),
        "/liveness" => {
            let status =
                if age_ms < LOOP_SILENCE_MS { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            text(status, format!("the loop turned {age_ms} ms ago\n"))
        }
        "/status" => {
            let body = serde_json::to_string(&board.report).unwrap_or_default();
            respond(StatusCode::OK, "application/json", body)
        }
        "/record" => {
            let body = serde_json::to_string(&board.record).unwrap_or_default();
            respond(StatusCode::OK, "application/json", body)
        }
        "/metrics" => {
            respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics::render(&board))
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "/primary /standby /replica /liveness /readiness /status /record /metrics\n",
        ),
    }
}

async fn switchover(request: Request<Incoming>, shared: &Shared) -> Answer {
    let header = request.headers().get(auth::HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let Ok(body) = Limited::new(request.into_body(), MAX_BODY_BYTES).collect().await else {
        return text(StatusCode::BAD_REQUEST, "the body can't be read\n");
    };
    let body = body.to_bytes();
    let key = match shared.secrets.agent_key() {
        Ok(key) => key,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    };
    let now = jiff::Timestamp::now().as_second();
    if let Err(error) = auth::verify(&key, now, "POST", "/switchover", &body, header.as_deref()) {
        return text(StatusCode::UNAUTHORIZED, format!("{error}\n"));
    }
    let Ok(wish) = serde_json::from_slice::<SwitchoverBody>(&body) else {
        return text(StatusCode::BAD_REQUEST, "wanted: {\"to\": \"POD\"} or {}\n");
    };
    let Some(board) = shared.board() else { return text(StatusCode::SERVICE_UNAVAILABLE, "starting\n") };
    if board.report.role != Role::Primary {
        let holder = board.record.as_ref().and_then(|record| record.holder.as_ref());
        let body = json!({"holder": holder.map(|h| &h.pod), "address": holder.map(|h| &h.address)});
        return respond(StatusCode::MISDIRECTED_REQUEST, "application/json", body.to_string());
    }
    if wish.to.as_deref() == Some(board.report.pod.as_str()) {
        return text(StatusCode::CONFLICT, format!("{} leads already\n", board.report.pod));
    }
    let mut slot = shared.switchover.lock().unwrap_or_else(PoisonError::into_inner);
    // Ids grow over restarts of the agent too, so that an old one is never taken for a new one.
    let id = slot.as_ref().map_or(0, |last| last.id).max(now_ms()) + 1;
    *slot = Some(SwitchoverRequest { id, target_pod: wish.to });
    drop(slot);
    shared.wake.notify_one();
    tracing::info!(id, "switchover asked for");
    respond(StatusCode::ACCEPTED, "application/json", json!({"id": id, "from": board.report.pod}).to_string())
}
