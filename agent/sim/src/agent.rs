//! One agent: observe, decide, act, one action after the other, each of which takes time and may be cut off.

use pgha_agent_core::decision::{StartAs, StopMode};
use pgha_agent_core::observation::{LeaseSeen, Unfinished, WriteOutcome, WriteSeen};
use pgha_agent_core::{Action, Timing, decide, failsafe, report};
use pgha_schema::record::Record;
use pgha_schema::status::AgentReport;

use crate::kube_api::Put;
use crate::mutation::Mutation;
use crate::network::End;
use crate::postgres::Postgres;
use crate::world::{World, new_process};

/// Deadline of a call to the API server.
const API_DEADLINE_MS: u64 = 1_000;

/// How an action went: whether it succeeded, and how long it took.
pub struct Went {
    ok: bool,
    took_ms: u64,
}

/// It went so.
pub fn went(ok: bool, took_ms: u64) -> Went {
    Went { ok, took_ms }
}

impl World {
    /// One step of an agent's process.
    pub fn step_agent(&mut self, pod: usize) {
        let now = self.now;
        let at = &self.pods[pod];
        if !at.up || self.is_waking(pod) || now < at.agent.alive_from || now < at.agent.frozen_until {
            return;
        }
        self.finish_jobs(pod);
        self.deliver(pod);
        self.step_heartbeats(pod);
        if now < self.pods[pod].agent.busy_until {
            return;
        }
        while let Some(action) = self.pods[pod].agent.queue.pop_front() {
            // In one breath with what follows it, which is the gate's own file.
            if matches!(action, Action::KeepMarks { .. }) && self.keep_beside(pod, action.clone()) {
                continue;
            }
            self.act(pod, action);
            return;
        }
        if let Some(at_ms) = self.pods[pod].agent.fence_after_batch.take() {
            self.hand_deadline(pod, at_ms);
        }
        if now >= self.pods[pod].agent.wake_at {
            self.think(pod);
        }
    }

    fn hand_deadline(&mut self, pod: usize, at_ms: u64) {
        let clock = self.clock(pod);
        let at = &mut self.pods[pod];
        at.agent.fence_at = Some(at_ms);
        let past = at.guard_deadline.is_some_and(|deadline| deadline <= clock) || at_ms <= clock;
        if !past && !matches!(at.postgres, Postgres::Down) {
            at.guard_deadline = Some(at_ms);
        }
    }

    fn think(&mut self, pod: usize) {
        self.keep_accepted(pod);
        let mut seen = self.observe(pod);
        if let Some(mutation) = self.mutation {
            mutation.distort(&mut seen);
            mutation.forget(&mut self.pods[pod].agent.memory);
        }
        let timing = seen
            .desired
            .as_ref()
            .and_then(|desired| Timing::try_new(&desired.document.failover).ok())
            .unwrap_or_default();
        let decision = decide(&timing, &self.pods[pod].agent.memory, &seen);
        for action in &decision.actions {
            if let Action::WriteRecord { if_version, record } = action {
                self.check_taking(pod, if_version, record);
            }
        }
        let told = AgentReport { reads_record: self.reads_record(pod), ..report(&seen, &decision) };
        self.set_beat(pod, &seen, &decision);
        self.pods[pod].agent.acknowledges = failsafe::acknowledges(&seen, &decision);
        if self.pods[pod].agent.reason.as_ref() != Some(&decision.reason) {
            let text = format!("{} {:?}", self.pods[pod].name, decision.reason);
            self.say(text);
        }
        let now = self.now;
        let mutation = self.mutation;
        let busy = decision.actions.iter().any(|action| !action.is_best_effort());
        let agent = &mut self.pods[pod].agent;
        agent.wake_at = if busy { now + 10 } else { now + decision.wake_after_ms.max(10) };
        agent.queue = agent
            .set_passwords(decision.actions)
            .filter_map(|action| match mutation {
                Some(mutation) => mutation.twist(action),
                None => Some(action),
            })
            .collect();
        agent.fence_after_batch = decision.fence_at_ms;
        agent.memory = decision.memory;
        agent.reason = Some(decision.reason);
        agent.report = Some(told);
    }

    fn act(&mut self, pod: usize, action: Action) {
        let went = self.carry_out(pod, action.clone());
        let (now, mutation) = (self.now, self.mutation);
        let agent = &mut self.pods[pod].agent;
        agent.busy_until = now + went.took_ms;
        if !went.ok {
            let last_write = agent.last_write.as_ref().map(|write| write.outcome);
            if action.ends_batch(last_write) || mutation.is_some_and(|mutation| mutation.ends_batch(&action))
            {
                agent.queue.clear();
            }
        }
        agent.wake_at = agent.wake_at.max(agent.busy_until);
    }

    fn carry_out(&mut self, pod: usize, action: Action) -> Went {
        let quick = self.pick(1, 15);
        match action {
            Action::ReadLease => self.read_lease(pod),
            Action::WriteRecord { if_version, record } => self.write_record(pod, &if_version, *record),
            Action::CreateLease { record } => self.create_lease(pod, *record),
            Action::KeepRecord { record } => {
                self.pods[pod].volume.kept = Some(*record);
                went(true, quick)
            }
            Action::GivePromise { .. } | Action::DropPromise | Action::AskPromises { .. } => {
                self.see_to_promises(pod, action);
                went(true, quick)
            }
            Action::Fence => {
                self.kill_postgres(pod);
                went(true, 50)
            }
            Action::StartPostgres { role, names } => self.start_postgres(pod, &role, &names),
            Action::StopPostgres { mode } => self.stop_postgres(pod, mode),
            Action::EndWalsenders { pids } => {
                let at = &mut self.pods[pod];
                if let Postgres::Running(process) | Postgres::Stopping { process, .. } = &mut at.postgres {
                    process.senders.retain(|_, sender| !pids.contains(&sender.pid));
                }
                went(true, quick)
            }
            Action::Exit => {
                self.kill_container(pod, true);
                went(true, 0)
            }
            Action::Initdb { .. } | Action::Clone { .. } | Action::Rewind { .. } => {
                self.start_job(pod, action)
            }
            Action::AdoptData { member } => {
                let volume = &mut self.pods[pod].volume;
                let fits = volume.data.as_ref().is_some_and(|data| data.member == member);
                if fits && volume.marker == Some(Unfinished::Initdb) {
                    volume.marker = None;
                }
                went(fits, quick)
            }
            Action::PersistEra { .. } | Action::KeepMarks { .. } => {
                went(self.keep_beside(pod, action), quick)
            }
            Action::Checkpoint => {
                self.checkpoint(pod);
                went(true, 1)
            }
            Action::LabelPod { pod: name, uid, resource_version, labels } => {
                self.label(pod, &name, &uid, &resource_version, labels)
            }
            Action::DeletePod { pod: name, uid } => {
                self.delete_pod_of(pod, &name, &uid);
                went(true, quick)
            }
            Action::FetchAgent { .. } | Action::ExchangeAgent { .. } | Action::StayAgent => {
                self.see_to_agent(pod, action);
                went(true, quick)
            }
            Action::WriteStatus { status } => {
                if self.api_answers(pod) {
                    self.api.write_status(*status);
                }
                went(true, 0)
            }
            Action::StampVolumes { system_identifier, ordinals } => {
                went(self.stamp(pod, system_identifier, &ordinals), quick)
            }
            Action::EmitEvent { warning, reason, message } => {
                self.tell_event(pod, warning, reason, &message);
                went(true, 0)
            }
            Action::SetSlots { .. } | Action::SetPasswords { .. } => went(true, quick),
            Action::Promote
            | Action::LeaveStream
            | Action::Follow { .. }
            | Action::ResumeReplay
            | Action::ApplySettings
            | Action::SetSyncNames { .. }
            | Action::ConfirmInForce { .. }
            | Action::OpenGate
            | Action::CloseGate => self.ask_postgres(pod, action),
        }
    }

    /// In the agent's file beside the data.
    fn keep_beside(&mut self, pod: usize, action: Action) -> bool {
        let Some(data) = &mut self.pods[pod].volume.data else { return false };
        match action {
            Action::PersistEra { era } => data.era = Some(era),
            Action::KeepMarks { marks } => data.marks = Some(marks),
            _ => return false,
        }
        true
    }

    /// Whether the server takes the request up, whether an answer comes in time, and after how long. An answer to what was not taken
    /// up is a refusal: it knows this pod's token no more.
    fn call(&mut self, pod: usize) -> (bool, bool, u64) {
        let took_ms = self.api.slow_ms + self.pick(2, 30);
        let arrives = !self.api.down && self.net.passes(End::Node(pod), End::Api);
        let answered = arrives
            && self.net.passes(End::Api, End::Node(pod))
            && took_ms < API_DEADLINE_MS
            && !self.api.loses();
        let taken_up = arrives && !self.pods[pod].disowned;
        (taken_up, answered, if answered { took_ms } else { API_DEADLINE_MS })
    }

    fn read_lease(&mut self, pod: usize) -> Went {
        let sent = self.clock(pod);
        let (taken_up, answered, took_ms) = self.call(pod);
        if !(taken_up && answered) {
            return went(false, took_ms);
        }
        match self.api.lease.clone() {
            Some((version, record)) => self.see_lease(pod, version, record, Some(sent)),
            None => {
                let agent = &mut self.pods[pod].agent;
                if !matches!(agent.lease, LeaseSeen::Missing { .. }) {
                    agent.lease = LeaseSeen::Missing { since_ms: sent };
                    self.poke(pod);
                }
            }
        }
        went(true, took_ms)
    }

    fn write_record(
        &mut self,
        pod: usize,
        version: &pgha_agent_core::observation::LeaseVersion,
        mut record: Record,
    ) -> Went {
        if let (Some(mutation), Some((_, before))) = (self.mutation, &self.api.lease) {
            let Some(rewritten) = mutation.rewrite(before, record) else { return went(false, 10) };
            record = rewritten;
        }
        self.write_as_read(pod, &mut record);
        let version = &self.version_of_swap(version, &record);
        let sent = self.clock(pod);
        let (taken_up, answered, took_ms) = self.call(pod);
        let outcome = if answered && !taken_up {
            WriteOutcome::Refused
        } else if !taken_up || self.api.read_only {
            WriteOutcome::Unknown
        } else if self.api.slow_ms >= API_DEADLINE_MS {
            let at = self.now + self.api.slow_ms;
            self.api.late.push((at, version.clone(), record.clone()));
            let text = format!("{} a write is on its way and not answered", self.pods[pod].name);
            self.say(text);
            WriteOutcome::Unknown
        } else {
            match self.replace_record(version, record.clone()) {
                _ if !answered => WriteOutcome::Unknown,
                Put::Written => WriteOutcome::Written,
                Put::Conflict => WriteOutcome::Conflict,
            }
        };
        self.wrote(pod, outcome, sent, record);
        went(outcome == WriteOutcome::Written, took_ms)
    }

    fn create_lease(&mut self, pod: usize, record: Record) -> Went {
        let sent = self.clock(pod);
        let (taken_up, answered, took_ms) = self.call(pod);
        let outcome = if !taken_up || self.api.read_only {
            WriteOutcome::Unknown
        } else {
            let put = self.api.create(record.clone());
            if put == Put::Written {
                self.record_written(None, &record);
            }
            match put {
                _ if !answered => WriteOutcome::Unknown,
                Put::Written => WriteOutcome::Written,
                Put::Conflict => WriteOutcome::Conflict,
            }
        };
        self.wrote(pod, outcome, sent, record);
        went(outcome == WriteOutcome::Written, took_ms)
    }

    /// The outcome of a write as the agent sees it; unless it succeeded, an uncached read follows at once.
    fn wrote(&mut self, pod: usize, outcome: WriteOutcome, sent: u64, record: Record) {
        let at_ms = self.clock(pod);
        self.pods[pod].agent.last_write = Some(WriteSeen { at_ms, outcome });
        match (outcome, self.api.lease.clone()) {
            (WriteOutcome::Written, Some((version, _))) => self.see_lease(pod, version, record, Some(sent)),
            (WriteOutcome::Conflict | WriteOutcome::Unknown | WriteOutcome::Refused, _) => {
                self.pods[pod].agent.queue.push_front(Action::ReadLease);
            }
            (WriteOutcome::Written, None) => {}
        }
    }

    fn label(
        &mut self,
        pod: usize,
        name: &str,
        uid: &str,
        version: &str,
        labels: std::collections::BTreeMap<String, Option<String>>,
    ) -> Went {
        if !self.api_answers(pod) {
            return went(false, API_DEADLINE_MS);
        }
        let target = self.pods.iter_mut().find(|at| at.name == name && at.exists);
        if let Some(target) = target.filter(|at| at.uid() == uid && at.version.to_string() == version) {
            for (key, value) in labels {
                match value {
                    Some(value) => target.labels.insert(key, value),
                    None => target.labels.remove(&key),
                };
            }
            target.version += 1;
        }
        let took_ms = self.pick(1, 15);
        went(true, took_ms)
    }

    fn start_postgres(&mut self, pod: usize, role: &StartAs, names: &str) -> Went {
        let clock = self.clock(pod);
        let (id, until) = (self.fresh_number(), self.now + self.pick(50, 600));
        let defined_from = 0;
        let agent = &self.pods[pod].agent;
        let desired = agent.desired.clone();
        let (building, fence_at) = (agent.data_job.is_some(), agent.fence_at.filter(|at| *at > clock));
        let at = &mut self.pods[pod];
        if !matches!(at.postgres, Postgres::Down) {
            return went(true, 1);
        }
        let (Some(data), Some(desired), false) = (at.volume.counted().cloned(), desired, building) else {
            return went(false, 1);
        };
        let mut process = new_process(id, names);
        process.defined_from = defined_from;
        if !self.give_settings(pod, &desired, &mut process) {
            return went(true, 20);
        }
        let at = &mut self.pods[pod];
        process.replay_goal = data.wal.len();
        process.replayed = data.checkpoint.min(data.wal.len());
        match role {
            StartAs::Primary => {
                // The guard refuses a postgres that may write without a deadline.
                let Some(fence_at) = fence_at else { return went(false, 1) };
                at.guard_deadline = Some(fence_at);
                process.primary = true;
                process.replayed = data.wal.len();
            }
            StartAs::Standby { upstream } => {
                process.upstream.clone_from(upstream);
                process.detached = upstream.is_none();
            }
        }
        at.postgres = Postgres::Starting { until, process: Box::new(process) };
        let as_what = match role {
            StartAs::Primary => "primary".to_owned(),
            StartAs::Standby { upstream: None } => "standby of nobody".to_owned(),
            StartAs::Standby { upstream: Some(upstream) } => format!("standby of {}", upstream.pod),
        };
        let text = format!("{} starts postgres as {as_what} {names}", at.name);
        self.say(text);
        let took_ms = self.pick(5, 40);
        went(true, took_ms)
    }

    fn stop_postgres(&mut self, pod: usize, mode: StopMode) -> Went {
        let now = self.now;
        let at = &mut self.pods[pod];
        match std::mem::replace(&mut at.postgres, Postgres::Down) {
            Postgres::Running(process) if mode == StopMode::Fast => {
                at.postgres = Postgres::Stopping { since: now, process };
                let text = format!("{} stops postgres", at.name);
                self.say(text);
            }
            Postgres::Stopping { since, process } if mode == StopMode::Fast => {
                at.postgres = Postgres::Stopping { since, process };
            }
            Postgres::Down | Postgres::Starting { .. } | Postgres::Running(_) | Postgres::Stopping { .. } => {
            }
        }
        went(true, 5)
    }

    /// Actions that need a connection.
    fn ask_postgres(&mut self, pod: usize, action: Action) -> Went {
        if self.is_postgres_frozen(pod) {
            return went(false, 1_000);
        }
        let (now, clock) = (self.now, self.clock(pod));
        let (soon, later) = (now + self.pick(10, 250), now + self.pick(50, 500));
        // A checkpointer in the midst of its fsyncs takes its time.
        let defined_from = now + self.pick(0, 20_000);
        let mutation = self.mutation;
        let desired = self.pods[pod].agent.desired.clone();
        let fence_at = self.pods[pod].agent.fence_at.filter(|at| *at > clock);
        let at = &mut self.pods[pod];
        let Postgres::Running(process) = &mut at.postgres else { return went(false, 5) };
        match action {
            Action::Promote if !process.primary => {
                if at.guard_deadline.is_none_or(|deadline| deadline <= clock) {
                    let Some(fence_at) = fence_at else { return went(false, 1) };
                    at.guard_deadline = Some(fence_at);
                }
                process.gate_open = false;
                process.promoting_until.get_or_insert(soon);
            }
            Action::LeaveStream if !process.primary => {
                process.upstream = None;
                process.detached = true;
                if mutation != Some(Mutation::KeepsStream) {
                    process.receiver = None;
                }
                return went(true, 60);
            }
            Action::Follow { upstream } if !process.primary => {
                process.upstream = Some(upstream);
                process.receiver = None;
                process.detached = false;
            }
            Action::ApplySettings => {
                World::render(process, desired.as_ref());
            }
            Action::SetSyncNames { names } if process.names != names => {
                // Names after none: the checkpointer comes to know of it only at its next turn (A17).
                if process.names.is_empty() && process.primary {
                    process.defined_from = defined_from;
                } else if names.is_empty() {
                    process.defined_from = 0;
                }
                process.names_before = Some((std::mem::replace(&mut process.names, names), soon));
                process.in_force = None;
            }
            Action::ConfirmInForce { names, checkpoint } => {
                let running = process.confirming.as_ref().is_some_and(|(other, ..)| *other == names);
                if !running {
                    process.confirming = Some((names, checkpoint, later));
                }
            }
            Action::OpenGate if process.primary && !process.gate_open => {
                process.gate_open = true;
                let text = format!("{} lets clients in", at.name);
                self.say(text);
                self.check_promises(pod);
            }
            Action::CloseGate => process.gate_open = false,
            _ => {}
        }
        let took_ms = self.pick(2, 30);
        went(true, took_ms)
    }
}
