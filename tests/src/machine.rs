//! What the machine itself does to a measurement.
//!
//! A virtual machine's processors can stand still for hundreds of milliseconds because the host
//! gives them to others. The kernel counts that as stolen time. A duration that contains stolen
//! time says nothing about the cluster; promises are kept all the same, so those are always judged.

use std::time::Duration;

/// Time stolen from this machine since it started, summed over its processors, in steps of 10 ms;
/// zero where the kernel does not say.
pub fn stolen() -> Duration {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let all = stat.lines().next().unwrap_or_default();
    // cpu user nice system idle iowait irq softirq steal ...
    let ticks = all.split_whitespace().nth(8).and_then(|ticks| ticks.parse().ok());
    Duration::from_millis(10 * ticks.unwrap_or(0_u64))
}

/// A moment, to see later what was stolen since.
#[derive(Debug, Clone, Copy)]
pub struct Undisturbed(Duration);

impl Undisturbed {
    /// Now.
    pub fn now() -> Self {
        Self(stolen())
    }

    /// What has been stolen since.
    pub fn stolen(self) -> Duration {
        stolen().saturating_sub(self.0)
    }

    /// Whether nothing has been stolen since.
    pub fn holds(self) -> bool {
        self.stolen().is_zero()
    }
}
