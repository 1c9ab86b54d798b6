//! A primary whose place another has taken lets no client in for long: it can't acknowledge, but it answers reads.

use std::collections::BTreeMap;

use super::Violation;

/// `fence_after`, by a slow clock, the stop, and what the last acknowledgement was old.
const WITHIN_MS: u64 = 9_000;

/// Since when whose postmaster serves beside the holder.
#[derive(Default)]
pub struct Deposed {
    since: BTreeMap<usize, u64>,
}

impl Deposed {
    /// Whether this pod serves clients although another holds the record. Suspended time does not count.
    pub fn note(&mut self, pod: usize, serves: bool, now: u64, name: &str) -> Option<Violation> {
        if !serves {
            self.since.remove(&pod);
            return None;
        }
        let since = *self.since.entry(pod).or_insert(now);
        (now - since > WITHIN_MS).then(|| Violation::DeposedServes { pod: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_primary_that_goes_on_is_seen_and_one_that_ends_is_not() {
        let mut deposed = Deposed::default();
        assert_eq!(deposed.note(0, true, 1_000, "a-0"), None);
        assert_eq!(deposed.note(0, false, 9_000, "a-0"), None);
        assert_eq!(deposed.note(0, true, 10_000, "a-0"), None);
        assert_eq!(deposed.note(0, true, 19_000, "a-0"), None);
        assert!(deposed.note(0, true, 19_010, "a-0").is_some());
    }
}
