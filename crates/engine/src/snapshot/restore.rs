//! From the bytes of a snapshot to a state.

use std::sync::Arc;

use canary::Canary;

use super::freeze::checksum;
use super::record::Record;
use super::{CHECKSUM_LEN, HEADER_LEN, MAGIC, VERSION, VERSION_2};
use crate::codec::Cursor;
use crate::item::Deadline;
use crate::origins::OriginState;
use crate::shared::hash;
use crate::store::Version;
use crate::{
    BATCH_COMMANDS_MAX, Item, LogIndex, Origin, Outcome, Outcomes, StateMachine, UnixMillis,
};

/// Rebuilds the state from the chunks of a snapshot.
///
/// ```text
///   new ── State ──▶ items ── Origin ──▶ origins ── End ──▶ finish
///                    ↺ Item              ↺ Origin, Batch, Outcome
/// ```
///
/// Holds the state it has built so far, and nothing of the chunks.
#[derive(Debug)]
pub struct Restorer {
    state: StateMachine,
    stage: Stage,
    /// Of the last item.
    order: u64,
    chunk: u32,
    failed: bool,
}

#[derive(Debug)]
enum Stage {
    Start,
    Items,
    Origins(OpenOrigin),
    End { digest: u64 },
}

/// An origin that is not complete yet.
#[derive(Debug)]
struct OpenOrigin {
    origin: Origin,
    state: OriginState,
    batches_missing: u32,
    batch: Option<OpenBatch>,
}

#[derive(Debug)]
struct OpenBatch {
    seq: u64,
    outcomes_missing: u32,
    outcomes: Vec<Outcome>,
}

impl Restorer {
    /// Waits for the first chunk.
    pub fn new() -> Self {
        let (state, stage) = (StateMachine::empty(), Stage::Start);
        Self { state, stage, order: 0, chunk: 0, failed: false }
    }

    /// Takes the next chunk, whole and in order.
    ///
    /// # Errors
    ///
    /// If the chunk is not the next one of a snapshot; the restorer is of no more use then.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), CorruptSnapshot> {
        let result = self.push_records(chunk).map_err(|reason| self.corrupt(reason));
        self.failed |= result.is_err();
        self.chunk = self.chunk.saturating_add(1);
        result
    }

    /// Ends the snapshot: recomputes the digest and compares it with the one in the last chunk.
    ///
    /// # Errors
    ///
    /// If the last chunk has not been seen, or the state is not the one that was frozen.
    pub fn finish(self) -> Result<Restored, CorruptSnapshot> {
        match self.stage {
            _ if self.failed => Err(self.corrupt("an earlier chunk was refused")),
            Stage::End { digest } if digest == self.state.digest() => {
                Ok(Restored { state: self.state })
            }
            Stage::End { .. } => Err(self.corrupt("the digest differs")),
            Stage::Start | Stage::Items | Stage::Origins(_) => {
                Err(self.corrupt("the last chunk is missing"))
            }
        }
    }

    fn corrupt(&self, reason: &'static str) -> CorruptSnapshot {
        CorruptSnapshot { chunk: self.chunk, reason }
    }

    fn push_records(&mut self, chunk: &[u8]) -> Result<(), &'static str> {
        if self.failed {
            return Err("an earlier chunk was refused");
        }
        let (version, payload) = open(chunk, self.chunk)?;
        let mut records = Cursor(payload);
        while !records.is_empty() {
            let record = Record::decode(&mut records).ok_or("unknown or cut record")?;
            if version < VERSION_2 && record.is_of_version_2() {
                return Err("a record of a newer version");
            }
            self.push_record(record)?;
        }
        Ok(())
    }

    fn push_record(&mut self, record: Record) -> Result<(), &'static str> {
        match (&mut self.stage, record) {
            (Stage::Start, Record::State(scalars)) => {
                self.state.applied = scalars.applied;
                self.state.cache.times = scalars.times;
                self.state.cache.settings = scalars.settings;
                self.state.cache.counters = scalars.counters;
                self.stage = Stage::Items;
                Ok(())
            }
            (Stage::Items, Record::Limit { memory_limit })
                if self.state.cache.limit.is_none()
                    && self.state.cache.store.totals().items == 0 =>
            {
                self.state.cache.limit = Some(memory_limit);
                Ok(())
            }
            (Stage::Items, Record::Item { order, item }) => self.push_item(order, item),
            (Stage::Items, Record::Origin { origin, last_seq, seen, batches }) => {
                self.stage = Stage::Origins(OpenOrigin::new(origin, last_seq, seen, batches));
                Ok(())
            }
            (Stage::Origins(open), Record::Origin { origin, last_seq, seen, batches }) => {
                if origin <= open.origin {
                    return Err("origins out of order");
                }
                let next = OpenOrigin::new(origin, last_seq, seen, batches);
                let done = std::mem::replace(open, next);
                self.close(done)
            }
            (Stage::Origins(open), Record::Batch { seq, outcomes }) => {
                open.push_batch(seq, outcomes)
            }
            (Stage::Origins(open), Record::Outcome(outcome)) => open.push_outcome(outcome),
            (Stage::Items | Stage::Origins(_), Record::End { items, digest }) => {
                let ended = std::mem::replace(&mut self.stage, Stage::End { digest });
                if let Stage::Origins(open) = ended {
                    self.close(open)?;
                }
                let held = self.state.cache.store.totals().items;
                if held == items { Ok(()) } else { Err("the number of items differs") }
            }
            _ => Err("record out of place"),
        }
    }

    fn push_item(&mut self, order: u64, item: Item) -> Result<(), &'static str> {
        if order <= self.order {
            return Err("items out of order");
        }
        self.order = order;
        let store = &mut self.state.cache.store;
        let hash = hash(item.key());
        if store.find(hash, item.key()).is_some() {
            return Err("a key twice");
        }
        let Item { data, flags, mut deadline, cas, marks } = item;
        let written_at = self.state.cache.times.now;
        if Canary::SnapshotWithoutDeadlines.is_planted() {
            deadline = Deadline::NEVER;
        }
        store.insert(hash, Version { data, flags, deadline, cas, marks, order, written_at });
        Ok(())
    }

    fn close(&mut self, open: OpenOrigin) -> Result<(), &'static str> {
        let OpenOrigin { origin, state, batches_missing, batch } = open;
        let last = state.kept.back().map_or(state.last_seq, |outcomes| outcomes.seq());
        if batches_missing != 0 || batch.is_some() || last != state.last_seq {
            return Err("an origin is incomplete");
        }
        if self.state.origins.restore(origin, state) { Ok(()) } else { Err("an origin twice") }
    }
}

#[cfg(fuzzing)]
impl Restorer {
    /// Takes the state for the one that was frozen, so that more than digests is looked at.
    pub(crate) fn vouch(&mut self) {
        let state = self.state.digest();
        if let Stage::End { digest } = &mut self.stage {
            *digest = state;
        }
    }
}

impl Default for Restorer {
    fn default() -> Self {
        Self::new()
    }
}

impl OpenOrigin {
    fn new(origin: Origin, last_seq: u64, seen: UnixMillis, batches_missing: u32) -> Self {
        let state = OriginState::restored(last_seq, seen);
        Self { origin, state, batches_missing, batch: None }
    }

    fn push_batch(&mut self, seq: u64, outcomes: u32) -> Result<(), &'static str> {
        if self.batch.is_some() {
            return Err("a batch is incomplete");
        }
        if BATCH_COMMANDS_MAX < outcomes as usize {
            return Err("a batch is too long");
        }
        self.batches_missing = self.batches_missing.checked_sub(1).ok_or("a batch too many")?;
        self.batch = Some(OpenBatch { seq, outcomes_missing: outcomes, outcomes: Vec::new() });
        self.close_batch()
    }

    fn push_outcome(&mut self, outcome: Outcome) -> Result<(), &'static str> {
        let batch = self.batch.as_mut().ok_or("an outcome too many")?;
        batch.outcomes.push(outcome);
        batch.outcomes_missing -= 1;
        self.close_batch()
    }

    /// Files the batch once it is complete.
    fn close_batch(&mut self) -> Result<(), &'static str> {
        let Some(batch) = self.batch.take_if(|batch| batch.outcomes_missing == 0) else {
            return Ok(());
        };
        let outcomes = Arc::new(Outcomes::new(batch.seq, batch.outcomes));
        if self.state.restore(outcomes) { Ok(()) } else { Err("batches out of order") }
    }
}

/// Checks a chunk's header and checksum and returns its version and its payload.
fn open(chunk: &[u8], number: u32) -> Result<(u16, &[u8]), &'static str> {
    let mut cursor = Cursor(chunk);
    let header = Cursor(chunk).bytes(HEADER_LEN).ok_or("header cut short")?;
    if cursor.bytes(MAGIC.len()) != Some(MAGIC) {
        return Err("no magic number");
    }
    let Some(version @ VERSION..=VERSION_2) = cursor.u16() else {
        return Err("unknown version");
    };
    if cursor.u32() != Some(number) {
        return Err("not the next chunk");
    }
    let payload_len = cursor.u32().ok_or("header cut short")?;
    let want = cursor.u64().ok_or("header cut short")?;
    debug_assert_eq!(chunk.len() - cursor.len(), HEADER_LEN + CHECKSUM_LEN);
    let payload = cursor.0;
    if payload.len() != payload_len as usize {
        return Err("the length differs");
    }
    if checksum(header, payload) != want {
        return Err("the checksum differs");
    }
    Ok((version, payload))
}

/// A verified state, ready to be installed.
#[derive(Debug)]
pub struct Restored {
    pub(crate) state: StateMachine,
}

impl Restored {
    /// The last entry the state contains.
    pub fn applied(&self) -> LogIndex {
        self.state.applied
    }

    /// Digest of the state, as [`StateMachine::digest`] at that entry.
    pub fn digest(&self) -> u64 {
        self.state.digest()
    }
}

/// Bytes that are not a snapshot of ours, or not in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("corrupt snapshot: chunk {chunk}: {reason}")]
pub struct CorruptSnapshot {
    chunk: u32,
    reason: &'static str,
}

#[cfg(test)]
impl CorruptSnapshot {
    pub(super) fn reason(self) -> &'static str {
        self.reason
    }
}
