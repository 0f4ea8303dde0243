//! The log of a node without a data directory: entries in memory, bounded by the log keeper.
//!
//! Everything is "durable" the moment it is appended, because nothing survives the process: such a
//! node comes back under a new replica id, so that a forgotten vote cannot be given twice
//! (DESIGN 5.2).

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::{LogState, OptionalSend};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::types::{Entry, LogId, TypeConfig, Vote, entry_len};

/// A cheap handle; clones see the same log.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryLog {
    log: Arc<Mutex<Log>>,
    grown: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Log {
    vote: Option<Vote>,
    /// The last entry dropped; `entries` begin right behind it.
    purged: Option<LogId>,
    entries: VecDeque<Entry>,
    /// Sum of `entry_len` over `entries`.
    bytes: usize,
}

impl MemoryLog {
    /// Bytes that the entries take.
    pub(crate) fn bytes(&self) -> usize {
        self.log.lock().bytes
    }

    /// Waits until the log has grown by an append since the last call.
    pub(crate) async fn grown(&self) {
        self.grown.notified().await;
    }

    /// The index up to which entries must go so that at most `bytes_max` remain, none if they fit.
    pub(crate) fn purge_point(&self, bytes_max: usize) -> Option<u64> {
        let log = self.log.lock();
        let mut excess = log.bytes.checked_sub(bytes_max).filter(|excess| *excess > 0)?;
        for entry in &log.entries {
            excess = excess.saturating_sub(entry_len(entry));
            if excess == 0 {
                return Some(entry.log_id.index);
            }
        }
        None
    }
}

impl Log {
    fn first_index(&self) -> u64 {
        let behind_purged = || self.purged.map_or(0, |purged| purged.index + 1);
        self.entries.front().map_or_else(behind_purged, |first| first.log_id.index)
    }

    /// Offset of `index` in `entries`, kept within `0..=entries.len()`.
    fn offset(&self, index: u64) -> usize {
        let offset = usize::try_from(index.saturating_sub(self.first_index()));
        offset.unwrap_or(usize::MAX).min(self.entries.len())
    }

    /// Entries from `start` to before `end`, at least one if there is one, then up to `bytes_max`.
    fn read(&self, start: u64, end: u64, bytes_max: usize) -> Vec<Entry> {
        let (from, to) = (self.offset(start), self.offset(end));
        let mut bytes = 0;
        let range = self.entries.range(from.min(to)..to);
        let fits = range.take_while(|entry| {
            let first = bytes == 0;
            bytes += entry_len(entry);
            first || bytes <= bytes_max
        });
        fits.cloned().collect()
    }

    fn drop_front(&mut self, count: usize) {
        let dropped: usize = self.entries.drain(..count).map(|entry| entry_len(&entry)).sum();
        self.bytes -= dropped;
    }
}

impl RaftLogReader<TypeConfig> for MemoryLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        Ok(self.log.lock().read(start, end, usize::MAX))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.log.lock().vote)
    }

    /// Caps what one message carries, in bytes: `max_payload_entries` only counts entries.
    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        Ok(self.log.lock().read(start, end, APPEND_BYTES_MAX))
    }
}

impl RaftLogStorage<TypeConfig> for MemoryLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let log = self.log.lock();
        let last = log.entries.back().map(|entry| entry.log_id).or(log.purged);
        Ok(LogState { last_purged_log_id: log.purged, last_log_id: last })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.log.lock().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        {
            let mut log = self.log.lock();
            for entry in entries {
                log.bytes += entry_len(&entry);
                log.entries.push_back(entry);
            }
        }
        self.grown.notify_one();
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let mut log = self.log.lock();
        let keep = last_log_id.map_or(0, |last| log.offset(last.index + 1));
        let dropped: usize = log.entries.drain(keep..).map(|entry| entry_len(&entry)).sum();
        log.bytes -= dropped;
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let mut log = self.log.lock();
        let count = log.offset(log_id.index + 1);
        log.drop_front(count);
        log.purged = log.purged.max(Some(log_id));
        Ok(())
    }
}

/// One append message carries one entry, or several up to this.
const APPEND_BYTES_MAX: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    use bytes::Bytes;
    use engine::UnixMillis;
    use openraft::EntryPayload;

    use crate::types::{LeaderId, Proposal};

    fn entry(index: u64, body_len: usize) -> Entry {
        let leader_id = LeaderId { term: 1, node_id: 1 };
        let body = Bytes::from(vec![0; body_len]);
        let payload = EntryPayload::Normal(Proposal { stamped_at: UnixMillis(0), body });
        Entry { log_id: LogId::new(leader_id, index), payload }
    }

    async fn log(entries: impl IntoIterator<Item = Entry> + Send) -> MemoryLog {
        let mut log = MemoryLog::default();
        let entries: Vec<_> = entries.into_iter().collect();
        log.append(entries, IOFlushed::noop()).await.unwrap();
        log
    }

    #[tokio::test]
    async fn a_read_is_capped_in_bytes_but_never_empty() {
        let half = APPEND_BYTES_MAX / 2;
        let mut log = log((0..4).map(|index| entry(index, half))).await;
        assert_eq!(log.limited_get_log_entries(0, 4).await.unwrap().len(), 1);
        assert_eq!(log.try_get_log_entries(1..4).await.unwrap().len(), 3);
        assert_eq!(log.try_get_log_entries(4..9).await.unwrap().len(), 0);
    }

    #[tokio::test]
    async fn bytes_follow_append_truncate_and_purge() {
        let mut log = log((0..10).map(|index| entry(index, 100))).await;
        let one = entry_len(&entry(0, 100));
        assert_eq!(log.bytes(), 10 * one);

        log.truncate_after(Some(entry(7, 0).log_id)).await.unwrap();
        assert_eq!(log.bytes(), 8 * one);

        assert_eq!(log.purge_point(3 * one), Some(4));
        log.purge(entry(4, 0).log_id).await.unwrap();
        assert_eq!(log.bytes(), 3 * one);
        assert_eq!(log.purge_point(3 * one), None);

        let state = log.get_log_state().await.unwrap();
        assert_eq!(state.last_purged_log_id.map(|id| id.index), Some(4));
        assert_eq!(state.last_log_id.map(|id| id.index), Some(7));
        let left = log.try_get_log_entries(..).await.unwrap();
        assert_eq!(left.first().map(|entry| entry.log_id.index), Some(5));
    }

    /// A snapshot may reach beyond the log: everything goes, and the next entry follows it.
    #[tokio::test]
    async fn a_purge_beyond_the_log_empties_it() {
        let mut log = log((0..3).map(|index| entry(index, 1))).await;
        log.purge(entry(90, 0).log_id).await.unwrap();
        assert_eq!(log.bytes(), 0);
        log.append([entry(91, 1)], IOFlushed::noop()).await.unwrap();
        assert_eq!(log.try_get_log_entries(91..92).await.unwrap().len(), 1);
    }
}
