//! When an item was last used on this replica: not replicated, and no part of any outcome.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::UnixMillis;

/// When an item was last used here, to the second, and whether it has ever been read here.
///
/// ```text
///   bit 31     bits 30 to 0
///   fetched    seconds since 2020-01-01
/// ```
#[derive(Debug)]
pub(crate) struct Access(AtomicU32);

impl Access {
    /// Of an item that has just been written.
    pub(crate) fn written(at: UnixMillis) -> Self {
        Self(AtomicU32::new(seconds(at)))
    }

    /// It is read.
    pub(crate) fn fetch(&self, at: UnixMillis) {
        let new = seconds(at) | FETCHED;
        // A store would take the line from the other readers' caches.
        if self.0.load(Ordering::Relaxed) != new {
            self.0.store(new, Ordering::Relaxed);
        }
    }

    /// Whether it has been read, and the seconds since it was last used.
    pub(crate) fn seen(&self, at: UnixMillis) -> (bool, u64) {
        let known = self.0.load(Ordering::Relaxed);
        let idle = seconds(at).saturating_sub(known & !FETCHED);
        (known & FETCHED != 0, u64::from(idle))
    }
}

impl Clone for Access {
    fn clone(&self) -> Self {
        Self(AtomicU32::new(self.0.load(Ordering::Relaxed)))
    }
}

fn seconds(at: UnixMillis) -> u32 {
    let since = (at.0 / 1000).saturating_sub(BEGINS_S);
    u32::try_from(since).unwrap_or(u32::MAX).min(FETCHED - 1)
}

const FETCHED: u32 = 1 << 31;
/// 2020-01-01.
const BEGINS_S: u64 = 1_577_836_800;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_the_last_use_to_the_second() {
        let at = |seconds: u64| UnixMillis((BEGINS_S + seconds) * 1000);
        let access = Access::written(at(10));
        assert_eq!(access.seen(at(14)), (false, 4));
        access.fetch(at(15));
        assert_eq!(access.clone().seen(at(15)), (true, 0));
        assert_eq!(access.seen(at(9)), (true, 0), "another node's time may be behind");
        assert_eq!(Access::written(UnixMillis(u64::MAX)).seen(at(0)), (false, 0));
    }
}
