//! Small words for observations, and decisions as text.

use std::collections::{BTreeMap, BTreeSet};

use pgha_agent_core::decision::{Attempt, Decision, Lack, Reason, StartAs};
use pgha_agent_core::failsafe::{Rivals, acknowledges};
use pgha_agent_core::heartbeat::beat;
use pgha_agent_core::observation::{
    AckSeen, AgentSeen, AskedSeen, Complaints, ControlState, DataSeen, DesiredSeen, DiskSeen, Gate,
    HeartbeatSeen, HolderHeard, Identity, InForce, Job, Jobs, LeaseRead, LeaseSeen, LeaseVersion, LocalData,
    Marks, Peer, PodSeen, PostgresSeen, PrimarySeen, Promises, Received, RefusedAgent, RefusedSeen,
    SettingsSeen, Signals, SlotSeen, StandbySeen, StreamSeen, Upstream, VolumeSeen, Walsender, WriteOutcome,
    WriteSeen,
};
use pgha_agent_core::{Action, Memory, Observation, Timing, decide, report};
use pgha_schema::desired::{
    AgentBinary, BootstrapSpec, BreakGlass, Credentials, Desired, Durability, FailoverSpec, RunState,
    SyncMode,
};
use pgha_schema::ids::{BootId, ContainerNonce, Era, MemberId, SystemIdentifier};
use pgha_schema::lsn::{Lsn, TimelineId};
use pgha_schema::names::{LABEL_READ_ONLY, LABEL_ROLE, ROLE_PRIMARY, ROLE_REPLICA};
use pgha_schema::peer::RecordVersion;
use pgha_schema::record::{
    Bootstrap, EraEntry, ExchangePermit, Holder, MemberEntry, Pause, Record, Release, Switchover,
};
use pgha_schema::request::{Answer, Asked, Outcome, Request};
use pgha_schema::status::{
    Acknowledged, AgentRefusal, AgentReport, ClusterStatus, FailedStarts, RefusedSettings, Role,
};

pub const NOW: u64 = 1_000_000;
const SYSTEM: SystemIdentifier = SystemIdentifier(7);

/// What db-0, whose data is m0, sees; its position is 1000. Others: db-1 with m1, db-2 with m2.
#[derive(Clone)]
pub struct Seen {
    observation: Observation,
    memory: Memory,
}

pub fn seen() -> Seen {
    let document = Desired {
        format: 1,
        generation: 1,
        anchor_uid: "anchor".into(),
        state: RunState::Running,
        replicas: 2,
        sync_mode: SyncMode::Sync,
        sync_replicas: 1,
        durability: Durability::Preferred,
        postgres_major: 18,
        template_hash: "t".into(),
        agent: None,
        parameters: BTreeMap::new(),
        pg_hba: Vec::new(),
        tls: None,
        bootstrap: BootstrapSpec {
            database: "app".into(),
            owner: "app".into(),
            encoding: "UTF8".into(),
            locale: "C".into(),
            data_checksums: true,
        },
        failover: FailoverSpec::default(),
        requests: Vec::new(),
        credentials: Credentials::default(),
        break_glass: None,
        taken_back: BTreeSet::new(),
    };
    let mut record = Record::initial("anchor", SyncMode::Sync);
    record.bootstrap = Bootstrap::Done;
    record.system_identifier = Some(SYSTEM);
    record.eras =
        vec![EraEntry { era: Era(1), parent: None, timeline: Some(TimelineId(1)), start: Some(Lsn(0)) }];
    record.voters = BTreeSet::from([MemberId::new("m1")]);
    record.lease_duration_ms = 10_000;
    record.fence_after_ms = 6_000;
    for number in 0..3 {
        let entry = MemberEntry { pod: format!("db-{number}"), node: format!("node-{number}") };
        record.members.insert(MemberId::new(format!("m{number}")), entry);
    }
    let observation = Observation {
        now_ms: NOW,
        me: Identity {
            pod: "db-0".into(),
            pod_uid: "u0".into(),
            ordinal: 0,
            address: "a0".into(),
            node: "node-0".into(),
            boot_id: BootId::new("b0"),
            nonce: ContainerNonce::new("n0"),
            template_hash: "t".into(),
            anchor_uid: "anchor".into(),
            agent_version: "test".into(),
            postgres_major: 18,
        },
        desired: Some(DesiredSeen { document, sha256: "s".into() }),
        lease: LeaseSeen::Read(LeaseRead {
            version: LeaseVersion { uid: "l".into(), resource_version: "5".into() },
            record: record.clone(),
            first_seen_ms: NOW - 1_000,
            fresh_ms: Some(NOW - 100),
        }),
        last_write: None,
        api_answered_ms: None,
        data: DataSeen::Empty,
        kept: Some(record),
        postgres: PostgresSeen::Down,
        complaints: Complaints::default(),
        postmaster: Some(1),
        credentials: Some(Credentials::default()),
        jobs: Jobs::default(),
        peers: BTreeMap::new(),
        pods: BTreeMap::new(),
        listed: true,
        volumes: BTreeMap::new(),
        stateful_set_identifier: Some(SYSTEM),
        holder_heard: HolderHeard::default(),
        acks: BTreeMap::new(),
        promises: Promises::default(),
        signals: Signals::default(),
        disk: DiskSeen::Healthy,
        agent: AgentSeen { sha256: "old".into(), exchangeable: true, ..AgentSeen::default() },
    };
    Seen { observation, memory: Memory { names_never_empty: true, ..Memory::default() } }
}

fn settings() -> SettingsSeen {
    SettingsSeen {
        rendered: Some(Acknowledged { generation: 1, sha256: "s".into() }),
        ..SettingsSeen::default()
    }
}

fn slots() -> BTreeMap<u32, SlotSeen> {
    [1, 2].into_iter().map(|at| (at, SlotSeen { restart_lsn: None, active: true, lost: false })).collect()
}

impl Seen {
    fn data(mut self, control: ControlState) -> Self {
        self.observation.data = DataSeen::Present(LocalData {
            member: MemberId::new("m0"),
            system_identifier: SYSTEM,
            era: Some(Era(1)),
            marks: Some(Marks { anchor_uid: "anchor".into(), system_identifier: SYSTEM }),
            timeline: TimelineId(1),
            control,
            shutdown_lsn: (control == ControlState::ShutDown).then_some(Lsn(1_000)),
            lacks_wal: false,
            replay_bytes: 0,
            postgres_major: 18,
        });
        self
    }

    fn read(&mut self) -> &mut LeaseRead {
        match &mut self.observation.lease {
            LeaseSeen::Read(read) => read,
            LeaseSeen::Unread | LeaseSeen::Missing { .. } | LeaseSeen::Unusable { .. } => {
                unreachable!("these builders always have a record")
            }
        }
    }

    fn edit_primary(mut self, edit: impl FnOnce(&mut PrimarySeen)) -> Self {
        if let PostgresSeen::Primary(primary) = &mut self.observation.postgres {
            edit(primary);
        }
        self
    }

    pub fn pending(mut self) -> Self {
        self.read().record = Record::initial("anchor", SyncMode::Sync);
        self.observation.stateful_set_identifier = None;
        self
    }

    pub fn stamped(mut self, ordinal: u32) -> Self {
        let volume = VolumeSeen {
            uid: "v".into(),
            bound: true,
            system_identifier: Some(SYSTEM),
            never_initialised: false,
        };
        self.observation.volumes.insert(ordinal, volume);
        self
    }

    /// A claim that does not tell of its data.
    pub fn unmarked(mut self, ordinal: u32) -> Self {
        self = self.stamped(ordinal);
        self.observation.volumes.entry(ordinal).and_modify(|volume| volume.system_identifier = None);
        self
    }

    /// Clients were never let in here.
    pub fn let_nobody_in(mut self) -> Self {
        if let DataSeen::Present(data) = &mut self.observation.data {
            data.marks = None;
        }
        self
    }

    /// They were under these marks.
    pub fn let_in_under(mut self, anchor: &str, system_identifier: u64) -> Self {
        if let DataSeen::Present(data) = &mut self.observation.data {
            let system_identifier = SystemIdentifier(system_identifier);
            data.marks = Some(Marks { anchor_uid: anchor.into(), system_identifier });
        }
        self
    }

    /// A new process, to which Kubernetes shows neither claims nor the StatefulSet.
    pub fn unlisted(mut self) -> Self {
        self.observation.volumes.clear();
        (self.observation.listed, self.observation.stateful_set_identifier) = (false, None);
        self
    }

    pub fn marks_refused(mut self) -> Self {
        self.observation.complaints.marks_refused = Some("forbidden".into());
        self
    }

    /// The claims that are to be marked, if any are.
    pub fn marks(&self) -> Option<Vec<u32>> {
        let decision = decide(&Timing::default(), &self.memory, &self.observation);
        decision.actions.into_iter().find_map(|action| match action {
            Action::StampVolumes { ordinals, .. } => Some(ordinals.into_iter().collect()),
            _ => None,
        })
    }

    pub fn down(self, control: ControlState) -> Self {
        self.data(control)
    }

    pub fn primary(mut self) -> Self {
        self = self.data(ControlState::InProduction);
        self.observation.postgres = PostgresSeen::Primary(PrimarySeen {
            started_ms: NOW - 60_000,
            primary_since_ms: NOW - 60_000,
            timeline: TimelineId(1),
            timeline_start_lsn: Lsn(0),
            current_lsn: Lsn(1_000),
            walsenders: Vec::new(),
            names_shown: "FIRST 1 (m1)".into(),
            in_force: Some(InForce { names: "FIRST 1 (m1)".into(), from_lsn: Lsn(500) }),
            gate: Gate::Open,
            checkpoint_since_promotion: true,
            settings: settings(),
            slots: slots(),
        });
        self.streams(&["m1", "m2"])
    }

    pub fn streams(self, members: &[&str]) -> Self {
        self.edit_primary(|primary| {
            primary.walsenders = members
                .iter()
                .zip(1..)
                .map(|(member, pid)| Walsender {
                    pid,
                    application_name: (*member).to_owned(),
                    ours: true,
                    streaming: true,
                    sent_lsn: Lsn(1_000),
                    flushed_lsn: Lsn(1_000),
                    reply_age_ms: 10,
                })
                .collect();
        })
    }

    pub fn gate(self, gate: Gate) -> Self {
        self.edit_primary(|primary| primary.gate = gate)
    }

    pub fn not_checkpointed(self) -> Self {
        self.edit_primary(|primary| primary.checkpoint_since_promotion = false)
    }

    pub fn primary_for(self, ms: u64) -> Self {
        self.edit_primary(|primary| primary.primary_since_ms = NOW - ms)
    }

    pub fn standby(mut self) -> Self {
        self = self.data(ControlState::InRecovery);
        let upstream = Upstream {
            pod: "db-1".into(),
            address: "a1".into(),
            member: MemberId::new("m1"),
            era: Era(1),
            encrypted: false,
        };
        self.observation.postgres = PostgresSeen::Standby(StandbySeen {
            started_ms: NOW - 60_000,
            replayed_to_end: true,
            replay_idle: true,
            received_lsn: Lsn(1_000),
            replayed_lsn: Lsn(1_000),
            timeline: TimelineId(1),
            stream: StreamSeen::Streaming { upstream },
            upstream_lacks_wal: false,
            replay_paused: false,
            settings: settings(),
            slots: slots(),
        });
        self.memory.slots_set_ms = Some(NOW);
        self
    }

    /// The holder's pod has a certificate.
    pub fn holder_has_certificate(self) -> Self {
        self.pod(1, |pod| pod.has_certificate = true)
    }

    /// Its postgres reads WAL for so long, and has not said a word.
    pub fn starting_for(mut self, ms: u64) -> Self {
        self = self.data(ControlState::InRecovery);
        self.observation.postgres = PostgresSeen::Starting { since_ms: NOW - ms };
        self
    }

    /// So many starts have ended before postgres answered, the last one long ago.
    pub fn failed_starts(mut self, count: u32) -> Self {
        self.memory.failed_starts = count;
        self.memory.started_ms = Some(NOW - 60_000);
        self
    }

    /// A file of WAL that its data needs to be consistent is not there.
    pub fn wal_gone(mut self) -> Self {
        if let DataSeen::Present(data) = &mut self.observation.data {
            data.lacks_wal = true;
        }
        self
    }

    /// Postgres answered last so long ago.
    pub fn answered_ago(mut self, ms: u64) -> Self {
        self.memory.answered_ms = Some(NOW - ms);
        self
    }

    /// Somebody has led in a second era, which began here.
    pub fn second_era_from(mut self, start: u64) -> Self {
        let timeline = Some(TimelineId(2));
        let second = EraEntry { era: Era(2), parent: Some(Era(1)), timeline, start: Some(Lsn(start)) };
        self.read().record.eras.push(second);
        self
    }

    /// This member has taken the lead that db-1 handed over, whose pod carries the primary's label, and goes or stays.
    pub fn took_from_a_pod(mut self, deleting: bool) -> Self {
        self.memory.predecessor_gone = true;
        self = self.terminated(0).terminated(1);
        for (number, role) in [(0, ROLE_REPLICA), (1, ROLE_PRIMARY)] {
            let pod = self.observation.pods.get_mut(&format!("db-{number}")).expect("was just put there");
            pod.running = true;
            pod.deleting = deleting && number == 1;
            pod.terminated.clear();
            pod.labels.insert(LABEL_ROLE.to_owned(), role.to_owned());
        }
        self.second_era_opens().held_by_me().renewed_ago(10)
    }

    /// What is ordered, as far as there is a word for it.
    fn ordered<T>(&self, word: impl Fn(&Action) -> Option<T>) -> Vec<T> {
        let decision = decide(&Timing::default(), &self.memory, &self.observation);
        decision.actions.iter().filter_map(word).collect()
    }

    /// The order of labels and promotion.
    pub fn promotes(&self) -> Vec<String> {
        self.ordered(|action| match action {
            Action::LabelPod { pod, .. } => Some(pod.clone()),
            Action::Promote => Some("promote".to_owned()),
            _ => None,
        })
    }

    /// Somebody has taken the lead, and promotes.
    pub fn second_era_opens(mut self) -> Self {
        let second = EraEntry { era: Era(2), parent: Some(Era(1)), timeline: None, start: None };
        self.read().record.eras.push(second);
        self
    }

    /// The recorded holder, heard as the primary of the recorded era.
    pub fn serving(self, number: u32) -> Self {
        self.serving_but(number, |_| {})
    }

    /// The same with something else in its report.
    pub fn serving_but(self, number: u32, edit: impl FnOnce(&mut AgentReport)) -> Self {
        let era = self.observation.record().map(Record::era);
        let applied = self.observation.desired.as_ref().map(|desired| Acknowledged {
            generation: desired.document.generation,
            sha256: desired.sha256.clone(),
        });
        self.told_by(number, |report| {
            report.role = Role::Primary;
            report.applied = applied;
            report.nonce = ContainerNonce::new(format!("old{number}"));
            report.era = era;
            edit(report);
        })
    }

    pub fn detached(mut self) -> Self {
        if let PostgresSeen::Standby(standby) = &mut self.observation.postgres {
            standby.stream = StreamSeen::Detached;
        }
        self
    }

    /// Its stream has ended, and postgres tries to come back into it.
    pub fn cut_off(mut self) -> Self {
        if let PostgresSeen::Standby(standby) = &mut self.observation.postgres
            && let StreamSeen::Streaming { upstream } = standby.stream.clone()
        {
            standby.stream = StreamSeen::Waiting { upstream: Some(upstream) };
        }
        self
    }

    /// Postgres refuses a setting of the wished document, and so has not taken that document.
    pub fn refuses_a_setting(mut self) -> Self {
        let Some(desired) = &self.observation.desired else { return self };
        let document =
            Acknowledged { generation: desired.document.generation, sha256: desired.sha256.clone() };
        let settings = BTreeMap::from([("work_mem".to_owned(), "invalid value".to_owned())]);
        self.observation.complaints.refused = Some(RefusedSettings { document, settings });
        match &mut self.observation.postgres {
            PostgresSeen::Primary(primary) => primary.settings.rendered = None,
            PostgresSeen::Standby(standby) => standby.settings.rendered = None,
            _ => {}
        }
        self
    }

    /// Postgres has ended by itself at so many starts.
    pub fn ends_at_starts(mut self, starts: u32) -> Self {
        let document = Acknowledged { generation: 1, sha256: "s".into() };
        let failed = FailedStarts { document, starts, exit_code: 1, instead: None };
        self.observation.complaints.starts_failed = Some(failed);
        self
    }

    /// It runs with the parameters of the document before, since it has ended at each start with those that are wished.
    pub fn fell_back(mut self) -> Self {
        let settings = match &mut self.observation.postgres {
            PostgresSeen::Primary(primary) => &mut primary.settings,
            PostgresSeen::Standby(standby) => &mut standby.settings,
            _ => return self,
        };
        let (before, Some(desired)) = (settings.rendered.clone(), &self.observation.desired) else {
            return self;
        };
        let document =
            Acknowledged { generation: desired.document.generation, sha256: desired.sha256.clone() };
        let failed = FailedStarts { document, starts: 3, exit_code: 1, instead: before };
        self.observation.complaints.starts_failed = Some(failed);
        self
    }

    /// Settings of its own wait for a restart.
    pub fn restart_due(self) -> Self {
        self.edit_primary(|primary| primary.settings.pending_restart = true)
    }

    /// Whom the record lets restart.
    pub fn restarts(&self) -> Option<String> {
        let decision = decide(&Timing::default(), &self.memory, &self.observation);
        decision.actions.into_iter().find_map(|action| match action {
            Action::WriteRecord { record, .. } => record.restart.map(|permit| permit.member.to_string()),
            _ => None,
        })
    }

    /// What it tells that it does.
    pub fn activity(&self) -> Vec<String> {
        let decision = decide(&Timing::default(), &self.memory, &self.observation);
        report(&self.observation, &decision).activity
    }

    /// The status that is ordered.
    pub fn status(&self) -> Option<ClusterStatus> {
        let decision = decide(&Timing::default(), &self.memory, &self.observation);
        decision.actions.into_iter().find_map(|action| match action {
            Action::WriteStatus { status } => Some(*status),
            _ => None,
        })
    }

    /// The API server let its last write not pass, for good.
    pub fn refused_by_the_api(mut self) -> Self {
        self.observation.last_write = Some(WriteSeen { at_ms: NOW - 200, outcome: WriteOutcome::Refused });
        self
    }

    /// What is ordered that nobody waits for: labels beside the primary's, status, checkpoint, passwords.
    pub fn also(&self) -> Vec<String> {
        self.ordered(|action| match action {
            Action::WriteStatus { .. } => Some("status".to_owned()),
            Action::SetPasswords { .. } => Some("passwords".to_owned()),
            Action::Checkpoint => Some("checkpoint".to_owned()),
            Action::LabelPod { pod, labels, .. } => {
                Some(format!("{pod} {}", labels.keys().cloned().collect::<Vec<_>>().join(" ")))
            }
            _ => None,
        })
    }

    pub fn held_by(mut self, pod: &str, member: &str) -> Self {
        let number = pod.trim_start_matches("db-").to_owned();
        let holder = Holder {
            pod: pod.into(),
            member: Some(MemberId::new(member)),
            nonce: ContainerNonce::new(format!("old{number}")),
            node: format!("node-{number}"),
            boot_id: BootId::new(format!("b{number}")),
            address: format!("a{number}"),
        };
        self.read().record.holder = Some(holder);
        self
    }

    pub fn held_by_me(mut self) -> Self {
        self = self.held_by("db-0", "m0");
        let nonce = self.observation.me.nonce.clone();
        if let Some(holder) = &mut self.read().record.holder {
            holder.nonce = nonce;
        }
        self
    }

    pub fn renewed_ago(mut self, ms: u64) -> Self {
        let record = self.read().record.clone();
        self.memory.attempt = Some(Attempt { record, if_version: None, at_ms: NOW - ms });
        self
    }

    pub fn voters(mut self, members: &[&str]) -> Self {
        self.read().record.voters = members.iter().map(|member| MemberId::new(*member)).collect();
        self
    }

    pub fn unchanged_for(mut self, ms: u64) -> Self {
        let read = self.read();
        read.first_seen_ms = NOW - ms;
        read.fresh_ms = Some(NOW);
        self
    }

    pub fn heartbeat_ago(mut self, ms: u64) -> Self {
        let (era, at_ms) = (Era(1), NOW - ms);
        let nonce = ContainerNonce::new("old1");
        self.observation.holder_heard.last = Some(HeartbeatSeen { era, nonce, at_ms });
        self
    }

    pub fn refused_at(mut self, number: u32, ago_ms: u64) -> Self {
        let address = format!("a{number}");
        self = self.terminated(number);
        if let Some(pod) = self.observation.pods.get_mut(&format!("db-{number}")) {
            pod.terminated.clear();
            pod.address = Some(address.clone());
        }
        let since_ms = NOW - ago_ms - 150;
        self.observation.holder_heard.refused = Some(RefusedSeen { address, since_ms, at_ms: NOW - ago_ms });
        self
    }

    pub fn acknowledged(mut self, member: &str, ago_ms: u64) -> Self {
        let ack = AckSeen { era: Era(1), asked_ms: NOW - ago_ms, binds: true };
        self.observation.acks.insert(MemberId::new(member), ack);
        self
    }

    /// The loop turned last before the deadline of its renewal, and decided as it does now.
    pub fn turned(mut self, ago_ms: u64) -> Self {
        let mut before = self.observation.clone();
        before.now_ms = NOW - ago_ms;
        self.memory = decide(&Timing::default(), &self.memory, &before).memory;
        self
    }

    pub fn promised(mut self, version: &str) -> Self {
        let version = LeaseVersion { uid: "l".into(), resource_version: version.into() };
        self.observation.promises.given = Some(version);
        self
    }

    pub fn asked(mut self, version: &str) -> Self {
        let version = LeaseVersion { uid: "l".into(), resource_version: version.into() };
        self.observation.promises.asked = Some(AskedSeen { version, at_ms: NOW - 10 });
        self
    }

    pub fn degraded(mut self) -> Self {
        self.read().record.degraded = true;
        self
    }

    /// This agent tried to write these voters, and got no answer.
    pub fn tried(mut self, members: &[&str]) -> Self {
        let mut record = self.read().record.clone();
        record.voters = members.iter().map(|member| MemberId::new(*member)).collect();
        record.renewals += 1;
        self.memory.unsettled.insert(Rivals::of(&record));
        self.memory.renewed_ms = self.memory.attempt.take().map(|attempt| attempt.at_ms);
        self.memory.attempt = Some(Attempt { record, if_version: None, at_ms: NOW });
        self
    }

    pub fn quorum(mut self, quorum: u32) -> Self {
        self.read().record.quorum = quorum;
        self
    }

    /// Another member tells of its promise for version 5, at this position.
    pub fn promise_of(self, number: u32, position: u64) -> Self {
        self.told_by(number, |report| {
            report.position = Some(Lsn(position));
            report.promise = Some(RecordVersion { uid: "l".into(), resource_version: "5".into() });
        })
    }

    /// The guard has fenced unasked.
    pub fn guard_fenced_ago(mut self, ms: u64) -> Self {
        self.observation.signals.fenced_alone_ms = Some(NOW - ms);
        self
    }

    /// There has been a ground to take the record for so long.
    pub fn stands_since(mut self, ms: u64) -> Self {
        self.memory.candidate_since_ms = Some(NOW - ms);
        self
    }

    /// Another member lives in the current era.
    pub fn followed_by(self, number: u32) -> Self {
        self.told_by(number, |report| report.role = Role::Standby)
    }

    pub fn told_by(mut self, number: u32, edit: impl FnOnce(&mut AgentReport)) -> Self {
        let told = decide(&Timing::default(), &self.memory, &self.observation);
        let mut report = report(&self.observation, &told);
        report.pod = format!("db-{number}");
        report.member = Some(MemberId::new(format!("m{number}")));
        edit(&mut report);
        let heard = Peer::Heard { asked_ms: NOW, report: Box::new(report) };
        self.observation.peers.insert(format!("db-{number}"), heard);
        self
    }

    pub fn cached(mut self) -> Self {
        self.read().fresh_ms = None;
        self
    }

    pub fn terminated(self, number: u32) -> Self {
        self.pod(number, |pod| pod.terminated = BTreeSet::from([ContainerNonce::new(format!("old{number}"))]))
    }

    fn pod(mut self, number: u32, edit: impl FnOnce(&mut PodSeen)) -> Self {
        let mut pod = PodSeen {
            ordinal: number,
            uid: "u".into(),
            resource_version: "1".into(),
            running: false,
            deleting: false,
            node: None,
            address: None,
            labels: BTreeMap::new(),
            terminated: BTreeSet::new(),
            template_hash: "t".into(),
            has_certificate: false,
            crash_loop_by_signal: false,
        };
        edit(&mut pod);
        self.observation.pods.insert(format!("db-{number}"), pod);
        self
    }

    pub fn released(mut self, position: u64) -> Self {
        self.read().record.release = Some(Release { position: Lsn(position), target: None });
        self
    }

    pub fn wish(mut self, edit: impl FnOnce(&mut Desired)) -> Self {
        if let Some(desired) = &mut self.observation.desired {
            edit(&mut desired.document);
        }
        self
    }

    pub fn unconfirmed_for(mut self, ms: u64) -> Self {
        self.memory.lack = Some(Lack { since_ms: NOW - ms, standbys: 0 });
        self
    }

    pub fn recorded_async(mut self) -> Self {
        let record = &mut self.read().record;
        record.mode = SyncMode::Async;
        record.voters.clear();
        self
    }

    pub fn recorded_quorum(mut self, members: &[&str], quorum: u32) -> Self {
        self.read().record.mode = SyncMode::Quorum;
        self.voters(members).quorum(quorum)
    }

    pub fn shows(self, names: &str) -> Self {
        self.edit_primary(|primary| {
            names.clone_into(&mut primary.names_shown);
            primary.in_force = None;
        })
    }

    pub fn in_force(self, from: u64) -> Self {
        self.edit_primary(|primary| {
            primary.in_force = Some(InForce { names: primary.names_shown.clone(), from_lsn: Lsn(from) });
        })
    }

    /// Nobody was asked to vouch: the acknowledgements bind nobody.
    pub fn unasked(mut self) -> Self {
        for ack in self.observation.acks.values_mut() {
            ack.binds = false;
        }
        self
    }

    /// The holder asked this member to vouch for it.
    pub fn vouched_ago(mut self, ms: u64) -> Self {
        self = self.heartbeat_ago(ms);
        self.observation.holder_heard.asks.clone_from(&self.observation.holder_heard.last);
        self
    }

    pub fn unrecorded(mut self) -> Self {
        self.read().record.members.remove(&MemberId::new("m0"));
        self
    }

    /// The record knows this member and that other alone.
    pub fn alone_with(mut self, number: u32) -> Self {
        let pods = ["db-0".to_owned(), format!("db-{number}")];
        self.read().record.members.retain(|_, entry| pods.contains(&entry.pod));
        self
    }

    /// This member has tried to take the record as it stands, and may have.
    pub fn tried_to_take(mut self) -> Self {
        let read = self.read().clone();
        let mut record = self.clone().held_by_me().read().record.clone();
        record.renewals += 1;
        self.memory.attempt = Some(Attempt { record, if_version: Some(read.version), at_ms: NOW });
        self
    }

    /// The Lease is known to be lost since so long.
    pub fn lost(mut self, ago_ms: u64) -> Self {
        self.observation.lease = LeaseSeen::Missing { since_ms: NOW - ago_ms };
        self
    }

    pub fn keeps_what_is_recorded(mut self) -> Self {
        self.observation.kept = Some(self.read().record.clone());
        self
    }

    /// The desired document asks for it.
    pub fn wished(self, asked: Asked) -> Self {
        self.wish(|wish| wish.requests.push(Request { id: "w".into(), asked }))
    }

    /// Whom this member acknowledges.
    pub fn acknowledges(&self) -> Option<String> {
        let decision = decide(&Timing::default(), &self.memory, &self.observation);
        let told = acknowledges(&self.observation, &decision)?;
        let when = if told.only_when_asked { ", when asked" } else { "" };
        Some(format!("{} in era {}{when}", told.nonce, told.era))
    }

    /// Another member has replayed so far, and is in the ro Service or not.
    pub fn replays(mut self, number: u32, position: u64, reads: bool) -> Self {
        self = self.told_by(number, |report| {
            report.role = Role::Standby;
            report.replayed = Some(Lsn(position));
        });
        self = self.terminated(number);
        if let Some(pod) = self.observation.pods.get_mut(&format!("db-{number}")) {
            pod.labels = BTreeMap::from([(LABEL_ROLE.to_owned(), ROLE_REPLICA.to_owned())]);
            if reads {
                pod.labels.insert(LABEL_READ_ONLY.to_owned(), "true".to_owned());
            }
        }
        self
    }

    /// What becomes of a pod's part in the ro Service; `None`: nothing.
    pub fn reads(&self, number: u32) -> Option<bool> {
        let decision = decide(&Timing::default(), &self.memory, &self.observation);
        decision.actions.iter().find_map(|action| match action {
            Action::LabelPod { pod, labels, .. } if *pod == format!("db-{number}") => {
                labels.get(LABEL_READ_ONLY).map(Option::is_some)
            }
            _ => None,
        })
    }

    /// The orders that go to the volume.
    pub fn keeps(&self) -> Vec<&'static str> {
        self.ordered(|action| match action {
            Action::KeepRecord { .. } => Some("keep"),
            Action::DropPromise => Some("drop"),
            _ => None,
        })
    }

    /// The new agent is wished for, and all three pods are there; this one knows that it is fetched.
    pub fn new_agent_wished(mut self) -> Self {
        let binary = AgentBinary { version: "2".into(), sha256: "new".into(), chunks: vec!["c".into()] };
        self.observation.agent.fetched = Some("new".into());
        for number in 0..3 {
            self = self.terminated(number);
        }
        for pod in self.observation.pods.values_mut() {
            pod.terminated.clear();
        }
        self.wish(|desired| desired.agent = Some(binary))
    }

    pub fn not_fetched(mut self) -> Self {
        self.observation.agent.fetched = None;
        self
    }

    /// Another member is heard, with this agent.
    pub fn agent_of(self, number: u32, sha256: &str) -> Self {
        self.told_by(number, |report| {
            report.role = Role::Standby;
            report.node = format!("node-{number}");
            report.agent_sha256 = sha256.into();
        })
    }

    /// Another member has taken the new agent back.
    pub fn refused_by(self, number: u32) -> Self {
        let refusal = AgentRefusal { sha256: "new".into(), generation: 1, why: "it crashed".into() };
        self.told_by(number, |report| {
            report.node = format!("node-{number}");
            report.agent_refused = Some(refusal);
        })
    }

    /// The guard here took the new agent back.
    pub fn refused_here(mut self, for_good: bool, ago_ms: u64) -> Self {
        let refusal = AgentRefusal { sha256: "new".into(), generation: 1, why: "it hung".into() };
        self.observation.agent.refused = Some(RefusedAgent { refusal, at_ms: NOW - ago_ms, for_good });
        self
    }

    /// The new agent runs here, and is not trusted yet; it has only just started.
    pub fn on_trial(mut self) -> Self {
        self.observation.agent.sha256 = "new".into();
        self.observation.agent.on_trial = true;
        self.memory = Memory::default();
        self
    }

    pub fn permitted(mut self, pod: &str) -> Self {
        self.read().record.exchange = Some(ExchangePermit { pod: pod.into(), sha256: "new".into() });
        self
    }

    pub fn told_to_stop(mut self) -> Self {
        self.observation.signals.terminate_ms = Some(NOW);
        self
    }

    /// The checkpoint of a hand-over has come back.
    pub fn checkpointed(self) -> Self {
        self.checkpoint(Job::Done { since_ms: NOW, at_ms: NOW })
    }

    /// Its data was cloned, and that came to its end.
    pub fn cloned(mut self) -> Self {
        self.observation.jobs.clone = Job::Done { since_ms: NOW - 90_000, at_ms: NOW - 80_000 };
        self
    }

    pub fn checkpoint(mut self, job: Job) -> Self {
        self.observation.jobs.checkpoint = job;
        self
    }

    /// The hand-over began so long ago.
    pub fn asked_to_go_ago(mut self, ms: u64) -> Self {
        self.memory.handover_since_ms = Some(NOW - ms);
        self
    }

    /// This container released the lead so long ago.
    pub fn released_ago(mut self, ms: u64) -> Self {
        self.memory.released_ms = Some(NOW - ms);
        self
    }

    pub fn disk_full(mut self) -> Self {
        self.observation.disk = DiskSeen::Full;
        self
    }

    /// Another member streams in the current era, and its own disk is full or has room.
    pub fn streamed_by(self, number: u32, disk_full: bool) -> Self {
        self.told_by(number, |report| {
            report.role = Role::Standby;
            report.position = Some(Lsn(1_000));
            report.disk_full = disk_full;
        })
    }

    pub fn paused(mut self) -> Self {
        self.read().record.pause = Some(Pause { id: "p".into() });
        self
    }

    /// A person ended the pause at this agent.
    pub fn lifted(mut self) -> Self {
        self.observation.signals.lifted.insert("p".into());
        self
    }

    pub fn broken_glass(self, member: &str, era: u64) -> Self {
        let allowed = BreakGlass { member: MemberId::new(member), era: Era(era), accept_data_loss: true };
        self.wish(|wish| wish.break_glass = Some(allowed))
    }

    /// Somebody asked this agent so long ago.
    pub fn requested(mut self, asked: Asked, ago_ms: u64) -> Self {
        let request = Request { id: "r".into(), asked };
        self.observation.signals.requests.push(Received { request, at_ms: NOW - ago_ms });
        self
    }

    /// The record carries a hand-over that this member began, or is to finish.
    pub fn handing_over(mut self, from: &str, to: &str) -> Self {
        self.read().record.switchover = Some(Switchover {
            target_pod: Some(to.into()),
            reason: "requested".into(),
            from: Some(MemberId::new(from)),
            id: Some("r".into()),
        });
        self
    }

    /// This process has given the roles the passwords of these writings.
    pub fn passwords_of(mut self, writings: Option<Credentials>) -> Self {
        self.observation.credentials = writings;
        self
    }

    /// The record answers this request.
    pub fn answered(mut self, id: &str) -> Self {
        let (asked, text) = ("pause".to_owned(), "so".to_owned());
        self.read().record.answers.push(Answer { id: id.into(), asked, outcome: Outcome::Done, text });
        self
    }

    /// The next cycle, which remembers this one.
    pub fn next(mut self) -> Self {
        self.memory = decide(&Timing::default(), &self.memory, &self.observation).memory;
        self
    }

    /// The record, the desired document and the reports of others, each of which may say anything.
    pub fn record(&mut self) -> &mut Record {
        match &mut self.observation.lease {
            LeaseSeen::Read(read) => &mut read.record,
            _ => self.observation.kept.as_mut().expect("these builders always keep a record"),
        }
    }

    pub fn documents(&mut self) -> (&mut Desired, &mut BTreeMap<String, Peer>) {
        let desired = self.observation.desired.as_mut().expect("these builders always have a wish");
        (&mut desired.document, &mut self.observation.peers)
    }

    /// Decides by the wished durations, and makes everything that is told or sent after that.
    pub fn whole_turn(&self) -> (Decision, AgentReport) {
        let wish = self.observation.desired.as_ref();
        let timing = wish.and_then(|wish| Timing::try_new(&wish.document.failover).ok()).unwrap_or_default();
        let decision = decide(&timing, &self.memory, &self.observation);
        let report = report(&self.observation, &decision);
        let _ = (acknowledges(&self.observation, &decision), beat(&self.observation, &decision));
        (decision, report)
    }

    pub fn disk_hung(mut self) -> Self {
        self.observation.disk = DiskSeen::Hung { since_ms: NOW - 2_500 };
        self
    }
}

/// What people are told.
pub fn events(seen: &Seen) -> Vec<String> {
    let decision = decide(&Timing::default(), &seen.memory, &seen.observation);
    let told = decision.actions.iter().filter_map(|action| match action {
        Action::EmitEvent { reason, message, .. } => Some(format!("{reason}: {message}")),
        _ => None,
    });
    told.collect()
}

/// The passwords that are to be set, and why the primary does what it does.
pub fn passwords(seen: &Seen) -> (Option<Credentials>, Reason) {
    let decision = decide(&Timing::default(), &seen.memory, &seen.observation);
    let wanted = decision.actions.iter().find_map(|action| match action {
        Action::SetPasswords { wanted } => Some(*wanted),
        _ => None,
    });
    (wanted, decision.reason)
}

/// Decides, and compares all orders but the record's keeping and what is only for people, and the reason.
pub fn check(seen: &Seen, expected: &str) {
    let decision = decide(&Timing::default(), &seen.memory, &seen.observation);
    let orders: Vec<String> = decision
        .actions
        .iter()
        .filter(|action| !action.is_best_effort() && !matches!(action, Action::KeepRecord { .. }))
        .map(text)
        .collect();
    assert_eq!(format!("{}: {:?}", orders.join(", "), decision.reason), expected);
}

/// What a record says, in short.
fn told(record: &Record) -> String {
    let holder = record.holder.as_ref().map_or("-", |holder| holder.pod.as_str());
    let voters: Vec<&str> = record.voters.iter().map(MemberId::as_str).collect();
    let mode = match record.mode {
        SyncMode::Sync => "",
        SyncMode::Quorum => " quorum",
        SyncMode::Async => " async",
    };
    let quorum = if record.quorum > 1 { format!(" q={}", record.quorum) } else { String::new() };
    let degraded = if record.degraded { " degraded" } else { "" };
    let released = if record.release.is_some() { " released" } else { "" };
    let exchange = record.exchange.as_ref().map_or(String::new(), |at| format!(" exchange {}", at.pod));
    let (era, voters) = (record.era(), voters.join(","));
    let paused = if record.pause.is_some() { " paused" } else { "" };
    let answers: String =
        record.answers.iter().map(|one| format!(" {:?}: {}", one.outcome, one.text)).collect();
    format!("{holder} era {era} V=[{voters}]{quorum}{mode}{degraded}{released}{paused}{exchange}{answers}")
}

fn text(action: &Action) -> String {
    match action {
        Action::WriteRecord { record, .. } => format!("WriteRecord({})", told(record)),
        Action::StartPostgres { role: StartAs::Primary, names } => format!("StartPostgres(primary, {names})"),
        Action::StartPostgres { role: StartAs::Standby { upstream }, names } => {
            let of = upstream.as_ref().map_or("nobody", |upstream| upstream.pod.as_str());
            format!("StartPostgres(standby of {of}, {names})")
        }
        Action::GivePromise { version } => format!("GivePromise({})", version.resource_version),
        Action::SetSyncNames { names } => format!("SetSyncNames({names})"),
        Action::ConfirmInForce { names, .. } => format!("ConfirmInForce({names})"),
        Action::Follow { upstream } => format!("Follow({})", upstream.pod),
        Action::Clone { from, .. } => format!("Clone({})", from.pod),
        Action::Rewind { from, .. } => format!("Rewind({})", from.pod),
        Action::CreateLease { record } => format!("CreateLease({})", told(record)),
        Action::ExchangeAgent { sha256, within_ms, tries, .. } => {
            format!("ExchangeAgent({sha256} within {within_ms}, {tries} tries)")
        }
        Action::KeepMarks { marks } => format!("KeepMarks({} {})", marks.anchor_uid, marks.system_identifier),
        Action::FetchAgent { binary } => format!("FetchAgent({})", binary.sha256),
        other => format!("{other:?}"),
    }
}
