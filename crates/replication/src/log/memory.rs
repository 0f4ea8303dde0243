//! The log of a node without a data directory: entries in memory, bounded by the log keeper.
//!
//! Everything is "durable" the moment it is appended, because nothing survives the process: such a
//! node comes back under a new replica id, so that a forgotten vote cannot be given twice
//! (DESIGN 5.2).

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;

use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::{LogState, OptionalSend};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::tail::Tail;
use super::{APPEND_BYTES_MAX, from_start, indices};
use crate::types::{Entry, LogId, TypeConfig, Vote};

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
    entries: Tail,
}

impl MemoryLog {
    /// The last entry that is gone, as openraft counts.
    pub(crate) fn purged_index(&self) -> Option<u64> {
        self.log.lock().purged.map(|purged| purged.index)
    }

    /// Bytes that the entries take.
    pub(crate) fn bytes(&self) -> usize {
        self.log.lock().entries.bytes()
    }

    /// Waits until the log has grown by an append since the last call.
    pub(crate) async fn grown(&self) {
        self.grown.notified().await;
    }

    /// The index up to which entries must go so that at most `bytes_max` remain, none if they fit.
    pub(crate) fn purge_point(&self, bytes_max: usize) -> Option<u64> {
        self.log.lock().entries.drop_point(bytes_max)
    }
}

impl RaftLogReader<TypeConfig> for MemoryLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        Ok(self.log.lock().entries.read(indices(&range), usize::MAX))
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
        let entries = self.log.lock().entries.read(start..end, APPEND_BYTES_MAX);
        Ok(from_start(entries, start))
    }
}

impl RaftLogStorage<TypeConfig> for MemoryLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let log = self.log.lock();
        let last = log.entries.last().or(log.purged);
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
            entries.into_iter().for_each(|entry| log.entries.push(entry));
        }
        self.grown.notify_one();
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let last = last_log_id.map(|last| last.index);
        self.log.lock().entries.truncate_after(last);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let mut log = self.log.lock();
        log.entries.drop_through(log_id.index);
        log.purged = log.purged.max(Some(log_id));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use bytes::Bytes;
    use engine::UnixMillis;
    use openraft::EntryPayload;

    use crate::types::{LeaderId, Proposal, entry_len};

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

    /// A leader that cut its log while it read for a follower sent it what came behind the hole: the
    /// follower would have gone on without the entries between. Simulation, seed 174.
    #[tokio::test]
    async fn what_is_sent_has_no_hole() {
        let mut log = log((0..9).map(|index| entry(index, 1))).await;
        log.purge(entry(4, 0).log_id).await.unwrap();
        assert_eq!(log.limited_get_log_entries(3, 9).await.unwrap(), []);
        assert_eq!(log.limited_get_log_entries(5, 9).await.unwrap().len(), 4);
        assert_eq!(log.purged_index(), Some(4));
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
