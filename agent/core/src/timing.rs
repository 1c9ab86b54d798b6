//! The durations of the protocol and the law between them (A6).

use pgha_schema::desired::FailoverSpec;

/// How long a fence may take from its start until nothing can write any more: 300 ms from SIGQUIT to SIGKILL (A7), and
/// the reaping.
pub const STOP_BUDGET_MS: u64 = 1_000;
/// How long one write or safety read of the record may take before it counts as failed.
pub const API_DEADLINE_MS: u64 = 1_000;
/// Default of [`Timing::renew_interval_ms`].
pub const RENEW_INTERVAL_MS: u64 = 2_000;
/// Default of [`Timing::fence_after_ms`].
pub const FENCE_AFTER_MS: u64 = 6_000;
/// Default of [`Timing::lease_duration_ms`].
pub const LEASE_DURATION_MS: u64 = 10_000;

const _: () = assert!(FENCE_AFTER_MS + STOP_BUDGET_MS < LEASE_DURATION_MS);
const _: () = assert!(RENEW_INTERVAL_MS + 2 * API_DEADLINE_MS < FENCE_AFTER_MS);

/// Durations for which the law holds; made only by [`Timing::try_new`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    renew_interval_ms: u64,
    fence_after_ms: u64,
    lease_duration_ms: u64,
    degrade_after_ms: u64,
}

/// Durations that break the law of A6.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// The holder could still write when another takes over.
    #[error(
        "fence_after ({fence_after_ms} ms) + {STOP_BUDGET_MS} ms to stop must be less than lease_duration ({lease_duration_ms} ms)"
    )]
    FenceTooLate {
        /// As given.
        fence_after_ms: u64,
        /// As given.
        lease_duration_ms: u64,
    },
    /// One slow answer of the API server would fence a healthy primary.
    #[error(
        "renew_interval ({renew_interval_ms} ms) + two attempts of {API_DEADLINE_MS} ms must be less than fence_after ({fence_after_ms} ms)"
    )]
    RenewTooRarely {
        /// As given.
        renew_interval_ms: u64,
        /// As given.
        fence_after_ms: u64,
    },
}

impl Timing {
    /// Takes the durations of the wish.
    ///
    /// # Errors
    /// When the law does not hold between them.
    pub fn try_new(spec: &FailoverSpec) -> Result<Self, TimingError> {
        if spec.fence_after_ms.saturating_add(STOP_BUDGET_MS) >= spec.lease_duration_ms {
            return Err(TimingError::FenceTooLate {
                fence_after_ms: spec.fence_after_ms,
                lease_duration_ms: spec.lease_duration_ms,
            });
        }
        if spec.renew_interval_ms.saturating_add(2 * API_DEADLINE_MS) >= spec.fence_after_ms {
            return Err(TimingError::RenewTooRarely {
                renew_interval_ms: spec.renew_interval_ms,
                fence_after_ms: spec.fence_after_ms,
            });
        }
        Ok(Self {
            renew_interval_ms: spec.renew_interval_ms,
            fence_after_ms: spec.fence_after_ms,
            lease_duration_ms: spec.lease_duration_ms,
            degrade_after_ms: spec.degrade_after_ms,
        })
    }

    /// How often the holder renews.
    pub fn renew_interval_ms(&self) -> u64 {
        self.renew_interval_ms
    }

    /// When the holder's fence begins, counted from before its last good renewal was sent.
    pub fn fence_after_ms(&self) -> u64 {
        self.fence_after_ms
    }

    /// How long a candidate waits from when it first saw a record.
    pub fn lease_duration_ms(&self) -> u64 {
        self.lease_duration_ms
    }

    /// How long `preferred` waits for a confirming standby.
    pub fn degrade_after_ms(&self) -> u64 {
        self.degrade_after_ms
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            renew_interval_ms: RENEW_INTERVAL_MS,
            fence_after_ms: FENCE_AFTER_MS,
            lease_duration_ms: LEASE_DURATION_MS,
            degrade_after_ms: 3_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_keep_the_law() {
        assert_eq!(Timing::try_new(&FailoverSpec::default()), Ok(Timing::default()));
    }

    #[test]
    fn a_fence_that_ends_after_the_lease_is_refused() {
        let spec = FailoverSpec { fence_after_ms: 9_000, ..FailoverSpec::default() };
        assert_eq!(
            Timing::try_new(&spec),
            Err(TimingError::FenceTooLate { fence_after_ms: 9_000, lease_duration_ms: 10_000 })
        );
    }

    #[test]
    fn renewals_so_rare_that_one_lost_answer_fences_are_refused() {
        let spec = FailoverSpec { renew_interval_ms: 4_000, ..FailoverSpec::default() };
        assert_eq!(
            Timing::try_new(&spec),
            Err(TimingError::RenewTooRarely { renew_interval_ms: 4_000, fence_after_ms: 6_000 })
        );
    }
}
