//! One log for all raft groups of a node: what was appended survives the process and the machine.
//!
//! ```text
//!   append ──▶ queue ──▶ writer ──write, fdatasync──▶ segment n ──▶ done
//!                           ▲                            ▲
//!      read ◀── segments    └── segment n+1 ◀── preparer ┘ removes what is purged
//! ```
//!
//! A segment is a file of fixed length: a header, a head that repeats the state of every shard,
//! and records. All shards' records follow each other in the order of the calls, so that one sync
//! covers whatever was queued when the writer came round. This crate does not know what a record
//! means; it knows indices.
//!
//! # Invariants
//!
//! 1. *Durable.* What `done` reported as durable is there after any crash, whole, in order, or the
//!    log is refused with file and offset.
//! 2. *Prefix.* What a crash may lose is a tail of records, and once lost it stays lost.
//! 3. *Proof.* Each frame carries how much of its segment was durable when it was written, and
//!    when the writer has nothing to do it leaves a mark that says so. A damaged record that was
//!    durable is so told from a torn tail.
//! 4. *Rotation.* A segment is durable under its name before the one before it is sealed, and a
//!    sealed one is durable as a whole before the next is written to. So a sealed newest segment
//!    has lost its successor, and every other one must be sealed.
//! 5. *Removal.* Only the oldest segment is removed, when none of its entries counts, and what
//!    says so is durable, as is the next one's head.
//! 6. *Failure.* After a failed write or sync nothing is written or reported as durable any more.
//!    No space for a new segment is none: appends wait.
//! 7. *Bytes from the disk.* Arbitrary ones are refused, or found to be the ones written; never a
//!    panic, and no allocation by an unchecked length.
//! 8. *Memory.* An open log takes some MB, whatever its length.
//!
//! Not here: raft, tokio, what is in a record, when to purge. An append is not atomic: after a
//! crash the first of its records may be there without the last, which raft allows.
//!
//! # Source
//!
//! Raft dissertation, sections 3.8 and 11.7.2 (what must be durable, when); Pillai and others,
//! "All File Systems Are Not Created Equal" (what a crash does to files and names); Rebello and
//! others, "Can Applications Recover from fsync Failures?".

mod appender;
mod clock;
mod disk;
mod error;
mod extent;
mod frame;
#[cfg(fuzzing)]
pub mod fuzzing;
mod preparer;
mod queue;
mod reader;
mod recovery;
mod run;
mod segment;
mod shards;
mod steps;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod wal;
mod window;
mod writer;

pub use appender::Appender;
pub use disk::{Disk, File, OsDisk};
pub use error::Error;
pub use steps::Steps;
pub use wal::{
    Config, DroppedTail, Durability, Recovered, RecoveredShard, SEGMENT_LEN_MIN, Wal, Work,
};

/// A raft group's number.
pub type Shard = u16;

/// The longest body of an entry in bytes: 1.25 GiB.
pub const RECORD_LEN_MAX: usize = 0x5000_0000;
/// The longest value of a slot or a purge point in bytes. Heads repeat them all.
pub const VALUE_LEN_MAX: usize = 64 * 1024;
/// The usual length of a segment in bytes.
pub const SEGMENT_LEN_DEFAULT: u64 = 64 * 1024 * 1024;
