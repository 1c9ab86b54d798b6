//! A holder that is heard is not pre-empted, even when it can't renew: without it every slow API server is a failover.

use super::Violation;

/// Silence is counted for longer than this.
const HEARD_MS: u64 = 1_000;

/// `by` decides to swap; the last heartbeat of `from` came to it so long ago.
pub fn check(heard_ms_ago: Option<u64>, by: &str, from: &str) -> Option<Violation> {
    heard_ms_ago
        .is_some_and(|ago_ms| ago_ms < HEARD_MS)
        .then(|| Violation::HeardHolderPreempted { by: by.to_owned(), from: from.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_silent_holder_may_be_pre_empted() {
        assert_eq!(check(Some(1_500), "a-1", "a-0"), None);
        assert_eq!(check(None, "a-1", "a-0"), None);
        assert!(check(Some(200), "a-1", "a-0").is_some());
    }
}
