//! Snapshots on disk: one file, whole and verified, or none.
//!
//! # Format, version 1
//!
//! Numbers are little-endian. The file is `snapshot-<index, hex>`, where the index is that of the
//! last entry it contains; it has that name only once all of it is durable.
//!
//! ```text
//! offset  bytes  field
//!      0      4  magic: "RCSF"
//!      4      4  version: 1
//!      8      -  blocks; the first is `SnapshotHeader` of proto/peer.proto with an empty vote,
//!                the others are chunks of crate `engine`, module `snapshot`; the last is empty
//!
//! block
//!      0      4  crc32 of everything behind it in the block
//!      4      4  number of the block, from 0
//!      8      4  raw_len: bytes before compression
//!     12      4  len: bytes here; less than raw_len: lz4 block format
//!     16      -  bytes
//! ```

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prost::Message;
use tokio::sync::Notify;
use wal::{Disk, File};

use crate::compress::{Packed, pack};
use crate::convert;
use crate::pb;
use crate::types::{SnapshotMeta, log_index};

/// The snapshots of one replica; one is kept.
pub(crate) struct SnapshotStore {
    disk: Arc<dyn Disk>,
    /// The newest one that is durable.
    latest: Mutex<Latest>,
    /// Held while one is written.
    writing: Mutex<()>,
    saved: Notify,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Latest {
    /// The last entry it contains, as the engine counts; 0: there is none.
    pub(crate) index: u64,
    pub(crate) bytes: u64,
}

/// How much of the disk writing a snapshot may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// All of it: nobody is served before it is written.
    Full,
    /// Half of it, in short pieces: acknowledged writes wait for the same disk.
    Beside,
}

/// A snapshot that was found, with the state in it.
pub(crate) struct Found {
    pub(crate) meta: SnapshotMeta,
    pub(crate) restored: engine::Restored,
}

impl SnapshotStore {
    /// The store and the newest snapshot in it. What is left of unfinished ones is removed.
    ///
    /// # Errors
    ///
    /// A snapshot that is damaged, by file and offset: the log before it is gone, so that the
    /// replica's state is too.
    pub(crate) fn open(disk: Arc<dyn Disk>) -> io::Result<(Self, Option<Found>)> {
        let names = disk.list()?;
        for name in names.iter().filter(|name| *name == UNFINISHED) {
            disk.remove(name)?;
        }
        let indices = names
            .iter()
            .filter_map(|name| u64::from_str_radix(name.strip_prefix(PREFIX)?, 16).ok());
        let newest = indices.max();
        let mut latest = Latest::default();
        let found = match newest {
            None => None,
            Some(index) => {
                let name = name_of(index);
                let file = disk.open(&name)?;
                latest = Latest { index, bytes: file.len()? };
                let mut reader = Reader { name, file: &*file, at: 0, number: 0 };
                let found = reader.read()?;
                if log_of(&found.meta) != index || found.restored.applied().0 != index {
                    return Err(reader.damaged("contains another index than its name says"));
                }
                Some(found)
            }
        };
        let store = Self {
            disk,
            latest: Mutex::new(latest),
            writing: Mutex::default(),
            saved: Notify::new(),
        };
        store.remove_older_than(latest.index)?;
        Ok((store, found))
    }

    /// The newest snapshot that is durable.
    pub(crate) fn latest(&self) -> Latest {
        *self.latest.lock()
    }

    /// Waits until there is one that contains more than the entry at `index`.
    pub(crate) async fn newer_than(&self, index: u64) -> Latest {
        loop {
            let saved = self.saved.notified();
            let latest = self.latest();
            if index < latest.index {
                return latest;
            }
            saved.await;
        }
    }

    /// Writes a snapshot and makes it durable; older ones are removed. Takes as long as the disk
    /// needs: not for a thread that has other things to do.
    pub(crate) fn save(
        &self,
        meta: &SnapshotMeta,
        frozen: engine::Frozen,
        pace: Pace,
    ) -> io::Result<Latest> {
        let _writing = self.writing.lock();
        let index = log_of(meta);
        if index <= self.latest().index {
            return Ok(self.latest());
        }
        if self.disk.list()?.iter().any(|name| name == UNFINISHED) {
            self.disk.remove(UNFINISHED)?;
        }
        let file = self.disk.create(UNFINISHED, 0)?;
        let header = convert::snapshot_header_to(&convert::no_vote(), meta).encode_to_vec();
        let mut writer = Writer::new(&*file, pace);
        writer.put(&[MAGIC.as_slice(), &VERSION.to_le_bytes()].concat())?;
        writer.block(&header)?;
        for chunk in frozen.encode() {
            writer.block(&chunk)?;
        }
        writer.block(&[])?;
        file.sync_data()?;
        let bytes = writer.at;
        self.disk.rename(UNFINISHED, &name_of(index))?;
        self.disk.sync_dir()?;
        let latest = Latest { index, bytes };
        *self.latest.lock() = latest;
        self.saved.notify_waiters();
        self.remove_older_than(index)?;
        Ok(latest)
    }

    fn remove_older_than(&self, index: u64) -> io::Result<()> {
        for name in self.disk.list()? {
            if name.starts_with(PREFIX) && name != name_of(index) {
                self.disk.remove(&name)?;
            }
        }
        Ok(())
    }
}

struct Writer<'a> {
    file: &'a dyn File,
    at: u64,
    number: u32,
    buffer: Vec<u8>,
    pace: Pace,
    /// Up to here it is durable.
    synced: u64,
}

impl<'a> Writer<'a> {
    fn new(file: &'a dyn File, pace: Pace) -> Self {
        Self { file, at: 0, number: 0, buffer: Vec::new(), pace, synced: 0 }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        if self.pace == Pace::Beside && SYNC_EVERY_BYTES <= self.at - self.synced {
            self.give_way()?;
        }
        Ok(())
    }

    /// Left to itself the operating system writes a snapshot in one go, and every sync of the log
    /// waits behind it. So it is synced by the piece, and for as long as that took, the disk is the
    /// log's alone.
    fn give_way(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        self.file.sync_data()?;
        self.synced = self.at;
        std::thread::sleep(begun.elapsed().min(GIVE_WAY_MAX));
        Ok(())
    }

    fn block(&mut self, raw: &[u8]) -> io::Result<()> {
        let Packed { raw_len, bytes } = pack(raw).map_err(io::Error::other)?;
        let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        buffer.extend([0; 4]);
        buffer.extend(self.number.to_le_bytes());
        buffer.extend(raw_len.to_le_bytes());
        buffer.extend(len.to_le_bytes());
        buffer.extend_from_slice(&bytes);
        if let Some((checksum, rest)) = buffer.split_first_chunk_mut::<4>() {
            *checksum = crc32fast::hash(rest).to_le_bytes();
        }
        self.put(&buffer)?;
        self.buffer = buffer;
        self.number += 1;
        Ok(())
    }
}

struct Reader<'a> {
    name: String,
    file: &'a dyn File,
    at: u64,
    number: u32,
}

impl Reader<'_> {
    fn read(&mut self) -> io::Result<Found> {
        let head = self.take(8)?;
        if !head.starts_with(MAGIC) {
            return Err(self.damaged("is not a snapshot"));
        }
        if head.get(4..) != Some(VERSION.to_le_bytes().as_slice()) {
            return Err(self.damaged("is of another version than this program's 1"));
        }
        let header = self.block()?;
        let header = pb::SnapshotHeader::decode(header.as_slice());
        let header = header.map_err(|error| self.damaged(&error.to_string()))?;
        let header = convert::snapshot_header_from(header);
        let (_, meta) = header.map_err(|error| self.damaged(&error.to_string()))?;
        let mut restorer = engine::Restorer::new();
        loop {
            let chunk = self.block()?;
            if chunk.is_empty() {
                break;
            }
            restorer.push(&chunk).map_err(|error| self.damaged(&error.to_string()))?;
        }
        let restored = restorer.finish().map_err(|error| self.damaged(&error.to_string()))?;
        if self.at != self.file.len()? {
            return Err(self.damaged("goes on after its end"));
        }
        Ok(Found { meta, restored })
    }

    fn block(&mut self) -> io::Result<Vec<u8>> {
        let start = self.at;
        let head = self.take(BLOCK_HEAD_LEN)?;
        let word = |at: usize| {
            let bytes = head.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u32::from_le_bytes)
        };
        let (want, number, raw_len, len) = (word(0), word(4), word(8), word(12));
        // Before the checksum vouches for it, a length is not worth more memory than the file has.
        if self.file.len()?.saturating_sub(self.at) < u64::from(len) {
            self.at = start;
            return Err(self.damaged("is cut short"));
        }
        let bytes = self.take(len as usize)?;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(head.get(4..).unwrap_or_default());
        hasher.update(&bytes);
        if hasher.finalize() != want || number != self.number {
            self.at = start;
            return Err(self.damaged("checksum mismatch"));
        }
        self.number += 1;
        let unpacked = Packed { raw_len, bytes: bytes.into() }.unpack();
        unpacked.map_err(|error| self.damaged(&error.to_string()))
    }

    fn take(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, self.at + filled as u64)? {
                0 => return Err(self.damaged("is cut short")),
                read => filled += read,
            }
        }
        self.at += len as u64;
        Ok(bytes)
    }

    fn damaged(&self, what: &str) -> io::Error {
        let Self { name, at, .. } = self;
        let why = format!("{name}, offset {at}: {what}");
        io::Error::new(io::ErrorKind::InvalidData, why)
    }
}

fn name_of(index: u64) -> String {
    format!("{PREFIX}{index:016x}")
}

fn log_of(meta: &SnapshotMeta) -> u64 {
    meta.last_log_id.as_ref().map_or(0, |last| log_index(last).0)
}

const MAGIC: &[u8; 4] = b"RCSF";
const VERSION: u32 = 1;
const BLOCK_HEAD_LEN: usize = 16;
/// What a disk writes in a few milliseconds.
const SYNC_EVERY_BYTES: u64 = 1024 * 1024;
const GIVE_WAY_MAX: Duration = Duration::from_millis(100);
const PREFIX: &str = "snapshot-";
const UNFINISHED: &str = "snapshot.tmp";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use engine::{BatchBuilder, Command, Expiry, LogIndex, Origin, StoreMode, UnixMillis};

    use super::*;
    use crate::types::{LeaderId, LogId, StoredMembership};

    fn disk(dir: &Path) -> Arc<dyn Disk> {
        Arc::new(wal::OsDisk::open(dir).unwrap())
    }

    /// A state with one item, at the engine's index `index`.
    fn state(index: u64) -> (SnapshotMeta, engine::StateMachine) {
        let mut engine = engine::StateMachine::new();
        let mut batch = BatchBuilder::new();
        batch.push(&Command::Store {
            mode: StoreMode::Set,
            key: b"session",
            value: b"kept",
            flags: 0,
            expiry: Expiry::Never,
            cas: None,
        });
        let body = batch.finish(Origin { node: 1, epoch: 1 }, 1, 0);
        engine.apply(LogIndex(index), UnixMillis(5), &body).unwrap();
        let leader_id = LeaderId { term: 1, node_id: 1 };
        let last_log_id = Some(LogId::new(leader_id, index - 1));
        (SnapshotMeta { last_log_id, last_membership: StoredMembership::default() }, engine)
    }

    #[test]
    fn the_newest_is_found_again_and_older_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let (store, found) = SnapshotStore::open(disk(dir.path())).unwrap();
        assert!(found.is_none());
        for index in [7, 9, 8] {
            let (meta, engine) = state(index);
            store.save(&meta, engine.freeze(), Pace::Beside).unwrap();
        }
        assert_eq!(store.latest().index, 9);
        drop(store);
        std::fs::write(dir.path().join(UNFINISHED), b"cut off").unwrap();

        let (store, found) = SnapshotStore::open(disk(dir.path())).unwrap();
        let (meta, engine) = state(9);
        let found = found.unwrap();
        assert_eq!(found.meta, meta);
        assert_eq!(found.restored.digest(), engine.digest());
        assert_eq!(store.latest().index, 9);
        let mut names = store.disk.list().unwrap();
        names.retain(|name| name != "lock");
        assert_eq!(names, ["snapshot-0000000000000009"]);
    }

    /// Method: values that do not get shorter, so that the file is of several pieces.
    #[test]
    fn a_snapshot_beside_clients_is_synced_by_the_piece() {
        let mut engine = engine::StateMachine::new();
        let mut state = 1_u64;
        for index in 1..=5 {
            let value: Vec<u8> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .take(600_000)
            .collect();
            let mut batch = BatchBuilder::new();
            batch.push(&Command::Store {
                mode: StoreMode::Set,
                key: format!("k{index}").as_bytes(),
                value: &value,
                flags: 0,
                expiry: Expiry::Never,
                cas: None,
            });
            let body = batch.finish(Origin { node: 1, epoch: 1 }, index, 0);
            engine.apply(LogIndex(index), UnixMillis(5), &body).unwrap();
        }
        let last_log_id = Some(LogId::new(LeaderId { term: 1, node_id: 1 }, 4));
        let meta = SnapshotMeta { last_log_id, last_membership: StoredMembership::default() };
        // The last one is of what is left.
        for (pace, want) in [(Pace::Full, 1), (Pace::Beside, 3)] {
            let disk = wal::testing::SimDisk::new(1);
            let (store, _) = SnapshotStore::open(Arc::new(disk.clone())).unwrap();
            let before = disk.sync_count();
            store.save(&meta, engine.freeze(), pace).unwrap();
            let syncs = disk.sync_count() - before;
            assert_eq!(syncs, want, "{pace:?}");
        }
    }

    /// Every byte: cut there, and with one bit flipped.
    #[test]
    fn damage_is_refused_by_file_and_offset() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = SnapshotStore::open(disk(dir.path())).unwrap();
        let (meta, engine) = state(9);
        store.save(&meta, engine.freeze(), Pace::Beside).unwrap();
        drop(store);
        let path = dir.path().join("snapshot-0000000000000009");
        let whole = std::fs::read(&path).unwrap();
        let refused = |bytes: &[u8], case: &str| {
            std::fs::write(&path, bytes).unwrap();
            let error = SnapshotStore::open(disk(dir.path())).err().expect(case).to_string();
            assert!(error.starts_with("snapshot-0000000000000009, offset "), "{case}: {error}");
        };
        for at in 0..whole.len() {
            refused(&whole[..at], &format!("cut at {at}"));
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            refused(&flipped, &format!("bit flipped in byte {at}"));
        }
        refused(&[&whole[..], b"x"].concat(), "a byte too many");
        std::fs::write(&path, &whole).unwrap();
        assert!(SnapshotStore::open(disk(dir.path())).unwrap().1.is_some());
    }
}
