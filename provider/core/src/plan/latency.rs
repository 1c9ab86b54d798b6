//! Whether the API server answers in time for the timings that are asked for.

use std::time::Duration;

use pgha_schema::resource::Failover;

use crate::diagnostic::Diagnostic;
use crate::path::Path;

/// Between a renewal and its fence a primary has time for two tries (A6): an API server that needs longer makes it rely on its
/// standbys. `fastest` is the least time that one of its answers took.
pub fn short_lease(failover: &Failover, fastest: Duration) -> Option<Diagnostic> {
    let left = failover.fence_after.as_millis().saturating_sub(failover.renew_interval.as_millis());
    let a_try = Duration::from_millis(left / 2);
    (fastest > a_try).then(|| {
        Diagnostic::warning(
            "The lease is short for this API server",
            format!(
                "The fastest of its answers while this plan was tried took {:.1} s, as seen from here, and a primary has {:.1} s for each of \
                 two tries to renew its lease before it must rely on its standbys, or stop. If the API server is as slow from \
                 the nodes, raise failover.fence_after and failover.lease_duration.",
                fastest.as_secs_f64(),
                a_try.as_secs_f64()
            ),
        )
        .at(Path::of("failover"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_needs_longer_than_a_try_is_told_of() {
        let failover = Failover::default();
        assert_eq!(short_lease(&failover, Duration::from_millis(2_000)), None);
        let told = short_lease(&failover, Duration::from_millis(2_100)).expect("a warning");
        assert!(
            !told.is_error() && told.detail.contains("took 2.1 s") && told.detail.contains("has 2.0 s"),
            "{told}"
        );
    }
}
