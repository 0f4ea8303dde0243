//! The replicated cache state: what every replica must agree on, and nothing else.
//!
//! ```text
//!   log entry (index, stamp, body) ──▶ StateMachine::apply ──▶ Applied (one outcome per command)
//!                                       │            │
//!                         origins ◀─────┘            └─▶ items in 4096 segments ◀── Reader::get
//!          (exactly once: last batch, outcomes)                   │
//!                                                    freeze ──▶ Frozen ──▶ chunks ──▶ Restorer
//! ```
//!
//! # Invariants
//!
//! 1. *Determinism.* The state is a pure function of the entries applied: no clock, no random
//!    number, no hash-map order. Time is what the leader stamped into the entry. Equal logs give
//!    equal digests and byte-equal snapshots, also on a replica restored on the way.
//! 2. *Order.* `applied` only grows. (Blank and membership entries use up indices too.)
//! 3. *Time.* `now` never goes back, even when a new leader's clock is behind the old one's. What
//!    has expired stays gone.
//! 4. *CAS.* An item's `cas_unique` is the log position that wrote it: never 0, unique for ever,
//!    the same on every replica. A touch does not change it. (One exception: a number that a client
//!    chose itself by a meta command.)
//! 5. *Memory.* The accounted bytes of the items held, dead ones included, never exceed the limit,
//!    at no moment between two commands. (One exception: a limit lowered while eviction is
//!    forbidden; the bytes then only fall.) What is dead goes before anything alive, then the
//!    item longest without a write or touch.
//! 6. *Bounded work.* Apart from making room for what it stores, an entry takes back at most 64
//!    dead items and two for each of its commands.
//! 7. *Exactly once.* A batch is executed once, directly after its predecessor; sent again, it
//!    gives the first answer, or says that it is forgotten.
//! 8. *Bytes from elsewhere.* A corrupt body, snapshot or outcome is refused as a whole, without
//!    a panic and without any change.
//! 9. *Formats.* What versions 1 and 2 wrote stays readable, and what version 1 can say is written
//!    as it says it; see [`BatchBuilder`] and [`Frozen`].
//! 10. *Readers.* A reader never sees an item that is dead at the later of its own time and
//!     cluster time, and keeps the bytes it was given, whatever happens to the item.
//!
//! Not here: sockets, disks, consensus, metrics, the wire, exptimes. Eviction is here, because its
//! decision is carried by the log: a local decision may not change replicated state.
//!
//! # Source
//!
//! memcached `doc/protocol.txt` and `items.c`, `memcached.c` (`do_store_item`, `do_add_delta`);
//! Raft dissertation, sections 5 and 6.3.

mod access;
mod batch;
mod cache;
mod canaries;
mod codec;
mod command;
#[cfg(fuzzing)]
pub mod fuzzing;
mod ids;
mod item;
#[cfg(any(test, fuzzing))]
#[allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "for tests alone")]
mod model;
mod number;
mod origins;
mod outcome;
mod queue;
mod reader;
mod shared;
mod snapshot;
mod state_machine;
mod store;
mod table;
#[cfg(test)]
mod testing;

pub use batch::{BatchBuilder, BatchHeader, CorruptBatch};
#[doc(hidden)]
pub use canaries::assumed_outcomes;
pub use command::{
    Command, Direction, Expiry, Initial, MetaArithmetic, MetaDelete, MetaGet, MetaStore, Settings,
    StoreMode,
};
pub use ids::{CasUnique, LogIndex, Origin, UnixMillis};
pub use item::{ITEM_OVERHEAD, Item, KEY_LEN_MAX, Marks};
pub use outcome::{Applied, CorruptOutcomes, Outcome, Outcomes, Seen};
pub use reader::{EngineStats, Missing, OnEviction, Reader, Usage};
pub use snapshot::{CorruptSnapshot, Frozen, Restored, Restorer};
pub use state_machine::StateMachine;

/// The most commands one batch may carry: a position takes the low 12 bits of a [`CasUnique`].
pub const BATCH_COMMANDS_MAX: usize = 1 << ids::POSITION_BITS;
