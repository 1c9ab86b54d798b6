//! What the other agents say: asked again and again, so that a decision never waits for a dead node.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use pgha_agent_core::observation::{LeaseVersion, Peer};
use pgha_schema::status::{AgentReport, STATUS_FORMAT};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::boottime::now_ms;
use crate::heartbeats::{Hearing, Sender, is_refusal};
use crate::rest::client::{Lines, Reply};
use crate::rest::server::{STATUS, STATUS_FRESH};
use crate::world::World;

/// Between two questions to one agent.
const PERIOD: Duration = Duration::from_millis(250);
/// An agent that does not answer within this is silent (A11).
const DEADLINE: Duration = Duration::from_millis(500);
/// A line is opened anew after this, before the other side finds that nothing is asked on it.
const LINE_LASTS: Duration = Duration::from_secs(4);
/// How often an agent whose port refuses is looked at more closely, and the time between.
const REFUSAL_TRIES: u32 = 3;
/// See [`REFUSAL_TRIES`].
const REFUSAL_PAUSE: Duration = Duration::from_millis(20);

/// Answers, shared with the loop.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    answers: Arc<Mutex<BTreeMap<String, Peer>>>,
    asking: Arc<Mutex<BTreeSet<String>>>,
    /// A line to another agent broke: ask at once.
    broken: Arc<Notify>,
    /// See [`Peers::hurry`].
    hurries: Arc<AtomicBool>,
}

/// Who asks, and how far to.
#[derive(Clone, Debug)]
pub struct Asker {
    /// This pod: not asked.
    pub own_pod: String,
    /// Answers of other clusters' agents are not taken.
    pub anchor_uid: String,
    /// The agents' port.
    pub port: u16,
    /// PostgreSQL's port.
    pub postgres_port: u16,
    /// Where refusals of the holder's ports are noted.
    pub hearing: Hearing,
    /// What the questions go over.
    pub lines: Lines,
}

impl Peers {
    /// As decisions see them.
    pub fn seen(&self) -> BTreeMap<String, Peer> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether something is under way here: then being asked makes the others look anew, for the next answer. Else they tell what they
    /// saw in their last turn, which costs them none.
    pub fn hurry(&self, hurries: bool) {
        self.hurries.store(hurries, Ordering::Relaxed);
    }

    /// Asks for ever; `wake` is told when an answer means something else than the one before.
    pub fn ask_for_ever(&self, world: World, asker: Asker, wake: Arc<Notify>) {
        let peers = self.clone();
        tokio::spawn(async move {
            loop {
                peers.ask_all(&world, &asker, &wake);
                let _ = tokio::time::timeout(PERIOD, peers.broken.notified()).await;
            }
        });
    }

    fn ask_all(&self, world: &World, asker: &Asker, wake: &Arc<Notify>) {
        let known: BTreeMap<String, Option<String>> = {
            let state = world.lock();
            state.pods.iter().map(|(name, pod)| (name.clone(), pod.address.clone())).collect()
        };
        for (pod, address) in known {
            if pod == asker.own_pod {
                continue;
            }
            let address = address.and_then(|text| text.parse::<IpAddr>().ok());
            let Some(address) = address else {
                self.put(&pod, None, now_ms());
                continue;
            };
            self.hold_line(address, asker, wake);
            if !self.asking.lock().unwrap_or_else(PoisonError::into_inner).insert(pod.clone()) {
                continue;
            }
            let (peers, asker, wake) = (self.clone(), asker.clone(), Arc::clone(wake));
            let path = if self.hurries.load(Ordering::Relaxed) { STATUS_FRESH } else { STATUS };
            tokio::spawn(async move {
                let asked_ms = now_ms();
                let answer = ask(SocketAddr::new(address, asker.port), path, &asker, &pod).await;
                let refused = answer.as_ref().is_err_and(is_refusal);
                if refused && is_dead(&asker, address).await {
                    wake.notify_one();
                }
                let report = answer.ok().flatten();
                peers.asking.lock().unwrap_or_else(PoisonError::into_inner).remove(&pod);
                if peers.put(&pod, report, asked_ms) {
                    wake.notify_one();
                }
            });
        }
    }

    /// An open connection on which nothing is said: a process that ends breaks it in that moment, and is looked at and
    /// asked at once rather than at the next turn.
    fn hold_line(&self, address: IpAddr, asker: &Asker, wake: &Arc<Notify>) {
        let key = format!("line to {address}");
        if !self.asking.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone()) {
            return;
        }
        let (peers, asker, wake) = (self.clone(), asker.clone(), Arc::clone(wake));
        tokio::spawn(async move {
            let there = SocketAddr::new(address, asker.port);
            while let Ok(Ok(mut line)) = tokio::time::timeout(DEADLINE, TcpStream::connect(there)).await {
                if tokio::time::timeout(LINE_LASTS, line.read_u8()).await.is_err() {
                    continue;
                }
                if is_dead(&asker, address).await {
                    wake.notify_one();
                }
                peers.broken.notify_one();
                break;
            }
            peers.asking.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        });
    }

    /// Asks one agent for a promise, beside the loop; an answer that gives it is that agent's newest report.
    pub fn ask_promise(
        &self,
        sender: &Sender,
        pod: &str,
        address: IpAddr,
        version: &LeaseVersion,
        wake: &Arc<Notify>,
    ) {
        let key = format!("promise of {pod}");
        if !self.asking.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone()) {
            return;
        }
        let (peers, sender, wake) = (self.clone(), sender.clone(), Arc::clone(wake));
        let (pod, version) = (pod.to_owned(), version.clone());
        tokio::spawn(async move {
            let asked_ms = now_ms();
            let report = sender.ask_promise(address, &pod, &version).await;
            peers.asking.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            if report.is_some() && peers.put(&pod, report, asked_ms) {
                wake.notify_one();
            }
        });
    }

    /// Takes in an answer, or its absence; tells whether it means something new.
    fn put(&self, pod: &str, report: Option<AgentReport>, asked_ms: u64) -> bool {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let before = answers.remove(pod);
        let (after, changed) = match (report, before) {
            (Some(report), before) => {
                let changed = match &before {
                    Some(Peer::Heard { report: old, .. }) => is_news(old, &report),
                    Some(Peer::Silent { .. }) | None => true,
                };
                (Peer::Heard { asked_ms, report: Box::new(report) }, changed)
            }
            (None, Some(Peer::Heard { asked_ms, report })) => {
                (Peer::Silent { since_ms: asked_ms, last: Some(report) }, true)
            }
            (None, Some(silent @ Peer::Silent { .. })) => (silent, false),
            (None, None) => (Peer::Silent { since_ms: asked_ms, last: None }, true),
        };
        answers.insert(pod.to_owned(), after);
        changed
    }
}

/// Whether a report says something that the loop should know at once. Under load positions move with each: who compares them is
/// awake for that anyway, and else every answer would wake every agent.
fn is_news(old: &AgentReport, new: &AgentReport) -> bool {
    let moved = AgentReport {
        position: new.position,
        replayed: new.replayed,
        slots: new.slots.clone(),
        volume: new.volume,
        ..old.clone()
    };
    moved != *new || old.position.is_some() != new.position.is_some()
}

/// Both ports refuse. The agent of a container that is being killed may end a moment before its postgres.
async fn is_dead(asker: &Asker, address: IpAddr) -> bool {
    for turn in 0..REFUSAL_TRIES {
        if turn > 0 {
            tokio::time::sleep(REFUSAL_PAUSE).await;
        }
        if asker.hearing.try_refusals(address, [asker.port, asker.postgres_port]).await {
            return true;
        }
    }
    false
}

async fn ask(address: SocketAddr, path: &str, asker: &Asker, pod: &str) -> io::Result<Option<AgentReport>> {
    let Reply { status, body, .. } =
        asker.lines.request(address, Method::GET, path, &[], Vec::new(), DEADLINE).await?;
    if !status.is_success() {
        return Ok(None);
    }
    let report: AgentReport = serde_json::from_slice(&body)?;
    // Addresses are given again to other pods: who answers must be who was asked.
    let meant = report.format <= STATUS_FORMAT && report.anchor_uid == asker.anchor_uid && report.pod == pod;
    Ok(meant.then_some(report))
}

#[cfg(test)]
mod tests {
    use pgha_schema::lsn::Lsn;
    use pgha_schema::status::Role;

    use super::*;
    use crate::rest::peers::tests::board;

    #[test]
    fn positions_that_move_are_no_news_and_everything_else_is() {
        let old = AgentReport { position: Some(Lsn(1)), ..board(None).report };
        let with = |edit: fn(&mut AgentReport)| {
            let mut new = old.clone();
            edit(&mut new);
            is_news(&old, &new)
        };
        assert!(!with(|_| ()));
        assert!(!with(|new| (new.position, new.replayed) = (Some(Lsn(2)), Some(Lsn(2)))));
        assert!(!with(|new| new.slots = BTreeMap::from([(1, 5)])));
        assert!(with(|new| new.position = None), "known or not is something else");
        assert!(with(|new| new.role = Role::Primary));
        assert!(with(|new| new.stopping = true));
    }
}
