//! observe -> decide -> act -> wait: the only loop.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pgha_agent_core::decision::{Action, Decision, Reason, StartAs};
use pgha_agent_core::heartbeat::beat;
use pgha_agent_core::observation::{Gate, Identity, Observation, PostgresSeen, StreamSeen};
use pgha_agent_core::{Memory, Timing, decide, failsafe, report};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::act::{Background, DegradedSince, PasswordsSet};
use crate::agent::{Agent, identity};
use crate::api::Api;
use crate::api::objects::Paths;
use crate::boottime::now_ms;
use crate::disk::DiskProbe;
use crate::guard_link::{GuardLink, socket_from_guard};
use crate::heartbeats::{Beats, Hearing, Sender};
use crate::observe::DataCache;
use crate::peers::{Asker, Peers};
use crate::postgres::files::ConfigFiles;
use crate::postgres::job::JobTable;
use crate::postgres::local::LocalPostgres;
use crate::postgres::session::Local;
use crate::postgres::tools::Tools;
use crate::rest::client::Lines;
use crate::rest::server::{Board, Counts, Shared, serve};
use crate::secrets::Secrets;
use crate::settings::AgentSettings;
use crate::tls::Certificate;
use crate::volume::Volume;
use crate::world::World;

/// The loop turns at least this often: the guard and the liveness probe count on it.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// Between two cycles that ordered the very same things: the world needs a moment to follow.
const REPEAT_PAUSE: Duration = Duration::from_millis(20);
/// Between two cycles at least.
const LEAST_PAUSE: Duration = Duration::from_millis(5);

/// Runs the agent for ever.
pub async fn run(settings: AgentSettings, listener: TcpListener) -> anyhow::Result<()> {
    let mut agent = start(settings, listener).await?;
    let mut last = Decision {
        actions: Vec::new(),
        reason: Reason::LeaseUnread,
        wake_after_ms: 0,
        fence_at_ms: None,
        memory: Memory::default(),
    };
    loop {
        agent.guard.beat().await;
        let seen = Arc::new(agent.observe().await);
        agent.choose_timing(&seen);
        let decision = decide(&agent.timing, &agent.memory, &seen);
        agent.tell(&seen, &decision, &last);
        agent.beats.set(beat(&seen, &decision));
        agent.peers.hurry(!matches!(decision.reason, Reason::Leading | Reason::Following));
        agent.memory = decision.memory.clone();
        if decision.actions.iter().any(makes_writable) {
            // What may write from now on is guarded from before it can.
            agent.hand_deadline(decision.fence_at_ms).await;
        }
        // Between the snapshot and what `tell` put up, the turn before may have acknowledged a holder that asked to be
        // vouched for: then this one has to be decided anew before anything is written (A20).
        let overtaken = failsafe::takes(&decision) && agent.hearing.holder().asks != seen.holder_heard.asks;
        let acted = overtaken || agent.carry_out(&decision).await;
        agent.hand_deadline(decision.fence_at_ms).await;
        let repeated = decision.actions == last.actions;
        let wait = match (acted, repeated) {
            (true, false) => LEAST_PAUSE,
            (true, true) => REPEAT_PAUSE,
            (false, _) => Duration::from_millis(decision.wake_after_ms).clamp(LEAST_PAUSE, LONGEST_WAIT),
        };
        last = decision;
        tokio::time::sleep(LEAST_PAUSE).await;
        let _ = tokio::time::timeout(wait, agent.wake.notified()).await;
    }
}

async fn start(settings: AgentSettings, listener: TcpListener) -> anyhow::Result<Agent> {
    let wake = Arc::new(Notify::new());
    let woken = Arc::clone(&wake);
    let guard = GuardLink::open(socket_from_guard()?, move || woken.notify_one()).await?;
    let secrets = Secrets::new(&settings.layout.secrets, &settings.layout.sockets);
    let hearing = Hearing::new();
    tokio::spawn(hearing.clone().stay_awake());
    let local = Local {
        sockets: settings.layout.sockets.clone(),
        port: settings.postgres_port,
        superuser: secrets.superuser()?,
    };
    let shared = Arc::new(Shared {
        board: tokio::sync::watch::Sender::new(None),
        asked: std::sync::Mutex::default(),
        wake: Arc::clone(&wake),
        secrets: secrets.clone(),
        hearing: hearing.clone(),
        anchor_uid: settings.anchor_uid.clone(),
        rest_port: settings.rest_port,
        local: Some(local.clone()),
    });
    tokio::spawn(serve(listener, Arc::clone(&shared)));

    let certificate = Certificate::new(&settings.layout.tls, &settings.layout.sockets);
    tokio::spawn(certificate.clone().renew(local.clone()));
    let tools = Tools::new(&settings.layout);
    let me = identity(&settings, &guard.state().nonce, tools.postgres_major().await?)?;
    tracing::info!(pod = me.pod, nonce = %me.nonce, postgres = me.postgres_major, version = me.agent_version, "agent started");
    let paths = Paths::new(&settings.names, &settings.namespace);
    let api = Arc::new(Api::new(settings.api.clone()));
    let world = World::new(&settings.anchor_uid, Arc::clone(&wake));
    world.watch(&api, &paths, &settings.names);
    let (peers, beats) = (Peers::default(), Beats::default());
    let sender = talk_to_peers(&settings, &me, &shared, &world, &peers, &beats);
    let volume = Volume::new(&settings.layout);
    let files = ConfigFiles::open(volume.conf_dir())?;
    let mut agent = Agent {
        lease_api: Api::new(settings.api.clone()),
        disk: DiskProbe::start(volume.root().join("probe"))?,
        postgres: LocalPostgres::new(local, files, secrets.clone(), tools.clone()),
        memory: Memory::default(),
        timing: Timing::default(),
        background: Background::default(),
        passwords: PasswordsSet::default(),
        data: DataCache::default(),
        jobs: JobTable::default(),
        confirming: None,
        status_failed: Arc::default(),
        last_failure: None,
        last_write: None,
        fence_at_ms: guard.state().deadline_ms,
        terminate_ms: None,
        status_written: None,
        own_sha256: crate::upgrade::own_sha256()?,
        wanted_agent: None,
        counts: Counts::default(),
        degraded_since: DegradedSince::default(),
        cycles: 0,
        settings,
        me,
        guard,
        api,
        paths,
        world,
        peers,
        hearing,
        beats,
        sender,
        volume,
        secrets,
        certificate,
        tools,
        shared,
        wake,
    };
    take_up(&mut agent).await;
    Ok(agent)
}

/// An earlier agent may have died between writing a file and the reload: what is written is to be in force.
async fn take_up(agent: &mut Agent) {
    let runs = agent.guard.state().postmaster.is_some();
    if runs {
        agent.postgres.recall();
    }
    if runs && let Err(error) = agent.postgres.reload().await {
        tracing::info!(%error, "the running postgres was not reloaded");
    }
}

/// Asks the other agents for reports, and sends them heartbeats while this one leads.
fn talk_to_peers(
    settings: &AgentSettings,
    me: &Identity,
    shared: &Arc<Shared>,
    world: &World,
    peers: &Peers,
    beats: &Beats,
) -> Sender {
    let lines = Lines::default();
    let asker = Asker {
        own_pod: me.pod.clone(),
        anchor_uid: me.anchor_uid.clone(),
        port: settings.rest_port,
        postgres_port: settings.postgres_port,
        hearing: shared.hearing.clone(),
        lines: lines.clone(),
    };
    peers.ask_for_ever(world.clone(), asker, Arc::clone(&shared.wake));
    let sender = Sender {
        own_pod: me.pod.clone(),
        nonce: me.nonce.clone(),
        anchor_uid: me.anchor_uid.clone(),
        port: settings.rest_port,
        secrets: shared.secrets.clone(),
        lines,
    };
    beats.send_for_ever(world.clone(), sender.clone());
    sender
}

impl Agent {
    /// The wish's durations, unless they break the law of A6.
    fn choose_timing(&mut self, seen: &Observation) {
        let Some(wish) = seen.wish() else { return };
        match Timing::try_new(&wish.failover) {
            Ok(timing) => self.timing = timing,
            Err(error) => {
                if self.timing != Timing::default() || self.cycles == 0 {
                    tracing::warn!(%error, "the wished durations are not used");
                }
                self.timing = Timing::default();
            }
        }
    }

    /// In order, up to the first whose failure ends the batch. Tells whether the world was acted on.
    async fn carry_out(&mut self, decision: &Decision) -> bool {
        let mut acted = false;
        if self.status_failed.swap(false, Ordering::AcqRel) {
            self.status_written = None;
        }
        for action in &decision.actions {
            let began_ms = now_ms();
            let result = self.act(action).await;
            acted |= !action.is_best_effort();
            let took_ms = now_ms().saturating_sub(began_ms);
            if took_ms > 1_000 && result.is_ok() {
                tracing::info!(action = name_of(action), took_ms, "slow action");
            }
            match result {
                Ok(()) => self.last_failure = None,
                Err(error) => {
                    let failure = (name_of(action), error.to_string());
                    // Once per change: an API server that is away would fill the log.
                    if self.last_failure.as_ref() != Some(&failure) {
                        tracing::warn!(action = failure.0, took_ms, %error, "action failed");
                    }
                    self.last_failure = Some(failure);
                    if action.ends_batch(self.last_write.as_ref().map(|write| write.outcome)) {
                        break;
                    }
                }
            }
        }
        acted
    }

    /// Logs what changed, and puts up what the REST server shows.
    fn tell(&mut self, seen: &Arc<Observation>, decision: &Decision, last: &Decision) {
        self.cycles += 1;
        if decision.reason != last.reason || self.cycles == 1 {
            let record = seen.record();
            let holder =
                record.and_then(|record| record.holder.as_ref()).map_or("", |holder| holder.pod.as_str());
            tracing::info!(
                reason = ?decision.reason,
                words = %decision.reason,
                holder,
                era = record.map_or(0, |record| record.era().0),
                postgres = word_for(&seen.postgres),
                actions = ?decision.actions.iter().map(name_of).collect::<Vec<_>>(),
                "state changed"
            );
        }
        let record = seen.record();
        let mut report = report(seen, decision);
        report.activity.extend(self.world.lock().desired_problem.clone());
        report.volume = self.disk.fill();
        let follows =
            seen.standby().is_some_and(|standby| matches!(standby.stream, StreamSeen::Streaming { .. }));
        let serves_writes = seen.primary().is_some_and(|primary| primary.gate == Gate::Open);
        self.shared.show(Board {
            report,
            record: record.cloned(),
            reason: decision.reason.to_string(),
            ready: follows || serves_writes,
            serves_writes,
            follows,
            degraded: record.is_some_and(|record| record.degraded),
            voters: record.map_or(0, |record| record.voters.len()),
            turned_ms: now_ms(),
            cycles: self.cycles,
            fences: self.guard.state().fences,
            acknowledges: failsafe::acknowledges(seen, decision),
            seen: Some(Arc::clone(seen)),
            fence_at_ms: self.fence_at_ms,
            counts: Counts { api_errors: self.api.errors() + self.lease_api.errors(), ..self.counts },
            degraded_since: self.degraded_since.get().filter(|_| serves_writes),
        });
    }
}

fn makes_writable(action: &Action) -> bool {
    matches!(action, Action::Promote | Action::StartPostgres { role: StartAs::Primary, .. })
}

/// An action's name, without what it carries: a record has no place in a log line.
fn name_of(action: &Action) -> String {
    let text = format!("{action:?}");
    text.split([' ', '{', '(']).next().unwrap_or_default().to_owned()
}

fn word_for(postgres: &PostgresSeen) -> &'static str {
    match postgres {
        PostgresSeen::Unknown => "unknown",
        PostgresSeen::Down => "down",
        PostgresSeen::Starting { .. } => "starting",
        PostgresSeen::Stopping { .. } => "stopping",
        PostgresSeen::Unresponsive { .. } => "unresponsive",
        PostgresSeen::Standby(_) => "standby",
        PostgresSeen::Primary(_) => "primary",
    }
}
