//! Everything that exists, and the step of time.

use std::collections::BTreeMap;

use pgha_agent_core::observation::{ControlState, Job};
use pgha_schema::desired::{Desired, SyncMode};
use pgha_schema::ids::{ContainerNonce, MemberId};
use pgha_schema::names::Names;
use pgha_schema::record::Record;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus as Chance;

use crate::client_oracle::Oracle;
use crate::invariants::deposed_primary_is_stopped::Deposed;
use crate::invariants::one_acknowledging_writer::Writers;
use crate::invariants::{Violation, acked_commits_survive, unable_to_acknowledge_before_takeover};
use crate::kube_api::KubeApi;
use crate::left_behind::Leftover;
use crate::mutation::Mutation;
use crate::network::{End, Network};
use crate::people::People;
use crate::pod::{Agent, Binaries, Node, Pod};
use crate::postgres::{Postgres, Process};

/// Milliseconds of one step.
pub const TICK_MS: u64 = 10;
/// Who is starved of processor runs for so long of each turn.
const STARVED_RUNS_MS: u64 = 10;
const TURN_MS: u64 = 100;
/// Who was suspended together wakes in any order: so much later than postgres, guard and agent do.
const WAKES_LATER_MS: u64 = 50;
/// Pods that can ever exist.
pub const PODS: usize = 4;
/// Uid of the anchor.
pub const ANCHOR: &str = "anchor-1";

/// The world.
pub struct World {
    /// Milliseconds since the start.
    pub now: u64,
    /// The only source of chance.
    pub rng: Chance,
    /// The API server.
    pub api: KubeApi,
    /// The network.
    pub net: Network,
    /// Nodes, by pod number.
    pub nodes: Vec<Node>,
    /// Pods, by ordinal.
    pub pods: Vec<Pod>,
    /// What clients were promised.
    pub oracle: Oracle,
    /// Who acknowledges.
    pub writers: Writers,
    /// Who serves beside the holder.
    pub deposed: Deposed,
    /// What happened.
    pub log: Vec<String>,
    /// The first broken property.
    pub violation: Option<Violation>,
    /// The rule left out.
    pub mutation: Option<Mutation>,
    /// What people are about.
    pub people: People,
    /// Processes on a volume that is another container's by now: a rule is left out.
    pub leftovers: Vec<Leftover>,
    /// Clients commit.
    pub clients_on: bool,
    /// When each of them commits next.
    pub clients: Vec<u64>,
    counter: u64,
}

impl World {
    /// A new cluster: nothing has run, the provider has written wish and first record.
    pub fn new(seed: u64, desired: Desired, mutation: Option<Mutation>) -> Self {
        let mut rng = Chance::seed_from_u64(seed);
        let record = Record::initial(ANCHOR, desired.sync_mode);
        let names = Names::new("db");
        let kept = desired.replicas as usize + 1;
        let hash = desired.template_hash.clone();
        let binaries = Binaries::new(desired.agent.as_ref().map_or("", |binary| binary.sha256.as_str()));
        let nodes = (0..PODS)
            .map(|_| Node {
                boot: 1,
                up_at: 0,
                rate: rng.random_range(900..=1_100),
                offset: rng.random_range(0..1_000_000),
            })
            .collect();
        let pods = (0..PODS)
            .map(|at| Pod::new(at, names.pod(at as u32), at < kept, &hash, binaries.clone()))
            .collect();
        Self {
            now: 0,
            api: KubeApi::new(desired, Some(record)),
            net: Network::default(),
            nodes,
            pods,
            oracle: Oracle::default(),
            writers: Writers::default(),
            deposed: Deposed::default(),
            log: Vec::new(),
            violation: None,
            mutation,
            people: People::default(),
            leftovers: Vec::new(),
            clients_on: true,
            clients: vec![0; 3],
            counter: 0,
            rng,
        }
    }

    /// A number that was never given before.
    pub fn fresh_number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// A time between the two.
    pub fn pick(&mut self, from: u64, to: u64) -> u64 {
        self.rng.random_range(from..to.max(from + 1))
    }

    /// A line of the log.
    pub fn say(&mut self, text: String) {
        self.log.push(format!("{:>7} {text}", self.now));
    }

    /// Keeps the first broken property.
    pub fn broken(&mut self, violation: Option<Violation>) {
        if let (Some(violation), None) = (violation, &self.violation) {
            self.say(format!("VIOLATION {violation}"));
            self.violation = Some(violation);
        }
    }

    /// The clock of a pod's node.
    pub fn clock(&self, pod: usize) -> u64 {
        self.nodes[pod].clock(self.now)
    }

    /// Whether everything in the container is suspended.
    pub fn is_frozen(&self, pod: usize) -> bool {
        let at = &self.pods[pod];
        let waits = self.now % TURN_MS >= STARVED_RUNS_MS;
        self.now < at.frozen_until || (waits && self.now < at.starved_until)
    }

    /// Whether guard and agent make no step: who wakes from a suspension wakes after postgres did.
    pub fn is_waking(&self, pod: usize) -> bool {
        let at = &self.pods[pod];
        self.is_frozen(pod) || (at.frozen_until > 0 && self.now < at.frozen_until + WAKES_LATER_MS)
    }

    /// Whether postgres makes no step.
    pub fn is_postgres_frozen(&self, pod: usize) -> bool {
        let at = &self.pods[pod];
        self.is_frozen(pod) || self.now < at.postgres_frozen_until || self.now < at.disk_hung_until
    }

    /// Whether a client finds an open gate here.
    pub fn serves(&self, pod: usize) -> bool {
        let at = &self.pods[pod];
        at.up && matches!(&at.postgres, Postgres::Running(process) if process.primary && process.gate_open)
    }

    /// Whether this pod's postgres could still acknowledge a commit that comes now, suspended or not.
    pub fn could_acknowledge(&self, pod: usize) -> bool {
        let Postgres::Running(process) = &self.pods[pod].postgres else { return false };
        if !(self.serves(pod) && process.primary) {
            return false;
        }
        let mut confirming = (**process).clone();
        let future = usize::MAX;
        confirming.senders.retain(|standby, sender| {
            matches!(&self.pods[*standby].postgres, Postgres::Running(other) if other.id == sender.process
                && other.receiver.as_ref().is_some_and(|receiver| receiver.process == process.id))
        });
        for sender in confirming.senders.values_mut() {
            sender.flushed = future;
        }
        confirming.returns_up_to(self.now) >= future
    }

    /// One step of time.
    pub fn step(&mut self) {
        self.now += TICK_MS;
        self.land_late_writes();
        self.step_provider();
        for pod in 0..PODS {
            self.step_container(pod);
            self.step_postgres(pod);
        }
        for pod in 0..PODS {
            self.step_stream(pod);
        }
        for pod in 0..PODS {
            self.step_guard(pod);
            self.step_agent(pod);
        }
        self.step_people();
        self.step_leftovers();
        self.step_clients();
        self.check_deposed();
    }

    fn land_late_writes(&mut self) {
        let now = self.now;
        let due: Vec<_> = self.api.late.extract_if(.., |(at, ..)| *at <= now).collect();
        for (_, version, record) in due {
            self.replace_record(&version, record);
        }
    }

    /// A write of the record comes to the server.
    pub fn replace_record(
        &mut self,
        version: &pgha_agent_core::observation::LeaseVersion,
        record: Record,
    ) -> crate::kube_api::Put {
        let before = self.api.lease.as_ref().map(|(_, record)| record.clone());
        let put = self.api.replace(version, record.clone());
        if put == crate::kube_api::Put::Written {
            self.record_written(before.as_ref(), &record);
        }
        put
    }

    /// What a written record means for the properties.
    pub fn record_written(&mut self, before: Option<&Record>, after: &Record) {
        let holder = |record: &Record| {
            record.holder.as_ref().map(|holder| (holder.pod.clone(), holder.member.clone()))
        };
        let was = before.and_then(holder);
        let is = holder(after);
        let taker = is.as_ref().and_then(|(pod, _)| self.pods.iter().position(|at| at.name == *pod));
        if before.is_some_and(|before| before.mode == SyncMode::Async)
            && after.mode != SyncMode::Async
            && let Some(data) = taker.and_then(|pod| self.pods[pod].volume.data.as_ref())
        {
            self.oracle.tighten(&data.wal);
        }
        if after.mode == SyncMode::Async {
            self.oracle.loosen();
        }
        let voters: Vec<&str> = after.voters.iter().map(MemberId::as_str).collect();
        if before.is_none_or(|before| differs(before, after)) {
            self.say(format!(
                "record: holder {} era {} {:?} V=[{}]{}{}{}",
                is.as_ref().map_or("-", |(pod, _)| pod),
                after.era(),
                after.mode,
                voters.join(","),
                if after.quorum > 1 { format!(" q={}", after.quorum) } else { String::new() },
                if after.degraded { " degraded" } else { "" },
                if after.release.is_some() { " released" } else { "" },
            ));
        }
        self.people_see(before, after);
        if let (Some(taker), true) = (taker, was.is_some() && was != is) {
            let early = unable_to_acknowledge_before_takeover::check(self, taker);
            self.broken(early);
        }
    }

    fn step_provider(&mut self) {
        let wished = self.api.desired.replicas + 1;
        let generation = self.api.desired.generation;
        let acknowledged = self
            .api
            .status
            .as_ref()
            .and_then(|status| status.acknowledged.as_ref())
            .is_some_and(|acknowledged| acknowledged.generation == generation);
        if wished > self.api.set_replicas || acknowledged {
            self.api.set_replicas = wished;
        }
        let kept = self.api.set_replicas as usize;
        for pod in 0..PODS {
            if self.pods[pod].exists != (pod < kept) {
                if pod < kept {
                    self.new_pod_object(pod);
                } else if self.pods[pod].deleting_until.is_none() {
                    self.delete_pod(pod);
                }
            }
        }
    }

    /// The kubelet's part: starts, reports ends, kills after the grace period.
    fn step_container(&mut self, pod: usize) {
        let now = self.now;
        let node_up = now >= self.nodes[pod].up_at;
        if let Some((at, nonce)) = self.pods[pod].ended.clone() {
            let reports = self.net.talks(End::Node(pod), End::Api) && !self.api.down && node_up;
            if now >= at && reports {
                self.pods[pod].terminated.insert(nonce);
                self.pods[pod].version += 1;
                self.pods[pod].ended = None;
            }
        }
        self.end_left_behind(pod);
        if self.pods[pod].deleting_until.is_some_and(|until| now >= until || !self.pods[pod].up) {
            if self.pods[pod].up {
                self.kill_container(pod, true);
            }
            // The object goes, with what its status said; the StatefulSet makes another one.
            if self.pods[pod].ended.is_none() || !node_up {
                self.pods[pod].deleting_until = None;
                if pod < self.api.set_replicas as usize {
                    self.new_pod_object(pod);
                } else {
                    self.pods[pod].exists = false;
                    self.pods[pod].start_at = None;
                }
            }
        }
        let at = &self.pods[pod];
        // No kubelet starts a container in a pod that is being deleted.
        let wanted = at.exists && at.schedulable && at.deleting_until.is_none();
        if !at.up && wanted && node_up && at.start_at.is_some_and(|start| now >= start) {
            let nonce = ContainerNonce::new(format!("n{}", self.fresh_number()));
            let at = &mut self.pods[pod];
            at.up = true;
            at.start_at = None;
            at.nonce = nonce;
            at.guard_deadline = None;
            at.frozen_until = 0;
            at.starved_until = 0;
            at.postgres_frozen_until = 0;
            at.agent = Agent::new(now + 50);
            let text = format!("{} starts as {}", at.name, at.nonce);
            self.say(text);
        }
    }

    /// A new pod object in place of the old one.
    pub fn new_pod_object(&mut self, pod: usize) {
        let start = self.now + self.rng.random_range(200..1_500);
        let hash = self.api.desired.template_hash.clone();
        let newest = self.newest_agent();
        let at = &mut self.pods[pod];
        at.exists = true;
        at.incarnation += 1;
        at.version += 1;
        at.disowned = false;
        at.labels.clear();
        at.terminated.clear();
        at.ended = None;
        at.template_hash = hash;
        at.binaries = Binaries::new(&newest);
        at.start_at = Some(start);
    }

    /// Graceful deletion.
    pub fn delete_pod(&mut self, pod: usize) {
        if self.pods[pod].deleting_until.is_some() {
            return;
        }
        let (now, clock) = (self.now, self.clock(pod));
        let at = &mut self.pods[pod];
        at.deleting_until = Some(now + 30_000);
        at.version += 1;
        at.agent.terminate_ms = Some(clock);
        at.agent.wake_at = 0;
        let text = format!("{} is deleted", at.name);
        self.say(text);
    }

    /// Every process of the container ends at once. `told`: the kubelet sees the guard's last message.
    pub fn kill_container(&mut self, pod: usize, told: bool) {
        if !self.pods[pod].up {
            return;
        }
        let (end, start) =
            (self.now + self.rng.random_range(20..800), self.now + self.rng.random_range(900..3_000));
        let at = &mut self.pods[pod];
        at.up = false;
        at.binaries.container_ends();
        at.postgres = Postgres::Down;
        at.agent = Agent::new(u64::MAX);
        at.guard_deadline = None;
        at.start_at = Some(start);
        if told {
            at.ended = Some((end, at.nonce.clone()));
        }
        let text = format!("{} ends ({})", at.name, at.nonce);
        self.say(text);
    }

    /// SIGQUIT and SIGKILL to everything but guard and agent.
    pub fn kill_postgres(&mut self, pod: usize) {
        if !matches!(self.pods[pod].postgres, Postgres::Down) {
            self.pods[pod].postgres = Postgres::Down;
            self.pods[pod].guard_deadline = None;
            self.pods[pod].agent.wake_at = 0;
            let text = format!("{} postgres is killed", self.pods[pod].name);
            self.say(text);
        }
    }

    fn step_guard(&mut self, pod: usize) {
        if !self.pods[pod].up || self.is_waking(pod) || self.mutation == Some(Mutation::NoFence) {
            return;
        }
        let clock = self.clock(pod);
        // A deadline that is past fences at once, and SIGKILL follows 300 ms later at the latest.
        if self.pods[pod].guard_deadline.is_some_and(|at| clock >= at) {
            let text = format!("{} guard fences", self.pods[pod].name);
            self.say(text);
            self.kill_postgres(pod);
            self.pods[pod].guard_deadline = None;
        }
    }

    /// Clients are let in here: everything that was promised has to be there.
    pub fn check_promises(&mut self, pod: usize) {
        let Some(data) = &self.pods[pod].volume.data else { return };
        let lost = acked_commits_survive::check(&self.oracle, &data.wal, &self.pods[pod].name);
        self.broken(lost);
    }

    /// Tells a pod's agent that something changed.
    pub fn poke(&mut self, pod: usize) {
        let now = self.now;
        let agent = &mut self.pods[pod].agent;
        agent.wake_at = agent.wake_at.min(now);
    }
}

fn differs(before: &Record, after: &Record) -> bool {
    before.holder.as_ref().map(|holder| &holder.nonce) != after.holder.as_ref().map(|holder| &holder.nonce)
        || before.eras != after.eras
        || before.voters != after.voters
        || before.quorum != after.quorum
        || before.mode != after.mode
        || before.degraded != after.degraded
        || before.release != after.release
}

/// A postmaster that is about to start.
pub fn new_process(id: u64, names: &str) -> Process {
    Process {
        id,
        primary: false,
        names: names.to_owned(),
        names_before: None,
        defined_from: 0,
        in_force: None,
        confirming: None,
        gate_open: false,
        upstream: None,
        detached: true,
        receiver: None,
        connect_at: 0,
        senders: BTreeMap::new(),
        replayed: 0,
        replay_goal: 0,
        promoting_until: None,
        checkpointed: true,
        rendered: None,
        instead_of: None,
        started_with: 0,
        waiting: Vec::new(),
    }
}

/// The state that a running postmaster's control file shows.
pub fn running_control(primary: bool) -> ControlState {
    if primary { ControlState::InProduction } else { ControlState::InRecovery }
}

/// A job that ended well.
pub fn done(job: &Job, at_ms: u64) -> Job {
    match job {
        Job::Running { since_ms } => Job::Done { since_ms: *since_ms, at_ms },
        other => other.clone(),
    }
}

/// A job that failed.
pub fn failed(failures_before: u32, at_ms: u64, why: &str) -> Job {
    Job::Failed { at_ms, why: why.to_owned(), failures: failures_before + 1 }
}
