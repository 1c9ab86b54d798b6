//! How each rule is left out: what an agent is made to believe, and what becomes of what it does.

use pgha_agent_core::observation::{
    AckSeen, Acks, DataSeen, DiskSeen, InForce, LeaseRead, LeaseSeen, Peer, PostgresSeen, Walsender,
};
use pgha_agent_core::{Action, Memory, Observation};
use pgha_schema::desired::{Desired, Durability, RunState, SyncMode};
use pgha_schema::ids::{ContainerNonce, MemberId};
use pgha_schema::lsn::Lsn;
use pgha_schema::record::{Bootstrap, ExchangePermit, RECORD_FORMAT, Record};
use pgha_schema::status::Acknowledged;

use super::Mutation;

impl Mutation {
    /// What the agent is made to believe.
    pub fn distort(self, seen: &mut Observation) {
        let own = Own {
            nonce: seen.me.nonce.clone(),
            member: seen.member().cloned(),
            is_standby: seen.standby().is_some(),
            postmaster: seen.postmaster,
            now_ms: seen.now_ms,
        };
        let leads = matches!(&seen.lease, LeaseSeen::Read(read) if own.holds(&read.record));
        if let LeaseSeen::Read(read) = &mut seen.lease {
            self.distort_lease(read, &own);
        }
        if let Some(desired) = &mut seen.desired {
            self.distort_wish(&mut desired.document, leads);
        }
        self.distort_the_rest(seen);
    }

    fn distort_lease(self, read: &mut LeaseRead, own: &Own) {
        let record = &mut read.record;
        match self {
            Self::NoExpiry => read.first_seen_ms = read.first_seen_ms.saturating_sub(60_000),
            Self::AnybodyVotes
                if own.is_standby && own.now_ms.saturating_sub(read.first_seen_ms) > 10_000 =>
            {
                record.voters.extend(own.member.clone());
            }
            Self::BehindRelease => {
                if let Some(release) = &mut record.release {
                    (release.position, release.target) = (Lsn::ZERO, None);
                }
            }
            Self::TakesByOnePromise if own.is_standby => record.quorum = 1,
            Self::OneTiming => (record.lease_duration_ms, record.fence_after_ms) = (0, 0),
            Self::DegradesUnrecorded if own.holds(record) && record.degraded => record.voters.clear(),
            Self::ForgetsAnswers => record.answers.clear(),
            Self::IgnoresPause if !own.holds(record) => record.pause = None,
            Self::WidensUnrecorded if own.holds(record) && record.mode == SyncMode::Quorum => {
                let others = record.members.keys().filter(|id| Some(*id) != own.member.as_ref());
                record.voters = others.cloned().collect();
                record.quorum = record.voters.len() as u32;
            }
            Self::ReplacesVoters if !own.holds(record) => {
                record.voters.retain(|voter| Some(voter) != own.member.as_ref());
            }
            Self::RestartsAgain => {
                let permit =
                    record.restart.as_mut().filter(|permit| Some(&permit.member) == own.member.as_ref());
                if let (Some(asked), Some(postmaster)) =
                    (permit.and_then(|one| one.asked.as_mut()), own.postmaster)
                {
                    (asked.nonce, asked.postmaster) = (own.nonce.clone(), postmaster);
                }
            }
            Self::NeverTakesAgain if !own.holds(record) => {
                if let Some(holder) = record.holder.as_mut().filter(|holder| holder.member == own.member) {
                    holder.member = Some(MemberId::new("somebody-else"));
                }
            }
            _ => {}
        }
    }

    fn distort_wish(self, wish: &mut Desired, leads: bool) {
        match self {
            Self::IgnoresMaxLag => wish.failover.max_lag_bytes = None,
            Self::RequiredDegrades => wish.durability = Durability::Preferred,
            Self::BeyondCounts => wish.replicas = wish.replicas.max(2),
            Self::TakesStopped if !leads => wish.state = RunState::Running,
            _ => {}
        }
    }

    fn distort_the_rest(self, seen: &mut Observation) {
        match self {
            Self::RecordsBeforeCatchUp => {
                if let PostgresSeen::Primary(primary) = &mut seen.postgres {
                    primary.in_force =
                        Some(InForce { names: primary.names_shown.clone(), from_lsn: Lsn::ZERO });
                }
            }
            Self::TimelinesOnly => {
                if let (DataSeen::Present(data), LeaseSeen::Read(read)) = (&mut seen.data, &seen.lease) {
                    data.era = Some(read.record.era());
                }
            }
            Self::StaysUnheard => {
                if let LeaseSeen::Read(read) = &seen.lease {
                    seen.acks.extend(acknowledged_by_all(&read.record, seen.now_ms));
                }
            }
            Self::RecreatesUnasked => {
                if let (LeaseSeen::Missing { .. }, Some(kept)) = (&seen.lease, &seen.kept) {
                    seen.acks.extend(acknowledged_by_all(kept, seen.now_ms));
                }
            }
            Self::TrustsUnreplayed => {
                if let PostgresSeen::Standby(standby) = &mut seen.postgres {
                    standby.replayed_to_end = true;
                }
            }
            Self::VouchesUnbound => seen.holder_heard.asks = None,
            Self::PreemptsHeard => (seen.holder_heard.last, seen.holder_heard.listening_ms) = (None, 0),
            Self::RecreatesUnheard => seen.volumes.clear(),
            Self::TakesBehindPromises | Self::LetsNobodyAheadFirst => believe_that_all_are_behind(seen),
            Self::ReinitsTheOnlyCopy => believe_in_another_copy(seen),
            Self::HandsOverToTheUnfit => believe_that_the_silent_stream(seen),
            Self::SpreadsRefusedAgent => forget_refusals(seen),
            Self::RollsPrimaryFirst => believe_that_others_are_rolled(seen),
            Self::ComparesNobody => seen.peers.clear(),
            Self::IgnoresFullDisk => seen.disk = DiskSeen::Healthy,
            Self::AsksForNoRoom if seen.standby().is_some() => seen.disk = DiskSeen::Healthy,
            Self::WaitsForEver => believe_that_wal_will_come(seen),
            Self::WritesNewFormat => believe_that_all_read_it(seen),
            Self::DiesByStatus => bury_who_is_deleted(seen),
            Self::BreakGlassAnyEra => break_in_every_era(seen),
            Self::InitdbBesideData => believe_that_nothing_is_anywhere(seen),
            Self::ExchangesAllAtOnce => permit_own_exchange(seen),
            Self::AcknowledgesEarly => believe_that_all_have_applied(seen),
            Self::RestartsForWhatFails => forget_failed_starts(seen),
            Self::TrustsAnyMarks => believe_whatever_marks_are_kept(seen),
            Self::OpensUnmarked => believe_that_all_is_marked(seen),
            _ => {}
        }
    }

    /// What becomes of a write of the record on top of this one; `None`: it is left out.
    pub fn rewrite(self, before: &Record, mut record: Record) -> Option<Record> {
        let member = |record: &Record| record.holder.as_ref().and_then(|holder| holder.member.clone());
        let same = member(before) == member(&record);
        match self {
            Self::DegradesUnrecorded if record.degraded => record.voters.clone_from(&before.voters),
            Self::WidensUnrecorded
                if same && !before.voters.is_empty() && before.voters.is_subset(&record.voters) =>
            {
                (record.voters, record.quorum) = (before.voters.clone(), before.quorum);
            }
            Self::NeverTakesBack if same && before.release.is_some() && record.release.is_none() => {
                return None;
            }
            Self::VotersUnseen if !same => {
                let holder = member(&record);
                record.voters =
                    record.members.keys().filter(|id| Some(*id) != holder.as_ref()).cloned().collect();
            }
            _ => {}
        }
        Some(record)
    }

    /// Whether the failure of this action ends its batch, whatever the rule says.
    pub fn ends_batch(self, action: &Action) -> bool {
        match action {
            Action::ReadLease | Action::WriteRecord { .. } | Action::CreateLease { .. } => {
                self == Self::EndsWithTheRecord
            }
            Action::StampVolumes { .. } => self == Self::MarksInTheWay,
            _ => false,
        }
    }

    /// What an agent does not remember.
    pub fn forget(self, memory: &mut Memory) {
        if self == Self::MarksInTheWay {
            memory.marking = None;
        }
    }

    /// What becomes of an action; `None`: it is left out.
    pub fn twist(self, action: Action) -> Option<Action> {
        match (self, action) {
            (Self::NoFence, Action::Fence) => None,
            (Self::OutlivesItsToken, Action::Exit) => None,
            (Self::NoCheckpoint, Action::ConfirmInForce { names, .. }) => {
                Some(Action::ConfirmInForce { names, checkpoint: false })
            }
            (Self::ForgetsMarks, Action::KeepMarks { .. }) => None,
            (Self::NeverStarts, Action::StartPostgres { .. }) => None,
            (_, action) => Some(action),
        }
    }
}

fn believe_that_wal_will_come(seen: &mut Observation) {
    if let DataSeen::Present(data) = &mut seen.data {
        data.lacks_wal = false;
    }
    match &mut seen.postgres {
        PostgresSeen::Starting { since_ms } => *since_ms = seen.now_ms,
        PostgresSeen::Standby(standby) => standby.upstream_lacks_wal = false,
        _ => {}
    }
}

fn believe_that_all_read_it(seen: &mut Observation) {
    for peer in seen.peers.values_mut() {
        if let Peer::Heard { report, .. } = peer {
            report.reads_record = RECORD_FORMAT;
        }
    }
}

fn break_in_every_era(seen: &mut Observation) {
    if let (LeaseSeen::Read(read), Some(desired)) = (&seen.lease, &mut seen.desired)
        && let Some(allowed) = &mut desired.document.break_glass
    {
        allowed.era = read.record.era();
    }
}

/// Who believes it.
struct Own {
    nonce: ContainerNonce,
    member: Option<MemberId>,
    is_standby: bool,
    postmaster: Option<u64>,
    now_ms: u64,
}

impl Own {
    fn holds(&self, record: &Record) -> bool {
        record.holder.as_ref().is_some_and(|holder| holder.nonce == self.nonce)
    }
}

fn acknowledged_by_all(record: &Record, now_ms: u64) -> Acks {
    let ack = AckSeen { era: record.era(), asked_ms: now_ms, binds: true };
    record.voters.iter().map(|voter| (voter.clone(), ack.clone())).collect()
}

fn believe_that_all_have_applied(seen: &mut Observation) {
    let wished = seen.desired.as_ref().map(|desired| Acknowledged {
        generation: desired.document.generation,
        sha256: desired.sha256.clone(),
    });
    for peer in seen.peers.values_mut() {
        if let Peer::Heard { report, .. } = peer {
            report.applied.clone_from(&wished);
        }
    }
}

fn believe_that_all_is_marked(seen: &mut Observation) {
    let identifier = seen.record().and_then(|record| record.system_identifier);
    if identifier.is_some() {
        seen.stateful_set_identifier = identifier;
        seen.volumes.values_mut().for_each(|volume| volume.system_identifier = identifier);
    }
}

fn believe_whatever_marks_are_kept(seen: &mut Observation) {
    if let (DataSeen::Present(data), LeaseSeen::Read(read)) = (&mut seen.data, &seen.lease)
        && let (Some(marks), Some(identifier)) = (&mut data.marks, read.record.system_identifier)
    {
        (marks.anchor_uid, marks.system_identifier) = (read.record.anchor_uid.clone(), identifier);
    }
}

fn believe_that_nothing_is_anywhere(seen: &mut Observation) {
    if !matches!(&seen.lease, LeaseSeen::Read(read) if read.record.bootstrap == Bootstrap::Pending) {
        return;
    }
    seen.stateful_set_identifier = None;
    seen.volumes.values_mut().for_each(|volume| volume.system_identifier = None);
    for peer in seen.peers.values_mut() {
        if let Peer::Heard { report, .. } = peer {
            report.member = None;
        }
    }
}

fn permit_own_exchange(seen: &mut Observation) {
    let wished = seen.wish().and_then(|wish| wish.agent.as_ref()).map(|binary| binary.sha256.clone());
    if let (LeaseSeen::Read(read), Some(sha256)) = (&mut seen.lease, wished) {
        read.record.exchange = Some(ExchangePermit { pod: seen.me.pod.clone(), sha256 });
    }
}

fn believe_that_all_are_behind(seen: &mut Observation) {
    for peer in seen.peers.values_mut() {
        if let Peer::Heard { report, .. } = peer
            && report.promise.is_some()
        {
            report.position = Some(Lsn::ZERO);
        }
    }
}

fn believe_that_the_silent_stream(seen: &mut Observation) {
    let PostgresSeen::Primary(primary) = &mut seen.postgres else { return };
    for peer in seen.peers.values_mut() {
        let Peer::Silent { last: Some(report), .. } = peer else { continue };
        primary.walsenders.push(made_up(report.member.as_ref(), primary.current_lsn));
        *peer = Peer::Heard { asked_ms: seen.now_ms, report: report.clone() };
    }
}

fn believe_in_another_copy(seen: &mut Observation) {
    let own = seen.member().cloned();
    if let PostgresSeen::Primary(primary) = &mut seen.postgres {
        primary.walsenders.push(made_up(own.as_ref(), primary.current_lsn));
    }
}

/// A walsender that streams, and was silent for too long to confirm anything.
fn made_up(member: Option<&MemberId>, at: Lsn) -> Walsender {
    Walsender {
        pid: 0,
        application_name: member.map(ToString::to_string).unwrap_or_default(),
        ours: true,
        streaming: true,
        sent_lsn: at,
        flushed_lsn: at,
        reply_age_ms: 3_600_000,
    }
}

fn forget_failed_starts(seen: &mut Observation) {
    seen.complaints.starts_failed = None;
    for peer in seen.peers.values_mut() {
        if let Peer::Heard { report, .. } = peer {
            report.starts_failed = None;
        }
    }
}

fn forget_refusals(seen: &mut Observation) {
    for peer in seen.peers.values_mut() {
        if let Peer::Heard { report, .. } = peer {
            report.agent_refused = None;
        }
    }
}

fn believe_that_others_are_rolled(seen: &mut Observation) {
    let wished = seen.wish().map(|wish| wish.template_hash.clone());
    for (pod, at) in &mut seen.pods {
        if let Some(hash) = wished.as_ref().filter(|_| *pod != seen.me.pod) {
            at.template_hash.clone_from(hash);
        }
    }
}

fn bury_who_is_deleted(seen: &mut Observation) {
    let LeaseSeen::Read(read) = &seen.lease else { return };
    let Some(holder) = &read.record.holder else { return };
    if let Some(pod) = seen.pods.get_mut(&holder.pod).filter(|pod| pod.deleting) {
        pod.terminated.insert(holder.nonce.clone());
    }
}
