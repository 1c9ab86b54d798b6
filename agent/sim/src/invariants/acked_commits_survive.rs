//! Nothing acknowledged is lost: whoever lets clients in has every promised commit.

use std::collections::BTreeSet;

use super::Violation;
use crate::client_oracle::Oracle;

/// Checked when a primary lets clients in, and at the end.
pub fn check(oracle: &Oracle, wal: &[u64], pod: &str) -> Option<Violation> {
    let there: BTreeSet<u64> = wal.iter().copied().collect();
    let commits = oracle.promised.difference(&there).count();
    (commits > 0).then(|| Violation::CommitLost { commits, pod: pod.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promised_commit_that_lacks_is_seen_and_another_is_not() {
        let mut oracle = Oracle::default();
        oracle.acknowledge(1, true, 0, 1);
        oracle.acknowledge(2, false, 0, 2);
        assert_eq!(check(&oracle, &[1], "a-0"), None);
        assert_eq!(
            check(&oracle, &[2], "a-0"),
            Some(Violation::CommitLost { commits: 1, pod: "a-0".into() })
        );
    }
}
