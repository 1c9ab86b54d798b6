//! The server on the socket that the guard holds: an agent's restart refuses no connection.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use pgha_agent_core::Observation;
use pgha_agent_core::failsafe::Acknowledges;
use pgha_schema::peer::{PATH_HEARTBEAT, PATH_PROMISE};
use pgha_schema::record::Record;
use pgha_schema::status::AgentReport;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};

use super::requests::{self, Asking};
use super::view::View;
use super::{metrics, peers};
use crate::boottime::now_ms;
use crate::heartbeats::Hearing;
use crate::postgres::session::Local;
use crate::secrets::Secrets;

/// The loop turns at least once a second; one that has not for this long is hung.
const LOOP_SILENCE_MS: u64 = 10_000;
/// This agent's report as of the loop's last turn.
pub const STATUS: &str = "/status";
/// The same, from who soon asks again and wants a newer one then.
pub const STATUS_FRESH: &str = "/status?fresh";
/// What is older than this is not fresh.
const FRESH_MS: u64 = 150;
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
    /// What the loop saw last.
    pub seen: Option<Arc<Observation>>,
    /// When the guard fences unless it is told a later time.
    pub fence_at_ms: Option<u64>,
    /// Counted since the agent's start.
    pub counts: Counts,
    /// Since when writes go on without a confirming standby, told by the holder alone.
    pub degraded_since: Option<String>,
}

/// What happened since the agent's start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Takings of the lead from a holder that had not handed it over.
    pub failovers: u64,
    /// Takings of all kinds.
    pub takeovers: u64,
    /// Requests to the API server that failed.
    pub api_errors: u64,
}

/// Between server and loop.
#[derive(Debug)]
pub struct Shared {
    /// What is shown.
    pub board: watch::Sender<Option<Board>>,
    /// What was asked for.
    pub asked: Mutex<Asking>,
    /// Wakes the loop.
    pub wake: Arc<Notify>,
    /// For the key.
    pub secrets: Secrets,
    /// What other agents send.
    pub hearing: Hearing,
    /// The cluster's anchor: what is meant for another one is refused.
    pub anchor_uid: String,
    /// Where the other agents listen.
    pub rest_port: u16,
    /// How the local postgres is asked for its figures.
    pub local: Option<Local>,
}

pub(super) type Answer = Response<Full<Bytes>>;

impl Shared {
    /// What is shown now.
    pub fn board(&self) -> Option<Board> {
        self.board.borrow().clone()
    }

    /// What is shown once `wanted` holds of it, or else when the time is over.
    pub async fn board_once(&self, within: Duration, wanted: impl Fn(&Board) -> bool) -> Option<Board> {
        let mut shown = self.board.subscribe();
        let wait = shown.wait_for(|board| board.as_ref().is_some_and(&wanted));
        match tokio::time::timeout(within, wait).await {
            Ok(Ok(board)) => board.clone(),
            Ok(Err(_)) | Err(_) => self.board(),
        }
    }

    /// Shows something else.
    pub fn show(&self, board: Board) {
        self.board.send_replace(Some(board));
    }

    /// What was asked for, for a moment.
    pub fn asking(&self) -> MutexGuard<'_, Asking> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
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
        // A request more comes on the same connection: its answer waits for nothing.
        let _ = stream.set_nodelay(true);
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
            PATH_HEARTBEAT => return peers::heartbeat(request, shared).await,
            PATH_PROMISE => return peers::promise(request, shared).await,
            path if requests::is_one(path) => return requests::take(request, shared).await,
            _ => {}
        }
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "GET, or a signed POST\n");
    }
    let Some(board) = shared.board() else {
        // An agent that has just started lives; it only knows nothing yet.
        let status = if path == "/liveness" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        return text(status, "starting\n");
    };
    let age_ms = now_ms().saturating_sub(board.turned_ms);
    let wants_fresh = request.uri() == STATUS_FRESH || matches!(path.as_str(), "/cluster" | "/readiness");
    if age_ms > FRESH_MS && wants_fresh {
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
        STATUS => {
            let body = serde_json::to_string(&board.report).unwrap_or_default();
            respond(StatusCode::OK, "application/json", body)
        }
        "/record" => {
            let body = serde_json::to_string(&board.record).unwrap_or_default();
            respond(StatusCode::OK, "application/json", body)
        }
        "/metrics" => {
            let page = metrics::page(&board, shared.local.as_ref()).await;
            respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", page)
        }
        "/cluster" => {
            let body = serde_json::to_string(&View::of(&board)).unwrap_or_default();
            respond(StatusCode::OK, "application/json", body)
        }
        path => match path.strip_prefix("/requests/") {
            Some(id) => requests::outcome(&board, id),
            None => text(
                StatusCode::NOT_FOUND,
                "/primary /standby /replica /liveness /readiness /status /cluster /record /requests/ID /metrics\n",
            ),
        },
    }
}
