//! Waiting for a condition, never for a time.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Calls `probe` until it succeeds or `within` has passed.
///
/// # Errors
///
/// The last refusal of `probe`, with what was waited for.
pub fn wait_for<T>(what: &str, within: Duration, probe: impl FnMut() -> Result<T>) -> Result<T> {
    wait_every(PAUSE, what, within, probe)
}

/// [`wait_for`] with a longer breath between two looks, for looks that cost the nodes something.
pub(crate) fn wait_every<T>(
    pause: Duration,
    what: &str,
    within: Duration,
    mut probe: impl FnMut() -> Result<T>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(error) if deadline <= Instant::now() => {
                return Err(error).with_context(|| format!("waited {within:?} for {what}"));
            }
            Err(_) => thread::sleep(pause),
        }
    }
}

/// The breath between two looks at a condition. Proves nothing about what happened meanwhile.
pub fn pause() {
    thread::sleep(PAUSE);
}

/// Short against the 10 ms the tightest promise allows, long enough to leave the core to the nodes.
const PAUSE: Duration = Duration::from_millis(2);
