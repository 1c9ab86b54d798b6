//! What makes or replaces data, and takes its time: initdb, clone, rewind, and the checkpoint.

use pgha_agent_core::Action;
use pgha_agent_core::observation::{ControlState, Job, Unfinished, Upstream};
use pgha_schema::ids::MemberId;

use crate::agent::{Went, went};
use crate::invariants::last_copy_not_wiped;
use crate::mutation::Mutation;
use crate::network::End;
use crate::pod::DataJob;
use crate::postgres::{DataDir, Postgres, rewind};
use crate::world::{World, done, failed};

impl World {
    /// Begins initdb, a clone or a rewind.
    pub fn start_job(&mut self, pod: usize, action: Action) -> Went {
        let unreadable = self.pods[pod].volume.data.as_ref().is_some_and(|data| data.unreadable);
        if self.pods[pod].agent.data_job.is_some()
            || unreadable && self.mutation == Some(Mutation::StartsForEver)
        {
            return went(true, 1);
        }
        let clock = self.clock(pod);
        let (what, length) = match &action {
            Action::Clone { .. } => (Unfinished::Clone, self.pick(400, 3_000)),
            Action::Rewind { .. } => (Unfinished::Rewind, self.pick(200, 1_500)),
            _ => (Unfinished::Initdb, self.pick(300, 1_500)),
        };
        let source = match &action {
            Action::Clone { from, .. } | Action::Rewind { from, .. } => match self.source(pod, from) {
                Some(source) => Some(source),
                None => {
                    self.set_job(pod, what, true, "the source does not answer");
                    return went(true, 100);
                }
            },
            _ => None,
        };
        let text = format!("{} begins {what:?}", self.pods[pod].name);
        self.say(text);
        let until = self.now + length;
        let at = &mut self.pods[pod];
        // It stops postgres itself; the marker stands before anything is touched.
        at.postgres = Postgres::Down;
        at.guard_deadline = None;
        at.volume.marker = Some(what);
        if what == Unfinished::Initdb {
            self.wipe_check(pod);
            self.pods[pod].volume.data = None;
        }
        let jobs = &mut self.pods[pod].agent.jobs;
        let job = match what {
            Unfinished::Initdb => &mut jobs.initdb,
            Unfinished::Clone => &mut jobs.clone,
            Unfinished::Rewind => &mut jobs.rewind,
        };
        *job = Job::Running { since_ms: clock };
        self.pods[pod].agent.data_job = Some(DataJob { action, until, source });
        went(true, 10)
    }

    fn source(&self, pod: usize, from: &Upstream) -> Option<(usize, u64)> {
        let source = self.pods.iter().position(|at| at.address() == from.address && at.up)?;
        let talks = self.net.talks(End::Node(pod), End::Node(source)) && !self.is_postgres_frozen(source);
        match &self.pods[source].postgres {
            Postgres::Running(process) if process.primary && talks => Some((source, process.id)),
            _ => None,
        }
    }

    fn set_job(&mut self, pod: usize, what: Unfinished, failure: bool, why: &str) {
        let clock = self.clock(pod);
        let jobs = &mut self.pods[pod].agent.jobs;
        let job = match what {
            Unfinished::Initdb => &mut jobs.initdb,
            Unfinished::Clone => &mut jobs.clone,
            Unfinished::Rewind => &mut jobs.rewind,
        };
        let before = match job {
            Job::Failed { failures, .. } => *failures,
            _ => 0,
        };
        *job = if failure { failed(before, clock, why) } else { done(job, clock) };
        self.poke(pod);
    }

    /// Begins one unless one runs.
    pub fn checkpoint(&mut self, pod: usize) {
        let (clock, until) = (self.clock(pod), self.now + self.pick(20, 400));
        let at = &mut self.pods[pod];
        let as_primary = matches!(&at.postgres, Postgres::Running(process) if process.primary);
        let agent = &mut at.agent;
        if agent.checkpoint_until.is_none() {
            agent.checkpoint_until = Some((until, as_primary));
            agent.jobs.checkpoint = Job::Running { since_ms: clock };
        }
    }

    /// Ends what has taken its time.
    pub fn finish_jobs(&mut self, pod: usize) {
        let now = self.now;
        if let Some((_, as_primary)) =
            self.pods[pod].agent.checkpoint_until.filter(|(until, _)| now >= *until)
        {
            let clock = self.clock(pod);
            let frozen = self.is_postgres_frozen(pod);
            if !frozen {
                let at = &mut self.pods[pod];
                at.agent.checkpoint_until = None;
                if let Postgres::Running(process) = &mut at.postgres {
                    process.checkpointed |= as_primary;
                    if let Some(data) = &mut at.volume.data {
                        data.free(process.replayed);
                    }
                }
                at.agent.jobs.checkpoint = done(&at.agent.jobs.checkpoint, clock);
                self.poke(pod);
            }
        }
        let Some(job) = &self.pods[pod].agent.data_job else { return };
        let broken = match job.source {
            Some((source, process)) => {
                let same =
                    matches!(&self.pods[source].postgres, Postgres::Running(other) if other.id == process);
                !same || !self.net.talks(End::Node(pod), End::Node(source))
            }
            None => false,
        };
        if !broken && now < job.until {
            return;
        }
        let Some(job) = self.pods[pod].agent.data_job.take() else { return };
        let what = match &job.action {
            Action::Clone { .. } => Unfinished::Clone,
            Action::Rewind { .. } => Unfinished::Rewind,
            _ => Unfinished::Initdb,
        };
        if broken {
            self.set_job(pod, what, true, "the source went away");
            return;
        }
        if what == Unfinished::Rewind
            && self.pods[pod].volume.data.as_ref().is_some_and(|data| data.unreadable)
        {
            self.set_job(pod, what, true, "WAL is missing");
            return;
        }
        self.make_data(pod, &job, what);
        self.set_job(pod, what, false, "");
    }

    /// The new data directory takes the old one's place.
    fn make_data(&mut self, pod: usize, job: &DataJob, what: Unfinished) {
        let member = MemberId::new(format!("m{}", self.fresh_number()));
        let forked = self.pods[pod].volume.data.is_some();
        let what = match what {
            Unfinished::Clone if forked && self.mutation == Some(Mutation::RewindsBlindly) => {
                Unfinished::Rewind
            }
            what => what,
        };
        let source = job.source.and_then(|(source, _)| self.pods[source].volume.data.clone());
        let checkpointed = job.source.is_some_and(|(source, _)| {
            matches!(&self.pods[source].postgres, Postgres::Running(process) if process.checkpointed)
        });
        self.wipe_check(pod);
        let era = match &job.action {
            Action::Clone { from, .. } | Action::Rewind { from, .. } => Some(from.era),
            _ => None,
        };
        let mut changed = true;
        let data = match (what, source, self.pods[pod].volume.data.take()) {
            (Unfinished::Rewind, Some(source), Some(mut old)) => {
                changed = rewind(&mut old, &source, checkpointed);
                Some(DataDir { member: member.clone(), era, marks: None, ..old })
            }
            (Unfinished::Clone, Some(source), _) => Some(DataDir {
                member: if self.mutation == Some(Mutation::ClonesKeepIdentity) {
                    source.member
                } else {
                    member.clone()
                },
                era,
                marks: None,
                control: ControlState::InRecovery,
                checkpoint: source.wal.len(),
                removed: source.wal.len(),
                unreadable: false,
                waits: false,
                outrun: false,
                ..source
            }),
            _ => Some(DataDir {
                member: member.clone(),
                era: None,
                marks: None,
                system: 1_000 + self.fresh_number(),
                wal: vec![self.fresh_number()],
                history: vec![(1, 0)],
                highest_timeline: 1,
                control: ControlState::ShutDown,
                checkpoint: 1,
                unreadable: false,
                waits: false,
                outrun: false,
                removed: 0,
            }),
        };
        let at = &mut self.pods[pod];
        at.volume.data = data;
        at.volume.marker = (what == Unfinished::Initdb).then_some(Unfinished::Initdb);
        let nothing = if changed { "" } else { " (nothing to do)" };
        let text = format!("{} ends {what:?} as {member}{nothing}", at.name);
        self.say(text);
    }

    fn wipe_check(&mut self, pod: usize) {
        let Some(old) = self.pods[pod].volume.data.as_ref().filter(|old| !old.unreadable) else { return };
        let others = (0..self.pods.len())
            .filter(|other| *other != pod)
            .filter_map(|other| self.pods[other].volume.counted().filter(|data| !data.unreadable))
            .map(|data| data.wal.as_slice());
        let wiped = last_copy_not_wiped::check(&self.oracle, &old.wal, others, &self.pods[pod].name);
        self.broken(wiped);
    }
}
