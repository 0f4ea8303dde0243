//! Snapshots: the whole replicated state, in chunks that can be checked one by one.
//!
//! # Format, versions 1 and 2
//!
//! Numbers are little-endian. A snapshot is a sequence of chunks, a chunk is a header and whole
//! records. Equal states give equal bytes.
//!
//! ```text
//! offset  bytes  field of a chunk
//!      0      4  magic: "RCSN"
//!      4      2  version: 1, or 2 if the chunk has something that 1 does not have
//!      6      4  number of the chunk, from 0
//!     10      4  payload_len
//!     14      8  xxh3-64 of the payload, seeded with xxh3-64 of bytes 0 to 14
//!     22      -  payload: records without padding
//!
//! record: a tag of one byte, then
//!   1 State     applied, now, watermark, flush_at, memory_limit u64, evict u8, item_len_max u64,
//!               total_items, evicted_unexpired, reclaimed, flushed, out_of_memory, flushes u64
//!   2 Item      order u64, then as in an outcome: flags u32, deadline u64, cas u64, key_len u8,
//!               value_len u32, key, value
//!   3 Origin    node u64, epoch u64, last_seq u64, seen u64, batches u32
//!   4 Batch     seq u64, outcomes u32
//!   5 Outcome   as in `outcome`
//!   6 End       items u64, digest u64
//! and in version 2, beside the outcomes of meta commands:
//!   7 Item      marks u8, then as 2
//!   8 Limit     memory_limit u64, in force instead of that of State
//! ```
//!
//! The order of records: one State; a Limit, if there is one; the Items by `order`, oldest first; the Origins by node and
//! epoch, each with its Batches, each with its Outcomes; one End, and nothing after it. A chunk
//! ends as soon as its payload reaches 256 KiB, so it is that long and one record more at most.

mod freeze;
mod record;
mod restore;

pub use freeze::Frozen;
pub use restore::{CorruptSnapshot, Restored, Restorer};

const MAGIC: &[u8; 4] = b"RCSN";
const VERSION: u16 = 1;
/// The first that knows what meta commands do, and `cache_memlimit`.
const VERSION_2: u16 = 2;
/// Length of the header up to the checksum.
const HEADER_LEN: usize = 14;
const CHECKSUM_LEN: usize = 8;
/// A chunk ends at the first record that takes its payload to this length.
const PAYLOAD_LEN: usize = 256 * 1024;

#[cfg(test)]
mod tests;
