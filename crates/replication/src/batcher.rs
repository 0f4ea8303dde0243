//! Commands of all connections of this node, gathered into batches.
//!
//! A batch closes when the one before it leaves (group commit: nobody waits for a timer), at
//! `BATCH_COMMANDS_MAX` commands or `BATCH_BYTES_MAX` bytes.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use engine::{BatchBuilder, Command, Outcome};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::cell::Cell;
use crate::error::{ClientError, Full};
use crate::types::SharedOutcomes;

/// What everybody with a command in the batch waits for.
pub(crate) type BatchCell = Cell<Result<SharedOutcomes, ClientError>>;

/// The queue between connections and the proposer.
#[derive(Debug, Default)]
pub(crate) struct Batcher {
    queue: Mutex<Queue>,
    filled: Notify,
    room: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    open: Option<OpenBatch>,
    closed: VecDeque<OpenBatch>,
    /// Bytes in `closed`.
    closed_bytes: usize,
    draining: bool,
}

/// A batch without a number yet.
#[derive(Debug)]
pub(crate) struct OpenBatch {
    pub(crate) builder: BatchBuilder,
    pub(crate) cell: Arc<BatchCell>,
    /// When its first command came.
    pub(crate) born: Instant,
}

impl OpenBatch {
    fn new() -> Self {
        Self { builder: BatchBuilder::new(), cell: Cell::new(), born: Instant::now() }
    }

    fn is_full(&self) -> bool {
        self.builder.command_count() >= BATCH_COMMANDS_MAX
            || self.builder.body_len() >= BATCH_BYTES_MAX
    }
}

impl Batcher {
    /// Adds a command; calls of one task keep their order.
    ///
    /// # Errors
    ///
    /// [`Full`] when `QUEUE_BYTES_MAX` wait already.
    pub(crate) fn propose(&self, command: &Command<'_>) -> Result<Proposal, Full> {
        let mut queue = self.queue.lock();
        if queue.draining {
            return Ok(Proposal::refused(ClientError::Draining));
        }
        if queue.open.as_ref().is_some_and(OpenBatch::is_full) {
            if queue.closed_bytes >= QUEUE_BYTES_MAX {
                return Err(Full);
            }
            if let Some(full) = queue.open.take() {
                queue.closed_bytes += full.builder.body_len();
                queue.closed.push_back(full);
            }
        }
        let first = queue.open.is_none();
        let open = queue.open.get_or_insert_with(OpenBatch::new);
        let position = open.builder.push(command);
        let cell = Arc::clone(&open.cell);
        drop(queue);
        if first {
            self.filled.notify_one();
        }
        Ok(Proposal { cell, position, slot: None })
    }

    /// The oldest batch, if there is one.
    pub(crate) fn take(&self) -> Option<OpenBatch> {
        let mut queue = self.queue.lock();
        let batch = match queue.closed.pop_front() {
            Some(batch) => {
                queue.closed_bytes -= batch.builder.body_len();
                batch
            }
            None => queue.open.take()?,
        };
        drop(queue);
        self.room.notify_waiters();
        Some(batch)
    }

    /// Waits until there is something to take. May return once too often.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Waits until `propose` may succeed again.
    pub(crate) async fn ready(&self) {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            {
                let queue = self.queue.lock();
                if queue.draining || queue.closed_bytes < QUEUE_BYTES_MAX {
                    return;
                }
            }
            room.await;
        }
    }

    /// Whether anything waits.
    pub(crate) fn is_empty(&self) -> bool {
        let queue = self.queue.lock();
        queue.open.is_none() && queue.closed.is_empty()
    }

    /// Gives up on what has waited since before `before`: it was never sent.
    pub(crate) fn expire(&self, before: Instant) {
        loop {
            {
                let queue = self.queue.lock();
                let oldest = queue.closed.front().or(queue.open.as_ref());
                if oldest.is_none_or(|batch| before <= batch.born) {
                    return;
                }
            }
            if let Some(batch) = self.take() {
                batch.cell.complete(Err(ClientError::NoQuorum));
            }
        }
    }

    /// Refuses everything from now on, and what waits.
    pub(crate) fn drain(&self) {
        self.queue.lock().draining = true;
        while let Some(batch) = self.take() {
            batch.cell.complete(Err(ClientError::Draining));
        }
        self.room.notify_waiters();
    }
}

/// A command on its way; resolves to its outcome within the operation budget.
#[derive(Debug)]
pub struct Proposal {
    cell: Arc<BatchCell>,
    position: usize,
    slot: Option<usize>,
}

impl Proposal {
    /// Of a command that is not queued.
    pub(crate) fn refused(why: ClientError) -> Self {
        let cell = Cell::new();
        cell.complete(Err(why));
        Self { cell, position: 0, slot: None }
    }
}

impl Future for Proposal {
    type Output = Result<Outcome, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Poll::Ready(result) = this.cell.poll(cx, &mut this.slot) else {
            return Poll::Pending;
        };
        let outcomes = result?;
        let outcome = outcomes.as_slice().get(this.position).cloned();
        // Outcomes that are too few would be a bug of another version; the write may have happened.
        Poll::Ready(outcome.ok_or(ClientError::OutcomeUnknown))
    }
}

const BATCH_COMMANDS_MAX: usize = 256;
const BATCH_BYTES_MAX: usize = 256 * 1024;

/// What may wait behind the batch that is filling; one item more may follow.
const QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    use engine::Expiry;

    fn touch(batcher: &Batcher) -> Result<Proposal, Full> {
        batcher.propose(&Command::Touch { key: b"k", expiry: Expiry::Never })
    }

    #[test]
    fn a_batch_closes_at_its_bound() {
        let batcher = Batcher::default();
        let proposals: Vec<_> = (0..BATCH_COMMANDS_MAX + 1).map(|_| touch(&batcher)).collect();
        let first = batcher.take().unwrap();
        assert_eq!(first.builder.command_count(), BATCH_COMMANDS_MAX);
        assert_eq!(batcher.take().unwrap().builder.command_count(), 1);
        assert!(batcher.take().is_none());
        assert_eq!(proposals.last().unwrap().as_ref().unwrap().position, 0);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_until_something_leaves() {
        let batcher = Batcher::default();
        let value = vec![0; BATCH_BYTES_MAX];
        let store = Command::Store {
            mode: engine::StoreMode::Set,
            key: b"k",
            flags: 0,
            expiry: Expiry::Never,
            value: &value,
            cas: None,
        };
        let mut accepted = 0;
        while batcher.propose(&store).is_ok() {
            accepted += 1;
            assert!(accepted < 100);
        }
        let ready = batcher.ready();
        tokio::pin!(ready);
        assert!(futures_util::poll!(ready.as_mut()).is_pending());
        batcher.take().unwrap();
        ready.await;
        assert!(batcher.propose(&store).is_ok());
    }

    #[tokio::test]
    async fn what_expires_was_never_sent() {
        let batcher = Batcher::default();
        let proposal = touch(&batcher).unwrap();
        batcher.expire(Instant::now() - std::time::Duration::from_secs(1));
        assert!(!batcher.is_empty());
        batcher.expire(Instant::now() + std::time::Duration::from_secs(1));
        assert!(matches!(proposal.await, Err(ClientError::NoQuorum)));
    }

    #[tokio::test]
    async fn a_draining_queue_refuses() {
        let batcher = Batcher::default();
        let waiting = touch(&batcher).unwrap();
        batcher.drain();
        assert!(matches!(waiting.await, Err(ClientError::Draining)));
        assert!(matches!(touch(&batcher).unwrap().await, Err(ClientError::Draining)));
    }
}
