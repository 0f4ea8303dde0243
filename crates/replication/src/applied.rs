//! How far this replica has applied the log, for reads that wait for an index, and for `status`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::UnixMillis;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::cell::Cell;
use crate::error::ClientError;

/// What readers behind a barrier wait for: the time at which they judge expiry.
pub(crate) type ReadCell = Cell<Result<UnixMillis, ClientError>>;

/// Published by apply, read by everybody.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    index: AtomicU64,
    waiters: Mutex<Vec<Waiter>>,
    /// Digests at the last indices, newest at the back: replicas are compared at equal ones.
    digests: Mutex<VecDeque<(u64, u64)>>,
}

/// Readers whose barrier came back with `index`.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) index: u64,
    pub(crate) at: UnixMillis,
    pub(crate) born: Instant,
    pub(crate) cell: Arc<ReadCell>,
}

impl Applied {
    /// Index of the last applied entry.
    pub(crate) fn index(&self) -> u64 {
        self.index.load(Ordering::Acquire)
    }

    /// Called by apply, after the state has changed.
    pub(crate) fn publish(&self, index: u64, digest: u64) {
        {
            let mut digests = self.digests.lock();
            if digests.len() == DIGEST_COUNT {
                digests.pop_front();
            }
            digests.push_back((index, digest));
        }
        // Under the lock, so that a waiter either sees the index or is seen here.
        let mut waiters = self.waiters.lock();
        self.index.store(index, Ordering::Release);
        waiters.retain(|waiter| {
            let reached = waiter.index <= index;
            if reached {
                waiter.cell.complete(Ok(waiter.at));
            }
            !reached
        });
    }

    /// Completes the waiter's cell once its index has been applied.
    pub(crate) fn wait(&self, waiter: Waiter) {
        let mut waiters = self.waiters.lock();
        if waiter.index <= self.index() {
            drop(waiters);
            waiter.cell.complete(Ok(waiter.at));
        } else {
            waiters.push(waiter);
        }
    }

    /// Gives up on readers that have waited since before `before`; says whether some are left.
    pub(crate) fn expire(&self, before: Instant) -> bool {
        let mut waiters = self.waiters.lock();
        waiters.retain(|waiter| {
            let expired = waiter.born < before;
            if expired {
                waiter.cell.complete(Err(ClientError::NoQuorum));
            }
            !expired
        });
        !waiters.is_empty()
    }

    /// `(index, digest)` of the last applied batches, oldest first.
    pub(crate) fn digests(&self) -> Vec<(u64, u64)> {
        self.digests.lock().iter().copied().collect()
    }
}

/// Replicas under load are apart by a few batches; this many are compared.
const DIGEST_COUNT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(index: u64) -> (Waiter, Arc<ReadCell>) {
        let cell = Cell::new();
        let waiter =
            Waiter { index, at: UnixMillis(index), born: Instant::now(), cell: Arc::clone(&cell) };
        (waiter, cell)
    }

    #[tokio::test]
    async fn a_reader_waits_for_its_index() {
        let applied = Applied::default();
        let (early, early_cell) = waiter(5);
        let (late, late_cell) = waiter(9);
        applied.wait(early);
        applied.wait(late);
        applied.publish(5, 0);
        assert_eq!(early_cell.wait().await, Ok(UnixMillis(5)));
        assert!(applied.expire(Instant::now() - std::time::Duration::from_secs(1)));
        assert!(!applied.expire(Instant::now() + std::time::Duration::from_secs(1)));
        assert_eq!(late_cell.wait().await, Err(ClientError::NoQuorum));

        let (reached, cell) = waiter(4);
        applied.wait(reached);
        assert_eq!(cell.wait().await, Ok(UnixMillis(4)));
    }
}
