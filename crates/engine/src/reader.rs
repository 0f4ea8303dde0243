//! The read side: many readers beside the one writer.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::shared::Shared;
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
    pub fn get(&self, key: &[u8], at: UnixMillis) -> Option<Item> {
        self.shared.get(key, at)
    }

    /// Cluster time: the latest stamp applied.
    pub fn now(&self) -> UnixMillis {
        self.shared.times().now
    }

    /// The limits in force.
    pub fn settings(&self) -> Settings {
        self.shared.published().1
    }

    /// The counters, all of the same applied entry.
    pub fn stats(&self) -> EngineStats {
        self.shared.published().0
    }

    /// Shows every item that is live at `at` until `visit` breaks; in no particular order, each
    /// item as it is when the walk comes to it.
    ///
    /// For dumps: it costs as much as reading every item. No lock is held while `visit` runs.
    pub fn for_each_key(&self, at: UnixMillis, mut visit: impl FnMut(&Item) -> ControlFlow<()>) {
        for segment in self.shared.segments() {
            let times = self.shared.times();
            let items = segment.read().iter().map(|slot| slot.item()).collect::<Vec<_>>();
            let mut live = items.iter().filter(|item| times.live(item.cas, item.deadline, at));
            if live.try_for_each(&mut visit).is_break() {
                return;
            }
        }
    }
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
