//! StopProvider: the user pressed Ctrl-C, and whatever runs should come to an early, orderly end.

use std::sync::{Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// Hands out the token of the calls under way. Stopping cancels it and puts a fresh one in place, because a host may go
/// on with other calls after a stop (it closes data sources, or reads again).
#[derive(Debug, Default)]
pub struct StopSwitch(Mutex<CancellationToken>);

impl StopSwitch {
    /// The token for a call that starts now.
    pub fn token(&self) -> CancellationToken {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Cancels every call under way.
    pub fn stop(&self) {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *current).cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_ends_what_runs_and_nothing_later() {
        let switch = StopSwitch::default();
        let running = switch.token();
        switch.stop();
        assert!(running.is_cancelled());
        assert!(!switch.token().is_cancelled());
    }
}
