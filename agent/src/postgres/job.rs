//! Long actions: each runs beside the loop, and its state is part of what the next decision sees.

use std::future::Future;

use pgha_agent_core::observation::{Job, Jobs};
use tokio::task::JoinHandle;

use crate::boottime::now_ms;

/// Which long action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// initdb.
    Initdb,
    /// pg_basebackup.
    Clone,
    /// pg_rewind.
    Rewind,
    /// CHECKPOINT.
    Checkpoint,
    /// Another agent's binary on its way.
    FetchAgent,
}

const KINDS: [Kind; 5] = [Kind::Initdb, Kind::Clone, Kind::Rewind, Kind::Checkpoint, Kind::FetchAgent];

#[derive(Debug, Default)]
struct Slot {
    task: Option<(u64, JoinHandle<Result<(), String>>)>,
    state: Job,
    failures: u32,
}

/// The running and the last finished ones.
#[derive(Debug, Default)]
pub struct JobTable {
    slots: [Slot; 5],
}

impl JobTable {
    /// Starts one, unless it runs; `wake` is called at its end.
    pub fn start<F>(&mut self, kind: Kind, work: F, wake: impl FnOnce() + Send + 'static)
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let slot = &mut self.slots[kind as usize];
        if slot.task.is_some() {
            return;
        }
        let since_ms = now_ms();
        slot.state = Job::Running { since_ms };
        slot.task = Some((
            since_ms,
            tokio::spawn(async move {
                let result = work.await;
                wake();
                result
            }),
        ));
        tracing::info!(job = ?kind, "job started");
    }

    /// Takes in what has ended; tells whether anything has.
    pub async fn settle(&mut self) -> bool {
        let mut ended = false;
        for kind in KINDS {
            let slot = &mut self.slots[kind as usize];
            if !slot.task.as_ref().is_some_and(|(_, task)| task.is_finished()) {
                continue;
            }
            let Some((since_ms, task)) = slot.task.take() else { continue };
            ended = true;
            let at_ms = now_ms();
            let result = task.await.unwrap_or_else(|error| Err(error.to_string()));
            slot.state = match result {
                Ok(()) => {
                    slot.failures = 0;
                    tracing::info!(job = ?kind, took_ms = at_ms - since_ms, "job done");
                    Job::Done { since_ms, at_ms }
                }
                Err(why) => {
                    slot.failures += 1;
                    tracing::warn!(job = ?kind, took_ms = at_ms - since_ms, why, failures = slot.failures, "job failed");
                    Job::Failed { at_ms, why, failures: slot.failures }
                }
            };
        }
        ended
    }

    /// Whether a job that makes data runs.
    pub fn makes_data(&self) -> bool {
        [Kind::Initdb, Kind::Clone, Kind::Rewind].iter().any(|kind| self.slots[*kind as usize].task.is_some())
    }

    /// State of one.
    pub fn state(&self, kind: Kind) -> Job {
        self.slots[kind as usize].state.clone()
    }

    /// As decisions see those of the data.
    pub fn seen(&self) -> Jobs {
        let state = |kind: Kind| self.state(kind);
        Jobs {
            initdb: state(Kind::Initdb),
            clone: state(Kind::Clone),
            rewind: state(Kind::Rewind),
            checkpoint: state(Kind::Checkpoint),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn failures_in_a_row_are_counted_until_one_succeeds() {
        let mut table = JobTable::default();
        for failures in 1..=2 {
            table.start(Kind::Clone, async { Err("no space".to_owned()) }, || {});
            assert!(table.makes_data() && table.seen().clone.is_running());
            while table.makes_data() {
                tokio::task::yield_now().await;
                table.settle().await;
            }
            assert!(matches!(table.seen().clone, Job::Failed { failures: f, .. } if f == failures));
        }
        table.start(Kind::Clone, async { Ok(()) }, || {});
        while table.makes_data() {
            tokio::task::yield_now().await;
            table.settle().await;
        }
        assert!(matches!(table.seen().clone, Job::Done { .. }));
        assert_eq!(table.seen().rewind, Job::Idle);
    }
}
