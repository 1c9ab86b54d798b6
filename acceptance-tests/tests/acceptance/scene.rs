//! A fault on a whole cluster under load, and what must hold after it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use pgha_acceptance_tests::checker;
use pgha_acceptance_tests::cluster::Cluster;
use pgha_acceptance_tests::load::Load;
use pgha_acceptance_tests::poll::{Seen, throughout, until};
use pgha_acceptance_tests::process::ProcessId;
use pgha_acceptance_tests::sandbox::{Sandbox, Target};

use crate::bed::Bed;
use crate::group::{Group, Site, WHOLE, WRITES};
use crate::runner::Running;
use crate::workloads::Workloads;

/// Longer than the lease: whoever may take over by waiting would have.
pub const PAST_THE_LEASE: Duration = Duration::from_secs(15);

/// What a fault needs: the machine, the cluster, the load that runs, and who was what when it began.
pub struct Scene {
    /// The machine.
    pub sandbox: Sandbox,
    /// The cluster.
    pub cluster: Cluster,
    /// Who led.
    pub primary: String,
    /// Who confirmed commits.
    pub standby: String,
    /// The third instance.
    pub other: String,
}

/// Does the damage, waits until the cluster has dealt with it, and mends what no cluster could.
pub type Fault = for<'a> fn(&'a Scene, &'a Load) -> Running<'a>;

/// Runs a fault as often as asked for, each time on a whole cluster under load, and checks what must hold after it.
pub async fn repeated(group: &mut Group, name: &str, fault: Fault) -> Result<()> {
    for repeat in 1..=group.bed.repeats {
        struck(group, name, repeat, fault).await.with_context(|| format!("{name}, time {repeat}"))?;
    }
    Ok(())
}

/// Runs a fault that takes long one time.
pub async fn once(group: &mut Group, name: &str, fault: Fault) -> Result<()> {
    struck(group, name, 1, fault).await
}

async fn struck(group: &mut Group, name: &str, repeat: u32, fault: Fault) -> Result<()> {
    let bed = std::sync::Arc::clone(&group.bed);
    let site = group.cluster_with(2).await?;
    strike(&bed, site, name, repeat, fault).await
}

/// The same on a site that the caller has made, with two standbys.
pub async fn strike(bed: &Bed, site: &Site, name: &str, repeat: u32, fault: Fault) -> Result<()> {
    site.cluster.until_whole(2, WHOLE).await?;
    checker::mode_in_force(&site.cluster, 2).await?;
    let scene = Scene::of(bed, &site.cluster).await?;
    let load = Workloads::start(site, &format!("{name}_{repeat}")).await?;

    let struck = Instant::now();
    let outcome = fault(&scene, &load.ids).await;
    // What a fault that failed left undone is the group's to mend; writes are not awaited then.
    let outcome = match outcome {
        Ok(()) => load.healed(site).await,
        Err(error) => Err(error),
    };
    let gap = load.ids.gap_since(struck);
    let promised = load.finish().await?;
    let outcome = async {
        outcome?;
        promised.kept(site).await?;
        checker::ro_is_never_the_primary(&site.ro().await?, 10).await
    };
    if let Err(error) = outcome.await {
        let story = format!(
            "{name} #{repeat}: primary {}, confirming {}, other {}\n",
            scene.primary, scene.standby, scene.other
        );
        return Err(promised.with_evidence(bed, site, &story, error).await);
    }
    bed.record_gap(&format!("{name} #{repeat}"), gap);
    Ok(())
}

impl Scene {
    /// Who is what now.
    pub async fn of(bed: &Bed, cluster: &Cluster) -> Result<Self> {
        let primary = cluster.primary().await?;
        let standby = confirming_standby(cluster).await?;
        let pods = cluster.pods().await?.into_keys();
        let other = pods.into_iter().find(|pod| *pod != primary && *pod != standby);
        let (sandbox, cluster) = (bed.sandbox.clone(), cluster.clone());
        Ok(Self { sandbox, cluster, primary, standby, other: other.context("there is no third instance")? })
    }

    /// Sends a signal to processes of a pod.
    pub fn signal(&self, pod: &str, target: Target<'_>, signal: Signal) -> Result<()> {
        self.sandbox.signal_in_pod(&self.cluster.namespace, pod, target, signal).map(drop)
    }

    /// The postmaster of a pod.
    pub fn postmaster(&self, pod: &str) -> Result<ProcessId> {
        postmaster(&self.sandbox, &self.cluster, pod)
    }

    /// The agent of a pod: the guard's child of the same name.
    pub fn agent(&self, pod: &str) -> Result<ProcessId> {
        let all = self.sandbox.processes_in_pod(&self.cluster.namespace, pod)?;
        let found = all.iter().find(|one| one.name.starts_with("pgha-agent") && one.inner_pid != 1);
        found.map(|one| one.id).with_context(|| format!("no agent runs in {pod}"))
    }

    /// Waits until the record names another holder than the one at the beginning, and writes are back.
    pub async fn taken_over(&self, load: &Load) -> Result<()> {
        until("another instance to take over", WRITES, || async {
            let holder = self.cluster.record().await?.holder.map(|holder| holder.pod);
            let moved = holder.as_ref().is_some_and(|pod| *pod != self.primary);
            Ok(Seen::when(moved, format!("the record's holder is {holder:?}")))
        })
        .await?;
        load.until_acknowledged_after(Instant::now(), WRITES).await?;
        load.until_more(50).await
    }

    /// Waits until writes go on, and asserts that the primary leads as it did: no other era, no other postgres.
    pub async fn led_on(&self, load: &Load, was: &Reign) -> Result<()> {
        load.until_acknowledged_after(Instant::now(), WRITES).await?;
        load.until_more(50).await?;
        let record = self.cluster.record().await?;
        let holder = record.holder.as_ref().map(|holder| holder.pod.as_str());
        ensure!(
            record.era().0 == was.era && holder == Some(&self.primary),
            "expected {} to lead on in era {}, {holder:?} does in era {}",
            self.primary,
            was.era,
            record.era()
        );
        ensure!(was.postmaster.is_alive(), "the postgres of {} did not live on", self.primary);
        Ok(())
    }

    /// Asserts who holds the record.
    pub async fn leads(&self, pod: &str) -> Result<()> {
        let holder = self.cluster.record().await?.holder.map(|holder| holder.pod);
        ensure!(holder.as_deref() == Some(pod), "expected {pod} to lead, {holder:?} does");
        Ok(())
    }

    /// Waits until the record says that the primary has nobody who confirms, and goes on without.
    pub async fn goes_on_alone(&self) -> Result<()> {
        until("the record to say that the primary goes on alone", WRITES, || async {
            let record = self.cluster.record().await?;
            Ok(Seen::when(record.degraded && record.voters.is_empty(), format!("voters {:?}", record.voters)))
        })
        .await
    }

    /// The record stays the old primary's for longer than anybody would have to wait.
    pub async fn held_past_the_lease(&self) -> Result<()> {
        held_past_the_lease(&self.cluster, &self.primary).await
    }

    /// Waits until a pod's status says all of this. It is asked from inside: the API server may not reach it.
    pub async fn says(&self, pod: &str, words: &[&str]) -> Result<()> {
        says(&self.sandbox, &self.cluster, pod, words).await
    }

    /// Who leads now, to compare with later.
    pub async fn reign(&self) -> Result<Reign> {
        let record = self.cluster.record().await?;
        Ok(Reign { era: record.era().0, postmaster: self.postmaster(&self.primary)? })
    }
}

/// The postmaster of a pod.
pub fn postmaster(sandbox: &Sandbox, cluster: &Cluster, pod: &str) -> Result<ProcessId> {
    let all = sandbox.processes_in_pod(&cluster.namespace, pod)?;
    let found = all.iter().find(|one| one.name == "postgres" && one.parent_name != "postgres");
    found.map(|one| one.id).with_context(|| format!("no postgres runs in {pod}"))
}

/// The record stays this pod's for longer than anybody would have to wait.
pub async fn held_past_the_lease(cluster: &Cluster, pod: &str) -> Result<()> {
    throughout("the record's holder", PAST_THE_LEASE, || async {
        let holder = cluster.record().await?.holder.map(|holder| holder.pod);
        Ok(Seen::when(holder.as_deref() == Some(pod), format!("{holder:?} holds it")))
    })
    .await
}

/// Waits until a pod's status says all of this. It is asked from inside: the API server may not reach it.
pub async fn says(sandbox: &Sandbox, cluster: &Cluster, pod: &str, words: &[&str]) -> Result<()> {
    until(&format!("the status of {pod} to say {words:?}"), WHOLE, || async {
        let said = sandbox.exec_in_pod(&cluster.namespace, pod, &["pgha-agent", "status"]).await?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        Ok(Seen::when(words.iter().all(|word| said.contains(word)), said))
    })
    .await
}

/// A leadership, and the postgres that it is exercised with.
pub struct Reign {
    /// Its era.
    pub era: u64,
    /// Its process.
    pub postmaster: ProcessId,
}

impl Reign {
    /// Whether that postgres still runs; for [`pgha_acceptance_tests::poll::throughout`].
    pub fn lasts(&self) -> Seen<()> {
        Seen::when(self.postmaster.is_alive(), "the primary's postgres is gone")
    }
}

/// The standby that confirms commits, as the primary sees it: the one whose loss hurts; in async any.
async fn confirming_standby(cluster: &Cluster) -> Result<String> {
    let senders = cluster.walsenders().await?;
    let confirming = senders.iter().find(|sender| sender.confirms()).or(senders.first());
    let confirming = confirming.context("nobody streams")?;
    let record = cluster.record().await?;
    let member = record.members.iter().find(|(member, _)| member.as_str() == confirming.application_name);
    let (_, entry) =
        member.with_context(|| format!("{} is no member in {record:?}", confirming.application_name))?;
    Ok(entry.pod.clone())
}

/// Kills the container's first process, and waits until another container runs in its place: of the same pod, or of a
/// new one when the leader deleted a pod that Kubernetes would have left in crash back-off (A29).
pub async fn kill_guard(scene: &Scene, pod: &str) -> Result<()> {
    let before = scene.cluster.containers(pod).await?;
    scene.sandbox.kill_in_pod(&scene.cluster.namespace, pod, Target::Init)?;
    until(&format!("the container of {pod} to be made anew"), WHOLE, || async {
        let now = scene.cluster.containers(pod).await.unwrap_or_default();
        let anew = !now.is_empty() && now.is_disjoint(&before);
        Ok(Seen::when(anew, format!("containers {now:?}, {before:?} before the kill")))
    })
    .await
}

/// The members that a pod has in the record.
pub async fn members_of(scene: &Scene, pod: &str) -> Result<BTreeSet<String>> {
    let record = scene.cluster.record().await?;
    let own = record.members.iter().filter(|(_, entry)| entry.pod == pod);
    Ok(own.map(|(member, _)| member.as_str().to_owned()).collect())
}

/// Waits until a pod has data that it did not have before: a new member (A2).
pub async fn until_data_is_new(scene: &Scene, pod: &str, before: &BTreeSet<String>) -> Result<()> {
    until(&format!("{pod} to come back with new data"), WHOLE, || async {
        let now = members_of(scene, pod).await?;
        Ok(Seen::when(
            now.iter().any(|member| !before.contains(member)),
            format!("{now:?}, {before:?} before"),
        ))
    })
    .await
}
