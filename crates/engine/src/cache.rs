//! What the commands do to the items.

mod memory;
mod meta;

use crate::ids::log_position;
use crate::item::{Data, Deadline, Marks};
use crate::outcome::mix;
use crate::shared::{Times, hash};
use crate::store::{Found, Store, Version};
use crate::{
    CasUnique, Command, Direction, Expiry, Initial, Item, LogIndex, MetaStore, Outcome, Settings,
    StoreMode, UnixMillis, number,
};

/// The items, the times and limits they live under, and what has been counted.
///
/// All of it is replicated; `draining` and `buffer` only save work.
#[derive(Debug)]
pub(crate) struct Cache {
    pub(crate) store: Store,
    pub(crate) times: Times,
    pub(crate) settings: Settings,
    /// In force instead of that of `settings`, in bytes.
    pub(crate) limit: Option<u64>,
    pub(crate) counters: Counters,
    /// False once the oldest item is known not to have been flushed.
    draining: bool,
    buffer: Vec<u8>,
}

/// Counted through the log, and so equal on every replica.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) total_items: u64,
    pub(crate) evicted_unexpired: u64,
    pub(crate) reclaimed: u64,
    pub(crate) flushed: u64,
    pub(crate) out_of_memory: u64,
    pub(crate) flushes: u64,
}

impl Counters {
    pub(crate) fn words(&self) -> [u64; 6] {
        [
            self.total_items,
            self.evicted_unexpired,
            self.reclaimed,
            self.flushed,
            self.out_of_memory,
            self.flushes,
        ]
    }
}

/// A version that is about to be written, but for its key and value.
#[derive(Clone, Copy)]
struct Made {
    flags: u32,
    deadline: Deadline,
    marks: Marks,
    cas: CasUnique,
    position: CasUnique,
}

impl Cache {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            times: Times::default(),
            settings: Settings::default(),
            limit: None,
            counters: Counters::default(),
            draining: true,
            buffer: Vec::new(),
        }
    }

    /// Moves cluster time to the entry's stamp, executes a flush that is due, and takes back a
    /// bounded number of dead items.
    pub(crate) fn advance(&mut self, index: LogIndex, stamped_at: UnixMillis, commands: u32) {
        self.times.now = self.times.now.max(stamped_at);
        if self.times.flush_at.passed(self.times.now) {
            self.times.watermark = CasUnique(log_position(index, 0));
            self.times.flush_at = Deadline::NEVER;
            self.draining = true;
        }
        self.store.shared.set_times(&self.times);
        self.reclaim(RECLAIM_MIN + RECLAIM_PER_COMMAND * commands);
    }

    /// Executes one command; `position` is the version of whatever it writes.
    pub(crate) fn execute(&mut self, command: &Command<'_>, position: CasUnique) -> Outcome {
        match *command {
            Command::Store { mode, key, flags, expiry, value, cas } => {
                let drops_old = mode == StoreMode::Set && cas.is_none();
                let store = MetaStore { mode, key, flags, expiry, value, cas, ..MetaStore::PLAIN };
                self.store(&store, drops_old, position)
            }
            Command::Delete { key, cas } => match self.matching(key, cas) {
                Err(refusal) => refusal,
                Ok(found) => {
                    self.store.remove(found.hash, found.node);
                    Outcome::Deleted
                }
            },
            Command::Arithmetic { direction, key, delta, initial, cas } => {
                match (self.matching(key, cas), initial) {
                    (Ok(found), _) => self.count(direction, delta, &found, (position, position)),
                    (Err(Outcome::NotFound), Some(initial)) if cas.is_none() => {
                        let made = Self::made(Marks::NONE, None, position);
                        self.count_from(key, initial, made)
                    }
                    (Err(refusal), _) => refusal,
                }
            }
            Command::Touch { key, expiry } => match self.matching(key, None) {
                Err(refusal) => refusal,
                Ok(found) => {
                    self.touch(&found, expiry, position);
                    Outcome::Touched { flags: found.flags, cas: found.cas }
                }
            },
            Command::GetAndTouch { key, expiry } => self.get_and_touch(key, expiry, position),
            Command::MetaArithmetic(ref arithmetic) => self.meta_arithmetic(arithmetic, position),
            Command::MetaDelete(ref delete) => self.meta_delete(delete, position),
            Command::MetaGet(ref get) => self.meta_get(get, position),
            Command::MetaStore(ref store) => self.meta_store(store, position),
            Command::FlushAll { after_ms } => {
                self.flush_all(after_ms, position);
                Outcome::Done
            }
            Command::Configure(settings) => {
                (self.settings, self.limit) = (settings, None);
                self.fit();
                Outcome::Done
            }
            Command::LimitMemory { memory_limit } => {
                self.limit = Some(memory_limit);
                self.fit();
                Outcome::Done
            }
            Command::Tick => Outcome::Done,
        }
    }

    /// The digest of items, times, settings and counters.
    pub(crate) fn digest(&self) -> u64 {
        let totals = self.store.totals();
        let Times { now, watermark, flush_at } = self.times;
        let Settings { memory_limit, evict, item_len_max } = self.settings;
        // Not the bytes: they follow from the items, and an old snapshot must stay readable when
        // the overhead is measured again.
        let sums = mix([totals.digest, totals.items, now.0, watermark.0, flush_at.0]);
        let limits = mix([memory_limit, u64::from(evict), item_len_max]);
        let limits = self.limit.map_or(limits, |limit| mix([limits, limit]));
        mix([sums, limits, mix(self.counters.words())])
    }

    /// With `drops_old`, whoever asked for the new value does not find the old one where the new one
    /// has no place (memcached: "avoid stale data persisting in cache because we failed alloc").
    fn store(&mut self, store: &MetaStore<'_>, drops_old: bool, position: CasUnique) -> Outcome {
        match store.mode {
            StoreMode::Append | StoreMode::Prepend => self.concatenate(store, drops_old, position),
            StoreMode::Set | StoreMode::Add | StoreMode::Replace => {
                self.set(store, drops_old, position)
            }
        }
    }

    /// `set`, `add`, `replace` and `cas`.
    fn set(&mut self, store: &MetaStore<'_>, drops_old: bool, position: CasUnique) -> Outcome {
        let MetaStore { mode, key, flags, expiry, value, cas, .. } = *store;
        if self.too_large(key, value.len(), flags) {
            return self.refuse_too_large(key, drops_old);
        }
        let old = self.live(key);
        let is_stale = match (cas, &old) {
            (None, _) => false,
            (Some(_), None) => return Outcome::NotFound,
            (Some(cas), Some(old)) if cas == old.cas => false,
            (Some(cas), Some(old)) if store.invalidate && cas.0 != 0 && cas < old.cas => true,
            (Some(_), Some(_)) => return Outcome::Exists,
        };
        match (mode, &old) {
            (StoreMode::Add, Some(old)) if cas.is_none() => {
                // A lock that many try to take is in use: memcached promotes it as well.
                self.store.touch(old, old.deadline, position.0);
                return Outcome::NotStored;
            }
            (StoreMode::Replace, None) => return Outcome::NotStored,
            _ => {}
        }
        let mut made = Made { flags, ..Self::made_of(store, position) };
        let deadline = match &old {
            Some(old) if is_stale => {
                let token = old.marks.only(Marks::TOKEN_SENT);
                made.marks = made.marks.with(Marks::STALE).with(token);
                Some(old.deadline)
            }
            _ => self.deadline(expiry),
        };
        let Some(deadline) = deadline else {
            old.iter().for_each(|old| drop(self.store.remove(old.hash, old.node)));
            self.counters.total_items += 1;
            return Outcome::Stored(made.cas);
        };
        if self.write(key, [value, &[]], old.as_ref(), &Made { deadline, ..made }) {
            return Outcome::Stored(made.cas);
        }
        if drops_old {
            old.iter().for_each(|old| drop(self.store.remove(old.hash, old.node)));
        }
        Outcome::OutOfMemory
    }

    /// `append` and `prepend`: the item keeps its flags and its deadline.
    fn concatenate(
        &mut self,
        store: &MetaStore<'_>,
        drops_old: bool,
        position: CasUnique,
    ) -> Outcome {
        let MetaStore { mode, key, flags, value: piece, cas, .. } = *store;
        if self.too_large(key, piece.len(), flags) {
            return self.refuse_too_large(key, drops_old);
        }
        let Some(old) = self.live(key) else {
            let Some(expiry) = store.vivify else { return Outcome::NotStored };
            let set = MetaStore { mode: StoreMode::Set, expiry, cas: None, ..*store };
            return self.set(&set, drops_old, position);
        };
        if cas.is_some_and(|cas| cas != old.cas) {
            return Outcome::Exists;
        }
        let Some(slot) = self.store.slot(&old) else { return Outcome::NotStored };
        let old_value = slot.data.value();
        if self.too_large(key, old_value.len() + piece.len(), old.flags) {
            return Outcome::NotStored;
        }
        let before = mode == StoreMode::Prepend;
        let value = if before { [piece, old_value] } else { [old_value, piece] };
        let made = Self::made_of(store, position);
        let marks = made.marks.with(old.marks.only(Marks::BASE64));
        let made = Made { flags: old.flags, deadline: old.deadline, marks, ..made };
        if self.write(key, value, Some(&old), &made) {
            Outcome::Stored(made.cas)
        } else {
            Outcome::OutOfMemory
        }
    }

    /// `incr` and `decr` of an item that is there.
    fn count(
        &mut self,
        direction: Direction,
        delta: u64,
        found: &Found,
        (cas, position): (CasUnique, CasUnique),
    ) -> Outcome {
        let Some(slot) = self.store.slot(found) else { return Outcome::NotFound };
        let Some(old) = number::parse(slot.data.value()) else { return Outcome::NonNumeric };
        let value = match direction {
            Direction::Increment => old.wrapping_add(delta),
            Direction::Decrement => old.saturating_sub(delta),
        };
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(value).as_bytes();
        if digits.len() <= slot.data.value().len() {
            // Gives up its hold, so that the value can be written in place.
            drop(slot);
            self.store.rewrite(found, (cas, position.0), &mut self.buffer, |value| {
                value.fill(b' ');
                value.iter_mut().zip(digits).for_each(|(space, digit)| *space = *digit);
            });
            self.counters.total_items += 1;
            return Outcome::Number { value, cas };
        }
        let (key, text) = (slot.data.key(), [digits, &[]]);
        let Found { flags, deadline, marks, .. } = *found;
        if self.write(key, text, Some(found), &Made { flags, deadline, marks, cas, position }) {
            Outcome::Number { value, cas }
        } else {
            Outcome::OutOfMemory
        }
    }

    /// `incr` and `decr` of an item that is not there.
    fn count_from(&mut self, key: &[u8], initial: Initial, made: Made) -> Outcome {
        let Initial { value, expiry } = initial;
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(value).as_bytes();
        if self.too_large(key, digits.len(), 0) {
            return Outcome::TooLarge;
        }
        if let Some(deadline) = self.deadline(expiry)
            && !self.write(key, [digits, &[]], None, &Made { deadline, ..made })
        {
            return Outcome::OutOfMemory;
        }
        Outcome::Number { value, cas: made.cas }
    }

    fn get_and_touch(&mut self, key: &[u8], expiry: Expiry, position: CasUnique) -> Outcome {
        let Some(found) = self.live(key) else { return Outcome::NotFound };
        let Some(slot) = self.store.slot(&found) else { return Outcome::NotFound };
        let deadline = self.touch(&found, expiry, position);
        // The marks are not said to classic clients, nor kept in a snapshot's outcomes.
        Outcome::Value(Item { deadline, marks: Marks::NONE, ..slot.item() })
    }

    /// The item's new deadline; that of what is gone at once is now.
    fn touch(&mut self, found: &Found, expiry: Expiry, position: CasUnique) -> Deadline {
        let Some(deadline) = self.deadline(expiry) else {
            self.store.remove(found.hash, found.node);
            return Deadline(self.times.now.0);
        };
        self.store.touch(found, deadline, position.0);
        deadline
    }

    fn flush_all(&mut self, after_ms: u64, position: CasUnique) {
        self.counters.flushes += 1;
        let at = self.times.now.0.saturating_add(after_ms);
        if after_ms == 0 {
            self.times.watermark = position;
            self.times.flush_at = Deadline::NEVER;
            self.draining = true;
        } else {
            // So far in the future that it stands for never: nothing is pending then.
            self.times.flush_at = Deadline(at);
        }
        self.store.shared.set_times(&self.times);
    }

    /// The live item under `key`; a dead one is taken back on the way.
    fn live(&mut self, key: &[u8]) -> Option<Found> {
        let found = self.store.find(hash(key), key)?;
        if self.times.live(found.order, found.deadline, self.times.now) {
            return Some(found);
        }
        self.take_back(&found);
        None
    }

    /// The live item under `key` if it is of the version asked for, or the answer otherwise.
    fn matching(&mut self, key: &[u8], cas: Option<CasUnique>) -> Result<Found, Outcome> {
        let found = self.live(key).ok_or(Outcome::NotFound)?;
        if cas.is_some_and(|cas| cas != found.cas) { Err(Outcome::Exists) } else { Ok(found) }
    }

    /// The deadline asked for; `None` if that is not after cluster time.
    fn deadline(&self, expiry: Expiry) -> Option<Deadline> {
        expiry.deadline(self.times.now)
    }

    fn refuse_too_large(&mut self, key: &[u8], drops_old: bool) -> Outcome {
        if drops_old && let Some(old) = self.live(key) {
            self.store.remove(old.hash, old.node);
        }
        Outcome::TooLarge
    }

    /// A version without flags and deadline.
    fn made(marks: Marks, cas: Option<CasUnique>, position: CasUnique) -> Made {
        let cas = cas.unwrap_or(position);
        Made { flags: 0, deadline: Deadline::NEVER, marks, cas, position }
    }

    fn made_of(store: &MetaStore<'_>, position: CasUnique) -> Made {
        Self::made(Marks::when(store.base64, Marks::BASE64), store.new_cas, position)
    }

    /// Stores a version in place of `old`; false, and nothing changed, if there is no room.
    fn write(&mut self, key: &[u8], value: [&[u8]; 2], old: Option<&Found>, made: &Made) -> bool {
        let value_len = value.iter().map(|piece| piece.len()).sum::<usize>();
        if !self.make_room(old, (key.len() + value_len) as u64) {
            self.counters.out_of_memory += 1;
            return false;
        }
        let data = Data::new(&mut self.buffer, key, value);
        let Made { flags, deadline, marks, cas, position } = *made;
        let (order, written_at) = (position.0, self.times.now);
        let version = Version { data, flags, deadline, cas, marks, order, written_at };
        match old {
            None => self.store.insert(hash(key), version),
            Some(old) => self.store.replace(old, version),
        }
        self.counters.total_items += 1;
        true
    }

    /// Whether the item would exceed `-I`, by memcached's own sum.
    fn too_large(&self, key: &[u8], value_len: usize, flags: u32) -> bool {
        let flags_len = if flags == 0 { 0 } else { 4 };
        let item_len = MEMCACHED_HEADER_LEN + key.len() + 1 + value_len + 2 + flags_len;
        self.settings.item_len_max < item_len as u64
    }
}

/// memcached's `sizeof(item)` and its CAS field.
const MEMCACHED_HEADER_LEN: usize = 48 + 8;

/// Dead items taken back per entry. Twice as many per command as a command can add, so that the
/// dead never pile up behind a steady load.
const RECLAIM_MIN: u32 = 64;
const RECLAIM_PER_COMMAND: u32 = 2;
