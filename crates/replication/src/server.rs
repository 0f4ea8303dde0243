//! The peer endpoint: what other nodes may ask of this one.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use engine::UnixMillis;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt};
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::barrier::{Proof, prove, prove_by_lease};
use crate::compress::Packed;
use crate::context::Context;
use crate::convert::{self, InvalidMessage};
use crate::error::{Fatal, MemberError};
use crate::formation;
use crate::gate::CalledBy;
use crate::isolation;
use crate::leader::{Leader, LeaderWatch};
use crate::members::{self, Asked};
use crate::membership;
use crate::pb;
use crate::propose::{Verdict, propose, verdict};
use crate::refusals::Refusal;
use crate::stream::Caller;
use crate::types::{Raft, ReplicaId, Snapshot, SnapshotData, Vote, log_index};
use crate::version::Versions;
use crate::waiting::Invitation;

/// Both services; cheap to clone.
#[derive(Clone)]
pub(crate) struct PeerServer {
    context: Arc<Context>,
    raft: Raft,
    leader: LeaderWatch,
}

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl PeerServer {
    pub(crate) fn new(context: Arc<Context>, raft: Raft, leader: LeaderWatch) -> Self {
        Self { context, raft, leader }
    }

    /// Refuses a caller that claims to be the node called `name` and has no certificate of it.
    fn check_name<T>(&self, request: &Request<T>, name: &str) -> Result<(), Status> {
        let caller = request.extensions().get::<Caller>();
        if caller.is_some_and(|caller| caller.may_be(name)) {
            return Ok(());
        }
        let why = format!("`{name}` is claimed, the certificate is of {caller:?}");
        self.context.refusals.log(Refusal::Name, format_args!("a peer is refused: {why}"));
        Err(Status::permission_denied(why))
    }

    /// Refuses a cluster whose founder is not one of its members.
    fn check_former(&self, request: &Request<pb::FormRequest>) -> Result<(), Status> {
        let members = request.get_ref().members.iter().filter_map(|of| of.member.as_ref());
        let caller = request.extensions().get::<Caller>();
        let mut names = members.map(|member| member.name.as_str());
        if names.any(|name| caller.is_some_and(|caller| caller.may_be(name))) {
            return Ok(());
        }
        self.check_name(request, "a member of the new cluster")
    }

    /// The leader's peer address, or nothing.
    fn leader_address(&self) -> String {
        match self.leader.current() {
            Leader::Peer(peer) => peer.member.peer,
            Leader::Me | Leader::Nobody => String::new(),
        }
    }
}

fn fatal(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

/// The replica whose call the gate has let in.
fn caller<T>(request: &Request<T>) -> Result<ReplicaId, Status> {
    let called_by = request.extensions().get::<CalledBy>();
    called_by.map(|called_by| called_by.0).ok_or_else(|| Status::internal("call without a gate"))
}

/// A replica speaks for nobody but itself: the vote that it shows is its own.
fn check_vote(vote: &Vote, from: ReplicaId) -> Result<(), Status> {
    let node = vote.leader_id.node_id;
    if node == from {
        return Ok(());
    }
    Err(Status::permission_denied(format!("replica {from} shows a vote of replica {node}")))
}

#[tonic::async_trait]
impl pb::raft_server::Raft for PeerServer {
    type AppendStream = Replies<pb::AppendReply>;

    async fn append(
        &self,
        request: Request<Streaming<pb::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let from = caller(&request)?;
        let context = Arc::clone(&self.context);
        let incoming = Incoming { context, from, requests: request.into_inner() };
        let appends = futures_util::stream::unfold(incoming, |mut incoming| async move {
            incoming.next().await.map(|append| (append, incoming))
        });
        let results = self.raft.stream_append(Box::pin(appends));
        let context = Arc::clone(&self.context);
        let replies = results.map(move |result| match result {
            Ok(result) => Ok(convert::append_result_to(result, context.space.is_short())),
            Err(error) => Err(fatal(error)),
        });
        Ok(Response::new(Box::pin(replies)))
    }

    async fn pre_vote(
        &self,
        request: Request<pb::VoteRequest>,
    ) -> Result<Response<pb::VoteReply>, Status> {
        let from = caller(&request)?;
        let request = convert::vote_request_from(request.into_inner())?;
        check_vote(&request.vote, from)?;
        let reply = self.raft.pre_vote(request).await.map_err(fatal)?;
        Ok(Response::new(convert::vote_reply_to(&reply, self.context.clock.as_voter())))
    }

    async fn vote(
        &self,
        request: Request<pb::VoteRequest>,
    ) -> Result<Response<pb::VoteReply>, Status> {
        let from = caller(&request)?;
        let request = convert::vote_request_from(request.into_inner())?;
        check_vote(&request.vote, from)?;
        let reply = self.raft.vote(request).await.map_err(fatal)?;
        Ok(Response::new(convert::vote_reply_to(&reply, self.context.clock.as_voter())))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderReply>, Status> {
        let from = caller(&request)?;
        let request = convert::transfer_from(request.into_inner())?;
        check_vote(request.from_leader(), from)?;
        if self.context.draining.load(Ordering::Acquire) {
            let refused = "node is about to end".to_owned();
            return Ok(Response::new(pb::TransferLeaderReply { refused }));
        }
        let answer = self.raft.handle_transfer_leader(request).await.map_err(fatal)?;
        let refused = answer.err().map(|error| error.to_string()).unwrap_or_default();
        Ok(Response::new(pb::TransferLeaderReply { refused }))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<pb::SnapshotPart>>,
    ) -> Result<Response<pb::SnapshotReply>, Status> {
        let from = caller(&request)?;
        let mut parts = request.into_inner();
        let (vote, meta) = convert::snapshot_header_from(receive_header(&mut parts).await?)?;
        check_vote(&vote, from)?;
        let restored = receive_snapshot(parts).await?;
        let snapshot = Snapshot { meta, snapshot: SnapshotData::Restored(Box::new(restored)) };
        let reply = self.raft.install_full_snapshot(vote, snapshot).await.map_err(fatal)?;
        let vote = Some(convert::vote_to(&reply.vote));
        Ok(Response::new(pb::SnapshotReply { vote }))
    }
}

/// Appends of one leader, watched: each is a sign of life, their end a reason to suspect.
struct Incoming {
    context: Arc<Context>,
    from: ReplicaId,
    requests: Streaming<pb::AppendRequest>,
}

impl Incoming {
    async fn next(
        &mut self,
    ) -> Option<openraft::raft::AppendEntriesRequest<crate::types::TypeConfig>> {
        let request = self.requests.message().await.ok().flatten()?;
        let (clock, closed) = (UnixMillis(request.clock), request.closed);
        let checked = convert::append_from(request)
            .map_err(|error| self.unreadable(&error))
            .and_then(|request| check_vote(&request.vote, self.from).map(|()| request));
        match checked {
            Ok(request) => {
                self.context.contact.hear();
                self.context.clock.follow(clock);
                self.context.space.close(closed);
                Some(request)
            }
            Err(status) => {
                let (from, why) = (self.from, status.message());
                let why = format_args!("an append of replica {from} is refused: {why}");
                self.context.refusals.log(Refusal::Envelope, why);
                None
            }
        }
    }

    /// What this program does not know, it must not leave out: the others have applied it.
    fn unreadable(&self, error: &InvalidMessage) -> Status {
        if let InvalidMessage::UnknownEntry { .. } = error {
            let (what, version) = (error.to_string(), self.context.version.clone());
            self.context.fault.raise(Fatal::TooOld { what, version });
        }
        error.clone().into()
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.context.contact.lose(self.from);
    }
}

async fn receive_header(
    parts: &mut Streaming<pb::SnapshotPart>,
) -> Result<pb::SnapshotHeader, Status> {
    match parts.message().await?.and_then(|part| part.part) {
        Some(pb::snapshot_part::Part::Header(header)) => Ok(header),
        Some(pb::snapshot_part::Part::Packed(_)) | None => {
            Err(Status::invalid_argument("snapshot does not begin with its header"))
        }
    }
}

async fn receive_snapshot(
    mut parts: Streaming<pb::SnapshotPart>,
) -> Result<engine::Restored, Status> {
    use pb::snapshot_part::Part;
    let corrupt = |error: engine::CorruptSnapshot| Status::data_loss(error.to_string());
    let mut restorer = engine::Restorer::new();
    while let Some(part) = parts.message().await? {
        let Some(Part::Packed(pb::Packed { raw_len, bytes })) = part.part else {
            return Err(Status::invalid_argument("snapshot part is not a chunk"));
        };
        let chunk = Packed { raw_len, bytes }.unpack();
        let chunk = chunk.map_err(|error| Status::data_loss(error.to_string()))?;
        restorer.push(&chunk).map_err(corrupt)?;
    }
    let restored = restorer.finish().map_err(corrupt)?;
    tracing::info!(applied = restored.applied().0, "snapshot received");
    Ok(restored)
}

#[tonic::async_trait]
impl pb::cluster_server::Cluster for PeerServer {
    type ForwardStream = Replies<pb::ForwardReply>;

    async fn hello(
        &self,
        request: Request<pb::HelloRequest>,
    ) -> Result<Response<pb::HelloReply>, Status> {
        self.check_name(&request, &request.get_ref().name)?;
        let asking = request.into_inner().id;
        let mut member = self.context.member();
        if !formation::is_member(&self.raft, &self.context) {
            // A promise to form a cluster is not one yet.
            member.cluster = 0;
        }
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        Ok(Response::new(pb::HelloReply {
            name: member.name.clone(),
            id: self.context.id,
            cluster: member.cluster,
            member: Some(convert::member_to(&member)),
            membership: isolation::membership_index(&metrics.committed_membership_config),
            knows_you: metrics.committed_membership_config.get_node(&asking).is_some(),
            version_min: Versions::OURS.min,
            version_max: Versions::OURS.max,
        }))
    }

    async fn form(
        &self,
        request: Request<pb::FormRequest>,
    ) -> Result<Response<pb::FormReply>, Status> {
        self.check_former(&request)?;
        let request = request.into_inner();
        let named = request.members.iter().any(|member| member.id == self.context.id);
        let refused = if !named {
            format!("replica {} is not one of the members", self.context.id)
        } else if self.context.has_predecessor {
            "files of an earlier replica here may be the last copy of something".to_owned()
        } else if !self.context.enter(request.cluster) {
            format!("node is of cluster {}", self.context.cluster())
        } else {
            String::new()
        };
        Ok(Response::new(pb::FormReply { refused }))
    }

    async fn join(
        &self,
        request: Request<pb::JoinRequest>,
    ) -> Result<Response<pb::JoinReply>, Status> {
        use pb::join_reply::Result as R;
        let named = request.get_ref().member.as_ref();
        self.check_name(&request, named.map(|member| member.name.as_str()).unwrap_or_default())?;
        let request = request.into_inner();
        let member = convert::member_from(request.member)?;
        let result = if self.leader.current() == Leader::Me {
            match membership::admit(&self.raft, &self.context, request.id, member).await {
                Ok(cluster) => R::Cluster(cluster),
                Err(membership::NotAdmitted::Later) => R::Leader(String::new()),
                Err(membership::NotAdmitted::Never(why)) => R::Refused(why),
            }
        } else {
            R::Leader(self.leader_address())
        };
        Ok(Response::new(pb::JoinReply { result: Some(result) }))
    }

    async fn invite(
        &self,
        request: Request<pb::InviteRequest>,
    ) -> Result<Response<pb::InviteReply>, Status> {
        let pb::InviteRequest { id, join, replaces } = request.into_inner();
        let refused = if id != self.context.id {
            format!("replica {id} is not here")
        } else if self.context.cluster() != 0 {
            "the node has entered a cluster meanwhile".to_owned()
        } else {
            tracing::info!(at = join, replaces, "invited");
            self.context.waiting.invite(Invitation { join, replaces });
            String::new()
        };
        Ok(Response::new(pb::InviteReply { refused }))
    }

    async fn change_member(
        &self,
        request: Request<pb::ChangeMemberRequest>,
    ) -> Result<Response<pb::ChangeMemberReply>, Status> {
        use pb::change_member_reply::Result as R;
        let (change, dry_run) = convert::member_change_from(request.into_inner())?;
        let result = match members::make(&self.raft, &self.context, &change, dry_run).await {
            Ok(Asked::Begun(steps)) => R::Steps(pb::MemberSteps { steps }),
            Ok(Asked::Elsewhere(step)) => R::Elsewhere(step),
            Err(MemberError::NoLeader) => R::Elsewhere(String::new()),
            Err(MemberError::Refused(why)) => R::Refused(why),
            Err(MemberError::Unknown(why)) => R::Unknown(why),
            Err(MemberError::Undecided(why)) => R::Undecided(why),
        };
        Ok(Response::new(pb::ChangeMemberReply { result: Some(result) }))
    }

    async fn forward(
        &self,
        request: Request<Streaming<pb::ForwardRequest>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        let (replies, outbound) = mpsc::channel(FORWARD_REPLIES_MAX);
        let forwarded = Forwarded {
            context: Arc::clone(&self.context),
            raft: self.raft.clone(),
            requests: request.into_inner(),
            pending: FuturesUnordered::new(),
            replies,
        };
        // Ends with its stream: either side of it going away ends the task.
        tokio::spawn(forwarded.run());
        Ok(Response::new(Box::pin(ReceiverStream::new(outbound).map(Ok))))
    }

    async fn status(
        &self,
        _request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusReply>, Status> {
        Ok(Response::new(own_status(&self.raft, &self.context)))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderReply>, Status> {
        use pb::move_leader_reply::Result as R;
        let result = if self.leader.current() == Leader::Me {
            match membership::move_leader(&self.raft, &self.context, &request.into_inner().to).await
            {
                Ok(name) => R::Moved(name),
                Err(error) => R::Refused(error.to_string()),
            }
        } else {
            R::Leader(self.leader_address())
        };
        Ok(Response::new(pb::MoveLeaderReply { result: Some(result) }))
    }
}

/// What this node says of itself.
pub(crate) fn own_status(raft: &Raft, context: &Context) -> pb::StatusReply {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let stats = context.reader.stats();
    let digests = context.applied.digests().into_iter();
    pb::StatusReply {
        id: context.id,
        member: Some(convert::member_to(&context.member())),
        state: format!("{:?}", metrics.state).to_lowercase(),
        version: context.version.clone(),
        term: metrics.current_term,
        leader: metrics.current_leader.unwrap_or_default(),
        commit: metrics.local_committed.map_or(0, |log_id| log_index(&log_id).0),
        applied: context.applied.index(),
        items: stats.items,
        bytes: stats.bytes,
        serving: context.serving.load(Ordering::Acquire),
        digests: digests.map(|(index, digest)| pb::DigestAt { index, digest }).collect(),
        waiting: context.waiting.reason(),
        short_of_space: context.space.is_short(),
    }
}

/// One node's forward stream, on the leader.
struct Forwarded {
    context: Arc<Context>,
    raft: Raft,
    requests: Streaming<pb::ForwardRequest>,
    pending: FuturesUnordered<BoxFuture<'static, pb::ForwardReply>>,
    replies: mpsc::Sender<pb::ForwardReply>,
}

impl Forwarded {
    async fn run(mut self) {
        loop {
            let has_room = self.pending.len() < FORWARD_PENDING_MAX;
            let reply = tokio::select! {
                Some(reply) = self.pending.next() => Some(reply),
                request = self.requests.message(), if has_room => {
                    let Ok(Some(pb::ForwardRequest { what: Some(what) })) = request else { return };
                    match what {
                        pb::forward_request::What::Batch(body) => self.batch(&body).await,
                        pb::forward_request::What::Barrier(number) => self.barrier(number),
                    }
                }
            };
            if let Some(reply) = reply
                && self.replies.send(reply).await.is_err()
            {
                return;
            }
        }
    }

    async fn batch(&mut self, body: &Bytes) -> Option<pb::ForwardReply> {
        // Before it is in the log: there, every replica would have to refuse it.
        let seq = match engine::BatchHeader::check(body) {
            Ok(header) => header.seq,
            Err(error) => {
                tracing::warn!(%error, "forwarded batch refused");
                return None;
            }
        };
        match propose(&self.raft, &self.context, convert::unshare(body)).await {
            Ok(proposed) => {
                let context = Arc::clone(&self.context);
                let reply = async move { batch_reply(seq, verdict(proposed, &context).await) };
                self.pending.push(Box::pin(reply));
                None
            }
            Err(_stopped) => Some(batch_reply(seq, Verdict::Retry)),
        }
    }

    fn barrier(&mut self, number: u64) -> Option<pb::ForwardReply> {
        // The usual case without a future.
        if let Some(proof) = prove_by_lease(&self.context) {
            self.context.urgent.raise(proof.index);
            return Some(barrier_reply(number, Some(proof)));
        }
        let (raft, context) = (self.raft.clone(), Arc::clone(&self.context));
        self.pending.push(Box::pin(async move {
            let proof = prove(&raft, &context).await;
            context.urgent.raise(proof.map_or(0, |proof| proof.index));
            barrier_reply(number, proof)
        }));
        None
    }
}

fn batch_reply(seq: u64, verdict: Verdict) -> pb::ForwardReply {
    use pb::batch_reply::Result as R;
    let result = match verdict {
        Verdict::Done(outcomes) => {
            let mut bytes = Vec::new();
            outcomes.encode(&mut bytes);
            R::Outcomes(bytes.into())
        }
        Verdict::Forgotten => R::Forgotten(true),
        Verdict::Gap { next_seq } => R::NextSeq(next_seq),
        Verdict::Retry => R::Retry(true),
    };
    let reply = pb::BatchReply { seq, result: Some(result) };
    pb::ForwardReply { what: Some(pb::forward_reply::What::Batch(reply)) }
}

fn barrier_reply(number: u64, proof: Option<Proof>) -> pb::ForwardReply {
    let proven = proof.is_some();
    let (index, at) = proof.map_or((0, 0), |proof| (proof.index, proof.at.0));
    let reply = pb::BarrierReply { number, proven, index, at };
    pb::ForwardReply { what: Some(pb::forward_reply::What::Barrier(reply)) }
}

/// Replies that wait for the network.
const FORWARD_REPLIES_MAX: usize = 64;

/// Batches and barriers of one node under way on the leader.
const FORWARD_PENDING_MAX: usize = 64;
