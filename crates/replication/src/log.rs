//! Where a replica keeps its log and its vote.
//!
//! ```text
//!   MemoryLog   no data directory: nothing survives the process, and neither does the replica id
//!   DiskLog     a data directory: crate `wal`, with the newest entries in memory as well
//! ```

mod disk;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod memory;
mod record;
mod tail;

use std::ops::{Bound, Range, RangeBounds};

pub(crate) use disk::DiskLog;
pub(crate) use memory::MemoryLog;

use crate::types::Entry;

/// One append message carries one entry, or several up to this.
const APPEND_BYTES_MAX: usize = 1024 * 1024;

/// What was read for a peer from `start` on: nothing if the log does not go back that far any more.
/// Entries behind a hole would be appended as if there were none.
fn from_start(entries: Vec<Entry>, start: u64) -> Vec<Entry> {
    let whole = entries.first().is_none_or(|first| first.log_id.index == start);
    if whole { entries } else { Vec::new() }
}

/// The indices of `range`, as openraft asks for them.
fn indices(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}
