//! No initdb, clone or rewind replaces the last copy of a promised commit.

use std::collections::BTreeSet;

use super::Violation;
use crate::client_oracle::Oracle;

/// `old` is about to be replaced; `others` are the volumes that count.
pub fn check<'a>(
    oracle: &Oracle,
    old: &[u64],
    others: impl Iterator<Item = &'a [u64]>,
    pod: &str,
) -> Option<Violation> {
    let here: BTreeSet<u64> = old.iter().copied().collect();
    let mut only_here: BTreeSet<u64> = oracle.promised.intersection(&here).copied().collect();
    for other in others {
        if only_here.is_empty() {
            return None;
        }
        for commit in other {
            only_here.remove(commit);
        }
    }
    (!only_here.is_empty()).then(|| Violation::LastCopyWiped { pod: pod.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_copy_is_seen() {
        let mut oracle = Oracle::default();
        oracle.acknowledge(7, true, 0, 1);
        let (with, without): (&[u64], &[u64]) = (&[7, 8], &[8]);
        assert_eq!(check(&oracle, with, [with].into_iter(), "a-0"), None);
        assert_eq!(
            check(&oracle, with, [without].into_iter(), "a-0"),
            Some(Violation::LastCopyWiped { pod: "a-0".into() })
        );
    }
}
