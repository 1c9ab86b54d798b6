//! One agent's snapshot of the world.

use std::collections::{BTreeMap, BTreeSet};

use pgha_agent_core::Observation;
use pgha_agent_core::observation::{
    Complaints, DataSeen, DesiredSeen, DiskSeen, Gate, HolderHeard, Identity, LeaseRead, LeaseSeen,
    LeaseVersion, LocalData, Peer, PodSeen, PostgresSeen, PrimarySeen, Promises, Signals, SlotSeen,
    StandbySeen, StreamSeen, VolumeSeen, Walsender,
};
use pgha_schema::ids::SystemIdentifier;
use pgha_schema::lsn::TimelineId;
use pgha_schema::record::Record;

use crate::network::End;
use crate::pod::boot_id;
use crate::postgres::{Postgres, Process, lsn};
use crate::world::{PODS, World};

/// The major version of everything here.
const MAJOR: u32 = 18;

/// Versions of the pods and claims.
pub type ObjectVersions = [(u32, u64, [bool; 4], Option<SystemIdentifier>); PODS];

impl World {
    /// Whether a request of this pod comes to the API server and its answer back.
    pub fn api_answers(&self, pod: usize) -> bool {
        !self.api.down && !self.pods[pod].disowned && self.net.talks(End::Node(pod), End::Api)
    }

    /// Watches deliver, peers answer: what comes to an agent by itself.
    pub fn deliver(&mut self, pod: usize) {
        let now = self.now;
        if now >= self.pods[pod].agent.watch_at && self.api_answers(pod) {
            let next = self.pick(20, 220);
            self.pods[pod].agent.watch_at = now + next;
            self.deliver_watch(pod);
        }
        if now >= self.pods[pod].agent.ask_at {
            self.pods[pod].agent.ask_at = now + 250;
            self.ask_peers(pod);
        }
    }

    fn deliver_watch(&mut self, pod: usize) {
        let seen = &self.pods[pod].agent.lease;
        if let Some((version, record)) = &self.api.lease
            && !matches!(seen, LeaseSeen::Read(read) if read.version == *version)
        {
            self.see_lease(pod, version.clone(), record.clone(), None);
        }
        let versions = self.object_versions();
        let changed = self.pods[pod].agent.versions.as_ref() != Some(&versions);
        let objects = changed.then(|| (self.pod_objects(), self.claims()));
        let (set_identifier, hidden) = (self.api.set_stamped, self.api.hides_marks);
        let known = self.pods[pod].agent.desired.as_ref();
        let wished = known
            .is_none_or(|seen| seen.sha256 != self.api.sha256)
            .then(|| DesiredSeen { document: self.api.desired.clone(), sha256: self.api.sha256.clone() });
        let agent = &mut self.pods[pod].agent;
        let mut changed = wished.is_some();
        if let Some((pods, volumes)) = objects {
            changed |= agent.pods != pods;
            agent.pods = pods;
            if !hidden {
                (agent.volumes, agent.versions) = (volumes, Some(versions));
            }
        }
        agent.desired = wished.or(agent.desired.take());
        if !hidden {
            agent.set_identifier = set_identifier;
            agent.listed = true;
        }
        if changed {
            self.poke(pod);
        }
    }

    /// All that the pods and claims that an agent sees are made from: while it is the same, so are they.
    fn object_versions(&self) -> ObjectVersions {
        std::array::from_fn(|pod| {
            let at = &self.pods[pod];
            let flags = [at.exists, at.up, at.deleting_until.is_some(), at.schedulable];
            (at.incarnation, at.version, flags, self.api.stamped.get(&(pod as u32)).copied())
        })
    }

    /// Marks what tells of data; what is marked its agent knows at once.
    pub fn stamp(&mut self, pod: usize, identifier: SystemIdentifier, ordinals: &BTreeSet<u32>) -> bool {
        if !self.api_answers(pod) {
            return false;
        }
        if self.api.refuses_marks {
            self.pods[pod].agent.marks_refused = Some("persistentvolumeclaims is forbidden".to_owned());
            return false;
        }
        self.api.set_stamped = Some(identifier);
        let agent = &mut self.pods[pod].agent;
        (agent.marks_refused, agent.set_identifier) = (None, Some(identifier));
        for ordinal in ordinals {
            self.api.stamped.insert(*ordinal, identifier);
            if let Some(volume) = agent.volumes.get_mut(ordinal) {
                volume.system_identifier = Some(identifier);
            }
        }
        true
    }

    fn pod_objects(&self) -> BTreeMap<String, PodSeen> {
        self.pods
            .iter()
            .filter(|at| at.exists)
            .map(|at| {
                let seen = PodSeen {
                    ordinal: at.ordinal as u32,
                    uid: at.uid(),
                    resource_version: at.version.to_string(),
                    running: at.up,
                    deleting: at.deleting_until.is_some(),
                    node: Some(format!("node-{}", at.ordinal)),
                    address: Some(at.address()),
                    labels: at.labels.clone(),
                    terminated: at.terminated.clone(),
                    template_hash: at.template_hash.clone(),
                    has_certificate: has_certificate(&at.template_hash),
                    crash_loop_by_signal: false,
                };
                (at.name.clone(), seen)
            })
            .collect()
    }

    fn claims(&self) -> BTreeMap<u32, VolumeSeen> {
        self.pods
            .iter()
            .filter(|at| at.exists)
            .map(|at| {
                let ordinal = at.ordinal as u32;
                let seen = VolumeSeen {
                    uid: format!("claim-{ordinal}"),
                    bound: at.schedulable,
                    system_identifier: self.api.stamped.get(&ordinal).copied(),
                    never_initialised: false,
                };
                (ordinal, seen)
            })
            .collect()
    }

    /// An agent learns of a version of the Lease. `sent`: an own uncached read or write, with when it was sent.
    pub fn see_lease(&mut self, pod: usize, version: LeaseVersion, record: Record, sent: Option<u64>) {
        let clock = self.clock(pod);
        let format = record.format;
        let reads = self.reads_record(pod);
        let agent = &mut self.pods[pod].agent;
        if format > reads {
            let why = format!("its format is {format}, this agent reads {reads}");
            agent.lease = LeaseSeen::Unusable { why };
            self.poke(pod);
            return;
        }
        let number = |version: &LeaseVersion| version.resource_version.parse::<u64>().unwrap_or(0);
        let (first_seen_ms, fresh_before) = match &agent.lease {
            LeaseSeen::Read(read) => {
                if number(&read.version) > number(&version) && sent.is_none() {
                    return;
                }
                let same = read.version == version;
                let first = if read.record == record { read.first_seen_ms } else { clock };
                (first, read.fresh_ms.filter(|_| same))
            }
            LeaseSeen::Unread | LeaseSeen::Missing { .. } | LeaseSeen::Unusable { .. } => (clock, None),
        };
        let changed = !matches!(&agent.lease, LeaseSeen::Read(read) if read.version == version);
        agent.lease =
            LeaseSeen::Read(LeaseRead { version, record, first_seen_ms, fresh_ms: sent.or(fresh_before) });
        if changed {
            self.poke(pod);
        }
    }

    fn ask_peers(&mut self, pod: usize) {
        let clock = self.clock(pod);
        for other in 0..self.pods.len() {
            if other == pod || !self.pods[other].exists {
                if other != pod {
                    let name = self.pods[other].name.clone();
                    self.pods[pod].agent.peers.remove(&name);
                }
                continue;
            }
            let (name, there) = (self.pods[other].name.clone(), &self.pods[other]);
            let answers = there.up
                && self.now >= there.agent.alive_from
                && self.now >= there.agent.frozen_until
                && !self.is_frozen(other)
                && self.net.talks(End::Node(pod), End::Node(other));
            let report = there.agent.report.clone().filter(|_| answers);
            let peers = &mut self.pods[pod].agent.peers;
            let next = match (report, peers.get(&name)) {
                (Some(report), _) => Peer::Heard { asked_ms: clock, report: Box::new(report) },
                (None, Some(Peer::Heard { report, .. })) => {
                    Peer::Silent { since_ms: clock, last: Some(report.clone()) }
                }
                (None, Some(Peer::Silent { since_ms, last })) => {
                    Peer::Silent { since_ms: *since_ms, last: last.clone() }
                }
                (None, None) => Peer::Silent { since_ms: clock, last: None },
            };
            peers.insert(name, next);
        }
    }

    /// The snapshot.
    pub fn observe(&mut self, pod: usize) -> Observation {
        let clock = self.clock(pod);
        let postgres = self.see_postgres(pod, clock);
        let at = &self.pods[pod];
        let agent = &at.agent;
        Observation {
            now_ms: clock,
            me: Identity {
                pod: at.name.clone(),
                pod_uid: at.uid(),
                ordinal: at.ordinal as u32,
                address: at.address(),
                node: format!("node-{pod}"),
                boot_id: boot_id(pod, self.nodes[pod].boot),
                nonce: at.nonce.clone(),
                template_hash: at.template_hash.clone(),
                anchor_uid: self.api.desired.anchor_uid.clone(),
                agent_version: "sim".to_owned(),
                postgres_major: MAJOR,
            },
            desired: agent.desired.clone(),
            lease: agent.lease.clone(),
            last_write: agent.last_write.clone(),
            api_answered_ms: None,
            data: see_data(at),
            kept: at.volume.kept.clone(),
            postgres,
            complaints: Complaints {
                marks_refused: agent.marks_refused.clone(),
                starts_failed: self.starts_failed(pod),
                ..Complaints::default()
            },
            postmaster: at.postgres.process().map(|process| process.id),
            credentials: Some(agent.credentials),
            jobs: agent.jobs.clone(),
            peers: agent.peers.clone(),
            pods: agent.pods.clone(),
            listed: agent.listed,
            volumes: agent.volumes.clone(),
            stateful_set_identifier: agent.set_identifier,
            holder_heard: HolderHeard {
                listening_ms: self.nodes[pod]
                    .clock(agent.alive_from.max(at.frozen_until).max(agent.frozen_until)),
                ..agent.holder_heard.clone()
            },
            acks: agent.acks.clone(),
            promises: Promises { given: self.promise_of(pod), asked: agent.asked.clone() },
            signals: Signals {
                terminate_ms: agent.terminate_ms,
                requests: agent.requests.clone(),
                lifted: agent.lifted.clone(),
                fenced_alone_ms: None,
            },
            disk: if self.now < at.disk_hung_until {
                DiskSeen::Hung { since_ms: clock }
            } else if at.disk_full {
                DiskSeen::Full
            } else {
                DiskSeen::Healthy
            },
            agent: self.see_agent(pod),
        }
    }

    fn see_postgres(&mut self, pod: usize, clock: u64) -> PostgresSeen {
        let frozen = self.is_postgres_frozen(pod);
        let walsenders = match &self.pods[pod].postgres {
            Postgres::Running(process) | Postgres::Stopping { process, .. } => self.see_walsenders(process),
            Postgres::Down | Postgres::Starting { .. } => Vec::new(),
        };
        let (id, primary) = match &self.pods[pod].postgres {
            Postgres::Down => return PostgresSeen::Down,
            Postgres::Starting { process, .. } => {
                let id = process.id;
                return self.see_starting(pod, id, clock);
            }
            Postgres::Stopping { since, .. } => {
                let since_ms = self.nodes[pod].clock(*since);
                return PostgresSeen::Stopping { since_ms, walsenders };
            }
            Postgres::Running(process) => (process.id, process.primary),
        };
        let (mut started_ms, mut primary_since) = match self.pods[pod].agent.seen_process {
            Some((known, started, since)) if known == id => (started, since),
            Some(_) | None => (clock, None),
        };
        if primary {
            primary_since = primary_since.or(Some(clock));
        }
        started_ms = started_ms.min(clock);
        self.pods[pod].agent.seen_process = Some((id, started_ms, primary_since));
        if frozen {
            let since_ms = self.nodes[pod].clock(self.now);
            return PostgresSeen::Unresponsive { since_ms, was_primary: primary };
        }
        let at = &self.pods[pod];
        let (Postgres::Running(process), Some(data)) = (&at.postgres, &at.volume.data) else {
            return PostgresSeen::Unknown;
        };
        let settings = self.see_settings(process);
        let last = self.api.desired.replicas.max(self.api.set_replicas.saturating_sub(1));
        let slots: BTreeMap<u32, SlotSeen> = (0..=last)
            .filter(|ordinal| *ordinal as usize != pod)
            .map(|ordinal| (ordinal, SlotSeen { restart_lsn: None, active: false, lost: false }))
            .collect();
        let timeline = TimelineId(data.timeline());
        if process.primary {
            let start = data.history.last().map_or(0, |(_, start)| *start);
            return PostgresSeen::Primary(PrimarySeen {
                started_ms,
                primary_since_ms: primary_since.unwrap_or(clock),
                timeline,
                timeline_start_lsn: lsn(start),
                current_lsn: lsn(data.wal.len()),
                walsenders,
                names_shown: process.names.clone(),
                in_force: process.in_force.clone(),
                gate: if process.gate_open { Gate::Open } else { Gate::Closed },
                checkpoint_since_promotion: process.checkpointed,
                settings,
                slots,
            });
        }
        let stream = match (&process.upstream, &process.receiver) {
            (Some(upstream), Some(_)) => StreamSeen::Streaming { upstream: upstream.clone() },
            (Some(upstream), None) => StreamSeen::Waiting { upstream: Some(upstream.clone()) },
            (None, _) if process.detached => StreamSeen::Detached,
            (None, _) => StreamSeen::Waiting { upstream: None },
        };
        PostgresSeen::Standby(StandbySeen {
            started_ms,
            replayed_to_end: process.replayed_to_end(),
            replay_idle: process.replayed == data.wal.len(),
            // Told only once the walreceiver runs: it starts when local WAL has been replayed.
            received_lsn: lsn(if process.replayed_to_end() { data.wal.len() } else { process.replayed }),
            replayed_lsn: lsn(process.replayed),
            timeline,
            stream,
            upstream_lacks_wal: data.outrun && process.receiver.is_none(),
            replay_paused: false,
            settings,
            slots,
        })
    }

    fn see_starting(&mut self, pod: usize, id: u64, clock: u64) -> PostgresSeen {
        let agent = &mut self.pods[pod].agent;
        let (_, since_ms) = agent.starting.filter(|(known, _)| *known == id).unwrap_or((id, clock));
        agent.starting = Some((id, since_ms));
        PostgresSeen::Starting { since_ms }
    }

    fn see_walsenders(&self, process: &Process) -> Vec<Walsender> {
        process
            .senders
            .values()
            .map(|sender| Walsender {
                pid: sender.pid,
                application_name: sender.member.to_string(),
                ours: true,
                streaming: true,
                sent_lsn: lsn(sender.flushed),
                flushed_lsn: lsn(sender.flushed),
                reply_age_ms: self.now - sender.replied_at,
            })
            .collect()
    }
}

fn see_data(at: &crate::pod::Pod) -> DataSeen {
    let data = at.volume.data.as_ref().map(|data| LocalData {
        member: data.member.clone(),
        system_identifier: SystemIdentifier(data.system),
        era: data.era,
        marks: data.marks.clone(),
        timeline: TimelineId(data.timeline()),
        control: data.control,
        shutdown_lsn: (data.control == pgha_agent_core::observation::ControlState::ShutDown)
            .then(|| lsn(data.wal.len())),
        lacks_wal: data.waits,
        replay_bytes: 0,
        postgres_major: MAJOR,
    });
    match (at.volume.marker, data) {
        (Some(what), data) => DataSeen::Unfinished { what, data },
        (None, Some(data)) => DataSeen::Present(data),
        (None, None) => DataSeen::Empty,
    }
}

/// Certificates come and go with templates: every second one has one.
fn has_certificate(template: &str) -> bool {
    template.bytes().last().is_some_and(|digit| digit % 2 == 1)
}
