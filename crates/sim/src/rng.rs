//! What a seed decides.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Draws from a seed. Parts of a run have generators of their own, so that one more draw in one
/// leaves the others as they are.
#[derive(Debug)]
pub struct Draw(StdRng);

impl Draw {
    /// The generator for one part of the run with this seed.
    pub fn new(seed: u64, part: u64) -> Self {
        Self(StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ part))
    }

    /// `least..=most`.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        self.0.random_range(least..=most.max(least))
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.between(1, times) == 1
    }

    /// One of `choices`; `None` if there is none.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        let last = choices.len().checked_sub(1)? as u64;
        choices.get(usize::try_from(self.between(0, last)).unwrap_or(0)).copied()
    }

    /// Any number.
    pub fn bits(&mut self) -> u64 {
        self.0.random()
    }

    /// Puts `items` in some order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = usize::try_from(self.between(0, last as u64)).unwrap_or(0);
            items.swap(last, other);
        }
    }
}
