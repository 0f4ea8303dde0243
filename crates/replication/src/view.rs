//! What one replica believes at a moment, for whoever checks several of them against each other.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;

use crate::context::Context;
use crate::membership;
use crate::types::Raft;

/// One replica's state. Indices count from 1; 0 is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The replica's id.
    pub replica: u64,
    /// Its term.
    pub term: u64,
    /// Whether it leads in that term.
    pub leads: bool,
    /// The leader it knows of.
    pub leader: Option<u64>,
    /// The last entry of its log.
    pub last_index: u64,
    /// The last entry it has applied.
    pub applied: u64,
    /// Index and digest of the state after each of the last entries applied, oldest first.
    pub digests: Vec<(u64, u64)>,
    /// Replicas that vote, in the last membership it has in its log.
    pub voters: BTreeSet<u64>,
    /// Whether that membership is committed, has one set of voters, and no learners.
    pub settled: bool,
    /// Whether it answers clients.
    pub serving: bool,
}

pub(crate) fn view(raft: &Raft, context: &Context) -> View {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    View {
        replica: context.id,
        term: metrics.current_term,
        leads: metrics.state == ServerState::Leader && metrics.vote.committed,
        leader: metrics.current_leader,
        last_index: metrics.last_log_index.map_or(0, |index| index + 1),
        applied: context.applied.index(),
        digests: context.applied.digests(),
        voters: metrics.membership_config.membership().voter_ids().collect(),
        settled: !membership::is_changing(&metrics),
        serving: context.serving.load(Ordering::Acquire),
    }
}
