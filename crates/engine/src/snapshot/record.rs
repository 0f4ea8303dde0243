//! One record of a snapshot; the table is in the parent's doc.

use crate::cache::Counters;
use crate::codec::{Cursor, Put};
use crate::item::{Deadline, Marks};
use crate::outcome::{decode_item, encode_item};
use crate::shared::Times;
use crate::{CasUnique, Item, LogIndex, Origin, Outcome, Settings, UnixMillis};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    State(Scalars),
    /// From version 2 on.
    Limit {
        memory_limit: u64,
    },
    /// With marks from version 2 on.
    Item {
        order: u64,
        item: Item,
    },
    Origin {
        origin: Origin,
        last_seq: u64,
        seen: UnixMillis,
        batches: u32,
    },
    Batch {
        seq: u64,
        outcomes: u32,
    },
    Outcome(Outcome),
    End {
        items: u64,
        digest: u64,
    },
}

/// Everything of which there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scalars {
    pub(super) applied: LogIndex,
    pub(super) times: Times,
    pub(super) settings: Settings,
    pub(super) counters: Counters,
}

impl Record {
    pub(super) fn encode(&self, output: &mut Vec<u8>) {
        match self {
            Self::State(scalars) => {
                output.push(STATE);
                scalars.encode(output);
            }
            Self::Limit { memory_limit } => {
                output.push(LIMIT);
                output.put_u64(*memory_limit);
            }
            Self::Item { order, item } => {
                if item.marks == Marks::NONE {
                    output.push(ITEM);
                } else {
                    output.extend_from_slice(&[MARKED_ITEM, item.marks.to_byte()]);
                }
                output.put_u64(*order);
                encode_item(item, output);
            }
            Self::Origin { origin, last_seq, seen, batches } => {
                output.push(ORIGIN);
                [origin.node, origin.epoch, *last_seq, seen.0]
                    .iter()
                    .for_each(|word| output.put_u64(*word));
                output.put_u32(*batches);
            }
            Self::Batch { seq, outcomes } => {
                output.push(BATCH);
                output.put_u64(*seq);
                output.put_u32(*outcomes);
            }
            Self::Outcome(outcome) => {
                output.push(OUTCOME);
                outcome.encode(output);
            }
            Self::End { items, digest } => {
                output.push(END);
                output.put_u64(*items);
                output.put_u64(*digest);
            }
        }
    }

    /// Whether version 1 cannot say it.
    pub(super) fn is_of_version_2(&self) -> bool {
        match self {
            Self::Limit { .. } => true,
            Self::Item { item, .. } => item.marks != Marks::NONE,
            Self::Outcome(outcome) => outcome.is_of_version_2(),
            Self::State(_) | Self::Origin { .. } | Self::Batch { .. } | Self::End { .. } => false,
        }
    }

    pub(super) fn decode(cursor: &mut Cursor<'_>) -> Option<Self> {
        Some(match cursor.u8()? {
            STATE => Self::State(Scalars::decode(cursor)?),
            LIMIT => Self::Limit { memory_limit: cursor.u64()? },
            ITEM => Self::Item { order: cursor.u64()?, item: decode_item(cursor)? },
            MARKED_ITEM => {
                let marks = Marks::from_byte(cursor.u8()?)?;
                let order = cursor.u64()?;
                Self::Item { order, item: Item { marks, ..decode_item(cursor)? } }
            }
            ORIGIN => Self::Origin {
                origin: Origin { node: cursor.u64()?, epoch: cursor.u64()? },
                last_seq: cursor.u64()?,
                seen: UnixMillis(cursor.u64()?),
                batches: cursor.u32()?,
            },
            BATCH => Self::Batch { seq: cursor.u64()?, outcomes: cursor.u32()? },
            OUTCOME => Self::Outcome(Outcome::decode(cursor)?),
            END => Self::End { items: cursor.u64()?, digest: cursor.u64()? },
            _ => return None,
        })
    }
}

impl Scalars {
    fn encode(&self, output: &mut Vec<u8>) {
        let Self { applied, times, settings, counters } = self;
        [applied.0, times.now.0, times.watermark.0, times.flush_at.0, settings.memory_limit]
            .iter()
            .for_each(|word| output.put_u64(*word));
        output.push(u8::from(settings.evict));
        output.put_u64(settings.item_len_max);
        counters.words().iter().for_each(|word| output.put_u64(*word));
    }

    fn decode(cursor: &mut Cursor<'_>) -> Option<Self> {
        let applied = LogIndex(cursor.u64()?);
        let times = Times {
            now: UnixMillis(cursor.u64()?),
            watermark: CasUnique(cursor.u64()?),
            flush_at: Deadline(cursor.u64()?),
        };
        let memory_limit = cursor.u64()?;
        let evict = match cursor.u8()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let settings = Settings { memory_limit, evict, item_len_max: cursor.u64()? };
        let counters = Counters {
            total_items: cursor.u64()?,
            evicted_unexpired: cursor.u64()?,
            reclaimed: cursor.u64()?,
            flushed: cursor.u64()?,
            out_of_memory: cursor.u64()?,
            flushes: cursor.u64()?,
        };
        Some(Self { applied, times, settings, counters })
    }
}

const STATE: u8 = 1;
const ITEM: u8 = 2;
const ORIGIN: u8 = 3;
const BATCH: u8 = 4;
const OUTCOME: u8 = 5;
const END: u8 = 6;
const MARKED_ITEM: u8 = 7;
const LIMIT: u8 = 8;
