//! Small tasks that keep something right all the time: the lease, the log's length, the
//! cluster's time and settings.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::Command;
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::context::Context;
use crate::memory_log::MemoryLog;
use crate::types::{Metrics, Raft};

/// Publishes the read lease, and whether a quorum is known.
pub(crate) async fn keep_lease(raft: Raft, context: Arc<Context>) {
    let metrics = raft.metrics();
    let mut ticks = interval(context.timing.heartbeat / LEASE_CHECKS_PER_HEARTBEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = Instant::now();
        let metrics = metrics.borrow_watched();
        match confirmed(&metrics, now) {
            Some(acked) => {
                context.lease.renew(acked, context.timing.read_lease());
                if now < acked + context.timing.lease {
                    context.contact.confirm_quorum();
                }
            }
            None => {
                context.lease.end();
                let led = metrics.current_leader.is_some_and(|leader| leader != context.id);
                if led && context.contact.heard().elapsed() < FOLLOWER_TRUSTS {
                    context.contact.confirm_quorum();
                }
            }
        }
    }
}

/// When a quorum last confirmed this leader, if it has applied an entry of its own term.
fn confirmed(metrics: &Metrics, now: Instant) -> Option<Instant> {
    let leads = metrics.state == ServerState::Leader && metrics.vote.committed;
    let own_term =
        metrics.last_applied.is_some_and(|last| last.leader_id == metrics.vote.leader_id);
    if !leads || !own_term {
        return None;
    }
    let membership = metrics.membership_config.membership();
    if membership.voter_ids().eq([metrics.id]) {
        return Some(now);
    }
    let acked = metrics.last_quorum_acked.as_ref()?;
    now.checked_sub(openraft::Instant::elapsed(&**acked))
}

/// Keeps the log in memory short, but for what a live follower has yet to get: it would need a
/// snapshot of everything instead. A follower that lags by more than `LOG_BYTES_MAX` does.
pub(crate) async fn keep_log_short(raft: Raft, log: MemoryLog) {
    loop {
        log.grown().await;
        let bytes = log.bytes();
        let Some(mut point) = log.purge_point(LOG_BYTES_KEPT) else { continue };
        if bytes < LOG_BYTES_MAX {
            if bytes < LOG_BYTES_USUAL {
                continue;
            }
            point = point.min(slowest_matched(&raft.metrics().borrow_watched()));
        }
        // Only what a snapshot covers can be purged; it is a view, dropped at once.
        if raft.trigger().snapshot().await.is_err()
            || raft.trigger().purge_log(point).await.is_err()
        {
            return;
        }
        sleep(PURGE_PAUSE).await;
    }
}

/// The index that every live follower of this leader has; no limit on a node that does not lead.
fn slowest_matched(metrics: &Metrics) -> u64 {
    let (Some(replication), Some(heartbeat)) = (&metrics.replication, &metrics.heartbeat) else {
        return u64::MAX;
    };
    let is_live = |id| {
        let heard = heartbeat.get(id).and_then(Option::as_ref);
        heard.is_some_and(|heard| openraft::Instant::elapsed(&**heard) < FOLLOWER_TRUSTS)
    };
    let live = replication.iter().filter(|(id, _)| **id == metrics.id || is_live(*id));
    live.map(|(_, matched)| matched.map_or(0, |matched| matched.index)).min().unwrap_or(u64::MAX)
}

/// Once-a-second duties: time passes without writes, the leader's settings rule, and every node
/// shows that it is there, because the state forgets origins that are silent for ten minutes.
pub(crate) async fn keep_cluster(raft: Raft, context: Arc<Context>) {
    let mut server_metrics = raft.server_metrics();
    let mut applied_before = 0;
    let mut shown = Instant::now();
    loop {
        if SHOW_EVERY < shown.elapsed() {
            settle(&context, &Command::Tick).await;
            shown = Instant::now();
        }
        let leads = {
            let metrics = server_metrics.borrow_watched();
            metrics.state == ServerState::Leader
        };
        if leads {
            if context.reader.settings() != context.settings {
                tracing::info!(settings = ?context.settings, "setting the cluster's settings");
                settle(&context, &Command::Configure(context.settings)).await;
                // What another leader set meanwhile is not overruled in a loop.
                sleep(PURGE_PAUSE).await;
            }
            context.clock.slew();
            if context.applied.index() == applied_before {
                settle(&context, &Command::Tick).await;
            }
            applied_before = context.applied.index();
        }
        let _ = tokio::time::timeout(DUTY_EVERY, server_metrics.changed()).await;
    }
}

/// Proposes through this node's own batcher; the next round sees whether it worked.
async fn settle(context: &Context, command: &Command<'_>) {
    if let Ok(proposal) = context.batcher.propose(command) {
        let _ = proposal.await;
    }
}

const LEASE_CHECKS_PER_HEARTBEAT: u32 = 2;

/// A follower that has not heard of its leader for this long says that there is no quorum.
const FOLLOWER_TRUSTS: Duration = Duration::from_millis(1000);

/// The log is cut back to `LOG_BYTES_KEPT` when it has grown to `LOG_BYTES_USUAL`; what a live
/// follower lacks stays until `LOG_BYTES_MAX`.
const LOG_BYTES_KEPT: usize = 2 * 1024 * 1024;
const LOG_BYTES_USUAL: usize = 4 * 1024 * 1024;
const LOG_BYTES_MAX: usize = 12 * 1024 * 1024;
const PURGE_PAUSE: Duration = Duration::from_millis(5);
const SHOW_EVERY: Duration = Duration::from_secs(60);
const DUTY_EVERY: Duration = Duration::from_millis(1000);
