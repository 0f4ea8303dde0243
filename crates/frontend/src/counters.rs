//! What `stats` counts, without contention between threads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A number that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`. Called by the owning thread alone: then a load and a store, which cost
    /// nothing, do what a locked addition does.
    pub(crate) fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters of one I/O thread, on cache lines of their own.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub(crate) struct Counters {
            $($(#[$doc])* pub(crate) $name: Counter,)*
        }

        /// The counters of all I/O threads together, at one moment; since the last `stats reset`.
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
        pub struct Totals {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Totals {
            fn add(&mut self, counters: &Counters) {
                $(self.$name = self.$name.wrapping_add(counters.$name.value());)*
            }

            fn since(self, before: Self) -> Self {
                Self { $($name: self.$name.wrapping_sub(before.$name),)* }
            }
        }
    };
}

counters! {
    /// Attempts to authenticate.
    auth_cmds,
    /// Those that failed.
    auth_errors,
    /// Bytes received from clients.
    bytes_read,
    /// Bytes sent to clients.
    bytes_written,
    /// `cas` on an item whose cas unique differed.
    cas_badval,
    /// `cas` that stored.
    cas_hits,
    /// `cas` on a missing item.
    cas_misses,
    /// `flush_all`, refused ones too.
    cmd_flush,
    /// Keys read.
    cmd_get,
    /// Meta commands.
    cmd_meta,
    /// Storage commands.
    cmd_set,
    /// Keys touched, by `touch` or `gat`.
    cmd_touch,
    /// Times that a connection let others run before it had used up its input.
    conn_yields,
    /// `decr` of an item.
    decr_hits,
    /// `decr` of a missing item.
    decr_misses,
    /// `delete` of an item.
    delete_hits,
    /// `delete` of a missing item.
    delete_misses,
    /// Keys not found whose item had expired and was still held.
    get_expired,
    /// Keys not found whose item had been flushed and was still held.
    get_flushed,
    /// Keys found.
    get_hits,
    /// Keys not found.
    get_misses,
    /// Connections closed because their clients had asked nothing for too long.
    idle_kicks,
    /// `incr` of an item.
    incr_hits,
    /// `incr` of a missing item.
    incr_misses,
    /// Connections closed because buffers were short and their clients did not move.
    read_buf_oom,
    /// TLS handshakes that came to nothing.
    ssl_handshake_errors,
    /// TLS sessions begun that may be resumed.
    ssl_new_sessions,
    /// Connections closed for what was no TLS after the handshake.
    ssl_proto_errors,
    /// Stores refused for want of memory.
    store_no_memory,
    /// Stores refused for their size.
    store_too_large,
    /// Keys touched that were there.
    touch_hits,
    /// Keys touched that were not there.
    touch_misses,
    /// Operations answered with "unavailable".
    unavailable,
}

/// The counters of all threads, and where `stats reset` set their zero.
#[derive(Debug)]
pub(crate) struct AllCounters {
    threads: Vec<Arc<Counters>>,
    zero: Mutex<Totals>,
}

impl AllCounters {
    pub(crate) fn new(thread_count: usize) -> Self {
        let threads = std::iter::repeat_with(Arc::default).take(thread_count).collect();
        Self { threads, zero: Mutex::default() }
    }

    /// The counters of thread `thread`; for a thread that there is not, some that nobody sums.
    pub(crate) fn of(&self, thread: usize) -> Arc<Counters> {
        self.threads.get(thread).cloned().unwrap_or_default()
    }

    /// The sums since the last reset.
    pub(crate) fn totals(&self) -> Totals {
        self.sums().since(*self.zero.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Starts all sums at zero again. The threads' own numbers go on, since only they write them.
    pub(crate) fn reset(&self) {
        *self.zero.lock().unwrap_or_else(PoisonError::into_inner) = self.sums();
    }

    fn sums(&self) -> Totals {
        let mut sums = Totals::default();
        for counters in &self.threads {
            sums.add(counters);
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_over_threads_and_starts_again_at_a_reset() {
        let all = AllCounters::new(2);
        all.of(0).cmd_get.add(3);
        all.of(1).cmd_get.add(4);
        assert_eq!(all.totals().cmd_get, 7);
        all.reset();
        assert_eq!(all.totals(), Totals::default());
        all.of(1).cmd_get.add(1);
        assert_eq!(all.totals().cmd_get, 1);
    }
}
