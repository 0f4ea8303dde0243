//! Helpers of the tests.

use crate::{BatchBuilder, Command, Origin};

/// SplitMix64: same seed, same sequence, on every machine and in every release.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    /// An index into something of this length.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }
}

/// The body of a batch.
pub(crate) fn body(origin: Origin, seq: u64, acked: u64, commands: &[Command<'_>]) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for command in commands {
        builder.push(command);
    }
    builder.finish(origin, seq, acked)
}
