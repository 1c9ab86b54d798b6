//! A pod's object is gone by force while its processes still run on the volume (A5).

use crate::mutation::Mutation;
use crate::postgres::{Postgres, Process};
use crate::world::World;

/// How long the kubelet takes to end them.
const RUNS_ON_MS: u64 = 4_000;
/// Between two commits that come to a postgres that was left behind.
const COMMITS_MS: u64 = 50;

/// A postgres on a volume that is another container's by now: no lock was held.
pub struct Leftover {
    pod: usize,
    process: Box<Process>,
    /// Where its own memory says that WAL ends.
    end: usize,
    until: u64,
}

impl World {
    /// The object is replaced at once. The container in the new one waits for the volume's lock, which the old one's
    /// processes hold for as long as there are any.
    pub fn leave_behind(&mut self, pod: usize) {
        let until = self.now + RUNS_ON_MS;
        if self.mutation == Some(Mutation::SharesVolume) {
            self.share_volume(pod, until);
            return;
        }
        self.new_pod_object(pod);
        if self.pods[pod].up {
            self.pods[pod].disowned = true;
            self.pods[pod].left_behind_until = Some(until);
        }
    }

    /// The kubelet has ended them.
    pub fn end_left_behind(&mut self, pod: usize) {
        let at = &mut self.pods[pod];
        if at.left_behind_until.is_some_and(|until| self.now >= until || !at.up) {
            at.left_behind_until = None;
            at.disowned = false;
            self.kill_container(pod, false);
        }
    }

    fn share_volume(&mut self, pod: usize, until: u64) {
        let at = &mut self.pods[pod];
        let end = at.volume.data.as_ref().map_or(0, |data| data.wal.len());
        if let Postgres::Running(process) = std::mem::replace(&mut at.postgres, Postgres::Down) {
            self.leftovers.push(Leftover { pod, process, end, until });
        }
        self.kill_container(pod, false);
        self.new_pod_object(pod);
    }

    /// It writes what its clients send where it takes the end of WAL to be.
    pub fn step_leftovers(&mut self) {
        let now = self.now;
        self.leftovers.retain(|leftover| now < leftover.until);
        if !self.clients_on || !now.is_multiple_of(COMMITS_MS) {
            return;
        }
        for at in 0..self.leftovers.len() {
            let commit = self.fresh_number();
            let leftover = &mut self.leftovers[at];
            if !(leftover.process.primary && leftover.process.gate_open) {
                continue;
            }
            let Some(data) = &mut self.pods[leftover.pod].volume.data else { continue };
            match data.wal.get_mut(leftover.end) {
                Some(record) => *record = commit,
                None => data.wal.push(commit),
            }
            leftover.end += 1;
        }
    }
}
