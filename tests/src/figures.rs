//! Durations collected and printed.

use std::fmt;
use std::time::Duration;

/// A set of measured durations.
#[derive(Debug, Clone, Default)]
pub struct Figures(Vec<Duration>);

impl Figures {
    /// Adds one measurement.
    pub fn push(&mut self, measured: Duration) {
        self.0.push(measured);
    }

    /// How many were measured.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest measurement that at least `percent` of all do not exceed (nearest rank); zero
    /// when nothing was measured.
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |percent| millis(self.percentile(percent));
        write!(f, "n={} min={} p50={} p90={}", self.count(), at(0), at(50), at(90))?;
        write!(f, " p99={} max={}", at(99), at(100))
    }
}

/// `measured` in milliseconds with one decimal, as all tests print it.
pub fn millis(measured: Duration) -> String {
    format!("{:.1}ms", measured.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let mut figures = Figures::default();
        assert_eq!(figures.percentile(50), Duration::ZERO);
        (1..=200).rev().for_each(|ms| figures.push(Duration::from_millis(ms)));
        for (percent, want_ms) in [(0, 1), (50, 100), (99, 198), (100, 200)] {
            assert_eq!(figures.percentile(percent), Duration::from_millis(want_ms), "{percent}");
        }
    }
}
