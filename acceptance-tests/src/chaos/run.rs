//! Carries a schedule out.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use nix::sys::signal::Signal;
use pgha_schema::names::{LABEL_ROLE, ROLE_PRIMARY};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::schedule::{Fault, Schedule, Timed};
use crate::cluster::Cluster;
use crate::sandbox::{ApiFault, Limit, Node, Sandbox, Target, Who};

/// Longer than any answer takes that still means something; the schedule goes on.
const ANSWER: Duration = Duration::from_secs(5);
/// After this a suspended agent's last write has landed, unless something else delays it.
const SETTLED: Duration = Duration::from_millis(500);

/// Strikes and ends every fault in its time. Then everything is healed and runs again. `say` hears what could not be done: a
/// container that is not there can't be killed, and an API server that is away deletes no pod.
///
/// # Errors
/// When the sandbox could not be healed.
pub async fn carry_out(
    sandbox: &Sandbox,
    cluster: &Cluster,
    schedule: &Schedule,
    say: &(dyn Fn(String) + Sync),
) -> Result<()> {
    let scene =
        Scene { sandbox, cluster, schedule, starved: Mutex::default(), switchovers: Mutex::default() };
    let begun = Instant::now();
    for (at, step) in steps(schedule) {
        sleep_until(begun + at).await;
        let outcome = match step {
            Step::Strike(timed) => scene.strike(timed).await,
            Step::End(fault) => scene.end(fault).await,
        };
        if let Err(error) = outcome {
            say(format!("  {step:?} had no effect: {error:#}"));
        }
    }
    scene.resume_all();
    scene.starved().clear();
    sandbox.heal_everything().await.context("heal the sandbox")?;
    scene.switchovers_end().await;
    if schedule.faults.iter().any(|timed| matches!(timed.fault, Fault::StopApi | Fault::PauseApi)) {
        sandbox.restart_controllers().await.context("restart the controllers")?;
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Strike(Timed),
    End(Fault),
}

fn steps(schedule: &Schedule) -> Vec<(Duration, Step)> {
    let strikes = schedule.faults.iter().map(|timed| (timed.at, Step::Strike(*timed)));
    let ends = schedule
        .faults
        .iter()
        .filter(|timed| timed.fault.lasts())
        .map(|timed| (timed.at + timed.lasts, Step::End(timed.fault)));
    let mut all: Vec<_> = strikes.chain(ends).collect();
    all.sort_by_key(|(at, _)| *at);
    all
}

struct Scene<'a> {
    sandbox: &'a Sandbox,
    cluster: &'a Cluster,
    schedule: &'a Schedule,
    /// Limits in force, by ordinal.
    starved: Mutex<BTreeMap<u32, Limit>>,
    /// Switchovers that were asked for.
    switchovers: Mutex<JoinSet<Result<()>>>,
}

impl Scene<'_> {
    fn pod(&self, ordinal: u32) -> String {
        self.cluster.names.pod(ordinal)
    }

    fn signal(&self, pod: u32, target: Target<'_>, signal: Signal) -> Result<()> {
        self.sandbox.signal_in_pod(&self.cluster.namespace, &self.pod(pod), target, signal).map(drop)
    }

    /// To the agent, which is the guard's child of the same name.
    fn signal_agent(&self, pod: u32, signal: Signal) -> Result<()> {
        let all = self.sandbox.processes_in_pod(&self.cluster.namespace, &self.pod(pod))?;
        let agents = all.iter().filter(|one| one.name.starts_with("pgha-agent") && one.inner_pid != 1);
        let mut hit = 0;
        for agent in agents {
            agent.id.signal(signal)?;
            hit += 1;
        }
        ensure!(hit > 0, "no agent runs in {}", self.pod(pod));
        Ok(())
    }

    fn kill_backend(&self, pod: u32) -> Result<()> {
        let all = self.sandbox.processes_in_pod(&self.cluster.namespace, &self.pod(pod))?;
        let backend = all.iter().find(|one| one.name == "postgres" && one.parent_name == "postgres");
        backend.with_context(|| format!("no postgres runs in {}", self.pod(pod)))?.id.signal(Signal::SIGKILL)
    }

    fn starve(&self, pod: u32, percent: u64) -> Result<()> {
        let limit = self.sandbox.starve(&self.cluster.namespace, &self.pod(pod), percent)?;
        self.starved().insert(pod, limit);
        Ok(())
    }

    fn starved(&self) -> MutexGuard<'_, BTreeMap<u32, Limit>> {
        self.starved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn switchovers(&self) -> MutexGuard<'_, JoinSet<Result<()>>> {
        self.switchovers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn label(&self, pod: u32) -> Result<()> {
        let patch = json!({ "metadata": { "labels": { LABEL_ROLE: ROLE_PRIMARY } } });
        self.cluster.patch::<Pod>(&self.pod(pod), patch).await
    }

    async fn strike(&self, timed: Timed) -> Result<()> {
        match timed.fault {
            Fault::KillPostgres { pod } => self.signal(pod, Target::Postmaster, Signal::SIGKILL),
            Fault::KillBackend { pod } => self.kill_backend(pod),
            Fault::KillContainer { pod } => self.signal(pod, Target::Init, Signal::SIGKILL),
            Fault::KillAgent { pod } => self.signal_agent(pod, Signal::SIGKILL),
            Fault::DeletePod { pod, force } => answered(self.cluster.delete_pod(&self.pod(pod), force)).await,
            Fault::Freeze { pod } => self.signal(pod, Target::All, Signal::SIGSTOP),
            Fault::FreezeAgent { pod } => self.signal_agent(pod, Signal::SIGSTOP),
            Fault::Starve { pod, percent } => self.starve(pod, percent),
            Fault::Label { pod } => answered(self.label(pod)).await,
            Fault::CutNode { node, cut } => self.sandbox.cut(node_number(node)?, cut),
            Fault::StopApi => self.sandbox.stop_api_server(),
            Fault::PauseApi => self.sandbox.pause_api_server(),
            Fault::SlowApi { delay_ms } => {
                self.sandbox.api_fault(Who::Nodes, ApiFault::Delay { delay_ms }).await
            }
            Fault::LoseReplies => self.sandbox.api_fault(Who::Nodes, ApiFault::LoseReplies).await,
            Fault::RefuseApi => self.sandbox.api_fault(Who::Nodes, ApiFault::Refuse).await,
            Fault::Switchover { pod } => self.switchover(pod),
            Fault::WipeStandby { pod } => self.wipe_standby(pod, timed.at).await,
        }
    }

    async fn end(&self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Freeze { pod } => self.signal(pod, Target::All, Signal::SIGCONT),
            Fault::FreezeAgent { pod } => self.signal_agent(pod, Signal::SIGCONT),
            Fault::CutNode { node, .. } => self.sandbox.heal(node_number(node)?),
            Fault::StopApi => self.sandbox.start_api_server().await,
            Fault::PauseApi => self.sandbox.resume_api_server(),
            Fault::Starve { pod, .. } => {
                self.starved().remove(&pod);
                Ok(())
            }
            Fault::SlowApi { .. } | Fault::LoseReplies | Fault::RefuseApi => {
                self.sandbox.api_fault(Who::Nodes, ApiFault::None).await
            }
            Fault::KillPostgres { .. }
            | Fault::KillBackend { .. }
            | Fault::Label { .. }
            | Fault::KillContainer { .. }
            | Fault::KillAgent { .. }
            | Fault::DeletePod { .. }
            | Fault::Switchover { .. }
            | Fault::WipeStandby { .. } => Ok(()),
        }
    }

    /// What a kill or a new container has not resumed; the rest has nothing to resume.
    fn resume_all(&self) {
        for timed in &self.schedule.faults {
            if let Fault::Freeze { pod } | Fault::FreezeAgent { pod } = timed.fault {
                // A pod without processes has none that is suspended.
                let _ = self.signal(pod, Target::All, Signal::SIGCONT);
            }
        }
    }

    /// Whoever leads is asked; the schedule does not wait for the answer.
    fn switchover(&self, to: u32) -> Result<()> {
        let (cluster, to) = (self.cluster.clone(), self.pod(to));
        self.switchovers().spawn(async move {
            let primary = cluster.primary().await?;
            cluster.exec(&primary, &["pgha-agent", "switchover", "--to", &to]).await.map(drop)
        });
        Ok(())
    }

    /// Whether they were carried out or refused is no matter: who looks at the cluster then sees none under way.
    async fn switchovers_end(&self) {
        let mut asked = mem::take(&mut *self.switchovers());
        // Each has a deadline of its own.
        while asked.join_next().await.is_some() {}
    }

    /// Empties a volume whose content is elsewhere: the pod is suspended first, so that it can't come to lead meanwhile, and
    /// nothing that it asked for may still be on its way.
    async fn wipe_standby(&self, pod: u32, at: Duration) -> Result<()> {
        let delayed = self.schedule.faults.iter().any(|other| {
            other.fault.delays_writes() && other.at <= at && at <= other.at + other.lasts + ANSWER
        });
        ensure!(!delayed, "a write of its agent may be on its way");
        self.signal(pod, Target::All, Signal::SIGSTOP)?;
        let outcome = timeout(ANSWER, self.wipe_suspended(pod)).await;
        // Dead or resumed, never left suspended.
        match outcome {
            Ok(Ok(())) => self.signal(pod, Target::Init, Signal::SIGKILL),
            Ok(Err(error)) => {
                self.signal(pod, Target::All, Signal::SIGCONT)?;
                Err(error)
            }
            Err(_) => {
                self.signal(pod, Target::All, Signal::SIGCONT)?;
                bail!("no answer in {ANSWER:?}")
            }
        }
    }

    async fn wipe_suspended(&self, pod: u32) -> Result<()> {
        sleep_until(Instant::now() + SETTLED).await;
        let record = self.cluster.record().await?;
        let holder = record.holder.map(|holder| holder.pod);
        ensure!(holder.is_some_and(|holder| holder != self.pod(pod)), "it leads");
        let claim = self.cluster.names.claim(pod);
        self.sandbox.wipe_volume(&self.cluster.namespace, &claim).await
    }
}

async fn answered(work: impl Future<Output = Result<()>>) -> Result<()> {
    timeout(ANSWER, work).await.with_context(|| format!("no answer in {ANSWER:?}"))?
}

fn node_number(number: u8) -> Result<Node> {
    Node::all().find(|node| node.number() == number).with_context(|| format!("no node {number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_ends_and_ends_after_it_began() {
        for seed in 0..50 {
            let schedule = Schedule::of(seed);
            let all = steps(&schedule);
            for timed in schedule.faults.iter().filter(|timed| timed.fault.lasts()) {
                let end = (timed.at + timed.lasts, Step::End(timed.fault));
                assert!(all.contains(&end) && end.0 > timed.at, "{schedule}");
            }
            assert!(all.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        }
    }
}
