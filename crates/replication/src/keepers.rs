//! Small tasks that keep something right all the time: the lease, the log's length, the
//! cluster's time and settings.

use std::sync::Arc;
use std::time::Duration;

use engine::Command;
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::context::Context;
use crate::log::{DiskLog, MemoryLog};
use crate::membership;
use crate::snapshot_file::SnapshotStore;
use crate::types::{Metrics, Raft, ReplicaId, log_index};

/// Publishes the read lease, and whether a quorum is known.
pub(crate) async fn keep_lease(raft: Raft, context: Arc<Context>) {
    let metrics = raft.metrics();
    let mut ticks = interval(context.timing.heartbeat / LEASE_CHECKS_PER_HEARTBEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = Instant::now();
        let metrics = metrics.borrow_watched();
        match context.acks.quorum(&metrics, now) {
            Some(acked) => {
                context.clock.settle();
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

/// Keeps the log in memory short. When it is as long as it may be, writers wait for a live follower
/// that lacks what is to go, for a moment; then that one needs a snapshot of everything instead.
pub(crate) async fn keep_memory_log_short(raft: Raft, log: MemoryLog, context: Arc<Context>) {
    // What replicas need beside their items is a share of what they may have.
    let share = usize::try_from(context.settings.memory_limit / LOG_SHARE).unwrap_or(usize::MAX);
    let bytes_max = context.log_limits.memory_len_max.max(share);
    loop {
        log.grown().await;
        if log.bytes() < bytes_max {
            continue;
        }
        let Some(point) = log.purge_point(bytes_max - bytes_max / 4) else { continue };
        let hold = context.backpressure.hold();
        if timeout(PATIENCE, caught_up(&raft, point, &context)).await.is_err() {
            tracing::warn!("a follower is too far behind for the log, it needs a snapshot");
        }
        drop(hold);
        // Only what a snapshot covers can be purged; it is a view, dropped at once.
        if raft.trigger().snapshot().await.is_err()
            || raft.trigger().purge_log(point).await.is_err()
        {
            return;
        }
        context.flights.cut(point);
        sleep(PURGE_PAUSE).await;
    }
}

/// Waits until every follower has `index` that may have it soon.
async fn caught_up(raft: &Raft, index: u64, context: &Context) {
    let mut metrics = raft.metrics();
    let has_index = |metrics: &Metrics| {
        let may_soon = |id| {
            context.flights.expects(id) || membership::answered_within(metrics, id, JUST_HEARD)
        };
        index <= slowest_matched(metrics, |id| id != metrics.id && may_soon(id))
    };
    while !has_index(&metrics.borrow_watched()) {
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

/// Keeps the log on disk short: a snapshot whenever the log has outgrown the one before, and then
/// the log before it goes, but for what a live follower has yet to get.
pub(crate) async fn keep_disk_log_short(
    raft: Raft,
    log: DiskLog,
    snapshots: Arc<SnapshotStore>,
    context: Arc<Context>,
) {
    let mut metrics = raft.metrics();
    let mut covered = 0;
    loop {
        let appended = log.appended();
        let grown = appended - covered;
        let before = snapshots.latest();
        if grown < context.log_limits.snapshot_every.max(before.bytes) {
            log.grown().await;
            continue;
        }
        let saved = loop {
            if raft.trigger().snapshot().await.is_err() {
                return;
            }
            // Asked again, because nothing may have been applied since the last one; while one is
            // being written that changes nothing.
            let saved = snapshots.newer_than(before.index);
            if let Ok(saved) = timeout(SNAPSHOT_ASKED_EVERY, saved).await {
                break saved;
            }
        };
        covered = appended;
        // openraft purges nothing that it does not know to be in a snapshot.
        while metrics
            .borrow_watched()
            .snapshot
            .is_none_or(|log_id| log_index(&log_id).0 < saved.index)
        {
            if metrics.changed().await.is_err() {
                return;
            }
        }
        // openraft counts from 0.
        let mut point = saved.index - 1;
        let cut = DISK_LOG_BYTES_MAX.max(2 * saved.bytes) < log.disk_bytes();
        if !cut {
            let metrics = metrics.borrow_watched();
            let is_live = |id| membership::answered_within(&metrics, id, FOLLOWER_TRUSTS);
            point = point.min(slowest_matched(&metrics, |id| id == metrics.id || is_live(id)));
        }
        if raft.trigger().purge_log(point).await.is_err() {
            return;
        }
        if cut {
            context.flights.cut(point);
        }
    }
}

/// The index that all of this leader's replicas have that `counts`; no limit on a node that does not
/// lead.
fn slowest_matched(metrics: &Metrics, counts: impl Fn(ReplicaId) -> bool) -> u64 {
    let replicas = metrics.replication.iter().flatten().filter(|(id, _)| counts(**id));
    let matched = replicas.map(|(_, matched)| matched.map_or(0, |matched| matched.index));
    matched.min().unwrap_or(u64::MAX)
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
            if context.applied.index() == applied_before && !context.space.is_closed() {
                settle(&context, &Command::Tick).await;
            }
            applied_before = context.applied.index();
        }
        if matches!(timeout(DUTY_EVERY, server_metrics.changed()).await, Ok(Err(_))) {
            // Raft has stopped; to look again at once would take all of the thread's time.
            return;
        }
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

/// The log in memory may be one in `LOG_SHARE` of the items' limit.
const LOG_SHARE: u64 = 10;

const SNAPSHOT_ASKED_EVERY: Duration = Duration::from_secs(10);
/// What a live follower lacks stays until the log on disk is as long as this, or as two snapshots.
const DISK_LOG_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// How long writers wait for a follower that does not get on.
const PATIENCE: Duration = Duration::from_millis(500);
/// Some heartbeats.
const JUST_HEARD: Duration = Duration::from_millis(100);
const PURGE_PAUSE: Duration = Duration::from_millis(5);
const SHOW_EVERY: Duration = Duration::from_secs(60);
const DUTY_EVERY: Duration = Duration::from_millis(1000);
