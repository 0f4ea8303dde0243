//! Frees followers to which raft has stopped sending.
//!
//! A change of the members cancels the snapshot that is on its way to a follower, and openraft then
//! goes on waiting for its end: that follower hears heartbeats and gets nothing any more, however
//! long this leader leads. Simulation, seed 205. The next leader begins anew, so leadership
//! moves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::{Instant, sleep};

use crate::context::Context;
use crate::membership::{answered_within, move_leader};
use crate::types::{Metrics, Raft, ReplicaId};

/// Moves leadership away when a follower that is alive gets nothing. Runs on every node.
pub(crate) async fn free_stuck_followers(raft: Raft, context: Arc<Context>) {
    let metrics = raft.metrics();
    let mut since = BTreeMap::new();
    loop {
        sleep(LOOK_EVERY).await;
        let stuck = stuck(&metrics.borrow_watched(), |id| context.flights.is_idle(id));
        since.retain(|id, _| stuck.contains(id));
        for id in stuck {
            since.entry(id).or_insert_with(Instant::now);
        }
        let longest = since.iter().find(|(_, since)| STUCK_AFTER < since.elapsed());
        if let Some((replica, _)) = longest {
            tracing::warn!(replica, "nothing is sent to a follower any more: leadership moves");
            if let Err(error) = move_leader(&raft, &context, "").await {
                // FIXME: the one that is stuck may be the only other voter that is alive, and then
                // it stays stuck. Simulation, seed 174.
                tracing::warn!(%error, "leadership stays");
            }
            since.clear();
        }
    }
}

/// Followers of this leader that are alive, lack something, and get nothing.
fn stuck(metrics: &Metrics, is_idle: impl Fn(ReplicaId) -> bool) -> Vec<ReplicaId> {
    if metrics.state != ServerState::Leader {
        return Vec::new();
    }
    let replicas = metrics.replication.iter().flatten();
    let behind = replicas
        .filter(|(_, matched)| matched.map(|matched| matched.index) < metrics.last_log_index);
    let ids = behind.map(|(id, _)| *id).filter(|id| *id != metrics.id);
    ids.filter(|id| is_idle(*id) && answered_within(metrics, *id, LOOK_EVERY)).collect()
}

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Much longer than raft waits before it tries again.
const STUCK_AFTER: Duration = Duration::from_secs(3);
