//! What postgres does by itself: start, replay, stream, promote, stop.

use std::collections::BTreeMap;

use pgha_agent_core::observation::{ControlState, InForce};

use crate::invariants::one_history;
use crate::mutation::Mutation;
use crate::network::End;
use crate::postgres::{Postgres, Process, ROOM_LEFT, Receiver, Sender, lsn};
use crate::world::{World, running_control};

/// wal_sender_timeout and wal_receiver_timeout.
const STREAM_TIMEOUT_MS: u64 = 5_000;
/// Records that go over a stream in one step.
const RECORDS_PER_STEP: usize = 12;

impl World {
    /// Everything of one postmaster that needs no other.
    pub fn step_postgres(&mut self, pod: usize) {
        if !self.pods[pod].up || self.is_postgres_frozen(pod) {
            return;
        }
        let now = self.now;
        let mut postgres = std::mem::replace(&mut self.pods[pod].postgres, Postgres::Down);
        let data = self.pods[pod].volume.data.as_ref();
        let (unreadable, waits) = data.map_or((false, false), |data| (data.unreadable, data.waits));
        postgres = match postgres {
            // Only a standby's start waits.
            Postgres::Starting { until, process } if waits && !process.primary => {
                Postgres::Starting { until, process }
            }
            Postgres::Starting { until, .. } if now >= until && unreadable => {
                self.pods[pod].guard_deadline = None;
                self.poke(pod);
                let text = format!("{} postgres ends at its start", self.pods[pod].name);
                self.say(text);
                Postgres::Down
            }
            Postgres::Starting { until, process } if now >= until => {
                if let Some(data) = &mut self.pods[pod].volume.data {
                    data.control = running_control(process.primary);
                }
                self.poke(pod);
                let role = if process.primary { "primary" } else { "standby" };
                let text = format!("{} postgres answers as {role}", self.pods[pod].name);
                self.say(text);
                Postgres::Running(process)
            }
            Postgres::Running(mut process) => {
                self.step_running(pod, &mut process);
                Postgres::Running(process)
            }
            Postgres::Stopping { since, process } => self.step_stopping(pod, since, process),
            other @ (Postgres::Down | Postgres::Starting { .. }) => other,
        };
        self.pods[pod].postgres = postgres;
    }

    fn step_running(&mut self, pod: usize, process: &mut Process) {
        let now = self.now;
        let speed = if self.pods[pod].replay_stuck { 0 } else { self.pick(0, 20) as usize };
        let full = self.pods[pod].disk_full;
        let Some(data) = &mut self.pods[pod].volume.data else { return };
        if process.primary {
            process.replayed = data.wal.len();
            data.checkpoint = data.checkpoint.max(data.wal.len().saturating_sub(100));
        } else {
            process.replayed = (process.replayed + speed).min(data.wal.len());
            data.checkpoint = data.checkpoint.max(process.replayed.saturating_sub(50));
        }
        if process.primary || !full {
            // By itself it makes room in time.
            data.free(process.replayed);
        }
        if process.names_before.as_ref().is_some_and(|(_, until)| now >= *until) {
            process.names_before = None;
        }
        if let Some((names, checkpoint, until)) = process.confirming.clone()
            && now >= until
            && process.names_before.is_none()
        {
            process.confirming = None;
            if process.names == names {
                if checkpoint {
                    process.defined_from = process.defined_from.min(now);
                }
                process.in_force = Some(InForce { names, from_lsn: lsn(data.wal.len()) });
            }
            self.pods[pod].agent.wake_at = 0;
        }
        let Some(data) = &mut self.pods[pod].volume.data else { return };
        if process.promoting_until.is_some_and(|until| now >= until) && process.replayed == data.wal.len() {
            process.promoting_until = None;
            process.primary = true;
            process.gate_open = self.mutation == Some(Mutation::OpensGateAtOnce);
            process.receiver = None;
            process.upstream = None;
            process.checkpointed = false;
            process.senders = BTreeMap::new();
            let timeline = data.highest_timeline.max(data.timeline()) + 1;
            data.highest_timeline = timeline;
            data.history.push((timeline, data.wal.len()));
            data.control = ControlState::InProduction;
            let text = format!("{} is promoted to timeline {timeline}", self.pods[pod].name);
            self.say(text);
            let end_of_recovery = self.fresh_number();
            if let Some(data) = &mut self.pods[pod].volume.data {
                data.wal.push(end_of_recovery);
            }
            self.poke(pod);
        }
    }

    /// A fast stop: the shutdown checkpoint is sent to every walsender before the postmaster ends.
    fn step_stopping(&mut self, pod: usize, since: u64, mut process: Box<Process>) -> Postgres {
        let now = self.now;
        let Some(data) = &self.pods[pod].volume.data else { return Postgres::Down };
        if process.primary && data.control != ControlState::ShutDown {
            let shutdown = self.fresh_number();
            process.gate_open = false;
            process.waiting.clear();
            if let Some(data) = &mut self.pods[pod].volume.data {
                data.wal.push(shutdown);
                data.control = ControlState::ShutDown;
                data.checkpoint = data.wal.len();
            }
            return Postgres::Stopping { since, process };
        }
        let records = data.wal.len();
        let waits = process.primary && process.senders.values().any(|sender| sender.flushed < records);
        if waits || now < since + 50 {
            return Postgres::Stopping { since, process };
        }
        if !process.primary
            && let Some(data) = &mut self.pods[pod].volume.data
        {
            data.control = ControlState::ShutDownInRecovery;
        }
        self.pods[pod].guard_deadline = None;
        self.poke(pod);
        let text = format!("{} postgres has stopped cleanly", self.pods[pod].name);
        self.say(text);
        Postgres::Down
    }

    fn sending(&self, pod: usize) -> Option<&Process> {
        match &self.pods[pod].postgres {
            Postgres::Running(process) | Postgres::Stopping { process, .. } if process.primary => {
                Some(process)
            }
            _ => None,
        }
    }

    fn sending_mut(&mut self, pod: usize) -> Option<&mut Process> {
        match &mut self.pods[pod].postgres {
            Postgres::Running(process) | Postgres::Stopping { process, .. } if process.primary => {
                Some(process)
            }
            _ => None,
        }
    }

    /// The walreceiver of one standby, and the walsender for it.
    pub fn step_stream(&mut self, pod: usize) {
        self.drop_senders(pod);
        if !self.pods[pod].up || self.is_postgres_frozen(pod) {
            return;
        }
        let Postgres::Running(process) = &self.pods[pod].postgres else { return };
        if process.primary || process.promoting_until.is_some() {
            return;
        }
        match process.receiver.clone() {
            Some(receiver) => self.stream(pod, &receiver),
            None => self.connect(pod),
        }
    }

    /// Walsenders without a reply, and those whose connection was reset, end.
    fn drop_senders(&mut self, pod: usize) {
        if self.is_postgres_frozen(pod) {
            return;
        }
        let Some(process) = self.sending(pod) else { return };
        let id = process.id;
        let gone: Vec<usize> = process
            .senders
            .iter()
            .filter(|(standby, sender)| {
                let connected = matches!(&self.pods[**standby].postgres, Postgres::Running(other)
                    if other.id == sender.process
                        && other.receiver.as_ref().is_some_and(|receiver| receiver.process == id));
                let reset = !connected && self.net.talks(End::Node(pod), End::Node(**standby));
                reset || self.now.saturating_sub(sender.replied_at) > STREAM_TIMEOUT_MS
            })
            .map(|(standby, _)| *standby)
            .collect();
        if gone.is_empty() {
            return;
        }
        if let Some(process) = self.sending_mut(pod) {
            for standby in gone {
                process.senders.remove(&standby);
            }
        }
        self.poke(pod);
    }

    fn stream(&mut self, pod: usize, receiver: &Receiver) {
        let (now, from) = (self.now, receiver.from);
        let here = match &self.pods[pod].postgres {
            Postgres::Running(process) => process.id,
            _ => return,
        };
        let alive = self.sending(from).is_some_and(|process| {
            process.id == receiver.process
                && process.senders.get(&pod).is_some_and(|sender| sender.process == here)
        });
        let talks = self.net.talks(End::Node(pod), End::Node(from));
        let ended = if talks { !alive } else { now.saturating_sub(receiver.heard_at) > STREAM_TIMEOUT_MS };
        if ended {
            let again = now + self.pick(50, 200);
            if let Postgres::Running(process) = &mut self.pods[pod].postgres {
                process.receiver = None;
                process.connect_at = again;
            }
            self.poke(pod);
            return;
        }
        if !alive || self.is_postgres_frozen(from) {
            return;
        }
        // The reply first: what comes in this step is confirmed in the next.
        let flushed = self.pods[pod].volume.data.as_ref().map_or(0, |data| data.wal.len());
        if self.net.passes(End::Node(pod), End::Node(from))
            && let Some(sender) = self.sending_mut(from).and_then(|process| process.senders.get_mut(&pod))
        {
            sender.flushed = flushed;
            sender.replied_at = now;
        }
        if self.net.passes(End::Node(from), End::Node(pod)) {
            self.receive(pod, from, flushed);
        }
    }

    fn receive(&mut self, pod: usize, from: usize, have: usize) {
        let now = self.now;
        let Some(source) = &self.pods[from].volume.data else { return };
        let room = self.room(pod).saturating_sub(have);
        let to = source.wal.len().min(have + RECORDS_PER_STEP.min(room));
        let more = source.wal.get(have..to).unwrap_or_default().to_vec();
        let (history, highest) = (source.history.clone(), source.highest_timeline);
        if !more.is_empty() && self.runs_out_of_room(pod) {
            return;
        }
        let Some(data) = &mut self.pods[pod].volume.data else { return };
        data.wal.extend(more);
        let length = data.wal.len();
        data.history = history.into_iter().filter(|(_, start)| *start <= length).collect();
        data.highest_timeline = data.highest_timeline.max(highest);
        if let Postgres::Running(process) = &mut self.pods[pod].postgres
            && let Some(receiver) = &mut process.receiver
        {
            receiver.heard_at = now;
        }
    }

    /// Up to how many records there is room for.
    fn room(&self, pod: usize) -> usize {
        let at = &self.pods[pod];
        let removed = at.volume.data.as_ref().map_or(0, |data| data.removed);
        if at.disk_full { removed + ROOM_LEFT } else { usize::MAX }
    }

    fn connect(&mut self, pod: usize) {
        let now = self.now;
        let Postgres::Running(process) = &self.pods[pod].postgres else { return };
        let (Some(upstream), true) =
            (&process.upstream, process.replayed_to_end() && now >= process.connect_at)
        else {
            return;
        };
        let (here, address) = (process.id, upstream.address.clone());
        let source = (0..self.pods.len()).find(|other| {
            *other != pod
                && self.pods[*other].address() == address
                && self.pods[*other].up
                && !self.is_postgres_frozen(*other)
                && matches!(&self.pods[*other].postgres, Postgres::Running(process) if process.primary)
                && self.net.talks(End::Node(pod), End::Node(*other))
        });
        let again = now + self.pick(80, 200);
        if let Postgres::Running(process) = &mut self.pods[pod].postgres {
            process.connect_at = again;
        }
        let Some(source) = source else { return };
        let (Some(mine), Some(theirs)) = (&self.pods[pod].volume.data, &self.pods[source].volume.data) else {
            return;
        };
        // All that PostgreSQL checks: the system identifier, that the own timeline is in the source's history, and that
        // the own position is not beyond its end there.
        let fits = mine.system == theirs.system
            && !mine.outrun
            && theirs.end_of(mine.timeline()).is_none_or(|end| mine.wal.len() <= end)
            && mine.wal.len() <= theirs.wal.len();
        if !fits {
            return;
        }
        let names = (self.pods[pod].name.clone(), self.pods[source].name.clone());
        let mixed = one_history::check(&mine.wal, &theirs.wal, (&names.0, &names.1));
        let (member, flushed) = (mine.member.clone(), mine.wal.len());
        self.broken(mixed);
        let pid = self.fresh_number() as i32;
        let Some(sending) = self.sending_mut(source) else { return };
        let there = sending.id;
        sending.senders.insert(pod, Sender { pid, member, process: here, flushed, replied_at: now });
        if let Postgres::Running(process) = &mut self.pods[pod].postgres {
            process.receiver = Some(Receiver { from: source, process: there, heard_at: now });
        }
        self.poke(pod);
        self.poke(source);
    }
}
