//! Room for items: what is dead goes first, then, if that is allowed, the oldest.

use canary::Canary;

use super::Cache;
use crate::item::Deadline;
use crate::store::{Found, item_bytes};

impl Cache {
    /// Takes back up to `count` dead items. What is taken back decides what the next entry finds,
    /// so only real ones count: a restored replica has nothing else to count.
    pub(super) fn reclaim(&mut self, count: u32) {
        for _ in 0..count {
            if !self.reclaim_one() {
                return;
            }
        }
    }

    /// Makes room for an item in place of `old`, which is not evicted for it.
    ///
    /// Invariant 5: afterwards the item fits, or the answer is false.
    pub(super) fn make_room(&mut self, old: Option<&Found>, data_len: u64) -> bool {
        let (wanted, replaced) = (item_bytes(data_len), old.map_or(0, |old| old.bytes));
        let limit = self.memory_limit();
        if wanted <= replaced {
            // Asks for no memory: not refused even where the limit has been lowered since.
            return true;
        }
        if limit < wanted {
            return false;
        }
        let fits = |cache: &Self| cache.store.totals().bytes - replaced + wanted <= limit;
        if fits(self) {
            return true;
        }
        while !fits(self) && self.reclaim_one() {}
        if self.settings.evict {
            old.iter().for_each(|old| self.store.spare(old));
            while !fits(self) && self.evict_one() {}
        }
        fits(self)
    }

    /// The limit in force, in bytes.
    pub(crate) fn memory_limit(&self) -> u64 {
        self.limit.unwrap_or(self.settings.memory_limit)
    }

    /// Evicts down to new limits, if that is allowed.
    pub(super) fn fit(&mut self) {
        let over = |cache: &Self| cache.memory_limit() < cache.store.totals().bytes;
        while over(self) && self.reclaim_one() {}
        while over(self) && self.settings.evict && self.evict_one() {}
    }

    /// Removes an item that is dead, and counts it.
    pub(super) fn take_back(&mut self, found: &Found) {
        if found.deadline.passed(self.times.now) {
            self.counters.reclaimed += 1;
        } else {
            self.counters.flushed += 1;
        }
        self.store.remove(found.hash, found.node);
    }

    /// Takes back the item that expired first, or else the oldest flushed one.
    ///
    /// The flushed ones stand in front: nothing can touch them any more.
    fn reclaim_one(&mut self) -> bool {
        if let Some((deadline, node, hash)) = self.store.first_deadline()
            && deadline.passed(self.times.now)
        {
            self.counters.reclaimed += 1;
            self.store.remove(hash, node);
            return true;
        }
        if !self.draining {
            return false;
        }
        let flushed = self.store.oldest().filter(|found| found.order < self.times.watermark.0);
        flushed.iter().for_each(|found| self.take_back(found));
        self.draining = flushed.is_some();
        self.draining
    }

    /// Evicts the oldest item. Called when nothing dead is left.
    fn evict_one(&mut self) -> bool {
        let Some(found) = self.store.oldest() else { return false };
        debug_assert!(!found.deadline.passed(self.times.now) || found.deadline == Deadline::NEVER);
        self.counters.evicted_unexpired += 1;
        if let Some(slot) = self.store.remove(found.hash, found.node) {
            self.store.shared.show_evicted(&slot, self.times.now);
        }
        if Canary::LocalEviction.is_planted()
            && canary::count().is_multiple_of(3)
            && let Some(next) = self.store.oldest()
        {
            self.store.remove(next.hash, next.node);
        }
        true
    }
}
