//! What people ask for: signed, taken by the holder's agent, and sent on to it by every other (A31).
//!
//! ```text
//!   POST /switchover {"to": "db-1"}   202 {"id": …}: the record will tell what came of it (GET /requests/ID)
//!   POST /restart, /reinit {"pod": …} POST /pause, /resume {}
//! ```

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Request as HttpRequest, StatusCode};
use hyper::body::Incoming;
use pgha_agent_core::observation::Received;
use pgha_schema::record::{Holder, Record};
use pgha_schema::request::{Asked, Request};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::{Lines, Reply};
use super::server::{Answer, Board, Shared, respond, text};
use super::signed;
use crate::boottime::now_ms;

/// Says that another agent sent this on: nobody sends it on again.
pub const FORWARDED: &str = "x-pgha-forwarded";
const MAX_BODY_BYTES: usize = 16 * 1024;
/// The holder's agent takes a request at once.
const FORWARD_DEADLINE: Duration = Duration::from_secs(2);
/// A request is remembered a little longer than the decision counts it.
const KEPT_MS: u64 = 60_000;

/// Body of a request; which field counts depends on the path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// Names the request for ever, so that it may be sent again; made here when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Who is to lead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Whose postgres or data is meant; the asked agent's own without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
}

impl Wish {
    /// As it goes over the wire.
    pub fn of(request: &Request) -> Self {
        let id = Some(request.id.clone());
        match &request.asked {
            Asked::Switchover { to } => Self { id, to: to.clone(), pod: None },
            Asked::Restart { pod } | Asked::Reinit { pod } => Self { id, to: None, pod: Some(pod.clone()) },
            Asked::Pause | Asked::Resume => Self { id, ..Self::default() },
        }
    }
}

/// What was asked of this agent.
#[derive(Clone, Debug, Default)]
pub struct Asking {
    /// Requests.
    pub received: Vec<Received>,
    /// Pauses that were ended here.
    pub lifted: BTreeSet<String>,
}

/// A name for a new request.
pub fn new_id() -> io::Result<String> {
    Ok(format!("r{}", &crate::volume::new_member_id()?.as_str()[1..]))
}

/// What a path asks for; `None`: it is no such path.
pub(crate) fn asked(path: &str, wish: &Wish, own_pod: &str) -> Option<Asked> {
    let pod = || wish.pod.clone().unwrap_or_else(|| own_pod.to_owned());
    Some(match path {
        "/switchover" => Asked::Switchover { to: wish.to.clone() },
        "/restart" => Asked::Restart { pod: pod() },
        "/reinit" => Asked::Reinit { pod: pod() },
        "/pause" => Asked::Pause,
        "/resume" => Asked::Resume,
        _ => return None,
    })
}

/// Whether a POST to this path is a request.
pub(super) fn is_one(path: &str) -> bool {
    asked(path, &Wish::default(), "").is_some()
}

/// Takes a request, or sends it on.
pub(super) async fn take(http: HttpRequest<Incoming>, shared: &Shared) -> Answer {
    let path = http.uri().path().to_owned();
    let forwarded = http.headers().contains_key(FORWARDED);
    let (body, key) = match signed::body_of(http, &shared.secrets, MAX_BODY_BYTES).await {
        Ok(signed) => signed,
        Err(answer) => return answer,
    };
    let Ok(wish) = serde_json::from_slice::<Wish>(&body) else {
        return text(StatusCode::BAD_REQUEST, "wanted: {}, {\"to\": \"POD\"} or {\"pod\": \"POD\"}\n");
    };
    let Some(board) = shared.board() else { return text(StatusCode::SERVICE_UNAVAILABLE, "starting\n") };
    let Some(asked) = asked(&path, &wish, &board.report.pod) else {
        return text(StatusCode::NOT_FOUND, "no such request\n");
    };
    let id = match wish.id.map_or_else(new_id, Ok) {
        Ok(id) => id,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    };
    let request = Request { id, asked };
    match board.record.as_ref().and_then(|record| record.holder.as_ref()) {
        Some(holder) if holder.nonce == board.report.nonce => accept(shared, &board, request),
        _ if forwarded && request.asked == Asked::Resume => lift(shared, &board, &request.id),
        holder if forwarded => misdirected(holder),
        holder => send_on(shared, &board, holder, &request, &key).await,
    }
}

fn accept(shared: &Shared, board: &Board, request: Request) -> Answer {
    let (now, id) = (now_ms(), request.id.clone());
    tracing::info!(request = ?request.asked, id, "asked for");
    {
        let mut asking = shared.asking();
        asking.received.retain(|known| known.request.id != id && now < known.at_ms + KEPT_MS);
        asking.received.push(Received { request, at_ms: now });
    }
    shared.wake.notify_one();
    respond(StatusCode::ACCEPTED, "application/json", json!({"id": id, "from": board.report.pod}).to_string())
}

fn misdirected(holder: Option<&Holder>) -> Answer {
    let body = json!({"holder": holder.map(|h| &h.pod), "address": holder.map(|h| &h.address)});
    respond(StatusCode::MISDIRECTED_REQUEST, "application/json", body.to_string())
}

/// No holder can be reached to record the end of a pause: this agent goes on without it.
fn lift(shared: &Shared, board: &Board, id: &str) -> Answer {
    let kept = board.seen.as_ref().and_then(|seen| seen.kept.as_ref());
    let pauses: Vec<String> = [board.record.as_ref(), kept]
        .into_iter()
        .flatten()
        .filter_map(|record: &Record| record.pause.as_ref().map(|pause| pause.id.clone()))
        .collect();
    tracing::warn!(?pauses, "no primary answers: the pause is over here");
    shared.asking().lifted.extend(pauses);
    shared.wake.notify_one();
    let body = json!({"id": id, "lifted": [board.report.pod]});
    respond(StatusCode::ACCEPTED, "application/json", body.to_string())
}

async fn send_on(
    shared: &Shared,
    board: &Board,
    holder: Option<&Holder>,
    request: &Request,
    key: &[u8],
) -> Answer {
    let address = holder.and_then(|holder| holder.address.parse().ok());
    let result = match address {
        Some(address) => forward(SocketAddr::new(address, shared.rest_port), request, key).await,
        None => Err(io::Error::other("nobody leads")),
    };
    match result {
        Ok(Reply { status, body, .. }) => {
            respond(status, "application/json", String::from_utf8_lossy(&body).into_owned())
        }
        Err(_) if request.asked == Asked::Resume => lift_everywhere(shared, board, request, key).await,
        Err(error) => {
            let whom = holder.map_or("nobody leads", |holder| holder.pod.as_str());
            text(StatusCode::SERVICE_UNAVAILABLE, format!("the primary does not answer ({whom}): {error}\n"))
        }
    }
}

async fn lift_everywhere(shared: &Shared, board: &Board, request: &Request, key: &[u8]) -> Answer {
    let mut told = vec![board.report.pod.clone()];
    lift(shared, board, &request.id);
    let pods = board.seen.as_ref().map(|seen| seen.pods.clone()).unwrap_or_default();
    let others = pods.into_iter().filter(|(pod, _)| *pod != board.report.pod);
    let asked = others.filter_map(|(pod, at)| {
        let address = SocketAddr::new(at.address?.parse().ok()?, shared.rest_port);
        Some(async move { (pod, forward(address, request, key).await) })
    });
    for (pod, answer) in futures::future::join_all(asked).await {
        if answer.is_ok_and(|reply| reply.status == StatusCode::ACCEPTED) {
            told.push(pod);
        }
    }
    let body = json!({"id": request.id, "lifted": told});
    respond(StatusCode::ACCEPTED, "application/json", body.to_string())
}

async fn forward(address: SocketAddr, request: &Request, key: &[u8]) -> io::Result<Reply> {
    let path = format!("/{}", request.asked.name());
    let body = serde_json::to_vec(&Wish::of(request))?;
    let headers = [(FORWARDED, "1".to_owned())];
    Lines::default().post_signed(address, key, &path, &headers, &body, FORWARD_DEADLINE).await
}

/// What came of a request, as far as this agent's view of the record tells.
pub(super) fn outcome(board: &Board, id: &str) -> Answer {
    let answer = board.record.as_ref().and_then(|record| record.answer_to(id));
    match answer {
        Some(answer) => respond(StatusCode::OK, "application/json", json!(answer).to_string()),
        None => text(StatusCode::NOT_FOUND, "not answered (yet), or no such request\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_the_same_on_the_wire_and_back() {
        for asked_for in [
            Asked::Switchover { to: Some("db-1".into()) },
            Asked::Switchover { to: None },
            Asked::Restart { pod: "db-2".into() },
            Asked::Reinit { pod: "db-2".into() },
            Asked::Pause,
            Asked::Resume,
        ] {
            let path = format!("/{}", asked_for.name());
            let request = Request { id: "r1".into(), asked: asked_for.clone() };
            assert_eq!(asked(&path, &Wish::of(&request), "db-0"), Some(asked_for));
            assert!(is_one(&path));
        }
        assert_eq!(asked("/restart", &Wish::default(), "db-0"), Some(Asked::Restart { pod: "db-0".into() }));
        assert!(!is_one("/status"));
    }
}
