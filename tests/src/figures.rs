//! Durations collected and printed.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::machine::Undisturbed;

/// A set of measured durations.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    measured: Vec<Duration>,
    disturbed: usize,
}

impl Figures {
    /// Adds one measurement.
    pub fn push(&mut self, measured: Duration) {
        self.measured.push(measured);
    }

    /// Adds one measurement that began at `begun`, unless the machine stood still in between.
    pub fn push_undisturbed(&mut self, measured: Duration, begun: Undisturbed) {
        if begun.holds() {
            self.push(measured);
        } else {
            self.disturbed += 1;
        }
    }

    /// Adds everything that `other` has.
    pub fn absorb(&mut self, other: Self) {
        self.measured.extend(other.measured);
        self.disturbed += other.disturbed;
    }

    /// Judges a percentile, if the machine let at least half of the measurements be taken.
    ///
    /// # Errors
    ///
    /// When the percentile is above `max`.
    pub fn judge(&self, percent: usize, max: Duration) -> Result<()> {
        if self.count() < self.disturbed {
            println!("NOT JUDGED: time was stolen from this machine in {} rounds", self.disturbed);
            return Ok(());
        }
        let have = self.percentile(percent);
        ensure!(have <= max, "p{percent} is {}, over {}: {self}", millis(have), millis(max));
        Ok(())
    }

    /// How many were measured.
    pub fn count(&self) -> usize {
        self.measured.len()
    }

    /// How many were measured, those included that do not count.
    pub fn attempts(&self) -> usize {
        self.measured.len() + self.disturbed
    }

    /// The smallest measurement that at least `percent` of all do not exceed (nearest rank); zero
    /// when nothing was measured.
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.measured.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |percent| millis(self.percentile(percent));
        write!(f, "n={} min={} p50={} p90={}", self.count(), at(0), at(50), at(90))?;
        write!(f, " p99={} max={}", at(99), at(100))?;
        match self.disturbed {
            0 => Ok(()),
            disturbed => write!(f, ", and {disturbed} not counted: time was stolen"),
        }
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
