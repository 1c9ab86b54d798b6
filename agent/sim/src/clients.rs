//! Clients: they commit where they find an open gate, and are told when it is confirmed.

use pgha_schema::desired::SyncMode;
use pgha_schema::names::{LABEL_ROLE, ROLE_PRIMARY};
use rand::Rng as _;

use crate::network::End;
use crate::postgres::Postgres;
use crate::world::{PODS, World};

impl World {
    /// Clients commit, and are told.
    pub fn step_clients(&mut self) {
        if !self.clients_on {
            return;
        }
        for client in 0..self.clients.len() {
            if self.now < self.clients[client] {
                continue;
            }
            self.clients[client] = self.now + self.rng.random_range(20..80);
            // Most ask the Service, some still know another address.
            let labelled: Vec<usize> = (0..PODS)
                .filter(|pod| self.pods[*pod].labels.get(LABEL_ROLE).is_some_and(|role| role == ROLE_PRIMARY))
                .collect();
            let pod = if labelled.is_empty() || self.rng.random_bool(0.3) {
                self.rng.random_range(0..PODS)
            } else {
                labelled[self.rng.random_range(0..labelled.len())]
            };
            if self.serves(pod)
                && !self.is_postgres_frozen(pod)
                && self.net.talks(End::Clients, End::Node(pod))
            {
                if self.runs_out_of_room(pod) {
                    continue;
                }
                let commit = self.fresh_number();
                let at = &mut self.pods[pod];
                if let (Postgres::Running(process), Some(data)) = (&mut at.postgres, &mut at.volume.data) {
                    data.wal.push(commit);
                    process.waiting.push((commit, data.wal.len(), client));
                }
            }
        }
        for pod in 0..PODS {
            self.return_commits(pod);
        }
    }

    /// WAL is to be written to a full disk: what is left of the segment may do, else postgres stops itself.
    pub fn runs_out_of_room(&mut self, pod: usize) -> bool {
        let out = self.pods[pod].stops_when_full && self.rng.random_bool(0.1);
        if out {
            self.kill_postgres(pod);
        }
        out
    }

    fn return_commits(&mut self, pod: usize) {
        if self.is_postgres_frozen(pod) || !self.pods[pod].up {
            return;
        }
        let now = self.now;
        let Postgres::Running(process) = &mut self.pods[pod].postgres else { return };
        if process.waiting.is_empty() {
            return;
        }
        let (id, up_to) = (process.id, process.returns_up_to(now));
        let (done, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut process.waiting).into_iter().partition(|(_, records, _)| *records <= up_to);
        process.waiting = waiting;
        if !self.net.talks(End::Clients, End::Node(pod)) {
            return;
        }
        let sync = self.api.lease.as_ref().is_some_and(|(_, record)| record.mode != SyncMode::Async);
        for (commit, ..) in done {
            let kept = self.current_writer_has(commit);
            let name = self.pods[pod].name.clone();
            let second = self.writers.acknowledge(id, &name, kept);
            self.broken(second);
            self.oracle.acknowledge(commit, sync, pod, now);
        }
    }

    fn current_writer_has(&self, commit: u64) -> bool {
        let Some(current) = self.writers.current() else { return false };
        self.pods.iter().any(|at| {
            matches!(&at.postgres, Postgres::Running(process) if process.id == current)
                // It is one of the newest.
                && at.volume.data.as_ref().is_some_and(|data| data.wal.iter().rev().any(|one| *one == commit))
        })
    }
}
