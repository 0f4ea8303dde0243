//! What connections need from the rest of the node.

use std::fmt::Display;

use engine::{Command, EngineStats, Item, Missing, OnEviction, Outcome, UnixMillis, Usage};

/// The replicated cache, as a connection sees it.
///
/// A clone is a handle and is cheap; every I/O thread holds one. All methods may be called from
/// any thread at the same time, and none of them blocks.
///
/// For a read, a connection asks [`Backend::read_now`] and, where that is `None`, awaits
/// [`Backend::read_barrier`]; then it calls [`Backend::get`] for each key. For a write it lowers
/// the request, calls [`Backend::propose`], and awaits the proposal.
pub trait Backend: Clone + Send + Sync + 'static {
    /// The outcome of one proposed command, to come.
    ///
    /// Proposals of one task become ready in the order in which they were made. A proposal carries
    /// the operation budget itself: it is ready in bounded time whatever happens to the cluster, so
    /// that a connection needs no timer of its own.
    type Proposal: Future<Output = Result<Outcome, Unavailable>> + Send + Unpin;

    /// The time at which expiry is judged if reads may be answered at once (valid lease), else
    /// `None`. One atomic load.
    fn read_now(&self) -> Option<UnixMillis>;

    /// Waits until this node's copy may answer a linearizable read that starts now, and says at
    /// which time expiry is to be judged.
    ///
    /// Ready in bounded time, like a proposal.
    fn read_barrier(&self) -> impl Future<Output = Result<UnixMillis, Unavailable>> + Send;

    /// The item under `key` in this node's copy, if it is live at `at`.
    ///
    /// Linearizable only with an `at` from [`Backend::read_now`] or [`Backend::read_barrier`].
    fn get(&self, key: &[u8], at: UnixMillis) -> Result<Item, Missing>;

    /// As [`Backend::get`], with how the item has been used on this node; this is a use only if
    /// `fetch` says so.
    fn look(&self, key: &[u8], at: UnixMillis, fetch: bool) -> Result<(Item, Usage), Missing>;

    /// Hands a command to the replicated log. Calls of one task are applied in call order.
    ///
    /// # Errors
    ///
    /// [`Full`] when too much is queued already: await [`Backend::ready`] and try again.
    fn propose(&self, command: &Command<'_>) -> Result<Self::Proposal, Full>;

    /// Waits until [`Backend::propose`] has room again. Ready in bounded time, like a proposal.
    fn ready(&self) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// False while the node must not take new clients (isolated, draining).
    fn accepting(&self) -> bool;

    /// Figures of this node's copy, for `stats`.
    fn engine_stats(&self) -> EngineStats;

    /// The live items of one part of this node's copy, in no particular order, with how they have
    /// been used on this node; `None` behind the last part.
    ///
    /// For dumps, which go through the parts from 0: together they cost as much as reading all.
    fn part(&self, part: usize) -> Option<Vec<(Item, Usage)>>;

    /// Shows from now on what is evicted from this node's copy; called once, and `show` never waits.
    fn on_eviction(&self, show: OnEviction);

    /// Calls `stat` with each name and value of `stats cluster`.
    fn cluster_stats(&self, stat: &mut dyn FnMut(&str, &dyn Display));
}

/// Why an operation has no outcome. `Display` is the text after `SERVER_ERROR `, or the body of a
/// binary reply with status 0x84.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The node is shutting down; nothing was done.
    #[error("node is shutting down")]
    Draining,
    /// No majority answered within the operation budget; nothing was done.
    #[error("no quorum")]
    NoQuorum,
    /// The disks of too many nodes are full; nothing was done.
    #[error("no space on the disks of a majority")]
    NoSpace,
    /// The operation budget ended while the command was under way: it may or may not be applied.
    #[error("timed out, outcome unknown")]
    OutcomeUnknown,
}

/// The queue towards the log is full; nothing was queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("proposal queue is full")]
pub struct Full;
