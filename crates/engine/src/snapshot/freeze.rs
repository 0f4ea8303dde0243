//! From a state to the bytes of a snapshot.

use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::record::{Record, Scalars};
use super::{CHECKSUM_LEN, HEADER_LEN, MAGIC, PAYLOAD_LEN, VERSION, VERSION_2};
use crate::codec::Put;
use crate::shared::{Segment, hash};
use crate::{LogIndex, Origin, Outcomes, StateMachine, UnixMillis};

/// A view of the state at one index; writes go on beside it. Clones share what they show.
#[derive(Clone)]
pub struct Frozen {
    scalars: Scalars,
    limit: Option<u64>,
    segments: Vec<Arc<Segment>>,
    origins: Vec<FrozenOrigin>,
    items: u64,
    digest: u64,
}

#[derive(Debug, Clone)]
struct FrozenOrigin {
    origin: Origin,
    last_seq: u64,
    seen: UnixMillis,
    kept: Vec<Arc<Outcomes>>,
}

impl fmt::Debug for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frozen").field("scalars", &self.scalars).finish_non_exhaustive()
    }
}

impl Frozen {
    pub(crate) fn new(state: &StateMachine) -> Self {
        let cache = &state.cache;
        let origins = state.origins.iter().map(|(origin, state)| FrozenOrigin {
            origin: *origin,
            last_seq: state.last_seq,
            seen: state.seen,
            kept: state.kept.iter().cloned().collect(),
        });
        Self {
            scalars: Scalars {
                applied: state.applied,
                times: cache.times,
                settings: cache.settings,
                counters: cache.counters,
            },
            limit: cache.limit,
            segments: cache.store.segments(),
            origins: origins.collect(),
            items: cache.store.totals().items,
            digest: state.digest(),
        }
    }

    /// The last entry this view contains.
    pub fn applied(&self) -> LogIndex {
        self.scalars.applied
    }

    /// The snapshot in chunks of 256 KiB and at most one record more.
    ///
    /// The first call of `next` sorts the items by age, 16 bytes for each; run it away from the
    /// writer.
    pub fn encode(self) -> impl Iterator<Item = Vec<u8>> + Send {
        let mut records = self.records();
        let mut number = 0;
        std::iter::from_fn(move || {
            let mut chunk = vec![0; HEADER_LEN + CHECKSUM_LEN];
            let (start, mut version) = (chunk.len(), VERSION);
            while chunk.len() - start < PAYLOAD_LEN {
                let Some(record) = records.next() else { break };
                if record.is_of_version_2() {
                    version = VERSION_2;
                }
                record.encode(&mut chunk);
            }
            if chunk.len() == start {
                return None;
            }
            seal(&mut chunk, version, number);
            number += 1;
            Some(chunk)
        })
    }

    fn records(self) -> impl Iterator<Item = Record> + Send {
        let Self { scalars, limit, segments, origins, items, digest } = self;
        let limit = limit.map(|memory_limit| Record::Limit { memory_limit });
        let state = std::iter::once(Record::State(scalars)).chain(limit);
        let end = std::iter::once(Record::End { items, digest });
        // Sorted when the first item is asked for, and not before.
        let items = std::iter::once(segments).flat_map(items_by_age);
        state.chain(items).chain(origins.into_iter().flat_map(origin_records)).chain(end)
    }
}

fn items_by_age(segments: Vec<Arc<Segment>>) -> impl Iterator<Item = Record> + Send {
    let slots = segments.iter().enumerate().flat_map(|(number, segment)| {
        segment.iter().map(move |slot| (slot.order, number, hash(slot.data.key())))
    });
    let mut ages = slots.collect::<Vec<_>>();
    ages.sort_unstable();
    ages.into_iter().filter_map(move |(order, number, hash)| {
        let segment = segments.get(number)?;
        let slot = segment.find(hash, |slot| slot.order == order)?;
        Some(Record::Item { order, item: slot.item() })
    })
}

fn origin_records(frozen: FrozenOrigin) -> impl Iterator<Item = Record> + Send {
    let FrozenOrigin { origin, last_seq, seen, kept } = frozen;
    // Both counts are bounded: by the window of an origin, and by the commands of a batch.
    let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
    let head = Record::Origin { origin, last_seq, seen, batches: count(kept.len()) };
    let batches = kept.into_iter().flat_map(move |outcomes| {
        let len = outcomes.as_slice().len();
        let head = Record::Batch { seq: outcomes.seq(), outcomes: count(len) };
        let rest = (0..len).filter_map(move |at| outcomes.as_slice().get(at).cloned());
        std::iter::once(head).chain(rest.map(Record::Outcome))
    });
    std::iter::once(head).chain(batches)
}

/// Fills in the header of a chunk whose payload is there.
fn seal(chunk: &mut [u8], version: u16, number: u32) {
    let Some((head, payload)) = chunk.split_at_mut_checked(HEADER_LEN + CHECKSUM_LEN) else {
        return;
    };
    let mut header = MAGIC.to_vec();
    header.put_u16(version);
    header.put_u32(number);
    // A record is bounded by the length of a value, which is a u32 and came in a larger body.
    header.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
    header.put_u64(checksum(&header, payload));
    head.copy_from_slice(&header);
}

/// Covers the header as well, so that chunks cannot be swapped.
pub(super) fn checksum(header: &[u8], payload: &[u8]) -> u64 {
    xxh3_64_with_seed(payload, xxh3_64(header))
}
