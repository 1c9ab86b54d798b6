//! The one clock of guard and agent: CLOCK_BOOTTIME, which goes on while the machine is suspended (A6).

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Milliseconds since the node's boot.
pub fn now_ms() -> u64 {
    // The clock exists on every Linux since 2.6.39: a failure here would be a broken kernel, and time 0 fences.
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map_or(0, |time| u64::try_from(Duration::from(time).as_millis()).unwrap_or(u64::MAX))
}
