//! One version of an item, as the store keeps it and as a reader sees it.

use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::{CasUnique, UnixMillis};

/// The longest key, in bytes.
pub const KEY_LEN_MAX: usize = 250;

/// Bytes accounted for an item besides its key and its value.
///
/// Covers the slot in its hash table, the node of the eviction order, the record of the deadline,
/// the header of the shared allocation and what the allocator rounds up to 16 bytes. Measured as
/// growth of the resident size per item: 133 to 140 bytes without deadlines, 180 to 211 with,
/// depending on how full the hash tables happen to be. What the allocator rounds a larger item up
/// to is accounted for beside this.
pub const ITEM_OVERHEAD: u64 = 216;

/// One version of an item; a cheap clone that stays valid while it is being sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Item {
    pub(crate) data: Data,
    pub(crate) flags: u32,
    pub(crate) deadline: Deadline,
    pub(crate) cas: CasUnique,
    pub(crate) marks: Marks,
}

impl Item {
    /// The key, 1 to [`KEY_LEN_MAX`] bytes.
    pub fn key(&self) -> &[u8] {
        self.data.key()
    }

    /// The stored bytes.
    pub fn value(&self) -> &[u8] {
        self.data.value()
    }

    /// The client's opaque flags.
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// When the item ends; `None` is never.
    pub fn deadline(&self) -> Option<UnixMillis> {
        (self.deadline != Deadline::NEVER).then_some(UnixMillis(self.deadline.0))
    }

    /// The log position that wrote this version, unless the client chose another number.
    pub fn cas_unique(&self) -> CasUnique {
        self.cas
    }

    /// What the meta commands remember.
    pub fn marks(&self) -> Marks {
        self.marks
    }
}

impl AsRef<[u8]> for Item {
    fn as_ref(&self) -> &[u8] {
        self.value()
    }
}

impl fmt::Debug for Item {
    /// Without the value: what clients store has no place in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item")
            .field("key", &self.key().escape_ascii().to_string())
            .field("value_len", &self.value().len())
            .field("flags", &self.flags)
            .field("deadline", &self.deadline())
            .field("cas", &self.cas.0)
            .finish()
    }
}

/// When an item ends, in milliseconds since the Unix epoch; the largest number is never.
///
/// One word instead of an `Option`: it is part of every slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deadline(pub(crate) u64);

impl Deadline {
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// Whether an item with this deadline is gone at `at`.
    pub(crate) fn passed(self, at: UnixMillis) -> bool {
        self != Self::NEVER && self.0 <= at.0
    }
}

/// What the meta commands remember about an item; part of the replicated state.
///
/// Source: memcached `doc/protocol.txt`, "Meta Get"; `ITEM_STALE`, `ITEM_TOKEN_SENT` and
/// `ITEM_KEY_BINARY` in its `memcached.h`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks(u8);

impl Marks {
    /// The value is out of date; whoever reads it first is asked to renew it.
    pub const STALE: Self = Self(1);
    /// Somebody has been asked to renew the value, or to fill it in.
    pub const TOKEN_SENT: Self = Self(2);
    /// The key was given in base64, and is shown so.
    pub const BASE64: Self = Self(4);
    /// None of them.
    pub const NONE: Self = Self(0);

    /// Whether all of `marks` are set.
    pub fn has(self, marks: Self) -> bool {
        self.0 & marks.0 == marks.0
    }

    /// With those of `marks` that are in `self`.
    pub(crate) fn only(self, marks: Self) -> Self {
        Self(self.0 & marks.0)
    }

    /// With all of `marks`.
    pub(crate) fn with(self, marks: Self) -> Self {
        Self(self.0 | marks.0)
    }

    /// `marks`, if `set`.
    pub(crate) fn when(set: bool, marks: Self) -> Self {
        if set { marks } else { Self::NONE }
    }

    pub(crate) fn to_byte(self) -> u8 {
        self.0
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        (byte < 8).then_some(Self(byte))
    }
}

/// Length of the key, key, value: one exact allocation, shared by the store and its readers.
///
/// The length stands inside, so that a slot stays within 64 bytes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Data(Arc<[u8]>);

impl fmt::Debug for Data {
    /// Lengths only: what clients store has no place in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Data({} + {} bytes)", self.key().len(), self.value().len())
    }
}

impl Data {
    /// Copies a key and the pieces of its value, which stand one after the other.
    ///
    /// `buffer` is scratch space: the length of an `Arc<[u8]>` must be known when it is made.
    ///
    /// # Panics
    ///
    /// If the key is longer than [`KEY_LEN_MAX`]: whoever decodes a key has checked it.
    pub(crate) fn new(buffer: &mut Vec<u8>, key: &[u8], value: [&[u8]; 2]) -> Self {
        assert!(key.len() <= KEY_LEN_MAX, "a key of {} bytes", key.len());
        let key_len = u8::try_from(key.len()).unwrap_or(u8::MAX);
        buffer.clear();
        buffer.push(key_len);
        buffer.extend_from_slice(key);
        value.iter().for_each(|piece| buffer.extend_from_slice(piece));
        let data = Self(Arc::from(buffer.as_slice()));
        buffer.clear();
        buffer.shrink_to(BUFFER_LEN_MAX);
        data
    }

    pub(crate) fn key(&self) -> &[u8] {
        self.split().0
    }

    pub(crate) fn value(&self) -> &[u8] {
        self.split().1
    }

    /// The bytes of the value, if nobody else is looking at them.
    pub(crate) fn value_mut(&mut self) -> Option<&mut [u8]> {
        let (key_len, rest) = Arc::get_mut(&mut self.0)?.split_first_mut()?;
        rest.get_mut(usize::from(*key_len)..)
    }

    /// Bytes of key and value together.
    pub(crate) fn len(&self) -> u64 {
        self.0.len().saturating_sub(1) as u64
    }

    /// Hash of everything in here: of the length of the key, the key and the value.
    pub(crate) fn content_hash(&self) -> u64 {
        xxh3_64(&self.0)
    }

    fn split(&self) -> (&[u8], &[u8]) {
        let Some((key_len, rest)) = self.0.split_first() else { return (&[], &[]) };
        rest.split_at_checked(usize::from(*key_len)).unwrap_or((rest, &[]))
    }
}

/// What the scratch buffer may keep between two items.
const BUFFER_LEN_MAX: usize = 64 * 1024;
