//! Who is down on purpose, and what went wrong although nobody was.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};

use anyhow::{Result, bail};

/// Which nodes the test itself has taken down, so that clients can tell a legal close from a broken
/// promise.
///
/// A node's epoch is even while it is up and odd while it is down; it only grows.
#[derive(Debug)]
pub struct Liveness(Vec<AtomicU64>);

impl Liveness {
    /// All of `nodes` nodes up.
    pub fn new(nodes: usize) -> Self {
        Self((0..nodes).map(|_| AtomicU64::new(0)).collect())
    }

    /// Says, before the fault, that `node` is about to go down.
    pub fn down(&self, node: usize) {
        self.turn(node, 1);
    }

    /// Says that `node` serves again: from here on a closed connection is a broken promise.
    pub fn up(&self, node: usize) {
        self.turn(node, 0);
    }

    /// The epoch to remember before connecting to `node`.
    pub fn epoch(&self, node: usize) -> u64 {
        self.0.get(node).map_or(0, |epoch| epoch.load(Ordering::SeqCst))
    }

    /// Whether a connection to `node`, made in `epoch`, may be refused or closed by now.
    pub fn may_fail(&self, node: usize, epoch: u64) -> bool {
        epoch % 2 == 1 || self.epoch(node) != epoch
    }

    /// The epoch to remember after a good reply: a connection made while the node was coming back
    /// counts as made in the epoch that then began.
    pub fn settle(&self, node: usize, epoch: u64) -> u64 {
        if epoch % 2 == 1 && self.epoch(node) == epoch + 1 { epoch + 1 } else { epoch }
    }

    fn turn(&self, node: usize, parity: u64) {
        if let Some(epoch) = self.0.get(node) {
            let was = epoch.load(Ordering::SeqCst);
            assert_ne!(was % 2, parity, "node {node} goes the same way twice");
            epoch.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Keeps clients off a node that is about to be killed: with nothing in flight through it, no
/// outcome is unknown, and the test may ask for exact results.
#[derive(Debug)]
pub struct Gates(Vec<RwLock<()>>);

impl Gates {
    /// All of `nodes` gates open.
    pub fn new(nodes: usize) -> Self {
        Self((0..nodes).map(|_| RwLock::new(())).collect())
    }

    /// Enters the gate of `wish`, or of the next node that is open. Hold the guard from before the
    /// request is sent until its reply has been read.
    ///
    /// # Errors
    ///
    /// When all gates are shut.
    pub fn enter(&self, wish: usize) -> Result<(usize, RwLockReadGuard<'_, ()>)> {
        for step in 0..self.0.len() {
            let node = (wish + step) % self.0.len();
            match self.0.get(node).map(RwLock::try_read) {
                Some(Ok(guard)) => return Ok((node, guard)),
                Some(Err(TryLockError::Poisoned(guard))) => return Ok((node, guard.into_inner())),
                Some(Err(TryLockError::WouldBlock)) | None => {}
            }
        }
        bail!("every node is shut")
    }

    /// Waits until nothing is in flight through `node` and keeps it shut while the guard lives.
    ///
    /// # Errors
    ///
    /// When there is no such node.
    pub fn shut(&self, node: usize) -> Result<RwLockWriteGuard<'_, ()>> {
        match self.0.get(node) {
            Some(gate) => Ok(gate.write().unwrap_or_else(PoisonError::into_inner)),
            None => bail!("no node {node}"),
        }
    }
}

/// Broken promises seen by any thread of a test.
#[derive(Debug, Default)]
pub struct Violations(Mutex<Vec<String>>);

impl Violations {
    /// Notes one. The first twenty are kept; they are never fewer than one for it.
    pub fn record(&self, what: impl Into<String>) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() < 20 {
            let what = what.into();
            println!("VIOLATION: {what}");
            seen.push(what);
        }
    }

    /// Whether there is none so far.
    pub fn none(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Fails if there is any.
    ///
    /// # Errors
    ///
    /// All that was noted.
    pub fn check(&self) -> Result<()> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.is_empty() {
            return Ok(());
        }
        bail!("{} broken promises:\n  {}", seen.len(), seen.join("\n  "))
    }
}
