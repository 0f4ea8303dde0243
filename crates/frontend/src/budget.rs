//! What all connections of a node may hold in buffers together.
//!
//! A connection that is idle holds none, and one that is served holds some for an instant. What is
//! left are clients that send a value slowly or do not take their replies: each is bounded, but
//! there may be thousands.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The limit, and what is held.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    /// By thread.
    held: Vec<Arc<Held>>,
}

/// Bytes that the connections of one thread hold; written by that thread alone.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Held(AtomicUsize);

impl Budget {
    pub(crate) fn new(limit: usize, thread_count: usize) -> Self {
        Self { limit, held: std::iter::repeat_with(Arc::default).take(thread_count).collect() }
    }

    /// Opens the account of a connection on `thread`.
    pub(crate) fn open(self: &Arc<Self>, thread: usize) -> Account {
        let held = self.held.get(thread).cloned().unwrap_or_default();
        Account { budget: Arc::clone(self), held, charged: 0 }
    }

    /// Bytes held by all connections.
    pub(crate) fn total(&self) -> usize {
        self.held.iter().map(|held| held.0.load(Ordering::Relaxed)).sum()
    }
}

/// What one connection holds. When dropped, nothing.
#[derive(Debug)]
pub(crate) struct Account {
    budget: Arc<Budget>,
    held: Arc<Held>,
    charged: usize,
}

impl Account {
    /// Says that the connection holds `len` bytes now.
    pub(crate) fn settle(&mut self, len: usize) {
        if len != self.charged {
            let others = self.held.0.load(Ordering::Relaxed).saturating_sub(self.charged);
            self.held.0.store(others + len, Ordering::Relaxed);
            self.charged = len;
        }
    }

    /// Whether the connection may hold `len` bytes instead of what it holds.
    pub(crate) fn allows(&self, len: usize) -> bool {
        len <= ALWAYS_LEN
            || len.saturating_sub(self.charged) + self.budget.total() <= self.budget.limit
    }

    /// Whether it holds more than it may whatever the others do.
    pub(crate) fn is_large(&self) -> bool {
        ALWAYS_LEN < self.charged
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.settle(0);
    }
}

/// What a connection may always hold: one buffer to read into, and as much of replies.
pub(crate) const ALWAYS_LEN: usize = 2 * crate::buffer::READ_LEN;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_share_the_limit_and_keep_what_is_always_theirs() {
        let budget = Arc::new(Budget::new(10 * ALWAYS_LEN, 2));
        let (mut first, mut second) = (budget.open(0), budget.open(1));
        first.settle(6 * ALWAYS_LEN);
        assert!(second.allows(4 * ALWAYS_LEN));
        assert!(!second.allows(4 * ALWAYS_LEN + 1));
        assert!(first.allows(10 * ALWAYS_LEN), "its own is not counted twice");
        second.settle(5 * ALWAYS_LEN);
        assert!(second.allows(ALWAYS_LEN), "over the limit");
        assert!(!first.allows(6 * ALWAYS_LEN), "over the limit");
        assert!(first.is_large());
        first.settle(ALWAYS_LEN);
        assert!(!first.is_large());
        assert_eq!(budget.total(), 6 * ALWAYS_LEN);
        drop(second);
        drop(first);
        assert_eq!(budget.total(), 0);
    }
}
