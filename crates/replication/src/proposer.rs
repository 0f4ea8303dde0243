//! Carries this node's batches to the leader, wherever it is, until each has an outcome.
//!
//! ```text
//!  connections ──▶ Batcher ──▶ Proposer ──▶ raft (this node leads)
//!                                 │    └──▶ Forward stream to the leader
//!                                 └── in flight, by number, until answered
//! ```
//!
//! Batches are numbered; the state machine applies each number of an origin once and in order
//! (crate `engine`, invariants). So everything in flight is simply sent again when the leader
//! changes, a stream breaks, or an answer says `Retry` or `Gap`.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use canary::Canary;
use engine::{Origin, Outcomes};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, Sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::batcher::{BatchCell, OpenBatch};
use crate::context::Context;
use crate::error::ClientError;
use crate::leader::{Leader, LeaderWatch};
use crate::pb;
use crate::propose::{Verdict, propose, verdict};
use crate::types::Raft;

/// The task that owns everything in flight.
pub(crate) struct Proposer {
    context: Arc<Context>,
    raft: Raft,
    leader: LeaderWatch,
    origin: Origin,
    next_seq: u64,
    /// Consecutive numbers, oldest in front.
    in_flight: VecDeque<InFlight>,
    route: Route,
    /// Whom `route` leads to.
    routed_to: Leader,
    /// Grows with each route; verdicts of older ones that only say "again" are void.
    generation: u64,
    local: FuturesUnordered<BoxFuture<'static, (u64, u64, Verdict)>>,
}

struct InFlight {
    seq: u64,
    body: Bytes,
    cell: Arc<BatchCell>,
    born: Instant,
    done: bool,
}

/// Where batches go.
enum Route {
    /// Nowhere; looked for again after a moment, or when the leader changes.
    None,
    Local,
    Remote(Box<Remote>),
}

struct Remote {
    requests: mpsc::Sender<pb::ForwardRequest>,
    replies: Streaming<pb::ForwardReply>,
}

/// What woke the proposer.
enum Event {
    Filled,
    LeaderChanged,
    Verdict { generation: u64, seq: u64, verdict: Verdict },
    RouteBroken,
    Tick,
}

impl Proposer {
    pub(crate) fn new(context: Arc<Context>, raft: Raft, leader: LeaderWatch) -> Self {
        // Above every epoch of an earlier start.
        let origin = Origin { node: context.id, epoch: context.boots << 32 };
        Self {
            context,
            raft,
            leader,
            origin,
            next_seq: 1,
            in_flight: VecDeque::new(),
            route: Route::None,
            routed_to: Leader::Nobody,
            generation: 0,
            local: FuturesUnordered::new(),
        }
    }

    /// Runs until the task is dropped.
    pub(crate) async fn run(mut self) {
        let tick = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(tick);
        loop {
            self.fill().await;
            match self.next_event(tick.as_mut()).await {
                Event::Filled => {}
                Event::LeaderChanged => self.follow_leader().await,
                Event::RouteBroken => self.break_route(tick.as_mut()),
                Event::Verdict { generation, seq, verdict } => {
                    if self.on_verdict(generation, seq, verdict) {
                        self.break_route(tick.as_mut());
                    }
                }
                Event::Tick => {
                    self.expire();
                    if matches!(self.route, Route::None) {
                        self.find_route().await;
                    }
                    let pause = self.tick_after();
                    tick.as_mut().reset(Instant::now() + pause);
                }
            }
        }
    }

    /// Sends new batches while the window has room.
    async fn fill(&mut self) {
        while self.has_room() {
            let Some(batch) = self.context.batcher.take() else { return };
            self.number(batch);
            let last = self.in_flight.len() - 1;
            if !self.send_from(last).await {
                self.route = Route::None;
            }
        }
    }

    fn has_room(&self) -> bool {
        self.in_flight.len() < IN_FLIGHT_MAX && !matches!(self.route, Route::None)
    }

    async fn next_event(&mut self, tick: std::pin::Pin<&mut Sleep>) -> Event {
        let has_room = self.has_room();
        let remote = async {
            match &mut self.route {
                Route::Remote(remote) => remote.replies.message().await,
                Route::None | Route::Local => std::future::pending().await,
            }
        };
        let generation = self.generation;
        tokio::select! {
            biased;
            Some((generation, seq, verdict)) = self.local.next() => {
                Event::Verdict { generation, seq, verdict }
            }
            reply = remote => match reply.ok().flatten().and_then(batch_verdict) {
                Some((seq, verdict)) => Event::Verdict { generation, seq, verdict },
                None => Event::RouteBroken,
            },
            () = self.leader.changed() => Event::LeaderChanged,
            () = self.context.batcher.filled(), if has_room => Event::Filled,
            () = tick => Event::Tick,
        }
    }

    fn number(&mut self, batch: OpenBatch) {
        let seq = self.next_seq;
        self.next_seq += 1;
        let acked = self.in_flight.front().map_or(seq, |oldest| oldest.seq) - 1;
        let body = Bytes::from(batch.builder.finish(self.origin, seq, acked));
        let (cell, born) = (batch.cell, batch.born);
        self.in_flight.push_back(InFlight { seq, body, cell, born, done: false });
    }

    /// Sends everything in flight from `position` on, in order. `false`: the route is broken.
    async fn send_from(&mut self, position: usize) -> bool {
        for batch in self.in_flight.range(position..).filter(|batch| !batch.done) {
            let (generation, seq, body) = (self.generation, batch.seq, batch.body.clone());
            if Canary::AckBeforeQuorum.is_planted()
                && let Some(outcomes) = engine::assumed_outcomes(&body)
            {
                batch.cell.complete(Ok(Arc::new(outcomes)));
            }
            match &self.route {
                Route::None => return false,
                Route::Local => {
                    let Ok(proposed) = propose(&self.raft, &self.context, body).await else {
                        return false;
                    };
                    let context = Arc::clone(&self.context);
                    let answer =
                        async move { (generation, seq, verdict(proposed, &context).await) };
                    self.local.push(Box::pin(answer));
                }
                Route::Remote(remote) => {
                    let what = Some(pb::forward_request::What::Batch(body));
                    // The channel has room for the window; full means the stream is stuck.
                    if remote.requests.try_send(pb::ForwardRequest { what }).is_err() {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Membership and votes change more often than the leader does.
    async fn follow_leader(&mut self) {
        if matches!(self.route, Route::None) || self.leader.current() != self.routed_to {
            self.find_route().await;
        }
    }

    /// Takes the route to the leader of this moment, and sends everything in flight on it.
    async fn find_route(&mut self) {
        self.generation += 1;
        self.routed_to = self.leader.current();
        self.route = match &self.routed_to {
            Leader::Me => Route::Local,
            Leader::Peer(peer) => match open_forward(&self.context, peer).await {
                Some((requests, replies)) => Route::Remote(Box::new(Remote { requests, replies })),
                None => Route::None,
            },
            Leader::Nobody => Route::None,
        };
        if !self.send_from(0).await {
            self.route = Route::None;
        }
    }

    fn break_route(&mut self, tick: std::pin::Pin<&mut Sleep>) {
        self.route = Route::None;
        tick.reset(Instant::now() + RETRY_AFTER);
    }

    /// Says whether everything in flight must be sent again.
    fn on_verdict(&mut self, generation: u64, seq: u64, verdict: Verdict) -> bool {
        let result = match verdict {
            Verdict::Done(outcomes) => Ok(outcomes),
            Verdict::Forgotten => Err(ClientError::OutcomeUnknown),
            Verdict::Gap { next_seq } => {
                let oldest = self.in_flight.front().map_or(self.next_seq, |batch| batch.seq);
                let again = generation == self.generation;
                if again && next_seq < oldest {
                    // The cluster has dropped this origin as gone: nothing can be proven any more.
                    self.abandon();
                }
                return again;
            }
            Verdict::Retry => return generation == self.generation,
        };
        if let Some(batch) = self.in_flight.iter_mut().find(|batch| batch.seq == seq) {
            batch.done = true;
            batch.cell.complete(result);
        }
        while self.in_flight.front().is_some_and(|batch| batch.done) {
            self.in_flight.pop_front();
        }
        false
    }

    /// Errors for everybody who has waited longer than the budget.
    fn expire(&mut self) {
        let Some(before) = Instant::now().checked_sub(self.context.timing.budget) else { return };
        self.context.batcher.expire(before);
        if self.in_flight.front().is_some_and(|batch| batch.born < before) {
            self.abandon();
        }
    }

    /// Gives up on everything in flight; a new epoch, so that nothing of the old one is sent late.
    ///
    /// Its numbers begin anew, so what is still to be answered must not be heard: it would be taken
    /// for the answer to the new epoch's batch of that number.
    fn abandon(&mut self) {
        self.generation += 1;
        self.local = FuturesUnordered::new();
        self.route = Route::None;
        for batch in self.in_flight.drain(..) {
            batch.cell.complete(Err(ClientError::OutcomeUnknown));
        }
        self.origin.epoch += 1;
        self.next_seq = 1;
    }

    fn tick_after(&self) -> Duration {
        let idle = self.in_flight.is_empty() && self.context.batcher.is_empty();
        match self.route {
            Route::None if !idle => RETRY_AFTER,
            Route::None => IDLE_RETRY_AFTER,
            Route::Local | Route::Remote(_) => EXPIRE_EVERY,
        }
    }
}

/// A stream to the leader for batches or read barriers.
pub(crate) async fn open_forward(
    context: &Context,
    peer: &crate::leader::Peer,
) -> Option<(mpsc::Sender<pb::ForwardRequest>, Streaming<pb::ForwardReply>)> {
    use crate::peers::{Envelope, Traffic};
    let channel = context.peers.channel_to(&peer.member, Traffic::Forward).ok()?;
    let (requests, outbound) = mpsc::channel(FORWARD_REQUESTS_MAX);
    let envelope = Envelope { cluster: context.cluster(), from: context.id, to: peer.id };
    let mut client = pb::cluster_client::ClusterClient::new(channel)
        .max_decoding_message_size(usize::MAX)
        .max_encoding_message_size(usize::MAX);
    let open = client.forward(envelope.wrap(ReceiverStream::new(outbound)));
    let reply = tokio::time::timeout(OPEN_TIMEOUT, open).await.ok()?.ok()?;
    Some((requests, reply.into_inner()))
}

fn batch_verdict(reply: pb::ForwardReply) -> Option<(u64, Verdict)> {
    use pb::batch_reply::Result as R;
    let pb::forward_reply::What::Batch(reply) = reply.what? else { return None };
    let verdict = match reply.result? {
        R::Outcomes(bytes) => Verdict::Done(Arc::new(Outcomes::decode(&bytes).ok()?)),
        R::NextSeq(next_seq) => Verdict::Gap { next_seq },
        R::Forgotten(_) => Verdict::Forgotten,
        R::Retry(_) => Verdict::Retry,
    };
    Some((reply.seq, verdict))
}

/// Batches sent and not answered. More would only make each batch smaller, and an entry costs far
/// more than a command: two cost half as much CPU again per set at 50 connections.
const IN_FLIGHT_MAX: usize = 1;

/// What a forward stream's channel holds: the window, sent again a few times.
const FORWARD_REQUESTS_MAX: usize = 64;

const OPEN_TIMEOUT: Duration = Duration::from_millis(200);
const RETRY_AFTER: Duration = Duration::from_millis(1);
const IDLE_RETRY_AFTER: Duration = Duration::from_millis(20);
const EXPIRE_EVERY: Duration = Duration::from_millis(50);
