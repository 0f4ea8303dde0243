//! What the writer and its readers share: the items in segments, and the times they are judged by.
//!
//! # Order of loads and stores
//!
//! A reader loads the times first and looks the slot up afterwards, so that it never judges an old
//! slot by a new time: an item touched in between would look expired. A flush stores the watermark
//! before it clears the pending flush, and a reader loads them the other way round, so that it
//! sees at least one of the two. An installed snapshot brings its slots first, then its times.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use xxhash_rust::xxh3::xxh3_64;

use crate::access::Access;
use crate::item::{Data, Deadline, Marks};
use crate::outcome::mix;
use crate::queue::NodeIndex;
use crate::table::Table;
use crate::{CasUnique, EngineStats, Item, Missing, OnEviction, Settings, UnixMillis, Usage};

/// Read by many threads, written by the state machine alone.
pub(crate) struct Shared {
    segments: Box<[RwLock<Arc<Segment>>]>,
    now: AtomicU64,
    watermark: AtomicU64,
    flush_at: AtomicU64,
    /// As of the last applied entry.
    published: Mutex<(EngineStats, Settings)>,
    pub(crate) on_eviction: OnceLock<OnEviction>,
}

/// One part of the key space. Behind an `Arc`: a frozen view keeps it, the writer then copies what
/// it writes to.
pub(crate) type Segment = Table;

/// One item, and what the writer needs to find its way back. 64 bytes.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) data: Data,
    pub(crate) deadline: Deadline,
    pub(crate) cas: CasUnique,
    /// Log position of the last write or touch: the place in the eviction order.
    pub(crate) order: u64,
    /// Hash of `data`, so that a touch need not read the value to renew the digest.
    pub(crate) content: u64,
    pub(crate) flags: u32,
    pub(crate) node: NodeIndex,
    pub(crate) marks: Marks,
    /// This replica's own.
    pub(crate) access: Access,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("times", &self.times()).finish_non_exhaustive()
    }
}

impl Slot {
    pub(crate) fn item(&self) -> Item {
        let Self { flags, deadline, cas, marks, .. } = *self;
        Item { data: self.data.clone(), flags, deadline, cas, marks }
    }

    /// How it has been used on this replica.
    pub(crate) fn usage(&self, at: UnixMillis) -> Usage {
        let (fetched, idle_s) = self.access.seen(at);
        Usage { fetched, idle_s }
    }

    /// This item's share of the state's digest.
    pub(crate) fn digest(&self) -> u64 {
        // Without marks the sum is that of the versions that had none.
        let flags = u64::from(self.marks.to_byte()) << 32 | u64::from(self.flags);
        mix([self.content, self.cas.0, self.deadline.0, self.order, flags])
    }
}

/// The times by which an item is live or dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    /// Cluster time.
    pub(crate) now: UnixMillis,
    /// Every item that was last written or touched before this log position has been flushed.
    pub(crate) watermark: CasUnique,
    /// A pending `flush_all`: from then on, nothing written before is there.
    pub(crate) flush_at: Deadline,
}

impl Times {
    /// Whether a reader at `at` sees an item of this age and deadline.
    pub(crate) fn live(&self, order: u64, deadline: Deadline, at: UnixMillis) -> bool {
        let at = at.max(self.now);
        self.watermark.0 <= order && !deadline.passed(at) && !self.flush_at.passed(at)
    }
}

impl Default for Times {
    fn default() -> Self {
        let (now, watermark) = (UnixMillis(0), CasUnique(0));
        Self { now, watermark, flush_at: Deadline::NEVER }
    }
}

impl Shared {
    pub(crate) fn new() -> Self {
        let times = Times::default();
        Self {
            segments: (0..SEGMENT_COUNT).map(|_| RwLock::default()).collect(),
            now: AtomicU64::new(times.now.0),
            watermark: AtomicU64::new(times.watermark.0),
            flush_at: AtomicU64::new(times.flush_at.0),
            published: Mutex::default(),
            on_eviction: OnceLock::new(),
        }
    }

    /// Shows an item that has been evicted to who wants to know.
    pub(crate) fn show_evicted(&self, slot: &Slot, now: UnixMillis) {
        if let Some(show) = self.on_eviction.get() {
            show(&slot.item(), slot.usage(now), now);
        }
    }

    /// What `look` sees of the item under `key`, or why a reader at `at` does not see it.
    pub(crate) fn get<R>(
        &self,
        key: &[u8],
        at: UnixMillis,
        look: impl FnOnce(&Slot) -> R,
    ) -> Result<R, Missing> {
        let hash = hash(key);
        let times = self.times();
        let segment = self.segment(hash).read();
        let slot = segment.find(hash, |slot| slot.data.key() == key).ok_or(Missing::Absent)?;
        if times.live(slot.order, slot.deadline, at) {
            Ok(look(slot))
        } else if slot.deadline.passed(at.max(times.now)) {
            Err(Missing::Expired)
        } else {
            Err(Missing::Flushed)
        }
    }

    /// See the module's doc for the order.
    pub(crate) fn times(&self) -> Times {
        let flush_at = Deadline(self.flush_at.load(Ordering::Acquire));
        let watermark = CasUnique(self.watermark.load(Ordering::Acquire));
        let now = UnixMillis(self.now.load(Ordering::Acquire));
        Times { now, watermark, flush_at }
    }

    pub(crate) fn set_times(&self, times: &Times) {
        self.now.store(times.now.0, Ordering::Release);
        self.watermark.store(times.watermark.0, Ordering::Release);
        self.flush_at.store(times.flush_at.0, Ordering::Release);
    }

    pub(crate) fn published(&self) -> (EngineStats, Settings) {
        *self.published.lock()
    }

    pub(crate) fn publish(&self, stats: EngineStats, settings: Settings) {
        *self.published.lock() = (stats, settings);
    }

    /// The segment that holds the keys of this hash.
    #[expect(clippy::indexing_slicing, reason = "the mask keeps the index below the length")]
    pub(crate) fn segment(&self, hash: u64) -> &RwLock<Arc<Segment>> {
        &self.segments[(hash >> SEGMENT_SHIFT) as usize & (SEGMENT_COUNT - 1)]
    }

    /// One of the segments by its place.
    pub(crate) fn segment_at(&self, place: usize) -> Option<&RwLock<Arc<Segment>>> {
        self.segments.get(place)
    }

    pub(crate) fn segments(&self) -> impl Iterator<Item = &RwLock<Arc<Segment>>> {
        self.segments.iter()
    }
}

/// Decides the segment and the place in it. Fixed: no seed, the same on every replica.
pub(crate) fn hash(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// Enough that a reader seldom meets the writer.
///
/// The unit tests make thousands of caches with a few items each.
const SEGMENT_COUNT: usize = if cfg!(any(test, fuzzing)) { 16 } else { 4096 };

/// hashbrown takes the top 7 bits for its tags and the low ones for the bucket, a segment's table
/// the 16 below these for its parts: a segment chosen by any of them would hold keys that all look
/// alike.
const SEGMENT_SHIFT: u32 = 44;
