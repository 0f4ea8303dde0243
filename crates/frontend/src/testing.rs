//! A backend of one node in memory, for tests and for trying the client side alone.
//!
//! It runs the real [`StateMachine`], one entry per command, without replication. What a cluster
//! does to a connection (answers late, refuses, has no lease) is switched by hand.

use std::collections::VecDeque;
use std::fmt::Display;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use engine::{
    Applied, BatchBuilder, Command, EngineStats, Item, LogIndex, Missing, OnEviction, Origin,
    Outcome, Reader, Settings, StateMachine, UnixMillis, Usage,
};
use tokio::sync::{Notify, oneshot};

use crate::backend::{Backend, Full, Unavailable};

type Sender = oneshot::Sender<Result<Outcome, Unavailable>>;

/// One node, holding its own state machine. A clone is another handle to the same node.
#[derive(Debug, Clone)]
pub struct OneNode(Arc<Node>);

#[derive(Debug)]
struct Node {
    reader: Reader,
    log: Mutex<Log>,
    now: AtomicU64,
    lease: AtomicBool,
    accepting: AtomicBool,
    barriers_held: AtomicBool,
    barrier_count: AtomicU64,
    changed: Notify,
}

#[derive(Debug)]
struct Log {
    machine: StateMachine,
    index: u64,
    held: VecDeque<(Vec<u8>, Sender)>,
    hold: bool,
    capacity: usize,
    unavailable: Option<Unavailable>,
    proposed_count: u64,
}

impl OneNode {
    /// An empty node with a lease, that answers at once.
    pub fn new(settings: Settings) -> Self {
        let mut log = Log {
            machine: StateMachine::new(),
            index: 0,
            held: VecDeque::new(),
            hold: false,
            capacity: usize::MAX,
            unavailable: None,
            proposed_count: 0,
        };
        let start = UnixMillis(1_800_000_000_000);
        let configured = log.apply(&body(&Command::Configure(settings), 1), start);
        assert_eq!(configured, Ok(Outcome::Done), "the engine refused its settings");
        Self(Arc::new(Node {
            reader: log.machine.reader(),
            log: Mutex::new(log),
            now: AtomicU64::new(start.0),
            lease: AtomicBool::new(true),
            accepting: AtomicBool::new(true),
            barriers_held: AtomicBool::new(false),
            barrier_count: AtomicU64::new(0),
            changed: Notify::new(),
        }))
    }

    /// Sets the time of reads and of later commands.
    pub fn set_now(&self, now: UnixMillis) {
        self.0.now.store(now.0, Ordering::Release);
    }

    /// Grants or withdraws the lease; without it every read needs a barrier.
    pub fn set_lease(&self, lease: bool) {
        self.0.lease.store(lease, Ordering::Release);
    }

    /// Whether new clients are taken.
    pub fn set_accepting(&self, accepting: bool) {
        self.0.accepting.store(accepting, Ordering::Release);
    }

    /// Keeps read barriers waiting, or lets them pass.
    pub fn hold_barriers(&self, hold: bool) {
        self.0.barriers_held.store(hold, Ordering::Release);
        self.0.changed.notify_waiters();
    }

    /// Keeps proposals from being applied from now on.
    pub fn hold(&self) {
        self.log().hold = true;
    }

    /// Applies up to `count` held proposals, in order; returns how many.
    pub fn release(&self, count: usize) -> usize {
        let mut log = self.log();
        let mut released = 0;
        while released < count
            && let Some((body, sender)) = log.held.pop_front()
        {
            let outcome = log.apply(&body, self.now());
            // Nobody listens if the connection has gone.
            let _ = sender.send(outcome);
            released += 1;
        }
        drop(log);
        self.0.changed.notify_waiters();
        released
    }

    /// Applies all held proposals, and later ones at once.
    pub fn release_all(&self) {
        self.log().hold = false;
        self.release(usize::MAX);
    }

    /// Refuses proposals while `capacity` of them are held.
    pub fn set_capacity(&self, capacity: usize) {
        self.log().capacity = capacity;
        self.0.changed.notify_waiters();
    }

    /// Fails every proposal and every barrier from now on, or no longer.
    pub fn set_unavailable(&self, unavailable: Option<Unavailable>) {
        self.log().unavailable = unavailable;
        self.0.changed.notify_waiters();
    }

    /// Proposals made so far.
    pub fn proposed_count(&self) -> u64 {
        self.log().proposed_count
    }

    /// Proposals held at the moment.
    pub fn held_count(&self) -> usize {
        self.log().held.len()
    }

    /// Read barriers asked for so far.
    pub fn barrier_count(&self) -> u64 {
        self.0.barrier_count.load(Ordering::Acquire)
    }

    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.now.load(Ordering::Acquire))
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for OneNode {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

impl Log {
    fn apply(&mut self, body: &[u8], now: UnixMillis) -> Result<Outcome, Unavailable> {
        self.index += 1;
        match self.machine.apply(LogIndex(self.index), now, body) {
            Ok(Applied::Outcomes(outcomes)) => {
                outcomes.as_slice().first().cloned().ok_or(Unavailable::OutcomeUnknown)
            }
            Ok(Applied::Gap { .. } | Applied::Forgotten) | Err(_) => {
                Err(Unavailable::OutcomeUnknown)
            }
        }
    }
}

fn body(command: &Command<'_>, seq: u64) -> Vec<u8> {
    let mut batch = BatchBuilder::new();
    batch.push(command);
    batch.finish(Origin { node: 1, epoch: 1 }, seq, seq - 1)
}

/// The outcome of one command on a [`OneNode`].
#[derive(Debug)]
pub struct OneNodeProposal(oneshot::Receiver<Result<Outcome, Unavailable>>);

impl Future for OneNodeProposal {
    type Output = Result<Outcome, Unavailable>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(cx)
            .map(|received| received.unwrap_or(Err(Unavailable::OutcomeUnknown)))
    }
}

impl Backend for OneNode {
    type Proposal = OneNodeProposal;

    fn read_now(&self) -> Option<UnixMillis> {
        self.0.lease.load(Ordering::Acquire).then(|| self.now())
    }

    async fn read_barrier(&self) -> Result<UnixMillis, Unavailable> {
        self.0.barrier_count.fetch_add(1, Ordering::AcqRel);
        loop {
            let changed = self.0.changed.notified();
            if let Some(error) = self.log().unavailable {
                return Err(error);
            }
            if !self.0.barriers_held.load(Ordering::Acquire) {
                return Ok(self.now());
            }
            changed.await;
        }
    }

    fn get(&self, key: &[u8], at: UnixMillis) -> Result<Item, Missing> {
        self.0.reader.find(key, at)
    }

    fn look(&self, key: &[u8], at: UnixMillis, fetch: bool) -> Result<(Item, Usage), Missing> {
        self.0.reader.look(key, at, fetch)
    }

    fn propose(&self, command: &Command<'_>) -> Result<OneNodeProposal, Full> {
        let (sender, receiver) = oneshot::channel();
        let mut log = self.log();
        if log.capacity <= log.held.len() {
            return Err(Full);
        }
        log.proposed_count += 1;
        let outcome = if let Some(error) = log.unavailable {
            Err(error)
        } else {
            // The first number went to the settings.
            let seq = log.index + log.held.len() as u64 + 1;
            let body = body(command, seq);
            if log.hold {
                log.held.push_back((body, sender));
                return Ok(OneNodeProposal(receiver));
            }
            log.apply(&body, self.now())
        };
        let _ = sender.send(outcome);
        Ok(OneNodeProposal(receiver))
    }

    async fn ready(&self) -> Result<(), Unavailable> {
        loop {
            let changed = self.0.changed.notified();
            {
                let log = self.log();
                if let Some(error) = log.unavailable {
                    return Err(error);
                }
                if log.held.len() < log.capacity {
                    return Ok(());
                }
            }
            changed.await;
        }
    }

    fn accepting(&self) -> bool {
        self.0.accepting.load(Ordering::Acquire)
    }

    fn engine_stats(&self) -> EngineStats {
        self.0.reader.stats()
    }

    fn part(&self, part: usize) -> Option<Vec<(Item, Usage)>> {
        self.0.reader.part(part, self.now())
    }

    fn on_eviction(&self, show: OnEviction) {
        self.0.reader.on_eviction(show);
    }

    fn cluster_stats(&self, stat: &mut dyn FnMut(&str, &dyn Display)) {
        stat("nodes", &1);
    }
}

/// How a text `get` is answered.
#[cfg(test)]
pub(crate) fn text_get() -> protocol::ReplyTo {
    let limits = protocol::Limits::default();
    protocol::Parser::new().parse(b"get k\r\n", &limits).unwrap().unwrap().reply_to
}

/// An item as a reader finds it.
#[cfg(test)]
pub(crate) fn item(key: &[u8], value: &[u8]) -> Item {
    let node = OneNode::default();
    let command = Command::Store {
        mode: engine::StoreMode::Set,
        key,
        flags: 0,
        expiry: engine::Expiry::Never,
        value,
        cas: None,
    };
    drop(node.propose(&command).unwrap());
    node.get(key, node.now()).unwrap()
}
