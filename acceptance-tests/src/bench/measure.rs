//! One trial: a whole cluster under load, a fault, the longest time without an acknowledged commit, redundancy again, what was lost.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use rand::Rng as _;

use super::recorder::Recorder;
use super::subject::{APP, REDUNDANT, Subject, redundant};
use super::timeline::{Event, Frame, Timeline, What};
use super::trial::{Fault, System, Trial};
use crate::checker;
use crate::load::Load;
use crate::poll::{Seen, until};
use crate::sandbox::{Cut, Sandbox, Target};

/// Clients that write.
pub const CLIENTS: u16 = 4;
/// Before a fault nothing but the load happens, so that no earlier change of endpoints delays the next; and a random part of a
/// second more, so that faults fall anywhere between the turns of a loop.
const QUIET: Duration = Duration::from_secs(3);
/// Nobody looks at the cluster before this, and before writes flow: a look costs processor time that the cluster needs.
const LEFT_ALONE: Duration = Duration::from_secs(4);
/// Writes flow when a second had no longer silence than this.
const FLOWING: Duration = Duration::from_millis(400);
/// How long writes may stay away before the harness ends a cut.
const WRITES: Duration = Duration::from_secs(120);
/// How long a cut goes on once writes flow again.
const HELD: Duration = Duration::from_secs(3);

/// Where and how a fault strikes.
pub struct Scene<'a> {
    /// The machine.
    pub sandbox: &'a Sandbox,
    /// The cluster.
    pub subject: &'a Subject,
    /// Which of the systems it is now.
    pub system: System,
}

/// Who was what when the fault struck.
struct Before {
    primary: String,
    standby: String,
    victim: String,
    uid: Option<String>,
    containers: BTreeSet<String>,
    postgres_since: String,
    era: u64,
}

/// The moment of a fault, by the clock of the load and by that of the logs.
#[derive(Clone, Copy)]
struct Struck {
    instant: Instant,
    timestamp: Timestamp,
}

impl Struck {
    fn now() -> Self {
        Self { instant: Instant::now(), timestamp: Timestamp::now() }
    }

    /// The wall clock's time of a moment after the fault.
    fn timestamp_of(self, instant: Instant) -> Timestamp {
        let after = instant.saturating_duration_since(self.instant);
        self.timestamp.saturating_add(after).unwrap_or(self.timestamp)
    }

    fn seconds_to(self, instant: Instant) -> f64 {
        instant.saturating_duration_since(self.instant).as_secs_f64()
    }
}

impl Scene<'_> {
    /// Carries one trial out. What fails is in the result.
    pub async fn trial(&self, fault: Fault, number: u32) -> Trial {
        let mut trial = Trial {
            system: self.system,
            fault,
            trial: number,
            gap_s: 0.0,
            noise_s: 0.0,
            acked: 0,
            lost: 0,
            redundant_again_s: None,
            failed: None,
            timeline: None,
        };
        if let Err(error) = self.attempt(&mut trial).await {
            trial.failed = Some(format!("{error:#}"));
        }
        // Whatever was cut is whole for the next trial.
        if fault.cuts_a_node()
            && let Err(error) = self.sandbox.heal_everything().await
        {
            trial.failed.get_or_insert_with(|| format!("{error:#}"));
        }
        trial
    }

    async fn attempt(&self, trial: &mut Trial) -> Result<()> {
        let cluster = &self.subject.cluster;
        self.subject.until_redundant().await?;
        let before = self.before(trial.fault).await?;
        let table = format!("bench_{}_{}", trial.fault.to_string().replace('-', "_"), trial.trial);
        let load = Load::start(&self.subject.target, &table, CLIENTS).await?;
        load.until_more(100).await?;
        let recorder = if self.subject.is_ours() { Some(Recorder::start(cluster).await?) } else { None };
        let quiet_since = Instant::now();
        let extra = Duration::from_millis(rand::rng().random_range(0..1_000));
        tokio::time::sleep(QUIET + extra).await;
        trial.noise_s = load.gap_since(quiet_since).as_secs_f64();

        let struck = self.strike(trial.fault, &before).await?;
        let flowing = until_flowing(&load, struck.instant).await;
        let healed = if trial.fault.cuts_a_node() { Some(self.heal().await?) } else { None };
        flowing?;
        let since = healed.unwrap_or(struck.instant);
        until("the fault to have struck", REDUNDANT, || self.has_struck(trial.fault, &before)).await?;
        until("redundancy again", REDUNDANT, || redundant(cluster)).await?;
        trial.redundant_again_s = Some(since.elapsed().as_secs_f64());

        let gap = load.longest_gap_since(struck.instant);
        trial.gap_s = gap.length().as_secs_f64();
        if let Some(recorder) = recorder {
            let frame = Frame {
                struck: struck.timestamp,
                gap_s: (struck.seconds_to(gap.from), struck.seconds_to(gap.to)),
                primary: before.primary,
                era: before.era,
            };
            let mut seen = recorder.finish().await;
            seen.extend(load.failures_since(struck.instant).into_iter().map(|(why, at)| Event {
                at: struck.timestamp_of(at),
                place: "client".to_owned(),
                what: What::Client(why),
            }));
            trial.timeline = Some(Timeline::of(&frame, seen));
        }
        let outcome = load.finish().await?;
        trial.acked = outcome.acknowledged.len();
        trial.lost = checker::difference(cluster, APP, &outcome).await?.missing.len();
        checker::all_equal(cluster, APP, &table).await?;
        cluster.sql(&cluster.primary().await?, APP, &format!("DROP TABLE {table}")).await?;
        Ok(())
    }

    async fn before(&self, fault: Fault) -> Result<Before> {
        let cluster = &self.subject.cluster;
        let primary = cluster.primary().await?;
        let standby = self.subject.confirming_standby().await?;
        let victim = if fault.strikes_the_standby() { standby.clone() } else { primary.clone() };
        let era = if self.subject.is_ours() { cluster.record().await?.era().0 } else { 0 };
        Ok(Before {
            uid: cluster.pod_uids().await?.remove(&victim),
            containers: cluster.containers(&victim).await?,
            postgres_since: self.postgres_since(&victim).await?,
            primary,
            standby,
            victim,
            era,
        })
    }

    async fn postgres_since(&self, pod: &str) -> Result<String> {
        self.subject.cluster.sql(pod, "postgres", "SELECT pg_postmaster_start_time()").await
    }

    /// Does the damage. The time is taken when all that takes long, such as finding a process, is done.
    async fn strike(&self, fault: Fault, before: &Before) -> Result<Struck> {
        let cluster = &self.subject.cluster;
        match fault {
            Fault::Switchover => {
                let struck = Struck::now();
                self.subject.switchover(&before.primary, &before.standby);
                Ok(struck)
            }
            Fault::PostgresKill => self.kill(&before.victim, Target::Postmaster),
            Fault::ContainerKill | Fault::StandbyKill => self.kill(&before.victim, Target::Init),
            Fault::PodDelete | Fault::PodDeleteForce => {
                let struck = Struck::now();
                cluster.delete_pod(&before.victim, fault == Fault::PodDeleteForce).await?;
                Ok(struck)
            }
            Fault::NodePartition | Fault::StandbyPartition => {
                let node = self.sandbox.node_of(&cluster.namespace, &before.victim).await?;
                let struck = Struck::now();
                self.sandbox.cut(node, Cut::All)?;
                Ok(struck)
            }
        }
    }

    fn kill(&self, pod: &str, target: Target<'_>) -> Result<Struck> {
        let victims = self.sandbox.find_in_pod(&self.subject.cluster.namespace, pod, target)?;
        let struck = Struck::now();
        for victim in victims {
            victim.id.signal(nix::sys::signal::Signal::SIGKILL)?;
        }
        Ok(struck)
    }

    /// Ends a cut once writes had time to flow; gives the moment.
    async fn heal(&self) -> Result<Instant> {
        tokio::time::sleep(HELD).await;
        let healed = Instant::now();
        self.sandbox.heal_everything().await.context("end the cut")?;
        Ok(healed)
    }

    /// Whether what the fault was to end has ended: redundancy that is seen earlier is the old one.
    async fn has_struck(&self, fault: Fault, before: &Before) -> Result<Seen<()>> {
        let cluster = &self.subject.cluster;
        let victim = &before.victim;
        match fault {
            Fault::Switchover => {
                let primary = cluster.primary().await?;
                Ok(Seen::when(primary != before.primary, format!("{primary} is still the primary")))
            }
            Fault::PostgresKill => {
                let since = self.postgres_since(victim).await?;
                Ok(Seen::when(since != before.postgres_since, format!("postgres runs since {since}")))
            }
            Fault::PodDelete | Fault::PodDeleteForce => {
                let uid = cluster.pod_uids().await?.remove(victim);
                Ok(Seen::when(uid.is_some() && uid != before.uid, format!("{victim} has uid {uid:?}")))
            }
            Fault::ContainerKill | Fault::StandbyKill => {
                let now = cluster.containers(victim).await?;
                let anew = !now.is_empty() && now.is_disjoint(&before.containers);
                Ok(Seen::when(anew, format!("containers of {victim}: {now:?}")))
            }
            // The cut began and ended in the harness's own hand.
            Fault::NodePartition | Fault::StandbyPartition => Ok(Seen::Yes(())),
        }
    }
}

/// Waits until writes flow, without a look at the cluster.
async fn until_flowing(load: &Load, struck: Instant) -> Result<()> {
    until("writes to flow again", WRITES, || async {
        let silence = load.silence();
        let second_ago = Instant::now().checked_sub(Duration::from_secs(1)).unwrap_or(struck);
        let flows = struck.elapsed() >= LEFT_ALONE && load.gap_since(second_ago) < FLOWING;
        Ok(Seen::when(flows, format!("no commit for {:.1} s", silence.as_secs_f64())))
    })
    .await
}
