//! When this node last heard of its leader, and whether the leader's connection has broken.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::types::ReplicaId;

/// Written by the peer server, read by the failure detector.
#[derive(Debug)]
pub(crate) struct Contact {
    started: Instant,
    /// Microseconds since `started` of the last append from a leader.
    heard_us: AtomicU64,
    /// Microseconds since `started` when a quorum was last known to stand behind a leader.
    quorum_us: AtomicU64,
    lost: Mutex<Option<ReplicaId>>,
    lost_changed: Notify,
}

impl Contact {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            heard_us: AtomicU64::new(0),
            quorum_us: AtomicU64::new(0),
            lost: Mutex::new(None),
            lost_changed: Notify::new(),
        }
    }

    /// An append from a leader has arrived.
    pub(crate) fn hear(&self) {
        self.heard_us.store(self.now_us(), Ordering::Relaxed);
    }

    /// When an append last arrived; the start of this node if none did.
    pub(crate) fn heard(&self) -> Instant {
        self.started + Duration::from_micros(self.heard_us.load(Ordering::Relaxed))
    }

    /// A stream of appends from `leader` has ended.
    pub(crate) fn lose(&self, leader: ReplicaId) {
        *self.lost.lock() = Some(leader);
        self.lost_changed.notify_one();
    }

    /// Waits until a stream of appends ends, and says whose.
    pub(crate) async fn lost(&self) -> ReplicaId {
        loop {
            if let Some(leader) = self.lost.lock().take() {
                return leader;
            }
            self.lost_changed.notified().await;
        }
    }

    /// A quorum stands behind a leader now.
    pub(crate) fn confirm_quorum(&self) {
        self.quorum_us.store(self.now_us(), Ordering::Relaxed);
    }

    /// For how long no quorum has been known.
    pub(crate) fn without_quorum(&self) -> Duration {
        let last = Duration::from_micros(self.quorum_us.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(last)
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}
