//! What became of a command, and of a batch.
//!
//! # Format of [`Outcomes`]
//!
//! Between nodes only, and, one outcome at a time, in a snapshot. Numbers are little-endian.
//!
//! ```text
//! offset  bytes  field
//!      0      8  seq
//!      8      4  count: 0 to 4096
//!     12      -  outcomes
//!
//! outcome: a tag of one byte, then
//!   0 Stored       cas u64
//!   1 NotStored    2 Exists    3 NotFound    4 Deleted
//!   5 Touched      flags u32, cas u64
//!   6 Value        flags u32, deadline u64, cas u64, key_len u8, value_len u32, key, value
//!   7 Number       value u64, cas u64
//!   8 NonNumeric   9 TooLarge  10 OutOfMemory  11 Done
//!  12 Seen         marks u8, won u8 (0 or 1), before u64, now u64, then as Value
//!  13 StoredLen    cas u64, value_len u32
//! ```
//!
//! A deadline of `2^64 - 1` is none. Marks: 1 stale, 2 token sent, 4 base64. Only meta commands,
//! which came with version 2 of the batch, have the last two.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::codec::{Cursor, Put};
use crate::item::{Data, Deadline, Marks};
use crate::{BATCH_COMMANDS_MAX, CasUnique, Item, KEY_LEN_MAX, UnixMillis};

/// What became of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The item was stored as this version.
    Stored(CasUnique),
    /// The condition of `Add`, `Replace`, `Append` or `Prepend` did not hold.
    NotStored,
    /// There is an item, but of another version than the command asked for.
    Exists,
    /// There is no item.
    NotFound,
    /// The item is gone.
    Deleted,
    /// The item has its new deadline; the version is unchanged.
    Touched {
        /// The item's.
        flags: u32,
        /// The item's, which a touch does not change.
        cas: CasUnique,
    },
    /// The item, with its new deadline.
    Value(Item),
    /// The counter's new value.
    Number {
        /// As a number; the stored text may be padded with blanks.
        value: u64,
        /// Version of the item as it is now.
        cas: CasUnique,
    },
    /// The value is not a decimal number that fits 64 bits.
    NonNumeric,
    /// The item would be larger than [`Settings::item_len_max`](crate::Settings::item_len_max).
    TooLarge,
    /// There is no memory for the item.
    OutOfMemory,
    /// A command that concerns no item was executed.
    Done,
    /// What a meta command found, or made.
    Seen(Seen),
    /// A meta command has stored the item.
    StoredLen {
        /// As this version.
        cas: CasUnique,
        /// Bytes of its value now.
        value_len: u32,
    },
}

/// What a meta command found, or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// As it is now, but with the marks that it had before.
    pub item: Item,
    /// The client is the one to renew the value, or to fill it in. Of an `ma`: the item was made.
    pub won: bool,
    pub(crate) before: Deadline,
    /// Cluster time.
    pub now: UnixMillis,
}

impl Seen {
    /// When the item ended before it was touched or made to end; `None` is never.
    pub fn deadline_before(&self) -> Option<UnixMillis> {
        (self.before != Deadline::NEVER).then_some(UnixMillis(self.before.0))
    }

    fn encode(&self, output: &mut Vec<u8>) {
        output.extend_from_slice(&[self.item.marks.to_byte(), u8::from(self.won)]);
        output.put_u64(self.before.0);
        output.put_u64(self.now.0);
        encode_item(&self.item, output);
    }

    fn decode(cursor: &mut Cursor<'_>) -> Option<Self> {
        let (marks, won) = (Marks::from_byte(cursor.u8()?)?, cursor.u8()?);
        let (before, now) = (Deadline(cursor.u64()?), UnixMillis(cursor.u64()?));
        let item = Item { marks, ..decode_item(cursor)? };
        (won < 2).then_some(Self { item, won: won == 1, before, now })
    }

    fn hash(&self) -> u64 {
        let marks = u64::from(self.item.marks.to_byte()) << 1 | u64::from(self.won);
        let (content, rest) = (self.item.data.content_hash(), item_rest(&self.item));
        mix([content, rest, marks, self.before.0, self.now.0])
    }
}

/// The outcomes of one batch, in the order of its commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcomes {
    seq: u64,
    outcomes: Box<[Outcome]>,
}

impl Outcomes {
    pub(crate) fn new(seq: u64, outcomes: Vec<Outcome>) -> Self {
        Self { seq, outcomes: outcomes.into_boxed_slice() }
    }

    /// The batch's number.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// One outcome per command.
    pub fn as_slice(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// Appends the bytes that [`Outcomes::decode`] reads.
    pub fn encode(&self, output: &mut Vec<u8>) {
        output.put_u64(self.seq);
        // A batch has at most `BATCH_COMMANDS_MAX` commands.
        output.put_u32(u32::try_from(self.outcomes.len()).unwrap_or(u32::MAX));
        self.outcomes.iter().for_each(|outcome| outcome.encode(output));
    }

    /// Reads what [`Outcomes::encode`] wrote.
    ///
    /// # Errors
    ///
    /// If the bytes are anything else.
    pub fn decode(input: &[u8]) -> Result<Self, CorruptOutcomes> {
        let mut cursor = Cursor(input);
        let cut = CorruptOutcomes { reason: "cut short" };
        let seq = cursor.u64().ok_or(cut)?;
        let count = cursor.u32().ok_or(cut)? as usize;
        if BATCH_COMMANDS_MAX < count {
            return Err(CorruptOutcomes { reason: "too many outcomes" });
        }
        let outcomes = (0..count).map(|_| Outcome::decode(&mut cursor)).collect::<Option<Vec<_>>>();
        let outcomes = outcomes.ok_or(CorruptOutcomes { reason: "unknown or cut outcome" })?;
        if !cursor.is_empty() {
            return Err(CorruptOutcomes { reason: "trailing bytes" });
        }
        Ok(Self::new(seq, outcomes))
    }

    /// Bytes of the items in here, which the store may have dropped since.
    pub(crate) fn item_bytes(&self) -> u64 {
        self.outcomes.iter().map(Outcome::item_bytes).sum()
    }

    /// Hash of everything in here.
    pub(crate) fn digest(&self) -> u64 {
        let start = mix([self.seq, self.outcomes.len() as u64]);
        self.outcomes.iter().fold(start, |sum, outcome| {
            let [tag, first, second] = outcome.words();
            mix([sum, tag, first, second])
        })
    }
}

impl Outcome {
    pub(crate) fn encode(&self, output: &mut Vec<u8>) {
        output.push(self.tag());
        match self {
            Self::Stored(cas) => output.put_u64(cas.0),
            Self::Touched { flags, cas } => {
                output.put_u32(*flags);
                output.put_u64(cas.0);
            }
            Self::Value(item) => encode_item(item, output),
            Self::Number { value, cas } => {
                output.put_u64(*value);
                output.put_u64(cas.0);
            }
            Self::Seen(seen) => seen.encode(output),
            Self::StoredLen { cas, value_len } => {
                output.put_u64(cas.0);
                output.put_u32(*value_len);
            }
            Self::NotStored
            | Self::Exists
            | Self::NotFound
            | Self::Deleted
            | Self::NonNumeric
            | Self::TooLarge
            | Self::OutOfMemory
            | Self::Done => {}
        }
    }

    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Option<Self> {
        Some(match cursor.u8()? {
            0 => Self::Stored(CasUnique(cursor.u64()?)),
            1 => Self::NotStored,
            2 => Self::Exists,
            3 => Self::NotFound,
            4 => Self::Deleted,
            5 => Self::Touched { flags: cursor.u32()?, cas: CasUnique(cursor.u64()?) },
            6 => Self::Value(decode_item(cursor)?),
            7 => Self::Number { value: cursor.u64()?, cas: CasUnique(cursor.u64()?) },
            8 => Self::NonNumeric,
            9 => Self::TooLarge,
            10 => Self::OutOfMemory,
            11 => Self::Done,
            12 => Self::Seen(Seen::decode(cursor)?),
            13 => Self::StoredLen { cas: CasUnique(cursor.u64()?), value_len: cursor.u32()? },
            _ => return None,
        })
    }

    fn tag(&self) -> u8 {
        match self {
            Self::Stored(_) => 0,
            Self::NotStored => 1,
            Self::Exists => 2,
            Self::NotFound => 3,
            Self::Deleted => 4,
            Self::Touched { .. } => 5,
            Self::Value(_) => 6,
            Self::Number { .. } => 7,
            Self::NonNumeric => 8,
            Self::TooLarge => 9,
            Self::OutOfMemory => 10,
            Self::Done => 11,
            Self::Seen(_) => 12,
            Self::StoredLen { .. } => 13,
        }
    }

    /// The outcome in three words, for the digest.
    fn words(&self) -> [u64; 3] {
        let tag = u64::from(self.tag());
        match self {
            Self::Stored(cas) => [tag, cas.0, 0],
            Self::Touched { flags, cas } => [tag, u64::from(*flags), cas.0],
            Self::Value(item) => [tag, item.data.content_hash(), item_rest(item)],
            Self::Seen(seen) => [tag, seen.hash(), 0],
            Self::StoredLen { cas, value_len } => [tag, cas.0, u64::from(*value_len)],
            Self::Number { value, cas } => [tag, *value, cas.0],
            Self::NotStored
            | Self::Exists
            | Self::NotFound
            | Self::Deleted
            | Self::NonNumeric
            | Self::TooLarge
            | Self::OutOfMemory
            | Self::Done => [tag, 0, 0],
        }
    }

    /// Whether version 1 of the formats cannot say it.
    pub(crate) fn is_of_version_2(&self) -> bool {
        matches!(self, Self::Seen(_) | Self::StoredLen { .. })
    }

    pub(crate) fn item_bytes(&self) -> u64 {
        let (Self::Value(item) | Self::Seen(Seen { item, .. })) = self else { return 0 };
        item.data.len()
    }
}

fn item_rest(item: &Item) -> u64 {
    mix([u64::from(item.flags), item.deadline.0, item.cas.0])
}

/// Flags, deadline, cas, lengths, key, value: also the middle of a snapshot's item.
pub(crate) fn encode_item(item: &Item, output: &mut Vec<u8>) {
    output.put_u32(item.flags);
    output.put_u64(item.deadline.0);
    output.put_u64(item.cas.0);
    // Both lengths came in through a body, which has no room for more.
    output.push(u8::try_from(item.key().len()).unwrap_or(u8::MAX));
    output.put_u32(u32::try_from(item.value().len()).unwrap_or(u32::MAX));
    output.extend_from_slice(item.key());
    output.extend_from_slice(item.value());
}

pub(crate) fn decode_item(cursor: &mut Cursor<'_>) -> Option<Item> {
    let (flags, deadline) = (cursor.u32()?, Deadline(cursor.u64()?));
    let cas = CasUnique(cursor.u64()?);
    let (key_len, value_len) = (usize::from(cursor.u8()?), cursor.u32()? as usize);
    if !(1..=KEY_LEN_MAX).contains(&key_len) {
        return None;
    }
    let (key, value) = (cursor.bytes(key_len)?, cursor.bytes(value_len)?);
    let data = Data::new(&mut Vec::new(), key, [value, &[]]);
    Some(Item { data, flags, deadline, cas, marks: Marks::NONE })
}

/// Hashes up to eight words into one.
pub(crate) fn mix<const N: usize>(words: [u64; N]) -> u64 {
    const { assert!(N <= 8) };
    let mut bytes = [0; 64];
    for (space, word) in bytes.chunks_exact_mut(8).zip(words) {
        space.copy_from_slice(&word.to_le_bytes());
    }
    bytes.get(..8 * N).map_or(0, xxh3_64)
}

/// Bytes that [`Outcomes::encode`] did not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("corrupt outcomes: {reason}")]
pub struct CorruptOutcomes {
    pub(crate) reason: &'static str,
}

/// What applying an entry yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// The batch's outcomes: fresh, or the first answer again.
    Outcomes(Arc<Outcomes>),
    /// A batch before this one has not been applied: nothing changed.
    Gap {
        /// Send again from this number on.
        next_seq: u64,
    },
    /// The batch was applied long ago and its outcomes are no longer known.
    Forgotten,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes() -> Outcomes {
        let item = |deadline| Item {
            data: Data::new(&mut Vec::new(), b"key", [b"val", b"ue"]),
            flags: 7,
            deadline,
            cas: CasUnique(4096),
            marks: Marks::NONE,
        };
        let (before, now) = (Deadline(9), UnixMillis(3));
        let marked = Item { marks: Marks::STALE.with(Marks::BASE64), ..item(Deadline(8)) };
        let outcomes = vec![
            Outcome::Stored(CasUnique(4097)),
            Outcome::NotStored,
            Outcome::Exists,
            Outcome::NotFound,
            Outcome::Deleted,
            Outcome::Touched { flags: 3, cas: CasUnique(4098) },
            Outcome::Value(item(Deadline::NEVER)),
            Outcome::Value(item(Deadline(5))),
            Outcome::Number { value: u64::MAX, cas: CasUnique(4099) },
            Outcome::NonNumeric,
            Outcome::TooLarge,
            Outcome::OutOfMemory,
            Outcome::Done,
            Outcome::Seen(Seen { item: marked, won: true, before, now }),
            Outcome::StoredLen { cas: CasUnique(4100), value_len: 5 },
        ];
        Outcomes::new(5, outcomes)
    }

    #[test]
    fn every_outcome_survives_the_round_trip() {
        let mut bytes = Vec::new();
        outcomes().encode(&mut bytes);
        assert_eq!(Outcomes::decode(&bytes), Ok(outcomes()));
        for cut in 0..bytes.len() {
            assert!(Outcomes::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        bytes.push(0);
        assert_eq!(Outcomes::decode(&bytes), Err(CorruptOutcomes { reason: "trailing bytes" }));
    }

    /// Every byte that differs makes another digest, or none can be read.
    #[test]
    fn the_digest_covers_every_byte() {
        let mut bytes = Vec::new();
        outcomes().encode(&mut bytes);
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            if let Ok(changed) = Outcomes::decode(&bytes) {
                assert_ne!(changed.digest(), outcomes().digest(), "byte {at}");
            }
            bytes[at] ^= 1;
        }
    }
}
