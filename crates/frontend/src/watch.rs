//! `watch`: what happens on this node, as lines, to whoever wants to see it.
//!
//! ```text
//!   sessions ──log──▶ Watchers ──▶ one bounded queue per watcher ──▶ its connection
//! ```
//!
//! Nobody waits for a watcher: what its queue does not take is skipped, and it is told how much.
//! While nobody watches, an event costs one load.
//!
//! # Source
//!
//! memcached's `logger.c`. What only memcached has (its proxy, storage on disk, threads that clean
//! up) is not shown. All replicas evict the same items, and each shows that to its own watchers.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use engine::{Item, Missing, Outcome, StoreMode, UnixMillis, Usage};
use parking_lot::Mutex;
use protocol::WatchTopics;
use tokio::sync::Notify;

/// All watchers of one node.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    /// What any of them wants.
    wanted: AtomicU8,
    event_count: AtomicU64,
    sent_len: AtomicU64,
    skipped_count: AtomicU64,
    watchers: Mutex<Vec<Weak<Watcher>>>,
}

/// One connection that watches.
#[derive(Debug)]
pub(crate) struct Watcher {
    topics: WatchTopics,
    queue: Mutex<Queue>,
    /// Told when there is something in the queue.
    pub(crate) filled: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    lines: Vec<u8>,
    skipped_count: u64,
}

/// A store, as it is shown once its outcome is known.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) key: Box<[u8]>,
    pub(crate) name: &'static str,
    pub(crate) value_len: usize,
    pub(crate) fd: i32,
}

impl Watchers {
    /// Takes in a watcher, for as long as it lives; `None` if there are too many.
    pub(crate) fn add(&self, topics: WatchTopics) -> Option<Arc<Watcher>> {
        let mut watchers = self.watchers.lock();
        watchers.retain(|watcher| 0 < watcher.strong_count());
        if WATCHER_COUNT_MAX <= watchers.len() {
            return None;
        }
        let watcher = Arc::new(Watcher { topics, queue: Mutex::default(), filled: Notify::new() });
        watchers.push(Arc::downgrade(&watcher));
        self.wanted.fetch_or(topics.bits(), Ordering::Relaxed);
        Some(watcher)
    }

    /// How many there are, bytes written for them, and lines that they missed.
    pub(crate) fn figures(&self) -> (u64, u64, u64) {
        let watchers = self.watchers.lock();
        let count = watchers.iter().filter(|watcher| 0 < watcher.strong_count()).count();
        let sent_len = self.sent_len.load(Ordering::Relaxed);
        (count as u64, sent_len, self.skipped_count.load(Ordering::Relaxed))
    }

    /// Whether anybody wants to see events of one of these kinds.
    pub(crate) fn wants(&self, topics: WatchTopics) -> bool {
        self.wanted.load(Ordering::Relaxed) & topics.bits() != 0
    }

    /// A key was read: `Ok` with the length of its value, or why it is not there.
    pub(crate) fn fetched(&self, key: &[u8], found: Result<usize, Missing>, fd: i32) {
        let (status, class, value_len) = match found {
            Ok(value_len) => ("found", 1, value_len),
            Err(Missing::Absent) => ("not_found", 0, 0),
            Err(Missing::Expired) => ("expired", 0, 0),
            Err(Missing::Flushed) => ("flushed", 0, 0),
        };
        self.show(WatchTopics::FETCHERS, |line| {
            line.extend_from_slice(b"type=item_get key=");
            protocol::uri_encode(key, line);
            let rest = format!(" status={status} clsid={class} cfd={fd} size={value_len}");
            line.extend_from_slice(rest.as_bytes());
        });
    }

    /// A store came to an end.
    pub(crate) fn stored(&self, store: &Store, outcome: &Outcome) {
        let Store { key, name, value_len, fd } = store;
        let status = status(outcome);
        self.show(WatchTopics::MUTATIONS, |line| {
            line.extend_from_slice(b"type=item_store key=");
            protocol::uri_encode(key, line);
            let class = u8::from(status == "stored");
            let rest = format!(
                " status={status} cmd={name} ttl=0 clsid={class} cfd={fd} size={value_len}"
            );
            line.extend_from_slice(rest.as_bytes());
        });
    }

    /// An item was evicted at this cluster time from this node's copy, as from all others.
    pub(crate) fn evicted(&self, item: &Item, usage: Usage, at: UnixMillis) {
        self.show(WatchTopics::EVICTIONS, |line| {
            line.extend_from_slice(b"type=eviction key=");
            protocol::uri_encode(item.key(), line);
            let fetched = if usage.fetched { "yes" } else { "no" };
            let left_s = |deadline: UnixMillis| deadline.0.saturating_sub(at.0).div_ceil(1000);
            let ttl =
                item.deadline().map_or_else(|| "-1".to_owned(), |end| left_s(end).to_string());
            let (idle_s, value_len) = (usage.idle_s, item.value().len());
            let rest = format!(" fetch={fetched} ttl={ttl} la={idle_s} clsid=1 size={value_len}");
            line.extend_from_slice(rest.as_bytes());
        });
    }

    /// A connection came or went; `what` is the line without time and number.
    pub(crate) fn connection(&self, what: impl FnOnce() -> String) {
        self.show(WatchTopics::CONNEVENTS, |line| line.extend_from_slice(what().as_bytes()));
    }

    /// Gives a line to all that want it.
    fn show(&self, topic: WatchTopics, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.wants(topic) {
            return;
        }
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let event = self.event_count.fetch_add(1, Ordering::Relaxed) + 1;
        let (seconds, micros) = (since.as_secs(), since.subsec_micros());
        let mut line = format!("ts={seconds}.{micros} gid={event} ").into_bytes();
        write(&mut line);
        line.push(b'\n');
        let mut watchers = self.watchers.lock();
        let mut wanted = WatchTopics::NONE;
        watchers.retain(|watcher| {
            let Some(watcher) = watcher.upgrade() else { return false };
            wanted = wanted.with(watcher.topics);
            if watcher.topics.intersects(topic) {
                match watcher.push(&line) {
                    true => self.sent_len.fetch_add(line.len() as u64, Ordering::Relaxed),
                    false => self.skipped_count.fetch_add(1, Ordering::Relaxed),
                };
            }
            true
        });
        // Under the lock, as in `add`.
        self.wanted.store(wanted.bits(), Ordering::Relaxed);
    }
}

impl Watcher {
    /// Takes what has been queued.
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.queue.lock().lines)
    }

    /// Queues a line; says whether there was room for it.
    fn push(&self, line: &[u8]) -> bool {
        let mut queue = self.queue.lock();
        if QUEUE_LEN_MAX < queue.lines.len() + line.len() {
            queue.skipped_count += 1;
            return false;
        }
        if queue.skipped_count != 0 {
            let skipped_count = std::mem::take(&mut queue.skipped_count);
            queue.lines.extend_from_slice(format!("skipped={skipped_count}\n").as_bytes());
        }
        queue.lines.extend_from_slice(line);
        drop(queue);
        self.filled.notify_one();
        true
    }
}

/// memcached's name for a store.
pub(crate) fn name_of(mode: StoreMode, is_cas: bool) -> &'static str {
    match mode {
        _ if is_cas => "cas",
        StoreMode::Add => "add",
        StoreMode::Append => "append",
        StoreMode::Prepend => "prepend",
        StoreMode::Replace => "replace",
        StoreMode::Set => "set",
    }
}

fn status(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Stored(_) | Outcome::StoredLen { .. } => "stored",
        Outcome::Exists => "exists",
        Outcome::NotFound => "not_found",
        Outcome::TooLarge => "too_large",
        Outcome::OutOfMemory => "no_memory",
        Outcome::NotStored
        | Outcome::Deleted
        | Outcome::Done
        | Outcome::NonNumeric
        | Outcome::Number { .. }
        | Outcome::Seen(_)
        | Outcome::Touched { .. }
        | Outcome::Value(_)
        | _ => "not_stored",
    }
}

/// As memcached.
const WATCHER_COUNT_MAX: usize = 20;
/// As memcached's `watcher_logbuf_size`.
const QUEUE_LEN_MAX: usize = 256 * 1024;
