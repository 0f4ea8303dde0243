//! The leader's permission to answer reads without asking anybody: one atomic load.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Published by the lease keeper on the raft thread, read by every I/O thread.
#[derive(Debug)]
pub(crate) struct Lease {
    started: Instant,
    /// Microseconds since `started` until which reads are allowed; 0: not at all.
    deadline_us: AtomicU64,
    /// A planned move is under way: nothing renews the lease until it has ended.
    withdrawn: AtomicBool,
}

impl Lease {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            deadline_us: AtomicU64::new(0),
            withdrawn: AtomicBool::new(false),
        }
    }

    /// Whether a read may be answered now.
    pub(crate) fn is_valid(&self) -> bool {
        self.elapsed_us(Instant::now()) < self.deadline_us.load(Ordering::Acquire)
    }

    /// Allows reads until `length` after `acked`, when a quorum last confirmed the leader.
    pub(crate) fn renew(&self, acked: Instant, length: Duration) {
        if self.withdrawn.load(Ordering::SeqCst) {
            return;
        }
        self.deadline_us.store(self.elapsed_us(acked + length), Ordering::SeqCst);
        // A withdrawal between the check and the store must win.
        if self.withdrawn.load(Ordering::SeqCst) {
            self.end();
        }
    }

    /// This node does not lead, or not provably.
    pub(crate) fn end(&self) {
        self.deadline_us.store(0, Ordering::SeqCst);
    }

    /// Ends the lease before leadership is handed over.
    pub(crate) fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::SeqCst);
        self.end();
    }

    /// The planned move has ended, one way or the other.
    pub(crate) fn restore(&self) {
        self.withdrawn.store(false, Ordering::SeqCst);
    }

    fn elapsed_us(&self, at: Instant) -> u64 {
        let elapsed = at.saturating_duration_since(self.started).as_micros();
        u64::try_from(elapsed).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn a_lease_is_renewed_ended_and_withdrawn() {
        let lease = Lease::new();
        assert!(!lease.is_valid());
        lease.renew(Instant::now(), LONG);
        assert!(lease.is_valid());
        lease.end();
        assert!(!lease.is_valid());

        lease.renew(Instant::now(), LONG);
        lease.withdraw();
        assert!(!lease.is_valid());
        lease.renew(Instant::now(), LONG);
        assert!(!lease.is_valid(), "a withdrawn lease is not renewed");
        lease.restore();
        lease.renew(Instant::now(), LONG);
        assert!(lease.is_valid());
    }

    #[test]
    fn a_lease_from_an_old_confirmation_has_ended() {
        let lease = Lease::new();
        std::thread::sleep(Duration::from_millis(2));
        lease.renew(lease.started, Duration::from_millis(1));
        assert!(!lease.is_valid());
    }
}
