//! What the records written so far amount to: the state of every shard, and where its entries are.
//!
//! A head record repeats that state at the start of a segment. Its payload is, for each shard in
//! ascending order (little-endian):
//!
//! | bytes | what |
//! |---|---|
//! | 2 | shard |
//! | 1 | bit 0: there is a purge point; bit 1: there are entries |
//! | 2 | how many slots |
//! | 8 | purge point, or 0 |
//! | 8 | first entry, or 0 |
//! | 8 | last entry, or 0 |
//! | 4 + n | length of the purge point's value, and the value |
//! | each slot: 1 + 4 + n | slot, length of its value, value; ascending |

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};

use crate::error::Error;
use crate::extent::Extent;
use crate::frame::{Frame, Kind};
use crate::run::Run;
use crate::segment::Segment;
use crate::{RecoveredShard, Shard};

/// The state of all shards.
#[derive(Default)]
pub(crate) struct Shards {
    shards: BTreeMap<Shard, ShardLog>,
}

#[derive(Default)]
struct ShardLog {
    extent: Extent,
    purge_value: Bytes,
    slots: BTreeMap<u8, Bytes>,
    runs: VecDeque<Run>,
}

impl Shards {
    /// Takes note of `frame`, which is at `offset` of `segment`. `payload` is looked at for slots
    /// and purge points alone.
    pub(crate) fn apply(
        &mut self,
        segment: &Arc<Segment>,
        offset: u64,
        frame: &Frame,
        payload: &[u8],
    ) -> Result<(), Error> {
        match frame.kind {
            Kind::Head | Kind::Mark | Kind::Seal => return Ok(()),
            Kind::Entry | Kind::Truncate | Kind::Purge | Kind::Slot => {}
        }
        let shard = self.shards.entry(frame.shard).or_default();
        match frame.kind {
            Kind::Head | Kind::Mark | Kind::Seal => {}
            Kind::Entry => {
                shard.extent.append(frame.shard, frame.index)?;
                shard.locate(segment, offset, frame);
            }
            Kind::Truncate => {
                shard.extent.truncate(frame.index);
                shard.cut();
            }
            Kind::Purge => {
                shard.extent.purge(frame.shard, frame.index)?;
                shard.purge_value = Bytes::copy_from_slice(payload);
                shard.cut();
            }
            Kind::Slot => {
                shard.slots.insert(frame.slot, Bytes::copy_from_slice(payload));
            }
        }
        Ok(())
    }

    /// The payload of a head with this state.
    pub(crate) fn encode_head(&self) -> Vec<u8> {
        let mut head = Vec::new();
        for (number, shard) in &self.shards {
            let Extent { purged, entries } = shard.extent;
            head.put_u16_le(*number);
            head.put_u8(u8::from(purged.is_some()) | u8::from(entries.is_some()) << 1);
            head.put_u16_le(u16::try_from(shard.slots.len()).unwrap_or(u16::MAX));
            head.put_u64_le(purged.unwrap_or_default());
            head.put_u64_le(entries.unwrap_or_default().0);
            head.put_u64_le(entries.unwrap_or_default().1);
            put_value(&mut head, &shard.purge_value);
            for (slot, value) in &shard.slots {
                head.put_u8(*slot);
                put_value(&mut head, value);
            }
        }
        head
    }

    /// The state that a head's payload stands for; `None` if it stands for none.
    pub(crate) fn decode_head(mut head: &[u8]) -> Option<Self> {
        let mut shards = BTreeMap::new();
        while !head.is_empty() {
            let number = head.try_get_u16_le().ok()?;
            let flags = head.try_get_u8().ok()?;
            let slot_count = head.try_get_u16_le().ok()?;
            let purged = head.try_get_u64_le().ok()?;
            let entries = (head.try_get_u64_le().ok()?, head.try_get_u64_le().ok()?);
            let extent = Extent {
                purged: (flags & 1 != 0).then_some(purged),
                entries: (flags & 2 != 0).then_some(entries),
            };
            let purge_value = value(&mut head)?;
            let mut slots = BTreeMap::new();
            for _ in 0..slot_count {
                slots.insert(head.try_get_u8().ok()?, value(&mut head)?);
            }
            let runs = VecDeque::new();
            shards.insert(number, ShardLog { extent, purge_value, slots, runs });
        }
        Some(Self { shards })
    }

    /// The stretches of `shard` with entries of `[from, to)`.
    pub(crate) fn runs(&self, shard: Shard, from: u64, to: u64) -> Vec<Run> {
        let Some(shard) = self.shards.get(&shard) else { return Vec::new() };
        let begin = shard.runs.partition_point(|run| run.last < from);
        shard.runs.iter().skip(begin).take_while(|run| run.first < to).cloned().collect()
    }

    /// The oldest segment in which an entry still counts.
    pub(crate) fn oldest_segment(&self) -> Option<u64> {
        // Runs ascend by index, and so by segment: what comes later has the higher index.
        self.shards.values().filter_map(|shard| Some(shard.runs.front()?.segment.number)).min()
    }

    /// Whether there are entries whose places are not known: their segment is gone.
    pub(crate) fn has_hole(&self) -> bool {
        let first = |shard: &ShardLog| shard.extent.entries.map(|(first, _)| first);
        self.shards.values().any(|shard| first(shard) != shard.runs.front().map(|run| run.first))
    }

    pub(crate) fn extents(&self) -> BTreeMap<Shard, Extent> {
        self.shards.iter().map(|(number, shard)| (*number, shard.extent)).collect()
    }

    pub(crate) fn recovered(&self) -> BTreeMap<Shard, RecoveredShard> {
        let recovered = |shard: &ShardLog| RecoveredShard {
            slots: shard.slots.clone(),
            purged: shard.extent.purged.map(|through| (through, shard.purge_value.clone())),
            entries: shard.extent.range(),
        };
        self.shards.iter().map(|(number, shard)| (*number, recovered(shard))).collect()
    }
}

impl ShardLog {
    fn locate(&mut self, segment: &Arc<Segment>, offset: u64, frame: &Frame) {
        let span = frame.span();
        match self.runs.back_mut() {
            Some(run) if run.segment.number == segment.number && run.open => {
                run.extend(offset, span);
            }
            _ => self.runs.push_back(Run::new(segment.clone(), frame.index, offset, span)),
        }
    }

    /// Drops the places of entries that are gone.
    fn cut(&mut self) {
        let Some((first, last)) = self.extent.entries else {
            self.runs.clear();
            return;
        };
        while self.runs.back().is_some_and(|run| last < run.first) {
            self.runs.pop_back();
        }
        if let Some(run) = self.runs.back_mut() {
            run.end_at(last);
        }
        while self.runs.front().is_some_and(|run| run.last < first) {
            self.runs.pop_front();
        }
        if let Some(run) = self.runs.front_mut() {
            run.first = run.first.max(first);
        }
    }
}

fn put_value(head: &mut Vec<u8>, value: &[u8]) {
    head.put_u32_le(u32::try_from(value.len()).unwrap_or(u32::MAX));
    head.put_slice(value);
}

fn value(head: &mut &[u8]) -> Option<Bytes> {
    let len = usize::try_from(head.try_get_u32_le().ok()?).ok()?;
    let (value, rest) = head.split_at_checked(len)?;
    *head = rest;
    Some(Bytes::copy_from_slice(value))
}
