//! What goes from agent to agent beside reports: heartbeats, refusals of a dead container's ports, promises (A12, A13).

use pgha_agent_core::heartbeat::{self, Beat, REFUSED_FOR_MS};
use pgha_agent_core::observation::{AckSeen, AskedSeen, HeartbeatSeen, LeaseSeen, LeaseVersion, RefusedSeen};
use pgha_agent_core::{Action, Decision, Observation};
use pgha_schema::desired::SyncMode;
use pgha_schema::record::Record;

use crate::invariants::heard_holder_is_left_alone;
use crate::mutation::Mutation;
use crate::network::End;
use crate::world::World;

impl World {
    /// The loop tells what is to be sent from now on.
    pub fn set_beat(&mut self, pod: usize, seen: &Observation, decision: &Decision) {
        self.pods[pod].agent.beat = heartbeat::beat(seen, decision);
    }

    /// Sent beside the loop, whatever it is busy with.
    pub fn step_heartbeats(&mut self, pod: usize) {
        if self.now < self.pods[pod].agent.beat_at {
            return;
        }
        self.pods[pod].agent.beat_at = self.now + heartbeat::PERIOD_MS;
        self.look_for_refusals(pod);
        let clock = self.clock(pod);
        let beat = self.pods[pod].agent.beat.clone();
        let beat = beat.filter(|_| self.mutation != Some(Mutation::SendsNoHeartbeat));
        let Some(Beat { era, until_ms, asks, .. }) = beat else { return };
        if clock >= until_ms {
            return;
        }
        let nonce = self.pods[pod].nonce.clone();
        for other in 0..self.pods.len() {
            if other != pod && self.reaches_agent(pod, other) {
                let (at_ms, now) = (self.clock(other), self.now);
                let at = &mut self.pods[other];
                let heartbeat = HeartbeatSeen { era, nonce: nonce.clone(), at_ms };
                if asks {
                    at.agent.holder_heard.asks = Some(heartbeat.clone());
                }
                at.agent.holder_heard.last = Some(heartbeat);
                at.heartbeat_came = Some((nonce.clone(), now));
                self.acknowledge_heartbeat(other, pod, AckSeen { era, asked_ms: clock, binds: asks });
            }
        }
    }

    /// Whoever the loop said it acknowledges, and a promise was not given since.
    fn acknowledge_heartbeat(&mut self, by: usize, to: usize, ack: AckSeen) {
        let Some(told) = self.pods[by].agent.acknowledges.clone() else { return };
        let holds = told.nonce == self.pods[to].nonce && told.era == ack.era;
        if holds && (ack.binds || !told.only_when_asked) && self.promise_of(by).is_none() {
            self.pods[to].agent.acks.insert(told.member, ack);
        }
    }

    fn reaches_agent(&self, from: usize, to: usize) -> bool {
        let there = &self.pods[to];
        there.exists
            && there.up
            && self.now >= there.agent.alive_from
            && self.now >= there.agent.frozen_until
            && !self.is_frozen(to)
            && self.net.talks(End::Node(from), End::Node(to))
    }

    /// The holder's address answers that nothing listens: its container is dead, its machine is not.
    fn look_for_refusals(&mut self, pod: usize) {
        let clock = self.clock(pod);
        let LeaseSeen::Read(read) = &self.pods[pod].agent.lease else { return };
        let Some(address) = read.record.holder.as_ref().map(|holder| holder.address.clone()) else { return };
        let refuses = (0..self.pods.len()).find(|other| {
            let at = &self.pods[*other];
            *other != pod && at.exists && at.address() == address && !at.up
        });
        let refuses = refuses.is_some_and(|other| {
            self.now >= self.nodes[other].up_at && self.net.talks(End::Node(pod), End::Node(other))
        });
        let agent = &mut self.pods[pod].agent;
        match (refuses, agent.refusing_since) {
            (false, _) => agent.refusing_since = None,
            (true, None) => agent.refusing_since = Some(clock),
            (true, Some(since_ms)) if clock >= since_ms + REFUSED_FOR_MS => {
                agent.holder_heard.refused = Some(RefusedSeen { address, since_ms, at_ms: clock });
                self.poke(pod);
            }
            (true, Some(_)) => {}
        }
    }

    /// Gives, drops or asks for a promise.
    pub fn see_to_promises(&mut self, pod: usize, action: Action) {
        match action {
            Action::GivePromise { version } => self.give_promise(pod, version),
            Action::DropPromise => self.drop_promise(pod),
            Action::AskPromises { version, pods } => self.ask_promises(pod, &version, &pods),
            _ => {}
        }
    }

    /// Fsynced on the volume; what the process alone knows is for the rule left out.
    fn give_promise(&mut self, pod: usize, version: LeaseVersion) {
        let text = format!("{} promises for version {}", self.pods[pod].name, version.resource_version);
        self.say(text);
        let at = &mut self.pods[pod];
        at.volume.promise = Some(version.clone());
        at.agent.promise = Some(version);
    }

    /// Forgotten.
    fn drop_promise(&mut self, pod: usize) {
        self.pods[pod].volume.promise = None;
        self.pods[pod].agent.promise = None;
    }

    /// The promise as a process of this pod finds it.
    pub fn promise_of(&self, pod: usize) -> Option<LeaseVersion> {
        let at = &self.pods[pod];
        if self.mutation == Some(Mutation::ForgetsPromise) {
            at.agent.promise.clone()
        } else {
            at.volume.promise.clone()
        }
    }

    /// The request comes to those who are reached; their answers are seen in their reports.
    fn ask_promises(
        &mut self,
        pod: usize,
        version: &LeaseVersion,
        names: &std::collections::BTreeSet<String>,
    ) {
        let soon = self.now + 100;
        for other in 0..self.pods.len() {
            if other != pod && names.contains(&self.pods[other].name) && self.reaches_agent(pod, other) {
                let at_ms = self.clock(other);
                self.pods[other].agent.asked = Some(AskedSeen { version: version.clone(), at_ms });
                self.poke(other);
            }
        }
        let agent = &mut self.pods[pod].agent;
        agent.ask_at = agent.ask_at.min(soon);
    }

    /// A write of the record is decided on. One on top of an older version comes to nothing.
    pub fn check_taking(&mut self, pod: usize, version: &LeaseVersion, record: &Record) {
        let newest = self.api.lease.as_ref().filter(|(newest, _)| newest == version);
        let Some((_, before)) = newest else { return };
        let Some(old) = before.holder.as_ref().filter(|_| before.mode != SyncMode::Async) else { return };
        let taken = record.holder.as_ref().is_some_and(|new| new.member != old.member);
        let lives = self.pods.iter().any(|at| at.up && at.nonce == old.nonce);
        if taken && lives && before.release.is_none() {
            let came = self.pods[pod].heartbeat_came.as_ref().filter(|(nonce, _)| *nonce == old.nonce);
            let broken = heard_holder_is_left_alone::check(
                came.map(|(_, at)| self.now - at),
                &self.pods[pod].name,
                &old.pod,
            );
            self.broken(broken);
        }
    }

    /// Who serves although another holds the record.
    pub fn check_deposed(&mut self) {
        let Some(holder) = self.api.lease.as_ref().and_then(|(_, record)| record.holder.as_ref()) else {
            return;
        };
        let holds = self.pods.iter().position(|at| at.name == holder.pod);
        for pod in 0..self.pods.len() {
            let deposed = self.serves(pod) && !self.is_postgres_frozen(pod) && holds != Some(pod);
            let broken = self.deposed.note(pod, deposed, self.now, &self.pods[pod].name);
            self.broken(broken);
        }
    }

    /// For rules left out: a swap does not carry the version that was promised, or no write the one that was read, but
    /// whatever is the newest.
    pub fn version_of_swap(&self, version: &LeaseVersion, record: &Record) -> LeaseVersion {
        match &self.api.lease {
            Some((newest, before))
                if self.mutation == Some(Mutation::WritesBlindly)
                    || self.mutation == Some(Mutation::TakesAnyVersion)
                        && before.holder.as_ref().map(|holder| &holder.member)
                            != record.holder.as_ref().map(|holder| &holder.member) =>
            {
                newest.clone()
            }
            Some(_) | None => version.clone(),
        }
    }
}
