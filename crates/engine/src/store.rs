//! The items and the two orders over them, kept in step.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::access::Access;
use crate::item::{Data, Deadline, ITEM_OVERHEAD, Marks};
use crate::queue::{NodeIndex, Queue};
use crate::shared::{Segment, Shared, Slot};
use crate::{CasUnique, UnixMillis};

/// The writer's side of the items: every change goes through here.
pub(crate) struct Store {
    pub(crate) shared: Arc<Shared>,
    queue: Queue,
    /// Items that have a deadline. The order breaks ties, so that replicas agree on who goes first.
    deadlines: BTreeMap<(Deadline, u64), NodeIndex>,
    totals: Totals,
}

/// Sums over all items held, dead ones that have not been reclaimed included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) items: u64,
    pub(crate) bytes: u64,
    /// Wrapping sum of [`Slot::digest`].
    pub(crate) digest: u64,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("totals", &self.totals).finish_non_exhaustive()
    }
}

impl Totals {
    fn add(&mut self, slot: &Slot) {
        self.items += 1;
        self.bytes += item_bytes(slot.data.len());
        self.digest = self.digest.wrapping_add(slot.digest());
    }

    fn subtract(&mut self, slot: &Slot) {
        self.items -= 1;
        self.bytes -= item_bytes(slot.data.len());
        self.digest = self.digest.wrapping_sub(slot.digest());
    }
}

/// What a look-up tells about an item without touching its value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) hash: u64,
    pub(crate) node: NodeIndex,
    pub(crate) cas: CasUnique,
    pub(crate) deadline: Deadline,
    pub(crate) flags: u32,
    pub(crate) marks: Marks,
    /// Log position of the last write or touch.
    pub(crate) order: u64,
    /// Accounted.
    pub(crate) bytes: u64,
}

impl Found {
    fn new(hash: u64, slot: &Slot) -> Self {
        let Slot { node, cas, deadline, flags, marks, order, .. } = *slot;
        let bytes = item_bytes(slot.data.len());
        Self { hash, node, cas, deadline, flags, marks, order, bytes }
    }
}

/// A version of an item that is about to be stored.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) data: Data,
    pub(crate) flags: u32,
    pub(crate) deadline: Deadline,
    pub(crate) cas: CasUnique,
    pub(crate) marks: Marks,
    pub(crate) order: u64,
    /// Cluster time.
    pub(crate) written_at: UnixMillis,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            shared: Arc::new(Shared::new()),
            queue: Queue::new(),
            deadlines: BTreeMap::new(),
            totals: Totals::default(),
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    /// The item under `key`, live or dead.
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<Found> {
        let segment = self.shared.segment(hash).read();
        segment.find(hash, |slot| slot.data.key() == key).map(|slot| Found::new(hash, slot))
    }

    /// The item that has gone longest without a write or touch, live or dead.
    pub(crate) fn oldest(&self) -> Option<Found> {
        let (node, hash) = self.queue.front()?;
        let segment = self.shared.segment(hash).read();
        segment.find(hash, |slot| slot.node == node).map(|slot| Found::new(hash, slot))
    }

    /// The item with the first deadline: the deadline, its node and the hash of its key.
    pub(crate) fn first_deadline(&self) -> Option<(Deadline, NodeIndex, u64)> {
        let (&(deadline, _), &node) = self.deadlines.first_key_value()?;
        Some((deadline, node, self.queue.hash(node)))
    }

    /// A copy of the slot; its value is shared.
    pub(crate) fn slot(&self, found: &Found) -> Option<Slot> {
        let segment = self.shared.segment(found.hash).read();
        segment.find(found.hash, |slot| slot.node == found.node).cloned()
    }

    /// Stores an item whose key is not there.
    pub(crate) fn insert(&mut self, hash: u64, version: Version) {
        let slot = new_slot(version, self.queue.push_back(hash));
        self.link(&slot);
        self.with_segment(hash, |segment| segment.insert(hash, slot));
    }

    /// Overwrites an item and makes it the newest.
    pub(crate) fn replace(&mut self, found: &Found, version: Version) {
        let mut slot = new_slot(version, found.node);
        self.link(&slot);
        self.with_slot(found.hash, found.node, |old| std::mem::swap(old, &mut slot));
        // The old version now, and dropped only after the lock is.
        self.unlink(&slot);
        self.queue.move_to_back(found.node);
    }

    /// Changes the item's deadline and makes it the newest.
    pub(crate) fn touch(&mut self, found: &Found, deadline: Deadline, order: u64) {
        self.update(found, |slot| {
            slot.deadline = deadline;
            slot.order = order;
        });
    }

    /// Writes over the item's value, which keeps its length, and makes it the newest.
    ///
    /// `write` is told to fill the bytes in place, unless a reader or a frozen view holds them.
    pub(crate) fn rewrite(
        &mut self,
        found: &Found,
        (cas, order): (CasUnique, u64),
        buffer: &mut Vec<u8>,
        write: impl Fn(&mut [u8]),
    ) {
        self.update(found, |slot| {
            if let Some(value) = slot.data.value_mut() {
                write(value);
            } else {
                let mut copy = Data::new(buffer, slot.data.key(), [slot.data.value(), &[]]);
                copy.value_mut().into_iter().for_each(write);
                slot.data = copy;
            }
            slot.content = slot.data.content_hash();
            slot.cas = cas;
            slot.order = order;
        });
    }

    /// Makes the item another version with other marks, and makes it the newest.
    pub(crate) fn revise(
        &mut self,
        found: &Found,
        (cas, order): (CasUnique, u64),
        deadline: Deadline,
        marks: Marks,
    ) {
        self.update(found, |slot| {
            (slot.cas, slot.order) = (cas, order);
            (slot.deadline, slot.marks) = (deadline, marks);
        });
    }

    /// Changes the item's marks, and nothing else.
    pub(crate) fn mark(&mut self, found: &Found, marks: Marks) {
        let digests = self.with_slot(found.hash, found.node, |slot| {
            let old = slot.digest();
            slot.marks = marks;
            (old, slot.digest())
        });
        let Some((old, new)) = digests else { return };
        self.totals.digest = self.totals.digest.wrapping_sub(old).wrapping_add(new);
    }

    /// Makes the item the newest in the eviction order only.
    ///
    /// For an item about to be replaced: room for its next version is not made at its own expense.
    pub(crate) fn spare(&mut self, found: &Found) {
        self.queue.move_to_back(found.node);
    }

    /// Removes an item, and gives it away, if it is there.
    pub(crate) fn remove(&mut self, hash: u64, node: NodeIndex) -> Option<Slot> {
        let slot =
            self.with_segment(hash, |segment| segment.remove(hash, |slot| slot.node == node))?;
        self.unlink(&slot);
        self.queue.remove(node);
        Some(slot)
    }

    /// The segments as they are now, for a frozen view.
    pub(crate) fn segments(&self) -> Vec<Arc<Segment>> {
        self.shared.segments().map(|segment| segment.read().clone()).collect()
    }

    /// The restored items in the place that the readers of `old` look at.
    pub(crate) fn installed(old: &Self, restored: Self) -> Self {
        for (place, restored) in old.shared.segments().zip(restored.shared.segments()) {
            let new = std::mem::take(&mut *restored.write());
            let old = std::mem::replace(&mut *place.write(), new);
            // Only now that the lock is free: it may be the last holder of many values.
            drop(old);
        }
        Self { shared: Arc::clone(&old.shared), ..restored }
    }

    fn update(&mut self, found: &Found, change: impl FnOnce(&mut Slot)) {
        let changed = self.with_slot(found.hash, found.node, |slot| {
            let old = (slot.digest(), slot.deadline, slot.order);
            change(slot);
            (old, (slot.digest(), slot.deadline, slot.order))
        });
        let Some((old, new)) = changed else { return };
        self.totals.digest = self.totals.digest.wrapping_sub(old.0).wrapping_add(new.0);
        if old.1 != Deadline::NEVER {
            self.deadlines.remove(&(old.1, old.2));
        }
        if new.1 != Deadline::NEVER {
            self.deadlines.insert((new.1, new.2), found.node);
        }
        self.queue.move_to_back(found.node);
    }

    /// Counts the slot and files its deadline.
    fn link(&mut self, slot: &Slot) {
        self.totals.add(slot);
        if slot.deadline != Deadline::NEVER {
            self.deadlines.insert((slot.deadline, slot.order), slot.node);
        }
    }

    fn unlink(&mut self, slot: &Slot) {
        self.totals.subtract(slot);
        if slot.deadline != Deadline::NEVER {
            self.deadlines.remove(&(slot.deadline, slot.order));
        }
    }

    fn with_slot<R>(
        &self,
        hash: u64,
        node: NodeIndex,
        change: impl FnOnce(&mut Slot) -> R,
    ) -> Option<R> {
        self.with_segment(hash, |segment| {
            segment.find_mut(hash, |slot| slot.node == node).map(change)
        })
    }

    /// The one place that writes: copies what is written to first if a frozen view holds it.
    fn with_segment<R>(&self, hash: u64, change: impl FnOnce(&mut Segment) -> R) -> R {
        change(Arc::make_mut(&mut *self.shared.segment(hash).write()))
    }
}

/// Bytes accounted for an item whose key and value have this length together.
///
/// Includes what jemalloc rounds up: it has four size classes between powers of two, so that a
/// value of 1 KiB takes 1280 bytes. Not counting it would let the process outgrow `-m` by a fifth.
pub(crate) fn item_bytes(data_len: u64) -> u64 {
    let allocated = data_len + SHARED_HEADER_LEN;
    let rounding = match allocated.saturating_sub(1).checked_ilog2() {
        Some(log) if SMALL_CLASSES_LOG <= log => {
            allocated.next_multiple_of(1 << (log - 2)) - allocated
        }
        // Up to 128 bytes classes are 16 bytes apart, which the overhead covers.
        _ => 0,
    };
    data_len + ITEM_OVERHEAD + rounding
}

/// Two counters in front of shared data.
const SHARED_HEADER_LEN: u64 = 16;
const SMALL_CLASSES_LOG: u32 = 7;

fn new_slot(version: Version, node: NodeIndex) -> Slot {
    let Version { data, flags, deadline, cas, marks, order, written_at } = version;
    let (content, access) = (data.content_hash(), Access::written(written_at));
    Slot { data, deadline, cas, order, content, flags, node, marks, access }
}

#[cfg(any(test, fuzzing))]
impl Store {
    /// Recounts everything and follows every index to its item.
    pub(crate) fn check(&self) {
        let mut totals = Totals::default();
        let mut deadlines = BTreeMap::new();
        for segment in self.shared.segments() {
            for slot in segment.read().iter() {
                totals.add(slot);
                assert_eq!(self.queue.hash(slot.node), crate::table::rehash(slot));
                if slot.deadline != Deadline::NEVER {
                    deadlines.insert((slot.deadline, slot.order), slot.node);
                }
            }
        }
        assert_eq!(totals, self.totals);
        assert_eq!(deadlines, self.deadlines);
    }
}
