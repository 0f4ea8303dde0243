//! Cluster time for reads, while batches are stamped and not applied yet.
//!
//! A batch takes effect at the time of its stamp, but can be seen only when it is applied, which
//! takes as long as a quorum is out of reach. A read that was judged at a later time in between
//! would find an item gone whose life a batch prolongs that is already on its way: gone, and then
//! there again. So a read is judged at the oldest stamp that is not applied, or, where that would
//! be long ago, it waits. Simulation, seeds 63 and 126.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::UnixMillis;
use openraft::OptionalSend;
use openraft::impls::ProgressResponder;
use openraft::raft::responder::Responder;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::clock::ClusterClock;
use crate::types::TypeConfig;

/// The stamps that this node has given as a leader.
pub(crate) struct Stamps {
    clock: Arc<ClusterClock>,
    /// The time of the oldest that is pending, in milliseconds, or a little less; `NONE` if none is.
    oldest: AtomicU64,
    pending: Mutex<Pending>,
    /// One is not pending any more.
    changed: Notify,
}

#[derive(Default)]
struct Pending {
    /// Times, and numbers that tell equal times apart.
    stamps: BTreeSet<(UnixMillis, u64)>,
    given: u64,
}

/// Pending until it is dropped.
pub(crate) struct Stamp {
    stamps: Arc<Stamps>,
    key: (UnixMillis, u64),
}

/// Tells the proposer what became of its batch; from then on the stamp is not pending.
pub(crate) struct StampedResponder<T: OptionalSend> {
    stamp: Stamp,
    responder: ProgressResponder<TypeConfig, T>,
}

impl Stamps {
    pub(crate) fn new(clock: Arc<ClusterClock>) -> Self {
        Self {
            clock,
            oldest: AtomicU64::new(NONE),
            pending: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// The time at which a read may be judged that sees everything applied before this call; none
    /// if that would be too long ago.
    pub(crate) fn read_time(&self) -> Option<UnixMillis> {
        // In this order: see `stamp`.
        let now = self.clock.now();
        let oldest = self.oldest.load(Ordering::SeqCst);
        (now.0 <= oldest.saturating_add(AGE_MAX_MS)).then_some(now.min(UnixMillis(oldest)))
    }

    /// Waits until everything that was stamped before `at` is applied, or has come to nothing.
    pub(crate) async fn passed(&self, at: UnixMillis) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let pending = self.pending.lock().stamps.first().is_some_and(|oldest| oldest.0 < at);
            if !pending {
                return;
            }
            changed.await;
        }
    }

    /// The time of a batch: cluster time now.
    pub(crate) fn stamp(self: &Arc<Self>) -> Stamp {
        let mut pending = self.pending.lock();
        if pending.stamps.is_empty() {
            // Before the clock is read: a reader that does not see this has read the clock earlier.
            self.oldest.store(self.clock.now().0, Ordering::SeqCst);
        }
        pending.given += 1;
        let key = (self.clock.now(), pending.given);
        pending.stamps.insert(key);
        Stamp { stamps: Arc::clone(self), key }
    }
}

impl Stamp {
    pub(crate) fn at(&self) -> UnixMillis {
        self.key.0
    }
}

impl Drop for Stamp {
    fn drop(&mut self) {
        let mut pending = self.stamps.pending.lock();
        pending.stamps.remove(&self.key);
        let oldest = pending.stamps.first().map_or(NONE, |(at, _)| at.0);
        self.stamps.oldest.store(oldest, Ordering::SeqCst);
        drop(pending);
        self.stamps.changed.notify_waiters();
    }
}

impl<T: OptionalSend + 'static> StampedResponder<T> {
    /// For a batch with this stamp, and who waits for it.
    pub(crate) fn new(stamp: Stamp) -> (Self, oneshot::Receiver<T>) {
        let (responder, result) = ProgressResponder::complete_only();
        (Self { stamp, responder }, result)
    }
}

impl<T: OptionalSend + 'static> Responder<TypeConfig, T> for StampedResponder<T> {
    fn on_complete(self, result: T) {
        drop(self.stamp);
        self.responder.on_complete(result);
    }
}

const NONE: u64 = u64::MAX;
/// Much longer than a batch takes in health, and too short for a client to see.
const AGE_MAX_MS: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn reads_are_not_later_than_what_is_pending() {
        let clock = Arc::new(ClusterClock::new(crate::world::system_wall()));
        clock.follow(UnixMillis(1_000_000));
        let stamps = Arc::new(Stamps::new(clock));
        let pass = |ms| tokio::time::advance(std::time::Duration::from_millis(ms));
        assert_eq!(stamps.read_time(), Some(UnixMillis(1_000_000)));
        let first = stamps.stamp();
        pass(10).await;
        let second = stamps.stamp();
        pass(10).await;
        assert_eq!((first.at(), second.at()), (UnixMillis(1_000_000), UnixMillis(1_000_010)));
        assert_eq!(stamps.read_time(), Some(first.at()));
        drop(first);
        assert_eq!(stamps.read_time(), Some(second.at()));
        pass(100).await;
        assert_eq!(stamps.read_time(), None, "that would be long ago");
        let passed = Arc::clone(&stamps);
        let passed = tokio::spawn(async move { passed.passed(UnixMillis(1_000_020)).await });
        tokio::task::yield_now().await;
        assert!(!passed.is_finished());
        let (responder, result) = StampedResponder::new(second);
        responder.on_complete(());
        assert_eq!(result.await, Ok(()));
        passed.await.expect("it waits for the second");
        assert_eq!(stamps.read_time(), Some(UnixMillis(1_000_120)));
    }
}
