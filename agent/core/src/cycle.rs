//! One cycle under construction: what is seen, what is to be done, when to look again.

use pgha_schema::record::Record;

use crate::decision::{Action, Attempt, Decision, Memory, Reason};
use crate::events;
use crate::failsafe::Rivals;
use crate::lease;
use crate::observation::{LeaseRead, Observation, WriteOutcome};
use crate::timing::Timing;
use crate::upgrade;

/// When nothing else is due, look again after this.
const IDLE_WAKE_MS: u64 = 1_000;
/// Between a failed write of the record and the next.
const RETRY_MS: u64 = 200;

pub(crate) struct Cycle<'a> {
    pub timing: &'a Timing,
    pub seen: &'a Observation,
    pub memory: Memory,
    pub actions: Vec<Action>,
    wake_after_ms: u64,
    guarded: bool,
}

impl<'a> Cycle<'a> {
    pub fn new(timing: &'a Timing, memory: &Memory, seen: &'a Observation) -> Self {
        let mut memory = lease::note_renewal(memory, seen);
        lease::note_vouched(timing, &mut memory, seen);
        lease::forget_what_is_over(timing, &mut memory, seen);
        Self { timing, seen, memory, actions: Vec::new(), wake_after_ms: IDLE_WAKE_MS, guarded: false }
    }

    pub fn push(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// An uncached read of the record, once a cycle.
    pub fn read_lease(&mut self) {
        if !self.actions.contains(&Action::ReadLease) {
            self.push(Action::ReadLease);
        }
    }

    pub fn wake_in(&mut self, after_ms: u64) {
        self.wake_after_ms = self.wake_after_ms.min(after_ms);
    }

    pub fn wake_at(&mut self, at_ms: u64) {
        self.wake_in(at_ms.saturating_sub(self.seen.now_ms).max(1));
    }

    /// Hand the guard the deadline that the last good renewal gives.
    pub fn guard(&mut self) {
        self.guarded = true;
    }

    /// Milliseconds since `since_ms`.
    pub fn elapsed_ms(&self, since_ms: u64) -> u64 {
        self.seen.now_ms.saturating_sub(since_ms)
    }

    /// Writes the record on top of what was read, unless a failed write has to be looked into first. Returns whether
    /// the write was ordered.
    pub fn write(&mut self, read: &LeaseRead, record: Record) -> bool {
        if !self.may_write(read) {
            return false;
        }
        let at_ms = match &self.memory.attempt {
            // The earlier one may have landed: count from before it was sent.
            Some(earlier) if earlier.record.renewals == record.renewals => earlier.at_ms,
            _ => self.seen.now_ms,
        };
        self.memory.unsettled.insert(Rivals::of(&record));
        self.memory.attempt =
            Some(Attempt { record: record.clone(), if_version: Some(read.version.clone()), at_ms });
        // First, so that nothing slow comes before a renewal.
        let write = Action::WriteRecord { if_version: read.version.clone(), record: Box::new(record) };
        self.actions.insert(0, write);
        true
    }

    fn may_write(&mut self, read: &LeaseRead) -> bool {
        let Some(last) = &self.seen.last_write else { return true };
        if last.outcome == WriteOutcome::Written {
            return true;
        }
        if read.fresh_ms.is_none_or(|fresh_ms| fresh_ms < last.at_ms) {
            self.actions.insert(0, Action::ReadLease);
            self.wake_in(RETRY_MS);
            return false;
        }
        true
    }

    /// Since when this request is under way here.
    pub fn watch(&mut self, id: &str) -> u64 {
        let now_ms = self.seen.now_ms;
        *self.memory.watched.entry(id.to_owned()).or_insert(now_ms)
    }

    pub fn finish(mut self, reason: Reason) -> Decision {
        upgrade::after_trial(&mut self);
        events::tell(&mut self, &reason);
        let fence_at_ms = if self.guarded { lease::fence_at_ms(self.timing, &self.memory) } else { None };
        Decision {
            actions: self.actions,
            reason,
            wake_after_ms: self.wake_after_ms,
            fence_at_ms,
            memory: self.memory,
        }
    }
}
