//! Who leads, as this node knows it.

use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::RaftServerMetrics;

use crate::types::{Member, Raft, ReplicaId, TypeConfig};

/// The leader at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Leader {
    Me,
    Peer(Box<Peer>),
    Nobody,
}

/// A member and its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) id: ReplicaId,
    pub(crate) member: Member,
}

type Receiver =
    openraft::type_config::alias::WatchReceiverOf<TypeConfig, RaftServerMetrics<TypeConfig>>;

/// Follows changes of leadership; each owner has its own.
#[derive(Clone)]
pub(crate) struct LeaderWatch {
    id: ReplicaId,
    metrics: Receiver,
}

impl LeaderWatch {
    pub(crate) fn new(id: ReplicaId, raft: &Raft) -> Self {
        Self { id, metrics: raft.server_metrics() }
    }

    /// The leader now.
    pub(crate) fn current(&self) -> Leader {
        let metrics = self.metrics.borrow_watched();
        match metrics.current_leader {
            None => Leader::Nobody,
            Some(id) if id == self.id => Leader::Me,
            Some(id) => match metrics.membership_config.get_node(&id) {
                Some(member) => Leader::Peer(Box::new(Peer { id, member: member.clone() })),
                None => Leader::Nobody,
            },
        }
    }

    /// Waits until leadership or membership may have changed.
    pub(crate) async fn changed(&mut self) {
        if self.metrics.changed().await.is_err() {
            // Raft has stopped; nothing will ever change again.
            std::future::pending::<()>().await;
        }
    }
}
