//! What other agents send: signed heartbeats, and requests for promises (A12).

use std::time::Duration;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use pgha_schema::ids::MemberId;
use pgha_schema::peer::{Heartbeat, HeartbeatAnswer, PEER_FORMAT, PromiseRequest};
use serde::de::DeserializeOwned;

use super::server::{Answer, Board, Shared, respond, text};
use super::signed;
use crate::boottime::now_ms;

const MAX_BODY_BYTES: usize = 4 * 1024;
/// A loop that has not turned for this long may be taking the record just now.
const LOOP_TURNS_MS: u64 = 3_000;
/// How long an answer waits for the promise: it is fsynced and the stream left before it is told.
const PROMISE_WITHIN: Duration = Duration::from_millis(700);

/// Takes a heartbeat.
pub(super) async fn heartbeat(request: Request<Incoming>, shared: &Shared) -> Answer {
    let heartbeat: Heartbeat = match signed(request, shared).await {
        Ok(heartbeat) => heartbeat,
        Err(answer) => return answer,
    };
    if let Some(answer) = not_for_us(heartbeat.format, &heartbeat.anchor_uid, shared) {
        return answer;
    }
    shared.hearing.take_heartbeat(&heartbeat);
    let acknowledges = shared.board().and_then(|board| acknowledging(&board, &heartbeat));
    let answer = HeartbeatAnswer { format: PEER_FORMAT, acknowledges };
    respond(StatusCode::OK, "application/json", serde_json::to_string(&answer).unwrap_or_default())
}

/// Who follows this holder in this era, and has promised nothing to anybody: told by what the loop knew when it last
/// turned, and by nothing that is older than a heartbeat may be late.
fn acknowledging(board: &Board, heartbeat: &Heartbeat) -> Option<MemberId> {
    let told = board.acknowledges.as_ref()?;
    let turns = now_ms().saturating_sub(board.turned_ms) < LOOP_TURNS_MS;
    let holds = told.nonce == heartbeat.nonce && told.era == heartbeat.era;
    let binds = heartbeat.asks || !told.only_when_asked;
    (turns && holds && binds).then(|| told.member.clone())
}

/// Takes a request for a promise, and answers with this agent's report once the promise is in it.
pub(super) async fn promise(request: Request<Incoming>, shared: &Shared) -> Answer {
    let request: PromiseRequest = match signed(request, shared).await {
        Ok(request) => request,
        Err(answer) => return answer,
    };
    if let Some(answer) = not_for_us(request.format, &request.anchor_uid, shared) {
        return answer;
    }
    shared.hearing.take_request(&request);
    shared.wake.notify_one();
    let is_told = |board: &Board| board.report.promise.as_ref() == Some(&request.version);
    match shared.board_once(PROMISE_WITHIN, is_told).await {
        Some(board) if is_told(&board) => {
            let body = serde_json::to_string(&board.report).unwrap_or_default();
            respond(StatusCode::OK, "application/json", body)
        }
        Some(board) => text(StatusCode::CONFLICT, format!("no promise: {}\n", board.reason)),
        None => text(StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
    }
}

fn not_for_us(format: u32, anchor_uid: &str, shared: &Shared) -> Option<Answer> {
    if format > PEER_FORMAT {
        return Some(text(StatusCode::BAD_REQUEST, format!("format {format} is newer than this agent\n")));
    }
    (anchor_uid != shared.anchor_uid).then(|| text(StatusCode::MISDIRECTED_REQUEST, "another cluster\n"))
}

async fn signed<T: DeserializeOwned>(request: Request<Incoming>, shared: &Shared) -> Result<T, Answer> {
    let (body, _) = signed::body_of(request, &shared.secrets, MAX_BODY_BYTES).await?;
    serde_json::from_slice(&body).map_err(|error| text(StatusCode::BAD_REQUEST, format!("{error}\n")))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;

    use pgha_agent_core::failsafe::Acknowledges;
    use pgha_agent_core::heartbeat::Beat;
    use pgha_agent_core::observation::LeaseVersion;
    use pgha_agent_core::promise::told;
    use pgha_schema::ids::{ContainerNonce, Era};
    use pgha_schema::names::secret_key;
    use pgha_schema::status::{AgentReport, InstanceState, Role, STATUS_FORMAT};
    use tokio::sync::Notify;

    use super::*;
    use crate::heartbeats::{Hearing, Sender};
    use crate::rest::client::Lines;
    use crate::rest::server::{Board, Counts, serve};
    use crate::secrets::Secrets;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn secrets(root: &std::path::Path, key: &str) -> Secrets {
        std::fs::create_dir_all(root.join("internal")).unwrap();
        std::fs::write(root.join("internal").join(secret_key::AGENT_KEY), key).unwrap();
        Secrets::new(root, root)
    }

    fn report(promise: Option<pgha_schema::peer::RecordVersion>) -> AgentReport {
        AgentReport {
            format: STATUS_FORMAT,
            anchor_uid: "anchor".into(),
            pod: "db-1".into(),
            nonce: ContainerNonce::new("n1"),
            node: String::new(),
            boot_id: None,
            rewind_source: false,
            serving: false,
            member: None,
            unfinished: false,
            promise,
            system_identifier: None,
            era: None,
            role: Role::Standby,
            state: InstanceState::Behind,
            timeline: None,
            position: None,
            replayed: None,
            streams_from: None,
            stopping: false,
            disk_full: false,
            applied: None,
            pending_restart: false,
            template_hash: String::new(),
            postmaster: None,
            volume: None,
            altered: std::collections::BTreeMap::new(),
            slots: std::collections::BTreeMap::new(),
            activity: Vec::new(),
            agent_version: "1".into(),
            agent_sha256: String::new(),
            agent_refused: None,
            settings_refused: None,
            starts_failed: None,
            reads_record: 1,
        }
    }

    pub fn board(promise: Option<pgha_schema::peer::RecordVersion>) -> Board {
        Board {
            report: report(promise),
            record: None,
            reason: "Following".into(),
            ready: true,
            serves_writes: false,
            follows: true,
            degraded: false,
            voters: 1,
            turned_ms: now_ms(),
            cycles: 1,
            fences: 0,
            acknowledges: None,
            seen: None,
            fence_at_ms: None,
            counts: Counts::default(),
            degraded_since: None,
        }
    }

    /// An agent that listens, and one that sends with this key.
    pub async fn pair(dir: &std::path::Path, key: &str) -> (Arc<Shared>, Sender) {
        let listener = tokio::net::TcpListener::bind((HERE, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            board: tokio::sync::watch::Sender::new(None),
            asked: std::sync::Mutex::default(),
            wake: Arc::new(Notify::new()),
            secrets: secrets(&dir.join("one"), "00ff"),
            hearing: Hearing::new(),
            anchor_uid: "anchor".into(),
            rest_port: port,
            local: None,
        });
        shared.show(board(None));
        tokio::spawn(serve(listener, Arc::clone(&shared)));
        let sender = Sender {
            own_pod: "db-0".into(),
            nonce: ContainerNonce::new("n0"),
            anchor_uid: "anchor".into(),
            port,
            secrets: secrets(&dir.join("other"), key),
            lines: Lines::default(),
        };
        (shared, sender)
    }

    #[tokio::test]
    async fn a_heartbeat_counts_only_with_the_clusters_key() {
        let dir = tempfile::tempdir().unwrap();
        let version = LeaseVersion { uid: "l".into(), resource_version: "7".into() };
        let beat = Beat { era: Era(3), version, until_ms: u64::MAX, asks: false };
        for (key, heard) in [("00ff", Some(Era(3))), ("00fe", None)] {
            let (shared, sender) = pair(dir.path(), key).await;
            assert_eq!(sender.send_heartbeat(HERE, &beat).await, None, "it knows no record");
            let last = shared.hearing.holder().last;
            assert_eq!(last.map(|last| last.era), heard, "{key}");
        }
    }

    #[tokio::test]
    async fn clocks_that_differ_by_hours_are_no_silence() {
        let dir = tempfile::tempdir().unwrap();
        let version = LeaseVersion { uid: "l".into(), resource_version: "7".into() };
        let beat = Beat { era: Era(3), version: version.clone(), until_ms: u64::MAX, asks: false };
        let (shared, sender) = pair(dir.path(), "00ff").await;
        let at = std::net::SocketAddr::new(HERE, sender.port);
        for off_s in [-7_200, 7_200] {
            sender.lines.clocks.believe(at, off_s);
            sender.send_heartbeat(HERE, &beat).await;
            assert_eq!(shared.hearing.holder().last.map(|last| last.era), Some(Era(3)));
            assert!(sender.lines.clocks.ahead_s(at).abs() < 60, "it goes by the other's clock from now on");
            sender.lines.clocks.believe(at, off_s);
            assert_eq!(sender.ask_promise(HERE, "db-1", &version).await, None);
            assert_eq!(shared.hearing.asked().map(|asked| asked.version), Some(version.clone()));
        }
        // Whoever has another key is told nothing.
        let (shared, stranger) = pair(dir.path(), "00fe").await;
        let at = std::net::SocketAddr::new(HERE, stranger.port);
        stranger.lines.clocks.believe(at, 7_200);
        stranger.send_heartbeat(HERE, &beat).await;
        assert_eq!(shared.hearing.holder().last, None);
        assert_eq!(stranger.lines.clocks.ahead_s(at), 7_200);
    }

    #[test]
    fn only_who_follows_in_the_same_era_and_has_promised_nothing_acknowledges() {
        let acknowledges = Acknowledges {
            nonce: ContainerNonce::new("n0"),
            era: Era(3),
            member: MemberId::new("m1"),
            only_when_asked: false,
        };
        let good = Board { acknowledges: Some(acknowledges.clone()), ..board(None) };
        let heartbeat = |era: u64, nonce: &str| Heartbeat {
            format: PEER_FORMAT,
            anchor_uid: "anchor".into(),
            pod: "db-0".into(),
            nonce: ContainerNonce::new(nonce),
            era: Era(era),
            version: told(&LeaseVersion { uid: "l".into(), resource_version: "7".into() }),
            asks: false,
        };
        assert_eq!(acknowledging(&good, &heartbeat(3, "n0")), Some(MemberId::new("m1")));
        assert_eq!(acknowledging(&good, &heartbeat(2, "n0")), None);
        assert_eq!(acknowledging(&good, &heartbeat(3, "n9")), None);
        assert_eq!(acknowledging(&board(None), &heartbeat(3, "n0")), None);
        let in_async = Acknowledges { only_when_asked: true, ..acknowledges };
        let in_async = Board { acknowledges: Some(in_async), ..board(None) };
        assert_eq!(acknowledging(&in_async, &heartbeat(3, "n0")), None);
        let asks = Heartbeat { asks: true, ..heartbeat(3, "n0") };
        assert_eq!(acknowledging(&in_async, &asks), Some(MemberId::new("m1")));
        let hangs = Board { turned_ms: now_ms().saturating_sub(LOOP_TURNS_MS), ..good };
        assert_eq!(acknowledging(&hangs, &heartbeat(3, "n0")), None);
    }

    #[tokio::test]
    async fn a_promise_is_answered_once_it_is_told_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let version = LeaseVersion { uid: "l".into(), resource_version: "7".into() };
        let (shared, sender) = pair(dir.path(), "00ff").await;
        assert_eq!(sender.ask_promise(HERE, "db-1", &version).await, None);
        assert_eq!(shared.hearing.asked().map(|asked| asked.version), Some(version.clone()));
        shared.show(board(Some(told(&version))));
        let answer = sender.ask_promise(HERE, "db-1", &version).await;
        assert_eq!(answer.and_then(|report| report.promise), Some(told(&version)));
        let newer = LeaseVersion { resource_version: "8".into(), ..version };
        assert_eq!(sender.ask_promise(HERE, "db-1", &newer).await, None);
    }
}
