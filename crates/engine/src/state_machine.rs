//! The one writer: applies committed entries, freezes and installs states.

use std::sync::Arc;

use canary::Canary;

use crate::batch::Batch;
use crate::cache::Cache;
use crate::ids::{LOG_INDEX_MAX, log_position};
use crate::origins::{Admission, Origins};
use crate::outcome::mix;
use crate::store::Store;
use crate::{
    Applied, CasUnique, CorruptBatch, EngineStats, Frozen, LogIndex, Outcomes, Reader, Restored,
    Settings, UnixMillis,
};

/// One replica's copy of the cache.
///
/// Owned by whoever applies the log; everybody else has a [`Reader`].
#[derive(Debug)]
pub struct StateMachine {
    pub(crate) cache: Cache,
    pub(crate) origins: Origins,
    pub(crate) applied: LogIndex,
}

impl StateMachine {
    /// An empty cache with default settings, before the first entry.
    #[expect(clippy::new_without_default, reason = "a default would hide that state was lost")]
    pub fn new() -> Self {
        let state = Self::empty();
        state.publish();
        state
    }

    /// A read side of this state; it sees every later change, an installed snapshot included.
    pub fn reader(&self) -> Reader {
        Reader { shared: Arc::clone(&self.cache.store.shared) }
    }

    /// Applies one committed entry: cluster time moves to its stamp, a bounded number of dead
    /// items is taken back, and the commands are executed, unless they have been before.
    ///
    /// # Errors
    ///
    /// If the body is corrupt; nothing at all has changed then.
    ///
    /// # Panics
    ///
    /// If `index` is not above the last one applied: going on would serve wrong data.
    pub fn apply(
        &mut self,
        index: LogIndex,
        stamped_at: UnixMillis,
        body: &[u8],
    ) -> Result<Applied, CorruptBatch> {
        let batch = Batch::decode(body)?;
        self.use_up(index);
        let before = self.cache.times.now;
        self.cache.advance(index, stamped_at, batch.header.command_count);
        let now = self.cache.times.now;
        let applied = match self.origins.admit(&batch.header, before, now) {
            Admission::Known(outcomes) => Applied::Outcomes(outcomes),
            Admission::Forgotten => Applied::Forgotten,
            Admission::Gap { next_seq } => Applied::Gap { next_seq },
            Admission::Fresh => {
                let positions = (0..).map(|position| CasUnique(log_position(index, position)));
                let positions = positions.map(|position| {
                    let counted = Canary::CasFromCounter.is_planted();
                    if counted { CasUnique(canary::count()) } else { position }
                });
                let commands = batch.commands().zip(positions);
                let outcomes = commands.map(|(command, at)| self.cache.execute(&command, at));
                let outcomes = Arc::new(Outcomes::new(batch.header.seq, outcomes.collect()));
                self.origins.record(batch.header.origin, Arc::clone(&outcomes), now);
                Applied::Outcomes(outcomes)
            }
        };
        self.publish();
        Ok(applied)
    }

    /// Uses up the index of a blank or membership entry.
    ///
    /// # Panics
    ///
    /// If `index` is not above the last one applied.
    pub fn skip(&mut self, index: LogIndex) {
        self.use_up(index);
        self.publish();
    }

    /// The last entry applied.
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// Cluster time: the latest stamp applied.
    pub fn now(&self) -> UnixMillis {
        self.cache.times.now
    }

    /// Digest of the whole state; equal on every replica at the same applied index.
    ///
    /// Kept up to date by every change, so that asking costs next to nothing.
    pub fn digest(&self) -> u64 {
        mix([self.cache.digest(), self.origins.digest(), self.applied.0])
    }

    /// The limits that were configured last; [`EngineStats::memory_limit`] is the one in force.
    pub fn settings(&self) -> Settings {
        self.cache.settings
    }

    /// Freezes the state for a snapshot, in time that does not grow with the number of items.
    ///
    /// Until the view is dropped, values that are overwritten or removed keep their memory.
    pub fn freeze(&self) -> Frozen {
        Frozen::new(self)
    }

    /// Replaces the state by a restored one; existing readers see it.
    ///
    /// # Panics
    ///
    /// If the restored state is older than this one.
    pub fn install(&mut self, restored: Restored) {
        let Self { mut cache, origins, applied } = restored.state;
        assert!(self.applied <= applied, "applied {:?}, then installed {applied:?}", self.applied);
        // The items before the times: see `shared`.
        cache.store = Store::installed(&self.cache.store, cache.store);
        self.cache = cache;
        self.cache.store.shared.set_times(&self.cache.times);
        self.origins = origins;
        if Canary::SnapshotWithoutOrigins.is_planted() {
            self.origins = Origins::default();
        }
        self.applied = applied;
        self.publish();
    }

    /// An empty state that has published nothing.
    pub(crate) fn empty() -> Self {
        Self { cache: Cache::new(Store::new()), origins: Origins::default(), applied: LogIndex(0) }
    }

    /// What readers are shown of the counters.
    pub(crate) fn stats(&self) -> EngineStats {
        let (totals, counters) = (self.cache.store.totals(), self.cache.counters);
        EngineStats {
            applied: self.applied.0,
            digest: self.digest(),
            items: totals.items,
            total_items: counters.total_items,
            bytes: totals.bytes,
            memory_limit: self.cache.memory_limit(),
            evictions: counters.evicted_unexpired,
            evicted_unexpired: counters.evicted_unexpired,
            reclaimed: counters.reclaimed,
            flushed: counters.flushed,
            out_of_memory: counters.out_of_memory,
            flushes: counters.flushes,
            origins: self.origins.count(),
        }
    }

    fn use_up(&mut self, index: LogIndex) {
        assert!(self.applied < index, "applied {:?}, then {index:?}", self.applied);
        assert!(index.0 <= LOG_INDEX_MAX, "no log positions left at {index:?}");
        self.applied = index;
    }

    fn publish(&self) {
        self.cache.store.shared.publish(self.stats(), self.cache.settings);
    }
}

#[cfg(test)]
mod tests;
