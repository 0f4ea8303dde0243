//! A clock that costs next to nothing.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Milliseconds of a clock that never goes back, in steps of some milliseconds.
///
/// For what is looked at by the second. The kernel only copies a number for it, so that every
/// connection can afford to ask whenever it is served.
pub(crate) fn coarse_ms() -> u64 {
    // Fails only for a clock that there is not.
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_or(Duration::ZERO, Duration::from);
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
