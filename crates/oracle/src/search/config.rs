//! One way the past may have gone, as far as the future depends on it.

use crate::model::State;

/// Operations with known outcomes that one key may have open at the same time.
pub(crate) const KNOWN_MAX: usize = u64::BITS as usize;
/// Operations with unknown outcomes that one key may have, less those that surely took effect.
pub(crate) const UNKNOWN_MAX: usize = WORDS * KNOWN_MAX;

const WORDS: usize = 4;

/// A set of slots of operations with unknown outcomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slots([u64; WORDS]);

impl Slots {
    pub(crate) const ALL: Self = Self([u64::MAX; WORDS]);

    pub(crate) fn has(&self, slot: usize) -> bool {
        self.0.get(slot / KNOWN_MAX).is_some_and(|word| word & (1 << (slot % KNOWN_MAX)) != 0)
    }

    pub(crate) fn add(&mut self, slot: usize) {
        if let Some(word) = self.0.get_mut(slot / KNOWN_MAX) {
            *word |= 1 << (slot % KNOWN_MAX);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0 == [0; WORDS]
    }

    pub(crate) fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    pub(crate) fn and(&self, other: &Self) -> Self {
        self.with(other, |a, b| a & b)
    }

    pub(crate) fn minus(&self, other: &Self) -> Self {
        self.with(other, |a, b| a & !b)
    }

    fn with(&self, other: &Self, f: impl Fn(u64, u64) -> u64) -> Self {
        let mut result = *self;
        result.0.iter_mut().zip(other.0).for_each(|(a, b)| *a = f(*a, b));
        result
    }
}

/// Where an operation that has not returned is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Its outcome is known: it takes effect before it returns.
    Known(usize),
    /// Its outcome is unknown: it may take effect from now on.
    Unknown(usize),
}

/// One way the past may have gone: all that returned has taken effect, and some of the rest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    /// Of those open with known outcomes, which have taken effect.
    pub(crate) known: u64,
    /// Of those with unknown outcomes, which have taken effect.
    pub(crate) unknown: Slots,
    pub(crate) state: State,
    /// The last operation that took effect, in the trail.
    pub(crate) trail: u32,
}

impl Config {
    pub(crate) fn has(&self, slot: Slot) -> bool {
        match slot {
            Slot::Known(slot) => self.known & (1 << slot) != 0,
            Slot::Unknown(slot) => self.unknown.has(slot),
        }
    }

    /// This one after one more operation took effect.
    pub(crate) fn after(mut self, slot: Slot, state: State) -> Self {
        match slot {
            Slot::Known(slot) => self.known |= 1 << slot,
            Slot::Unknown(slot) => self.unknown.add(slot),
        }
        self.state = state;
        self
    }

    pub(crate) fn count(&self) -> u32 {
        self.known.count_ones() + self.unknown.count()
    }
}
