//! The log of a node with a data directory: records in crate `wal`, newest entries in memory too.
//!
//! An append is acknowledged from the writer's thread, when it is durable; until then, and for
//! `TAIL_BYTES` behind, entries are in memory. A peer that needs older ones is served from the
//! disk.

use std::fmt::Debug;
use std::io;
use std::ops::{Range, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use canary::Canary;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::{LogState, OptionalSend};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use wal::{RecoveredShard, Wal};

use super::record::{
    SLOT_COMMITTED, SLOT_VOTE, decode_entry, decode_leader, decode_log_id, decode_vote,
    encode_entry, encode_leader, encode_log_id, encode_vote,
};
use super::tail::Tail;
use super::{APPEND_BYTES_MAX, from_start, indices};
use crate::types::{Entry, LogId, SHARD, TypeConfig, Vote, entry_len, log_index};
use crate::world::Labour;

/// A cheap handle; clones see the same log.
#[derive(Clone)]
pub(crate) struct DiskLog {
    shared: Arc<Shared>,
}

struct Shared {
    wal: Wal,
    labour: Labour,
    log: Mutex<Log>,
    /// Bytes appended since the node started.
    appended: AtomicU64,
    grown: Notify,
    /// Something that was queued has been written.
    written: Notify,
}

/// What openraft has handed over, durable or on its way.
#[derive(Debug, Default)]
struct Log {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    last: Option<LogId>,
    tail: Tail,
    /// The last index that the disk can give back; entries behind it must stay in `tail`.
    readable: Option<u64>,
    /// Grows with each truncation: an append from before it says nothing about the indices now.
    truncations: u64,
}

impl DiskLog {
    /// A log that has never held anything.
    pub(crate) fn blank(wal: Wal, labour: Labour) -> Self {
        Self::new(wal, Log::default(), labour)
    }

    /// The log as it was found.
    ///
    /// # Errors
    ///
    /// A record that cannot be read, by index and reason.
    pub(crate) fn recovered(
        wal: Wal,
        mut found: RecoveredShard,
        labour: Labour,
    ) -> io::Result<Self> {
        let mut log = Log {
            vote: found.slots.remove(&SLOT_VOTE).map(decode_vote).transpose()?,
            committed: found.slots.remove(&SLOT_COMMITTED).map(decode_log_id).transpose()?,
            ..Log::default()
        };
        if let Some((through, leader)) = found.purged {
            log.purged = Some(LogId::new(decode_leader(leader)?, through));
        }
        log.last = log.purged;
        if let Some(entries) = found.entries {
            let last = read_disk(&wal, *entries.end()..entries.end() + 1, usize::MAX)?;
            log.last = last.last().map(|entry| entry.log_id).max(log.purged);
            log.readable = Some(*entries.end());
        }
        if log.vote.is_none() && log.last.is_some() {
            let why = "the log has entries but no vote: it may have been given and forgotten";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(Self::new(wal, log, labour))
    }

    fn new(wal: Wal, log: Log, labour: Labour) -> Self {
        let shared = Shared {
            wal,
            labour,
            log: Mutex::new(log),
            appended: AtomicU64::new(0),
            grown: Notify::new(),
            written: Notify::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Whether this replica may have voted or acknowledged before it was started.
    pub(crate) fn has_past(&self) -> bool {
        self.shared.log.lock().vote.is_some()
    }

    /// The last entry that is gone, as openraft counts.
    pub(crate) fn purged_index(&self) -> Option<u64> {
        self.shared.log.lock().purged.map(|purged| purged.index)
    }

    /// The last entry that is gone, as the engine counts: a snapshot must have it.
    pub(crate) fn purged_through(&self) -> Option<u64> {
        self.shared.log.lock().purged.map(|purged| log_index(&purged).0)
    }

    /// Bytes appended since the node started.
    pub(crate) fn appended(&self) -> u64 {
        self.shared.appended.load(Ordering::Relaxed)
    }

    /// Whether the disk has no room for the segment after the one in use.
    pub(crate) fn is_short(&self) -> bool {
        self.shared.wal.is_short()
    }

    /// Bytes that all of it takes on the disk.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.shared.wal.disk_bytes()
    }

    /// Waits until the log has grown by an append since the last call.
    pub(crate) async fn grown(&self) {
        self.shared.grown.notified().await;
    }

    /// Makes everything durable and lets go of the files; nothing may be appended afterwards.
    ///
    /// # Errors
    ///
    /// If the last records could not be written.
    pub(crate) fn close(&self) -> Result<(), wal::Error> {
        self.shared.wal.close()
    }

    /// Entries of `range`, from the disk as far as they are not in memory.
    async fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut start = range.start;
        while start < range.end && bytes < bytes_max {
            let on_disk = {
                let log = self.shared.log.lock();
                let end = range.end.min(log.last.map_or(0, |last| last.index + 1));
                let in_memory = log.tail.first_index().unwrap_or(end);
                if end <= start {
                    return Ok(entries);
                }
                if in_memory <= start {
                    let rest = log.tail.read(start..range.end, bytes_max.saturating_sub(bytes));
                    entries.extend(rest);
                    return Ok(entries);
                }
                start..end.min(in_memory)
            };
            let wal = self.shared.wal.clone();
            let bytes_left = bytes_max.saturating_sub(bytes);
            let end = on_disk.end;
            let read = move || read_disk(&wal, on_disk, bytes_left);
            let read = self.shared.labour.run_blocking(read).await??;
            // What was purged is skipped.
            start = read.last().map_or(end, |last| last.log_id.index + 1);
            bytes += read.iter().map(entry_len).sum::<usize>();
            entries.extend(read);
        }
        Ok(entries)
    }
}

/// At least one entry if there is one, then up to `bytes_max`.
fn read_disk(wal: &Wal, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
    let records = wal.read(SHARD, range.start, range.end, bytes_max).map_err(io::Error::other)?;
    records.into_iter().map(|(index, bytes)| decode_entry(index, bytes)).collect()
}

impl RaftLogReader<TypeConfig> for DiskLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(indices(&range), usize::MAX).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.shared.log.lock().vote)
    }

    /// Caps what one message carries, in bytes: `max_payload_entries` only counts entries.
    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        Ok(from_start(self.read(start..end, APPEND_BYTES_MAX).await?, start))
    }
}

impl RaftLogStorage<TypeConfig> for DiskLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let log = self.shared.log.lock();
        Ok(LogState { last_purged_log_id: log.purged, last_log_id: log.last })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    /// Returns when the vote is durable: only then may it be given.
    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let first = self.shared.log.lock().vote.replace(*vote).is_none();
        if Canary::VoteNotPersisted.is_planted() && !first {
            return Ok(());
        }
        let (sender, saved) = oneshot::channel();
        let fill = |records: &mut wal::Appender<'_>| records.slot(SLOT_VOTE, &encode_vote(vote));
        self.shared.wal.append(SHARD, fill, move |result| drop(sender.send(result)));
        let saved = saved.await.map_err(io::Error::other)?;
        saved.map_err(io::Error::other)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        if let Some(committed) = committed {
            self.shared.log.lock().committed = Some(committed);
            self.shared.wal.note(SHARD, SLOT_COMMITTED, &encode_log_id(&committed));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.shared.log.lock().committed)
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
        // A disk that does not keep up holds raft back instead of filling memory.
        while QUEUE_BYTES_MAX < self.shared.wal.queued_bytes() {
            self.shared.written.notified().await;
        }
        let mut records = Vec::new();
        let (truncations, last) = {
            let mut log = self.shared.log.lock();
            for entry in entries {
                records.push((entry.log_id.index, encode_entry(&entry)));
                log.last = Some(entry.log_id);
                self.shared.appended.fetch_add(entry_len(&entry) as u64, Ordering::Relaxed);
                log.tail.push(entry);
            }
            (log.truncations, log.last.map(|last| last.index))
        };
        let fill = |appender: &mut wal::Appender<'_>| {
            for (index, (head, body)) in &records {
                appender.entry(*index, &[head, body]);
            }
        };
        let shared = Arc::clone(&self.shared);
        self.shared.wal.append(SHARD, fill, move |result| {
            if result.is_ok() {
                shared.log.lock().written(truncations, last);
            }
            shared.written.notify_one();
            callback.io_completed(result.map_err(io::Error::other));
        });
        self.shared.grown.notify_one();
        Ok(())
    }

    /// Ordered before the appends that follow, and durable with them.
    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let last = last_log_id.map(|last| last.index);
        {
            let mut log = self.shared.log.lock();
            log.tail.truncate_after(last);
            // It may lie beyond the end.
            log.last = log.last.min(last_log_id).max(log.purged);
            log.readable = log.readable.min(last);
            log.truncations += 1;
        }
        self.shared.wal.append(SHARD, |records| records.truncate(last), |_| ());
        Ok(())
    }

    /// Durable in its time: purged entries that come back are purged again.
    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        {
            let mut log = self.shared.log.lock();
            log.tail.drop_through(log_id.index);
            log.purged = log.purged.max(Some(log_id));
            log.last = log.last.max(log.purged);
        }
        let leader = encode_leader(&log_id.leader_id);
        self.shared.wal.append(SHARD, |records| records.purge(log_id.index, &leader), |_| ());
        Ok(())
    }
}

impl Log {
    /// The disk has everything up to `last`; what it can give back may leave memory.
    fn written(&mut self, truncations: u64, last: Option<u64>) {
        if truncations == self.truncations {
            self.readable = self.readable.max(last);
        }
        if let (Some(point), Some(readable)) = (self.tail.drop_point(TAIL_BYTES), self.readable) {
            self.tail.drop_through(point.min(readable));
        }
    }
}

/// Kept in memory for followers and for apply.
const TAIL_BYTES: usize = 8 * 1024 * 1024;

/// Not yet written.
const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use engine::UnixMillis;
    use openraft::EntryPayload;
    use openraft::StorageError;
    use openraft::testing::log::{StoreBuilder, Suite};

    use super::*;
    use crate::clock::ClusterClock;
    use crate::state_machine::StateMachine;
    use crate::types::{LeaderId, Proposal};

    fn open(dir: &std::path::Path) -> DiskLog {
        let disk: Arc<dyn wal::Disk> = Arc::new(wal::OsDisk::open(dir).unwrap());
        let config = wal::Config {
            owner: 1,
            segment_len: 1024 * 1024,
            durability: wal::Durability::Os { sync_every: Duration::from_secs(1) },
            work: wal::Work::Threads,
        };
        if disk.list().unwrap().iter().any(|name| name.starts_with("wal-")) {
            let (wal, mut found) = Wal::open(disk, config).unwrap();
            let shard = found.shards.remove(&SHARD).unwrap_or_default();
            DiskLog::recovered(wal, shard, Labour::Threads).unwrap()
        } else {
            DiskLog::blank(Wal::create(disk, config).unwrap(), Labour::Threads)
        }
    }

    fn entry(index: u64, body_len: usize) -> Entry {
        let leader_id = LeaderId { term: 1, node_id: 1 };
        let body = Bytes::from(vec![b'x'; body_len]);
        let payload = EntryPayload::Normal(Proposal { stamped_at: UnixMillis(0), body });
        Entry { log_id: LogId::new(leader_id, index), payload }
    }

    async fn append(log: &mut DiskLog, entries: impl IntoIterator<Item = Entry>) {
        let entries: Vec<_> = entries.into_iter().collect();
        let (sender, done) = oneshot::channel();
        let shared = Arc::clone(&log.shared);
        log.append(entries, IOFlushed::noop()).await.unwrap();
        shared.wal.append(SHARD, |_| (), move |result| drop(sender.send(result)));
        done.await.unwrap().unwrap();
    }

    /// A fresh pair for each case; the directory lives as long as its guard.
    struct Fresh;

    impl StoreBuilder<TypeConfig, DiskLog, StateMachine, tempfile::TempDir> for Fresh {
        async fn build(
            &self,
        ) -> Result<(tempfile::TempDir, DiskLog, StateMachine), StorageError<TypeConfig>> {
            let dir = tempfile::tempdir().unwrap();
            let log = open(dir.path());
            let engine = engine::StateMachine::new();
            let (applied, clock) =
                (Arc::default(), Arc::new(ClusterClock::new(crate::world::system_wall())));
            Ok((dir, log, StateMachine::new(engine, applied, clock, None, Labour::Threads)))
        }
    }

    /// openraft's own cases for a log and a state machine.
    #[tokio::test]
    async fn storage_keeps_openrafts_contract() {
        Suite::test_all(Fresh).await.unwrap();
    }

    #[tokio::test]
    async fn everything_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let vote = Vote { leader_id: LeaderId { term: 7, node_id: 3 }, committed: true };
        {
            let mut log = open(dir.path());
            assert!(!log.has_past());
            log.save_vote(&vote).await.unwrap();
            append(&mut log, (0..9).map(|index| entry(index, 10))).await;
            log.truncate_after(Some(entry(6, 0).log_id)).await.unwrap();
            log.purge(entry(2, 0).log_id).await.unwrap();
            log.save_committed(Some(entry(4, 0).log_id)).await.unwrap();
            log.close().unwrap();
        }
        let mut log = open(dir.path());
        assert!(log.has_past());
        assert_eq!(log.read_vote().await.unwrap(), Some(vote));
        assert_eq!(log.read_committed().await.unwrap(), Some(entry(4, 0).log_id));
        let state = log.get_log_state().await.unwrap();
        assert_eq!(state.last_purged_log_id, Some(entry(2, 0).log_id));
        assert_eq!(state.last_log_id, Some(entry(6, 0).log_id));
        let left = log.try_get_log_entries(..).await.unwrap();
        assert_eq!(left, (3..7).map(|index| entry(index, 10)).collect::<Vec<_>>());
    }

    /// What has left memory comes from the disk, and a read may need both.
    #[tokio::test]
    async fn a_read_spans_disk_and_memory() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path());
        for index in 0..20 {
            append(&mut log, [entry(index, TAIL_BYTES / 8)]).await;
        }
        let first = log.shared.log.lock().tail.first_index().unwrap();
        assert!((11..=14).contains(&first), "in memory from {first}");
        let all = log.try_get_log_entries(0..20).await.unwrap();
        assert_eq!(all, (0..20).map(|index| entry(index, TAIL_BYTES / 8)).collect::<Vec<_>>());
        let capped = log.limited_get_log_entries(first - 2, 20).await.unwrap();
        assert_eq!(capped.first().map(|entry| entry.log_id.index), Some(first - 2));
        assert_eq!(capped.len(), 1);
    }

    #[test]
    fn an_append_from_before_a_truncation_says_nothing() {
        let mut log = Log { truncations: 1, readable: Some(3), ..Log::default() };
        log.written(0, Some(9));
        assert_eq!(log.readable, Some(3));
        log.written(1, Some(5));
        assert_eq!(log.readable, Some(5));
    }
}
