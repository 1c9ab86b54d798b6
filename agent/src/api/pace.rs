//! How soon the API is asked again after a failure.

use std::time::{Duration, Instant};

/// From the begin of the first request that failed to that of the next; it doubles with each further failure.
const FIRST: Duration = Duration::from_millis(25);
/// Many tries fit between two renewals and a fence, and a server that refuses everybody is asked four times a second by each agent.
const LONGEST: Duration = Duration::from_millis(250);

/// What came of the requests so far.
#[derive(Debug, Default)]
pub struct Pace {
    /// Failures since the last answer.
    failures: u32,
    /// When the last request that failed began.
    failed: Option<Instant>,
}

impl Pace {
    /// How long the next request waits. One that failed by its own deadline has waited already.
    pub fn pause(&self, now: Instant) -> Duration {
        let Some(failed) = self.failed else { return Duration::ZERO };
        let doubled = 2_u32.saturating_pow(self.failures.saturating_sub(1));
        let apart = FIRST.saturating_mul(doubled).min(LONGEST);
        apart.saturating_sub(now.saturating_duration_since(failed))
    }

    /// A request that began then was answered, or failed.
    pub fn note(&mut self, began: Instant, failed: bool) {
        if failed {
            self.failures = self.failures.saturating_add(1);
            self.failed = self.failed.max(Some(began));
        } else {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(pace: &Pace, now: Instant) -> u128 {
        pace.pause(now).as_millis()
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_end_with_an_answer() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let pauses: Vec<u128> = (0..40)
            .map(|_| {
                let pause = ms(&pace, now);
                pace.note(now, true);
                pause
            })
            .collect();
        assert_eq!(pauses[..6], [0, 25, 50, 100, 200, 250]);
        assert_eq!(pauses[39], 250);
        pace.note(now, false);
        assert_eq!(ms(&pace, now), 0);
    }

    #[test]
    fn time_that_a_failure_took_counts() {
        let (mut pace, began) = (Pace::default(), Instant::now());
        pace.note(began, true);
        assert_eq!(ms(&pace, began + Duration::from_millis(20)), 5);
        assert_eq!(ms(&pace, began + Duration::from_secs(1)), 0);
    }
}
