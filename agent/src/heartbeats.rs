//! Signs of life between agents: the holder's heartbeats, refused ports, requests for promises (A12, A13).
//!
//! ```text
//!   loop ─ Beats ─> every 250 ms, signed, to each member's agent ─> rest/peers.rs ─ Hearing ─> next observation
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pgha_agent_core::heartbeat::{Beat, PERIOD_MS, REFUSALS, REFUSED_FOR_MS};
use pgha_agent_core::observation::{
    AckSeen, Acks, AskedSeen, HeartbeatSeen, HolderHeard, LeaseVersion, RefusedSeen,
};
use pgha_agent_core::promise::told;
use pgha_schema::ids::{ContainerNonce, MemberId};
use pgha_schema::peer::{
    Heartbeat, HeartbeatAnswer, PATH_HEARTBEAT, PATH_PROMISE, PEER_FORMAT, PromiseRequest,
};
use pgha_schema::status::AgentReport;
use serde::Serialize;
use tokio::net::TcpStream;

use crate::boottime::now_ms;
use crate::rest::client::{Lines, Reply};
use crate::secrets::Secrets;
use crate::world::World;

/// A heartbeat that takes longer is as good as lost.
const DEADLINE: Duration = Duration::from_millis(500);
/// No lead is good for that long.
const FORGET_ACKS_MS: u64 = 600_000;
/// The asked agent fsyncs and leaves its stream before it answers.
const PROMISE_DEADLINE: Duration = Duration::from_millis(800);
/// A live machine refuses at once.
const REFUSAL_DEADLINE: Duration = Duration::from_millis(100);

/// How often the ear proves that it is awake, and how late it may be: a process that was suspended, or got no processor,
/// heard nothing, which is not the same as silence.
const AWAKE_EVERY: Duration = Duration::from_millis(250);
const ASLEEP_AFTER_MS: u64 = 750;

/// What came from other agents, for the next observation.
#[derive(Clone, Debug)]
pub struct Hearing(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    holder: HolderHeard,
    asked: Option<AskedSeen>,
    awake_ms: u64,
}

impl State {
    /// Listens anew after a sleep.
    fn wake(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.awake_ms) > ASLEEP_AFTER_MS {
            self.holder.listening_ms = now_ms;
        }
        self.awake_ms = now_ms;
    }
}

impl Hearing {
    /// Listens from now on.
    pub fn new() -> Self {
        let now = now_ms();
        let holder = HolderHeard { listening_ms: now, ..HolderHeard::default() };
        Self(Arc::new(Mutex::new(State { holder, asked: None, awake_ms: now })))
    }

    /// Runs beside the loop, which may wait for an answer for seconds: only a process that does not run at all is deaf.
    pub async fn stay_awake(self) {
        loop {
            self.lock().wake(now_ms());
            tokio::time::sleep(AWAKE_EVERY).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was heard of the holder.
    pub fn holder(&self) -> HolderHeard {
        let mut state = self.lock();
        state.wake(now_ms());
        state.holder.clone()
    }

    /// The newest request for a promise.
    pub fn asked(&self) -> Option<AskedSeen> {
        self.lock().asked.clone()
    }

    /// A heartbeat whose signature is good. One of an older era, late on its way, does not hide a newer one.
    pub fn take_heartbeat(&self, heartbeat: &Heartbeat) {
        let mut state = self.lock();
        let last = &mut state.holder.last;
        if last.as_ref().is_none_or(|last| last.era <= heartbeat.era) {
            let (era, nonce) = (heartbeat.era, heartbeat.nonce.clone());
            let heard = HeartbeatSeen { era, nonce, at_ms: now_ms() };
            *last = Some(heard.clone());
            if heartbeat.asks {
                state.holder.asks = Some(heard);
            }
        }
    }

    /// A request whose signature is good.
    pub fn take_request(&self, request: &PromiseRequest) {
        let version = LeaseVersion {
            uid: request.version.uid.clone(),
            resource_version: request.version.resource_version.clone(),
        };
        self.lock().asked = Some(AskedSeen { version, at_ms: now_ms() });
    }

    /// Tries both ports a few times; tells whether all of it was refused.
    pub async fn try_refusals(&self, address: IpAddr, ports: [u16; 2]) -> bool {
        let since_ms = now_ms();
        for turn in 0..REFUSALS {
            if turn > 0 {
                tokio::time::sleep(Duration::from_millis(REFUSED_FOR_MS / u64::from(REFUSALS - 1))).await;
            }
            for port in ports {
                if !is_refused(SocketAddr::new(address, port)).await {
                    return false;
                }
            }
        }
        let refused = RefusedSeen { address: address.to_string(), since_ms, at_ms: now_ms() };
        self.lock().holder.refused = Some(refused);
        true
    }
}

async fn is_refused(address: SocketAddr) -> bool {
    match tokio::time::timeout(REFUSAL_DEADLINE, TcpStream::connect(address)).await {
        Ok(Err(error)) => is_refusal(&error),
        Ok(Ok(_)) | Err(_) => false,
    }
}

/// The machine answered, and nothing listens.
pub fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset)
}

/// Who sends.
#[derive(Clone, Debug)]
pub struct Sender {
    /// This pod: nothing is sent to it.
    pub own_pod: String,
    /// This container's life.
    pub nonce: ContainerNonce,
    /// The cluster.
    pub anchor_uid: String,
    /// The agents' port.
    pub port: u16,
    /// For the key.
    pub secrets: Secrets,
    /// What it is sent over.
    pub lines: Lines,
}

impl Sender {
    async fn post<T: Serialize>(
        &self,
        address: IpAddr,
        path: &str,
        body: &T,
        deadline: Duration,
    ) -> io::Result<Reply> {
        let body = serde_json::to_vec(body)?;
        let key = self.secrets.agent_key()?;
        let address = SocketAddr::new(address, self.port);
        self.lines.post_signed(address, &key, path, &[], &body, deadline).await
    }

    /// Sends one heartbeat; tells who acknowledges it.
    pub async fn send_heartbeat(&self, address: IpAddr, beat: &Beat) -> Option<MemberId> {
        let heartbeat = Heartbeat {
            format: PEER_FORMAT,
            anchor_uid: self.anchor_uid.clone(),
            pod: self.own_pod.clone(),
            nonce: self.nonce.clone(),
            era: beat.era,
            version: told(&beat.version),
            asks: beat.asks,
        };
        let Reply { status, body, .. } = self
            .post(address, PATH_HEARTBEAT, &heartbeat, DEADLINE)
            .await
            .inspect_err(|error| tracing::debug!(%address, %error, "heartbeat not delivered"))
            .ok()?;
        if !status.is_success() {
            tracing::debug!(%address, %status, "heartbeat refused");
            return None;
        }
        serde_json::from_slice::<HeartbeatAnswer>(&body).ok()?.acknowledges
    }

    /// Asks for a promise; the answer is the other agent's report, with the promise in it when it was given.
    pub async fn ask_promise(
        &self,
        address: IpAddr,
        pod: &str,
        version: &LeaseVersion,
    ) -> Option<AgentReport> {
        let request = PromiseRequest {
            format: PEER_FORMAT,
            anchor_uid: self.anchor_uid.clone(),
            pod: self.own_pod.clone(),
            version: told(version),
        };
        let Reply { status, body, .. } =
            self.post(address, PATH_PROMISE, &request, PROMISE_DEADLINE).await.ok()?;
        let report: AgentReport =
            status.is_success().then(|| serde_json::from_slice(&body).ok()).flatten()?;
        (report.anchor_uid == self.anchor_uid && report.pod == pod).then_some(report)
    }
}

/// What the holder sends; set by the loop, sent beside it.
#[derive(Clone, Debug, Default)]
pub struct Beats {
    beat: Arc<Mutex<Option<Beat>>>,
    sending: Arc<Mutex<BTreeSet<String>>>,
    acks: Arc<Mutex<Acks>>,
}

impl Beats {
    /// From now on this is sent, or nothing.
    pub fn set(&self, beat: Option<Beat>) {
        *self.beat.lock().unwrap_or_else(PoisonError::into_inner) = beat;
    }

    /// Who acknowledged, and when last; members that nobody speaks of any more do no harm, but are forgotten.
    pub fn acks(&self) -> Acks {
        let mut acks = self.acks.lock().unwrap_or_else(PoisonError::into_inner);
        acks.retain(|_, ack| now_ms().saturating_sub(ack.asked_ms) < FORGET_ACKS_MS);
        acks.clone()
    }

    fn due(&self) -> Option<Beat> {
        let beat = self.beat.lock().unwrap_or_else(PoisonError::into_inner).clone();
        beat.filter(|beat| now_ms() < beat.until_ms)
    }

    /// Sends for ever.
    pub fn send_for_ever(&self, world: World, sender: Sender) {
        let beats = self.clone();
        tokio::spawn(async move {
            loop {
                if let Some(beat) = beats.due() {
                    beats.send_all(&world, &sender, &beat);
                }
                tokio::time::sleep(Duration::from_millis(PERIOD_MS)).await;
            }
        });
    }

    fn send_all(&self, world: &World, sender: &Sender, beat: &Beat) {
        for (pod, address) in addresses(world) {
            if pod == sender.own_pod
                || !self.sending.lock().unwrap_or_else(PoisonError::into_inner).insert(pod.clone())
            {
                continue;
            }
            let (beats, sender, beat) = (self.clone(), sender.clone(), beat.clone());
            tokio::spawn(async move {
                let asked_ms = now_ms();
                if let Some(member) = sender.send_heartbeat(address, &beat).await {
                    let ack = AckSeen { era: beat.era, asked_ms, binds: beat.asks };
                    beats.acks.lock().unwrap_or_else(PoisonError::into_inner).insert(member, ack);
                }
                beats.sending.lock().unwrap_or_else(PoisonError::into_inner).remove(&pod);
            });
        }
    }
}

/// Where the pods' agents are.
pub fn addresses(world: &World) -> BTreeMap<String, IpAddr> {
    let state = world.lock();
    let address = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());
    state.pods.iter().filter_map(|(name, pod)| Some((name.clone(), address(&pod.address)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgha_schema::ids::Era;
    use std::net::Ipv4Addr;

    fn heartbeat(era: u64) -> Heartbeat {
        Heartbeat {
            format: PEER_FORMAT,
            anchor_uid: "a".into(),
            pod: "db-0".into(),
            nonce: ContainerNonce::new("n"),
            era: Era(era),
            version: told(&LeaseVersion { uid: "l".into(), resource_version: "1".into() }),
            asks: era == 3,
        }
    }

    #[test]
    fn a_late_heartbeat_of_an_older_era_does_not_hide_a_newer_one() {
        let hearing = Hearing::new();
        for era in [1, 3, 2] {
            hearing.take_heartbeat(&heartbeat(era));
        }
        assert_eq!(hearing.holder().last.map(|last| last.era), Some(Era(3)));
        assert_eq!(hearing.holder().asks.map(|asks| asks.era), Some(Era(3)));
    }

    #[test]
    fn a_process_that_slept_listens_anew() {
        let hearing = Hearing::new();
        let before = hearing.holder().listening_ms;
        hearing.lock().wake(before + ASLEEP_AFTER_MS);
        assert_eq!(hearing.lock().holder.listening_ms, before, "a late timer is no sleep");
        hearing.lock().wake(before + 3 * ASLEEP_AFTER_MS);
        assert_eq!(hearing.lock().holder.listening_ms, before + 3 * ASLEEP_AFTER_MS);
    }

    #[tokio::test]
    async fn a_port_that_listens_is_no_refusal_and_two_dead_ones_are() {
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let bind = || std::net::TcpListener::bind((here, 0)).unwrap();
        let (alive, dead) = (bind(), bind());
        let (alive_port, dead_port) = (alive.local_addr().unwrap().port(), dead.local_addr().unwrap().port());
        drop(dead);
        let hearing = Hearing::new();
        assert!(!hearing.try_refusals(here, [dead_port, alive_port]).await);
        assert_eq!(hearing.holder().refused, None);
        assert!(hearing.try_refusals(here, [dead_port, dead_port]).await);
        assert_eq!(hearing.holder().refused.map(|refused| refused.address), Some(here.to_string()));
    }
}
