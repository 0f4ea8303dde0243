//! Replication through Raft: log, membership, reads, forwarding, snapshots between nodes.
//!
//! ```text
//!   Client ──propose──▶ Batcher ──▶ Proposer ──▶ leader's raft ──▶ followers
//!      │                                              │ commit
//!      │                                              ▼
//!      └─read_now / read_barrier──▶ engine::Reader ◀─ StateMachine::apply
//! ```
//!
//! Everything here runs on one thread, the raft thread, apart from [`Client`], which any thread
//! may call: clients cannot delay a heartbeat.
//!
//! # Invariants
//!
//! 1. *Acknowledged is applied.* A proposal resolves only with the outcome that a committed entry
//!    gave when it was applied.
//! 2. *Exactly once, in order.* Batches of one origin are applied once each and in the order of
//!    their numbers, whoever leads and however often they are sent.
//! 3. *No stale read.* A read is answered under a lease that is valid after the own term's first
//!    entry was applied, or behind a barrier that started after the read did.
//! 4. *No read behind the state.* A replica answers nobody before a barrier has passed once.
//! 5. *An id is never used twice.* A call for another replica id or another cluster is refused.
//! 6. *No stranger.* No message is decoded before its caller has passed `Gate`; with TLS, a node has
//!    a certificate and speaks for itself alone.
//! 7. *Time.* Cluster time follows the leader and never a wall clock that jumps.
//!
//! Not here: client protocols, items, a command beyond `engine::Command`. Only this crate names
//! openraft or tonic.
//!
//! # Source
//!
//! Raft dissertation 3.10 (transfer), 4 (membership), 6.3 (sessions), 6.4 (reads), 9.6 (pre-vote);
//! openraft `docs::protocol`.

mod accept;
mod acks;
mod applied;
mod background;
mod backpressure;
mod barrier;
mod batcher;
mod beginning;
mod cell;
mod clock;
mod commits;
mod compress;
mod contact;
mod context;
mod convert;
mod data_dir;
mod detector;
mod dial;
mod error;
mod fault;
mod flight;
mod formation;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gate;
mod gather;
mod isolation;
mod keepers;
mod leader;
mod lease;
mod lend;
mod log;
mod members;
mod membership;
mod network;
mod node;
mod peers;
mod plan;
mod propose;
mod proposer;
mod random;
mod refusals;
mod runtime;
mod server;
mod snapshot_file;
mod space;
mod stamps;
mod state_machine;
pub mod status;
mod storage;
mod stream;
mod survivor;
pub mod tls;
mod types;
mod version;
mod view;
mod waiting;
pub mod world;

#[allow(
    clippy::all,
    clippy::restriction,
    clippy::too_many_lines,
    missing_docs,
    unnameable_types,
    unreachable_pub,
    unused_qualifications,
    reason = "generated"
)]
mod pb {
    tonic::include_proto!("raftcached.peer.v1");
}

pub use batcher::Proposal;
pub use beginning::{Beginning, BeginningError};
pub use data_dir::{DataDir, DataDirError, Durability};
pub use error::{ClientError, Fatal, Full, MemberError, MoveError, StartError};
pub use node::{Addresses, Client, LogLimits, Node, NodeConfig, start, start_here};
pub use plan::MemberChange;
pub use random::seed_thread;
pub use survivor::Survivor;
pub use view::View;
pub use wal::SEGMENT_LEN_DEFAULT;
