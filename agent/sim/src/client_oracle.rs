//! What clients were promised: every acknowledged commit, and whether it may still be lost.

use std::collections::{BTreeMap, BTreeSet};

/// The acknowledged commits.
#[derive(Default)]
pub struct Oracle {
    /// Every acknowledged commit.
    pub acknowledged: BTreeSet<u64>,
    /// Those that nothing may lose: acknowledged while the record said `sync`, or there when it came to say so.
    pub promised: BTreeSet<u64>,
    /// When a client last got an acknowledgement.
    pub last_at: u64,
    /// The longest time without one, after the first, and when it ended.
    pub longest_gap: (u64, u64),
    /// Acknowledgements per pod, for the summary.
    pub by_pod: BTreeMap<usize, u64>,
}

impl Oracle {
    /// A client got its acknowledgement.
    pub fn acknowledge(&mut self, commit: u64, sync: bool, pod: usize, now: u64) {
        self.acknowledged.insert(commit);
        if sync {
            self.promised.insert(commit);
        }
        if self.last_at > 0 && now - self.last_at > self.longest_gap.0 {
            self.longest_gap = (now - self.last_at, now);
        }
        self.last_at = now;
        *self.by_pod.entry(pod).or_default() += 1;
    }

    /// Whoever takes over next has this; what else was promised people have given up.
    pub fn give_up_all_but(&mut self, wal: &[u64]) {
        let there: BTreeSet<u64> = wal.iter().copied().collect();
        self.promised.retain(|commit| there.contains(commit));
    }

    /// The record says `async` from now on: a failover may lose what the taker has not received.
    pub fn loosen(&mut self) {
        self.promised.clear();
    }

    /// The record says `sync` from now on: what its holder has is promised.
    pub fn tighten(&mut self, wal: &[u64]) {
        let there: BTreeSet<u64> = wal.iter().copied().collect();
        self.promised.extend(self.acknowledged.intersection(&there));
    }
}
