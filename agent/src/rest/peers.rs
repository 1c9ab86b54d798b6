//! What other agents send: signed heartbeats, and requests for promises (A12).

use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use pgha_schema::peer::{Heartbeat, PATH_HEARTBEAT, PATH_PROMISE, PEER_FORMAT, PromiseRequest};
use serde::de::DeserializeOwned;

use super::auth;
use super::server::{Answer, Shared, respond, text};
use crate::boottime::now_ms;

const MAX_BODY_BYTES: usize = 4 * 1024;
/// How long an answer waits for the promise: it is fsynced and the stream left before it is told.
const PROMISE_WITHIN_MS: u64 = 700;
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Takes a heartbeat.
pub(super) async fn heartbeat(request: Request<Incoming>, shared: &Shared) -> Answer {
    let heartbeat: Heartbeat = match signed(request, PATH_HEARTBEAT, shared).await {
        Ok(heartbeat) => heartbeat,
        Err(answer) => return answer,
    };
    if let Some(answer) = not_for_us(heartbeat.format, &heartbeat.anchor_uid, shared) {
        return answer;
    }
    shared.hearing.take_heartbeat(&heartbeat);
    text(StatusCode::OK, "heard\n")
}

/// Takes a request for a promise, and answers with this agent's report once the promise is in it.
pub(super) async fn promise(request: Request<Incoming>, shared: &Shared) -> Answer {
    let request: PromiseRequest = match signed(request, PATH_PROMISE, shared).await {
        Ok(request) => request,
        Err(answer) => return answer,
    };
    if let Some(answer) = not_for_us(request.format, &request.anchor_uid, shared) {
        return answer;
    }
    shared.hearing.take_request(&request);
    shared.wake.notify_one();
    let until_ms = now_ms() + PROMISE_WITHIN_MS;
    loop {
        let Some(board) = shared.board() else { return text(StatusCode::SERVICE_UNAVAILABLE, "starting\n") };
        if board.report.promise.as_ref() == Some(&request.version) {
            let body = serde_json::to_string(&board.report).unwrap_or_default();
            return respond(StatusCode::OK, "application/json", body);
        }
        if now_ms() >= until_ms {
            return text(StatusCode::CONFLICT, format!("no promise: {}\n", board.reason));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn not_for_us(format: u32, anchor_uid: &str, shared: &Shared) -> Option<Answer> {
    if format > PEER_FORMAT {
        return Some(text(StatusCode::BAD_REQUEST, format!("format {format} is newer than this agent\n")));
    }
    (anchor_uid != shared.anchor_uid).then(|| text(StatusCode::MISDIRECTED_REQUEST, "another cluster\n"))
}

async fn signed<T: DeserializeOwned>(
    request: Request<Incoming>,
    path: &str,
    shared: &Shared,
) -> Result<T, Answer> {
    let header = request.headers().get(auth::HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let Ok(body) = Limited::new(request.into_body(), MAX_BODY_BYTES).collect().await else {
        return Err(text(StatusCode::BAD_REQUEST, "the body can't be read\n"));
    };
    let body = body.to_bytes();
    let key = shared
        .secrets
        .agent_key()
        .map_err(|error| text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")))?;
    let now = jiff::Timestamp::now().as_second();
    auth::verify(&key, now, "POST", path, &body, header.as_deref())
        .map_err(|error| text(StatusCode::UNAUTHORIZED, format!("{error}\n")))?;
    serde_json::from_slice(&body).map_err(|error| text(StatusCode::BAD_REQUEST, format!("{error}\n")))
}
