//! The types openraft is made of here.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use engine::{Applied, UnixMillis};
use openraft::type_config::alias;

/// A replica's id: random, never used twice. The node's name stays, the id does not.
pub(crate) type ReplicaId = u64;

/// How a member is called and reached; part of the membership in the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Member {
    /// The name an operator gave.
    pub(crate) name: String,
    /// `host:port` for memcached clients.
    pub(crate) client: String,
    /// `host:port` for peers.
    pub(crate) peer: String,
    /// `host:port` of the admin HTTP.
    pub(crate) admin: String,
    /// The cluster it belongs to; 0 only in a blank node's own description.
    pub(crate) cluster: u64,
    /// Of a learner: whose vote it takes, if not its namesake's; empty: nobody else's.
    pub(crate) replaces: String,
}

/// One batch of commands, as an entry of the log.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proposal {
    /// Cluster time at which the leader proposed it.
    pub(crate) stamped_at: UnixMillis,
    /// Byte table: crate `engine`, module `batch`.
    pub(crate) body: Bytes,
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch of {} bytes at {}", self.body.len(), self.stamped_at.0)
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What applying an entry gave.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// The engine's answer to a batch.
    Applied(Applied),
    /// A blank or a membership entry.
    Nothing,
}

/// openraft's type parameters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TypeConfig;

impl openraft::RaftTypeConfig for TypeConfig {
    type D = Proposal;
    type R = Answer;
    type NodeId = ReplicaId;
    type Node = Member;
    type Term = u64;
    type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, ReplicaId>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<Proposal, ReplicaId, Member>;
    type Entry = openraft::Entry<Self::LeaderId, Self::Payload>;
    type AsyncRuntime = crate::runtime::Runtime;
    type Responder<T>
        = crate::stamps::StampedResponder<T>
    where
        T: openraft::OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: openraft::OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub(crate) type LeaderId = alias::LeaderIdOf<TypeConfig>;
pub(crate) type LogId = alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = alias::VoteOf<TypeConfig>;
pub(crate) type Entry = alias::EntryOf<TypeConfig>;
pub(crate) type Membership = openraft::Membership<ReplicaId, Member>;
pub(crate) type StoredMembership = alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type Snapshot = alias::SnapshotOf<TypeConfig, SnapshotData>;
pub(crate) type Raft = openraft::Raft<TypeConfig, crate::state_machine::StateMachine>;
pub(crate) type Metrics = openraft::RaftMetrics<TypeConfig>;

/// The one shard there is; every record and message names it.
pub(crate) const SHARD: wal::Shard = 0;

/// The state that a snapshot carries, on its way out or in.
pub(crate) enum SnapshotData {
    /// It is in this replica's data directory; nobody reads it from there while the node runs.
    Saved,
    /// A frozen view of this replica's state.
    Frozen(Box<engine::Frozen>),
    /// A verified state from a peer.
    Restored(Box<engine::Restored>),
}

/// Bytes of `entry` in the log, for limits.
pub(crate) fn entry_len(entry: &Entry) -> usize {
    match &entry.payload {
        openraft::EntryPayload::Normal(proposal) => ENTRY_OVERHEAD + proposal.body.len(),
        openraft::EntryPayload::Blank | openraft::EntryPayload::Membership(_) => ENTRY_OVERHEAD,
    }
}

/// What an entry costs beside its body.
const ENTRY_OVERHEAD: usize = 128;

/// Outcomes of a batch, shared by everybody who waits for one of them.
pub(crate) type SharedOutcomes = Arc<engine::Outcomes>;

/// An index as the Raft paper, the engine and `status` count it, from 1; openraft counts from 0.
pub(crate) fn log_index(log_id: &LogId) -> engine::LogIndex {
    engine::LogIndex(log_id.index + 1)
}
