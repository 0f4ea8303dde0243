//! openraft's calls to a peer, over persistent gRPC streams.

use std::future::Future;
use std::sync::Arc;

use engine::UnixMillis;
use futures_util::future::Either;
use futures_util::{Stream, StreamExt, stream};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError,
    StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::acks::{Message, Unanswered};
use crate::commits::hold_commits;
use crate::compress::pack;
use crate::context::Context;
use crate::convert::{self, InvalidMessage};
use crate::flight::Flight;
use crate::lend::{Loan, lend};
use crate::log::{DiskLog, MemoryLog};
use crate::pb;
use crate::pb::raft_client::RaftClient;
use crate::peers::{BadAddress, Envelope, Traffic};
use crate::types::{Member, ReplicaId, Snapshot, SnapshotData, TypeConfig, Vote, entry_len};
use crate::world::Labour;

type RpcError = RPCError<TypeConfig>;
type AppendStream = BoxStream<'static, Result<StreamAppendResult<TypeConfig>, RpcError>>;

/// Makes a [`Link`] for each of openraft's purposes.
pub(crate) struct Network {
    context: Arc<Context>,
    purged: Purged,
}

/// Knows what is gone from this node's log.
#[derive(Clone)]
pub(crate) enum Purged {
    Memory(MemoryLog),
    Disk(DiskLog),
}

impl Purged {
    /// The last entry that is gone, as openraft counts.
    fn index(&self) -> Option<u64> {
        match self {
            Self::Memory(log) => log.purged_index(),
            Self::Disk(log) => log.purged_index(),
        }
    }
}

impl Network {
    pub(crate) fn new(context: Arc<Context>, purged: Purged) -> Self {
        Self { context, purged }
    }

    fn link(&self, target: ReplicaId, member: &Member, purpose: Purpose) -> Link {
        Link {
            context: Arc::clone(&self.context),
            purged: self.purged.clone(),
            target,
            member: member.clone(),
            purpose,
            heartbeats: None,
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: ReplicaId, member: &Member) -> Link {
        self.link(target, member, Purpose::Replication)
    }

    async fn new_heartbeat_client(&mut self, target: ReplicaId, member: &Member) -> Link {
        self.link(target, member, Purpose::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: ReplicaId, member: &Member) -> Link {
        self.link(target, member, Purpose::Snapshot)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Replication,
    Heartbeat,
    Snapshot,
}

/// One of openraft's clients of one peer.
pub(crate) struct Link {
    context: Arc<Context>,
    purged: Purged,
    target: ReplicaId,
    member: Member,
    purpose: Purpose,
    /// Stays open between heartbeats.
    heartbeats: Option<Heartbeats>,
}

/// An append stream that carries one heartbeat at a time.
struct Heartbeats {
    requests: mpsc::Sender<pb::AppendRequest>,
    replies: Streaming<pb::AppendReply>,
    /// openraft gives up on a slow heartbeat, its reply comes later.
    unanswered: Unanswered,
}

impl Link {
    fn envelope(&self) -> Envelope {
        let cluster = self.context.cluster();
        Envelope { cluster, from: self.context.id, to: self.target }
    }

    fn client(&self, traffic: Traffic) -> Result<RaftClient<Channel>, Unreachable<TypeConfig>> {
        let channel = self.context.peers.channel_to(&self.member, traffic).map_err(unreachable)?;
        Ok(RaftClient::new(channel))
    }

    /// A stream for as long as openraft replicates on it.
    async fn replicate<S>(&mut self, input: S) -> Result<AppendStream, RpcError>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let mut flight = Flight::new(&self.context.flights, self.target);
        let (context, purged) = (Arc::clone(&self.context), self.purged.clone());
        let behind = flight.behind();
        let (loan, lent) = lend(input);
        let unanswered = Arc::new(Mutex::new(Unanswered::default()));
        let sent = Arc::clone(&unanswered);
        let requests = flight
            .bounded(hold_commits(lent, Arc::clone(&self.context)), entries_len)
            .map(move |request: AppendEntriesRequest<TypeConfig>| {
                end_behind_cut(&request, purged.index(), &behind);
                sent.lock().push(request.vote.leader_id);
                message(request, &context)
            });
        let request = self.envelope().wrap(requests);
        let mut client = self.client(Traffic::Urgent)?;
        let replies = tokio::select! {
            replies = client.append(request) => replies.map_err(refused)?.into_inner(),
            () = flight.outrun() => return Err(outrun()),
        };
        let open = Replication {
            context: Arc::clone(&self.context),
            target: self.target,
            flight,
            replies,
            unanswered,
            _loan: loan,
        };
        Ok(Box::pin(stream::unfold(Some(open), Replication::next)))
    }

    /// One heartbeat on the stream that stays.
    async fn heartbeat(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
    ) -> Result<StreamAppendResult<TypeConfig>, RpcError> {
        let leader = request.vote.leader_id;
        let request = message(request, &self.context);
        if self.heartbeats.is_none() {
            self.heartbeats = Some(self.open_heartbeats().await?);
        }
        // Taken back only when the stream is still good.
        let Some(heartbeats) = &mut self.heartbeats else {
            return Err(RpcError::Unreachable(unreachable(Closed)));
        };
        heartbeats.unanswered.push(leader);
        match heartbeats.exchange(request).await {
            Ok((reply, answered)) => append_result(reply, answered, &self.context, self.target),
            Err(error) => {
                self.heartbeats = None;
                Err(error)
            }
        }
    }

    async fn open_heartbeats(&self) -> Result<Heartbeats, RpcError> {
        let (requests, outbound) = mpsc::channel(HEARTBEATS_MAX);
        let request = self.envelope().wrap(ReceiverStream::new(outbound));
        let replies = self.client(Traffic::Urgent)?.append(request).await.map_err(refused)?;
        Ok(Heartbeats {
            requests,
            replies: replies.into_inner(),
            unanswered: Unanswered::default(),
        })
    }
}

impl Heartbeats {
    /// Sends the last of the unanswered; its reply, and whose reply that is.
    async fn exchange(
        &mut self,
        request: pb::AppendRequest,
    ) -> Result<(pb::AppendReply, Option<Message>), RpcError> {
        if self.requests.try_send(request).is_err() {
            return Err(RpcError::Unreachable(unreachable(Closed)));
        }
        loop {
            let reply = self.replies.message().await.map_err(refused)?;
            let reply = reply.ok_or_else(|| RpcError::Unreachable(unreachable(Closed)))?;
            let answered = self.unanswered.pop();
            if self.unanswered.is_empty() {
                return Ok((reply, answered));
            }
        }
    }
}

impl RaftNetworkV2<TypeConfig> for Link {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        Ok(self.heartbeat(request).await?.into())
    }

    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        _option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RpcError>>, RpcError>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            if self.purpose != Purpose::Heartbeat {
                let replies: BoxStream<'s, _> = self.replicate(input).await?;
                return Ok(replies);
            }
            let Some(request) = input.next().await else {
                let nothing: BoxStream<'s, _> = Box::pin(stream::empty());
                return Ok(nothing);
            };
            let result = self.heartbeat(request).await?;
            let one: BoxStream<'s, _> = Box::pin(stream::iter([Ok(result)]));
            Ok(one)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let request = self.envelope().wrap(convert::vote_request_to(&request));
        let reply = self.client(Traffic::Urgent)?.vote(request).await.map_err(refused)?;
        let reply = reply.into_inner();
        self.context.clock.hear_voter(UnixMillis(reply.clock));
        convert::vote_reply_from(reply).map_err(invalid)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let request = self.envelope().wrap(convert::vote_request_to(&request));
        let reply = self.client(Traffic::Urgent)?.pre_vote(request).await.map_err(refused)?;
        convert::vote_reply_from(reply.into_inner()).map_err(invalid)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let header = convert::snapshot_header_to(&vote, &snapshot.meta);
        let SnapshotData::Frozen(frozen) = snapshot.snapshot else {
            return Err(unreachable(NotFrozen).into());
        };
        let labour = self.context.world.labour;
        let request = self.envelope().wrap(snapshot_parts(header, *frozen, labour));
        let mut client = self.client(Traffic::Bulk)?;
        let send = client.install_snapshot(request);
        let cancelled = std::pin::pin!(cancel);
        let reply = tokio::select! {
            reply = send => reply.map_err(unreachable)?,
            closed = cancelled => return Err(closed.into()),
        };
        let vote = convert::vote_from(reply.into_inner().vote).map_err(unreachable)?;
        Ok(SnapshotResponse::new(vote))
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        let request = self.envelope().wrap(convert::transfer_to(&request));
        let reply = self.client(Traffic::Urgent)?.transfer_leader(request).await;
        let reply = reply.map_err(refused)?.into_inner();
        if !reply.refused.is_empty() {
            tracing::warn!(target = self.target, why = reply.refused, "transfer refused");
        }
        Ok(Ok(()))
    }
}

/// Encodes on a thread of its own: the raft thread only hands chunks on.
fn snapshot_parts(
    header: pb::SnapshotHeader,
    frozen: engine::Frozen,
    labour: Labour,
) -> impl Stream<Item = pb::SnapshotPart> + Send + 'static {
    if labour == Labour::Inline {
        let parts: Vec<_> = encode_parts(header, frozen).collect();
        return Either::Left(stream::iter(parts));
    }
    let (parts, outbound) = mpsc::channel(SNAPSHOT_CHUNKS_MAX);
    tokio::task::spawn_blocking(move || {
        for part in encode_parts(header, frozen) {
            if parts.blocking_send(part).is_err() {
                return;
            }
        }
    });
    Either::Right(ReceiverStream::new(outbound))
}

fn encode_parts(
    header: pb::SnapshotHeader,
    frozen: engine::Frozen,
) -> impl Iterator<Item = pb::SnapshotPart> {
    use pb::snapshot_part::Part;
    let chunks = frozen.encode().map_while(|chunk| {
        let packed = pack(&chunk);
        let packed = packed.inspect_err(|error| tracing::error!(%error, "snapshot")).ok()?;
        Some(Part::Packed(pb::Packed { raw_len: packed.raw_len, bytes: packed.bytes }))
    });
    let parts = std::iter::once(Part::Header(header)).chain(chunks);
    parts.map(|part| pb::SnapshotPart { part: Some(part) })
}

/// A stream on which a follower gets its log.
struct Replication<S> {
    context: Arc<Context>,
    target: ReplicaId,
    flight: Flight,
    replies: Streaming<pb::AppendReply>,
    unanswered: Arc<Mutex<Unanswered>>,
    /// openraft's requests are its own again as soon as this stream ends.
    _loan: Loan<S>,
}

impl<S> Replication<S> {
    /// The next result, and the stream unless it is given up.
    async fn next(
        open: Option<Self>,
    ) -> Option<(Result<StreamAppendResult<TypeConfig>, RpcError>, Option<Self>)> {
        let mut open = open?;
        let reply = tokio::select! {
            reply = open.replies.next() => reply?,
            () = open.flight.outrun() => return Some((Err(outrun()), None)),
        };
        let result = match reply {
            Ok(reply) => {
                let answered = open.unanswered.lock().pop();
                append_result(reply, answered, &open.context, open.target)
            }
            Err(status) => Err(refused(status)),
        };
        if let Ok(Ok(matched)) = &result {
            open.flight.answered(matched.as_ref());
        }
        Some((result, Some(open)))
    }
}

/// Ends the stream whose follower lacks what is gone: openraft would go on asking for it, and send
/// nothing.
fn end_behind_cut(
    request: &AppendEntriesRequest<TypeConfig>,
    purged: Option<u64>,
    behind: &Notify,
) {
    let prev = request.prev_log_id.map(|prev| prev.index);
    if prev < purged {
        behind.notify_one();
    }
}

fn entries_len(request: &AppendEntriesRequest<TypeConfig>) -> usize {
    request.entries.iter().map(entry_len).sum()
}

fn outrun() -> RpcError {
    RpcError::Unreachable(unreachable(Outrun))
}

/// An append for the wire, with what every one tells a follower.
fn message(request: AppendEntriesRequest<TypeConfig>, context: &Context) -> pb::AppendRequest {
    convert::append_to(request, context.clock.say(), context.space.is_closed())
}

#[expect(clippy::result_large_err, reason = "openraft's type, and the caller's too")]
fn append_result(
    reply: pb::AppendReply,
    answered: Option<Message>,
    context: &Context,
    from: ReplicaId,
) -> Result<StreamAppendResult<TypeConfig>, RpcError> {
    context.space.heard(from, reply.short_of_space);
    let result = convert::append_result_from(reply).map_err(invalid)?;
    // A follower whose log does not fit yet has accepted the leader all the same.
    if !matches!(result, Err(StreamAppendError::HigherVote(_)))
        && let Some(answered) = answered
    {
        context.acks.confirm(from, answered);
    }
    Ok(result)
}

fn unreachable(error: impl std::error::Error + 'static) -> Unreachable<TypeConfig> {
    Unreachable::new(&AnyError::new(&error))
}

fn refused(status: Status) -> RpcError {
    RpcError::Unreachable(unreachable(status))
}

fn invalid(error: InvalidMessage) -> RpcError {
    RpcError::Unreachable(unreachable(error))
}

impl From<BadAddress> for RpcError {
    fn from(error: BadAddress) -> Self {
        Self::Unreachable(unreachable(error))
    }
}

/// The stream has ended.
#[derive(Debug, thiserror::Error)]
#[error("peer closed the stream")]
struct Closed;

/// What the follower lacks is going.
#[derive(Debug, thiserror::Error)]
#[error("the log is cut before the follower has it")]
struct Outrun;

/// openraft sends what `get_current_snapshot` gave it, and that is frozen.
#[derive(Debug, thiserror::Error)]
#[error("snapshot has no data to send")]
struct NotFrozen;

/// One is in flight; the others are given up and not yet answered.
const HEARTBEATS_MAX: usize = 64;

/// Chunks encoded ahead of the network.
const SNAPSHOT_CHUNKS_MAX: usize = 4;
