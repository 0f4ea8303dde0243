//! Linearizable reads of nodes without a lease: one barrier for all reads that wait at a moment.
//!
//! ```text
//!  readers ──join──▶ open cell ──▶ BarrierKeeper ──▶ leader: index, time
//!     ▲                                                  │
//!     └── cell completes when this replica has applied the index (module `applied`)
//! ```
//!
//! A reader joins the cell that has not been sent yet, so its barrier starts after the read did
//! (Raft dissertation 6.4).

use std::sync::Arc;
use std::time::Duration;

use canary::Canary;
use engine::UnixMillis;
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tonic::Streaming;

use crate::applied::{ReadCell, Waiter};
use crate::cell::Cell;
use crate::context::Context;
use crate::error::ClientError;
use crate::leader::{Leader, LeaderWatch};
use crate::pb;
use crate::proposer::open_forward;
use crate::types::Raft;

/// Where readers gather.
#[derive(Debug, Default)]
pub(crate) struct Barrier {
    open: Mutex<Option<Gathering>>,
    wanted: Notify,
}

#[derive(Debug)]
struct Gathering {
    cell: Arc<ReadCell>,
    born: Instant,
}

impl Barrier {
    /// Waits until this replica may answer a read that starts now; the time judges expiry.
    pub(crate) async fn pass(&self) -> Result<UnixMillis, ClientError> {
        let cell = {
            let mut open = self.open.lock();
            let gathering = open.get_or_insert_with(|| {
                self.wanted.notify_one();
                Gathering { cell: Cell::new(), born: Instant::now() }
            });
            Arc::clone(&gathering.cell)
        };
        cell.wait().await
    }

    fn take(&self) -> Option<Gathering> {
        self.open.lock().take()
    }
}

/// What the leader says to a barrier.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Proof {
    /// The state must have applied this much.
    pub(crate) index: u64,
    /// Expiry is judged at this time.
    pub(crate) at: UnixMillis,
}

/// The leader's side in the usual case: the proof at once, if the lease is valid.
pub(crate) fn prove_by_lease(context: &Context) -> Option<Proof> {
    // In this order: what is stamped before that time is applied, or comes to nothing; what is
    // acknowledged is applied here, and a valid lease says that nobody else has acknowledged
    // anything since.
    let at = context.stamps.read_time()?;
    let proof = Proof { index: context.applied.index(), at };
    context.lease.is_valid().then_some(proof)
}

/// The leader's side: the proof, or `None` if this node cannot give it now.
pub(crate) async fn prove(raft: &Raft, context: &Context) -> Option<Proof> {
    if let Some(proof) = prove_by_lease(context) {
        return Some(proof);
    }
    tokio::select! {
        proof = prove_by_quorum(raft, context) => proof,
        () = deposed(raft) => None,
        () = tokio::time::sleep(PROVE_TIMEOUT) => None,
    }
}

/// Resolves when this node does not lead: nobody confirms it any more, and readers ask the next.
async fn deposed(raft: &Raft) {
    let mut metrics = raft.metrics();
    while metrics.borrow_watched().state == ServerState::Leader {
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

/// Asks the others whether this node still leads.
async fn prove_by_quorum(raft: &Raft, context: &Context) -> Option<Proof> {
    let at = context.clock.now();
    context.stamps.passed(at).await;
    let metrics = raft.metrics();
    // An entry of its own term is applied, and so all that its predecessors have acknowledged.
    context.acks.quorum(&metrics.borrow_watched(), Instant::now())?;
    let proof = Proof { index: context.applied.index(), at };
    let asked_at = Instant::now();
    raft.trigger().heartbeat().await.ok()?;
    loop {
        let changed = context.acks.changed();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let confirmed = context.acks.quorum(&metrics.borrow_watched(), Instant::now())?;
        if asked_at < confirmed {
            return Some(proof);
        }
        changed.await;
    }
}

/// The task that sends barriers, one at a time.
pub(crate) struct BarrierKeeper {
    context: Arc<Context>,
    raft: Raft,
    leader: LeaderWatch,
    stream: Option<Stream>,
    number: u64,
}

struct Stream {
    to: Leader,
    requests: mpsc::Sender<pb::ForwardRequest>,
    replies: Streaming<pb::ForwardReply>,
}

impl BarrierKeeper {
    pub(crate) fn new(context: Arc<Context>, raft: Raft, leader: LeaderWatch) -> Self {
        Self { context, raft, leader, stream: None, number: 0 }
    }

    /// Runs until the task is dropped.
    pub(crate) async fn run(mut self) {
        loop {
            match self.context.barrier.take() {
                Some(gathering) => self.serve(gathering).await,
                None => self.idle().await,
            }
        }
    }

    /// Waits for readers; meanwhile, gives up on those whose index does not come.
    async fn idle(&self) {
        let budget = self.context.timing.budget;
        let wanted = self.context.barrier.wanted.notified();
        tokio::pin!(wanted);
        while tokio::time::timeout(EXPIRE_EVERY, wanted.as_mut()).await.is_err() {
            let before = Instant::now().checked_sub(budget);
            let left = before.is_some_and(|before| self.context.applied.expire(before));
            if !left {
                return wanted.await;
            }
        }
    }

    async fn serve(&mut self, gathering: Gathering) {
        let deadline = gathering.born + self.context.timing.budget;
        while Instant::now() < deadline {
            let Some(proof) = self.ask().await else {
                let _ = tokio::time::timeout(RETRY_AFTER, self.leader.changed()).await;
                continue;
            };
            let Gathering { cell, born } = gathering;
            if Canary::ServeBeforeReplay.is_planted() {
                return cell.complete(Ok(proof.at));
            }
            self.context.applied.wait(Waiter { index: proof.index, at: proof.at, born, cell });
            return;
        }
        gathering.cell.complete(Err(ClientError::NoQuorum));
    }

    async fn ask(&mut self) -> Option<Proof> {
        match self.leader.current() {
            Leader::Nobody => None,
            Leader::Me => prove(&self.raft, &self.context).await,
            to @ Leader::Peer(_) => {
                let proof = tokio::time::timeout(ASK_TIMEOUT, self.ask_peer(to)).await;
                let proof = proof.ok().flatten();
                if proof.is_none() {
                    self.stream = None;
                }
                proof
            }
        }
    }

    async fn ask_peer(&mut self, to: Leader) -> Option<Proof> {
        if self.stream.as_ref().is_none_or(|stream| stream.to != to) {
            let Leader::Peer(peer) = &to else { return None };
            let (requests, replies) = open_forward(&self.context, peer).await?;
            self.stream = Some(Stream { to, requests, replies });
        }
        let stream = self.stream.as_mut()?;
        self.number += 1;
        let what = Some(pb::forward_request::What::Barrier(self.number));
        stream.requests.try_send(pb::ForwardRequest { what }).ok()?;
        loop {
            let reply = stream.replies.message().await.ok()??;
            let pb::forward_reply::What::Barrier(reply) = reply.what? else { return None };
            if reply.number == self.number {
                let proof = Proof { index: reply.index, at: UnixMillis(reply.at) };
                return reply.proven.then_some(proof);
            }
        }
    }
}

const PROVE_TIMEOUT: Duration = Duration::from_millis(500);

/// A leader that is alive answers in a millisecond; a dead one is replaced before this.
const ASK_TIMEOUT: Duration = Duration::from_millis(500);
const RETRY_AFTER: Duration = Duration::from_millis(2);
const EXPIRE_EVERY: Duration = Duration::from_millis(100);
