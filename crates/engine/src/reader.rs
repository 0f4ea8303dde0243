//! The read side: many readers beside the one writer.

use std::sync::Arc;

use crate::shared::{Shared, Slot};
use crate::{Item, Settings, UnixMillis};

/// Looks items up while the state machine applies entries; a cheap clone, one per thread.
///
/// A lock is held for the look-up alone, and only the keys of one segment share it.
#[derive(Debug, Clone)]
pub struct Reader {
    pub(crate) shared: Arc<Shared>,
}

impl Reader {
    /// The item under `key` if it is live at `at`, or at cluster time where that is later.
    ///
    /// Counts as a use of the item on this replica.
    pub fn get(&self, key: &[u8], at: UnixMillis) -> Option<Item> {
        self.find(key, at).ok()
    }

    /// As [`Reader::get`], with why there is none.
    ///
    /// # Errors
    ///
    /// [`Missing`]: what is still known of an item that is not live.
    pub fn find(&self, key: &[u8], at: UnixMillis) -> Result<Item, Missing> {
        self.shared.get(key, at, |slot| {
            slot.access.fetch(at);
            slot.item()
        })
    }

    /// The item under `key` as [`Reader::find`] gives it, and how it has been used on this replica.
    /// Counts as a use only if `fetch` says so.
    ///
    /// # Errors
    ///
    /// As [`Reader::find`].
    pub fn look(&self, key: &[u8], at: UnixMillis, fetch: bool) -> Result<(Item, Usage), Missing> {
        self.shared.get(key, at, |slot| {
            let usage = slot.usage(at);
            if fetch {
                slot.access.fetch(at);
            }
            (slot.item(), usage)
        })
    }

    /// Cluster time: the latest stamp applied.
    pub fn now(&self) -> UnixMillis {
        self.shared.times().now
    }

    /// The limits that were configured last; [`EngineStats::memory_limit`] is the one in force.
    pub fn settings(&self) -> Settings {
        self.shared.published().1
    }

    /// The counters, all of the same applied entry.
    pub fn stats(&self) -> EngineStats {
        self.shared.published().0
    }

    /// The items of one of the parts that the state is in, those that are live at `at`, in no
    /// particular order; `None` behind the last part.
    ///
    /// For dumps, part by part from 0: an item that is there all the time is shown once. No lock is
    /// held when this returns.
    pub fn part(&self, part: usize, at: UnixMillis) -> Option<Vec<(Item, Usage)>> {
        let segment = self.shared.segment_at(part)?;
        let times = self.shared.times();
        let live = |slot: &&Slot| times.live(slot.order, slot.deadline, at);
        let usage = |slot: &Slot| (slot.item(), slot.usage(at));
        let items = segment.read().iter().filter(live).map(usage).collect();
        Some(items)
    }

    /// From now on `show` is called with each item that is evicted, before the entry that evicts it
    /// has been applied. The first to ask is told, and nobody else.
    ///
    /// `show` runs where entries are applied: it must not wait for anything.
    pub fn on_eviction(&self, show: OnEviction) {
        let _ = self.shared.on_eviction.set(show);
    }
}

/// Is shown what is evicted, how it has been used on this replica, and cluster time.
pub type OnEviction = Box<dyn Fn(&Item, Usage, UnixMillis) + Send + Sync>;

/// What is known of an item that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Nobody knows.
    Absent,
    /// Its time was over, and its memory has not been taken back yet.
    Expired,
    /// It was flushed, and its memory has not been taken back yet.
    Flushed,
}

/// How an item has been used on one replica; replicas do not agree about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// It has been read since it was stored.
    pub fetched: bool,
    /// Whole seconds since it was last read, or stored.
    pub idle_s: u64,
}

/// Counters of one shard; equal on every replica at the same applied index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// The last entry applied.
    pub applied: u64,
    /// Digest of the whole state after that entry.
    pub digest: u64,
    /// Items held, those that are expired or flushed but not yet reclaimed included.
    pub items: u64,
    /// Items ever stored.
    pub total_items: u64,
    /// Accounted bytes of the items held; never above `memory_limit`, unless that was lowered
    /// under `-M`.
    pub bytes: u64,
    /// The limit in force, in bytes.
    pub memory_limit: u64,
    /// Items evicted for memory.
    pub evictions: u64,
    /// Evicted items that had neither expired nor been flushed. (All of them: what is gone anyway
    /// is reclaimed first.)
    pub evicted_unexpired: u64,
    /// Expired items whose memory was taken back.
    pub reclaimed: u64,
    /// Flushed items whose memory was taken back.
    pub flushed: u64,
    /// Stores refused for want of memory.
    pub out_of_memory: u64,
    /// `flush_all` commands applied.
    pub flushes: u64,
    /// Origins in the table for exactly-once.
    pub origins: u64,
}
