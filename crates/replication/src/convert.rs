//! Protobuf messages to openraft's types and back. Generated types stop here.

use bytes::Bytes;
use engine::UnixMillis;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use openraft::{EntryPayload, StoredMembership as OpenraftStoredMembership};
use std::collections::{BTreeMap, BTreeSet};

use crate::pb;
use crate::types::{
    Entry, LeaderId, LogId, Member, Membership, Proposal, ReplicaId, SnapshotMeta, TypeConfig, Vote,
};

/// What a peer sent cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidMessage {
    /// The membership contradicts itself.
    #[error("membership names a voter without an address")]
    Membership,
    /// A field that is always there is not.
    #[error("field `{0}` is missing")]
    MissingField(&'static str),
}

impl From<InvalidMessage> for tonic::Status {
    fn from(error: InvalidMessage) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

type Result<T> = std::result::Result<T, InvalidMessage>;

fn always<T>(field: Option<T>, name: &'static str) -> Result<T> {
    field.ok_or(InvalidMessage::MissingField(name))
}

fn leader_id_to(from: &LeaderId) -> pb::LeaderId {
    pb::LeaderId { term: from.term, node: from.node_id }
}

fn leader_id_from(from: pb::LeaderId) -> LeaderId {
    LeaderId { term: from.term, node_id: from.node }
}

/// A log id for the wire.
pub(crate) fn log_id_to(from: &LogId) -> pb::LogId {
    pb::LogId { leader: Some(leader_id_to(&from.leader_id)), index: from.index }
}

/// A log id from the wire.
pub(crate) fn log_id_from(from: pb::LogId) -> Result<LogId> {
    let leader = leader_id_from(always(from.leader, "log_id.leader")?);
    Ok(LogId::new(leader, from.index))
}

fn log_id_option_to(from: Option<&LogId>) -> Option<pb::LogId> {
    from.map(log_id_to)
}

fn log_id_option_from(from: Option<pb::LogId>) -> Result<Option<LogId>> {
    from.map(log_id_from).transpose()
}

/// A vote for the wire.
pub(crate) fn vote_to(from: &Vote) -> pb::Vote {
    pb::Vote { leader: Some(leader_id_to(&from.leader_id)), committed: from.committed }
}

/// A vote from the wire.
pub(crate) fn vote_from(from: Option<pb::Vote>) -> Result<Vote> {
    let from = always(from, "vote")?;
    let leader_id = leader_id_from(always(from.leader, "vote.leader")?);
    Ok(Vote { leader_id, committed: from.committed })
}

/// A member for the wire.
pub(crate) fn member_to(from: &Member) -> pb::Member {
    pb::Member {
        name: from.name.clone(),
        client: from.client.clone(),
        peer: from.peer.clone(),
        admin: from.admin.clone(),
        cluster: from.cluster,
    }
}

/// A member from the wire.
pub(crate) fn member_from(from: Option<pb::Member>) -> Result<Member> {
    let from = always(from, "member")?;
    Ok(Member {
        name: from.name,
        client: from.client,
        peer: from.peer,
        admin: from.admin,
        cluster: from.cluster,
    })
}

/// Members with their ids for the wire.
pub(crate) fn members_to<'a>(
    from: impl Iterator<Item = (&'a ReplicaId, &'a Member)>,
) -> Vec<pb::MemberOf> {
    from.map(|(id, member)| pb::MemberOf { id: *id, member: Some(member_to(member)) }).collect()
}

/// Members with their ids from the wire.
pub(crate) fn members_from(from: Vec<pb::MemberOf>) -> Result<BTreeMap<ReplicaId, Member>> {
    from.into_iter().map(|of| Ok((of.id, member_from(of.member)?))).collect()
}

fn membership_to(from: &Membership) -> pb::Membership {
    let configs = from.get_joint_config().iter();
    pb::Membership {
        configs: configs.map(|ids| pb::VoterSet { ids: ids.iter().copied().collect() }).collect(),
        nodes: members_to(from.nodes()),
    }
}

fn membership_from(from: pb::Membership) -> Result<Membership> {
    let configs = from.configs.into_iter();
    let configs: Vec<BTreeSet<_>> = configs.map(|set| set.ids.into_iter().collect()).collect();
    let nodes = members_from(from.nodes)?;
    Membership::new(configs, nodes).map_err(|_| InvalidMessage::Membership)
}

fn entry_to(from: Entry) -> pb::Entry {
    let payload = match from.payload {
        EntryPayload::Blank => None,
        EntryPayload::Normal(proposal) => Some(pb::entry::Payload::Batch(pb::Batch {
            stamped_at: proposal.stamped_at.0,
            body: proposal.body,
        })),
        EntryPayload::Membership(membership) => {
            Some(pb::entry::Payload::Membership(membership_to(&membership)))
        }
    };
    pb::Entry { log_id: Some(log_id_to(&from.log_id)), payload }
}

fn entry_from(from: pb::Entry) -> Result<Entry> {
    let log_id = log_id_from(always(from.log_id, "entry.log_id")?)?;
    let payload = match from.payload {
        None => EntryPayload::Blank,
        Some(pb::entry::Payload::Batch(batch)) => EntryPayload::Normal(Proposal {
            stamped_at: UnixMillis(batch.stamped_at),
            body: unshare(&batch.body),
        }),
        Some(pb::entry::Payload::Membership(membership)) => {
            EntryPayload::Membership(membership_from(membership)?)
        }
    };
    Ok(Entry { log_id, payload })
}

/// A copy of its own: what was received is a slice of a receive buffer, and would keep all of it.
pub(crate) fn unshare(received: &Bytes) -> Bytes {
    Bytes::copy_from_slice(received)
}

/// An append request for the wire; `clock` is the leader's cluster time.
pub(crate) fn append_to(
    from: AppendEntriesRequest<TypeConfig>,
    clock: UnixMillis,
) -> pb::AppendRequest {
    pb::AppendRequest {
        vote: Some(vote_to(&from.vote)),
        prev: log_id_option_to(from.prev_log_id.as_ref()),
        entries: from.entries.into_iter().map(entry_to).collect(),
        commit: log_id_option_to(from.leader_commit.as_ref()),
        clock: clock.0,
    }
}

/// An append request from the wire.
pub(crate) fn append_from(from: pb::AppendRequest) -> Result<AppendEntriesRequest<TypeConfig>> {
    Ok(AppendEntriesRequest {
        vote: vote_from(from.vote)?,
        prev_log_id: log_id_option_from(from.prev)?,
        entries: from.entries.into_iter().map(entry_from).collect::<Result<_>>()?,
        leader_commit: log_id_option_from(from.commit)?,
    })
}

type AppendResult = openraft::raft::StreamAppendResult<TypeConfig>;

/// An append result for the wire.
pub(crate) fn append_result_to(from: AppendResult) -> pb::AppendReply {
    use pb::append_reply::Result as R;
    let result = match from {
        Ok(matched) => R::Matched(pb::Matched { log_id: log_id_option_to(matched.as_ref()) }),
        Err(StreamAppendError::Conflict(log_id)) => R::Conflict(log_id_to(&log_id)),
        Err(StreamAppendError::HigherVote(vote)) => R::Higher(vote_to(&vote)),
    };
    pb::AppendReply { result: Some(result) }
}

/// An append result from the wire.
pub(crate) fn append_result_from(from: pb::AppendReply) -> Result<AppendResult> {
    use pb::append_reply::Result as R;
    Ok(match always(from.result, "result")? {
        R::Matched(matched) => Ok(log_id_option_from(matched.log_id)?),
        R::Conflict(log_id) => Err(StreamAppendError::Conflict(log_id_from(log_id)?)),
        R::Higher(vote) => Err(StreamAppendError::HigherVote(vote_from(Some(vote))?)),
    })
}

/// A vote request for the wire.
pub(crate) fn vote_request_to(from: &VoteRequest<TypeConfig>) -> pb::VoteRequest {
    pb::VoteRequest {
        vote: Some(vote_to(&from.vote)),
        last_log_id: log_id_option_to(from.last_log_id.as_ref()),
        leadership_transfer: from.leadership_transfer,
    }
}

/// A vote request from the wire.
pub(crate) fn vote_request_from(from: pb::VoteRequest) -> Result<VoteRequest<TypeConfig>> {
    Ok(VoteRequest {
        vote: vote_from(from.vote)?,
        last_log_id: log_id_option_from(from.last_log_id)?,
        leadership_transfer: from.leadership_transfer,
    })
}

/// A vote reply for the wire.
pub(crate) fn vote_reply_to(from: &VoteResponse<TypeConfig>) -> pb::VoteReply {
    pb::VoteReply {
        vote: Some(vote_to(&from.vote)),
        granted: from.vote_granted,
        last_log_id: log_id_option_to(from.last_log_id.as_ref()),
    }
}

/// A vote reply from the wire.
pub(crate) fn vote_reply_from(from: pb::VoteReply) -> Result<VoteResponse<TypeConfig>> {
    let last_log_id = log_id_option_from(from.last_log_id)?;
    Ok(VoteResponse::new(vote_from(from.vote)?, last_log_id, from.granted))
}

/// A transfer for the wire.
pub(crate) fn transfer_to(from: &TransferLeaderRequest<TypeConfig>) -> pb::TransferLeaderRequest {
    pb::TransferLeaderRequest {
        from: Some(vote_to(from.from_leader())),
        to: *from.to_node_id(),
        last_log_id: log_id_option_to(from.last_log_id()),
    }
}

/// A transfer from the wire.
pub(crate) fn transfer_from(
    from: pb::TransferLeaderRequest,
) -> Result<TransferLeaderRequest<TypeConfig>> {
    let last_log_id = log_id_option_from(from.last_log_id)?;
    Ok(TransferLeaderRequest::new(vote_from(from.from)?, from.to, last_log_id))
}

/// A snapshot's header for the wire.
pub(crate) fn snapshot_header_to(vote: &Vote, meta: &SnapshotMeta) -> pb::SnapshotHeader {
    pb::SnapshotHeader {
        vote: Some(vote_to(vote)),
        last_log_id: log_id_option_to(meta.last_log_id.as_ref()),
        membership_log_id: log_id_option_to(meta.last_membership.log_id().as_ref()),
        membership: Some(membership_to(meta.last_membership.membership())),
    }
}

/// A snapshot's header from the wire.
pub(crate) fn snapshot_header_from(from: pb::SnapshotHeader) -> Result<(Vote, SnapshotMeta)> {
    let membership = membership_from(always(from.membership, "membership")?)?;
    let membership_log_id = log_id_option_from(from.membership_log_id)?;
    let meta = SnapshotMeta {
        last_log_id: log_id_option_from(from.last_log_id)?,
        last_membership: OpenraftStoredMembership::new(membership_log_id, membership),
    };
    Ok((vote_from(from.vote)?, meta))
}
