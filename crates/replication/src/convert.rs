//! Protobuf messages to openraft's types and back. Generated types stop here.

use bytes::Bytes;
use engine::UnixMillis;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use openraft::{EntryPayload, StoredMembership as OpenraftStoredMembership};
use std::collections::{BTreeMap, BTreeSet};

use crate::pb;
use crate::plan::MemberChange;
use crate::types::{
    Entry, LeaderId, LogId, Member, Membership, Proposal, ReplicaId, SnapshotMeta, TypeConfig,
    Vote, log_index,
};

/// What a peer sent cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidMessage {
    /// No log gets there, and the state machine has no log positions for it.
    #[error("log index {0} is out of range")]
    Index(u64),
    /// The membership contradicts itself.
    #[error("membership names a voter without an address")]
    Membership,
    /// A field that is always there is not.
    #[error("field `{0}` is missing")]
    MissingField(&'static str),
    /// No cluster gets there by elections: whoever says so wants to be the last leader ever.
    #[error("term {0} is out of range")]
    Term(u64),
    /// An entry that a newer program wrote.
    #[error("entry {index} is of a type that this program does not know")]
    UnknownEntry {
        /// As the log counts, from 1.
        index: u64,
    },
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
    if INDEX_MAX < from.index {
        return Err(InvalidMessage::Index(from.index));
    }
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
    if TERM_MAX < leader_id.term {
        return Err(InvalidMessage::Term(leader_id.term));
    }
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
        replaces: from.replaces.clone(),
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
        replaces: from.replaces,
    })
}

/// An operator's change for the wire.
pub(crate) fn member_change_to(from: &MemberChange, dry_run: bool) -> pb::ChangeMemberRequest {
    use pb::change_member_request::Change;
    let change = match from.clone() {
        MemberChange::Add { name, peer } => Change::Add(pb::AddMember { name, peer }),
        MemberChange::Remove { name } => Change::Remove(pb::RemoveMember { name }),
        MemberChange::Replace { old, new, peer } => {
            Change::Replace(pb::ReplaceMember { old, new, peer })
        }
    };
    pb::ChangeMemberRequest { change: Some(change), dry_run }
}

/// An operator's change from the wire, and whether it is only to be tried.
pub(crate) fn member_change_from(from: pb::ChangeMemberRequest) -> Result<(MemberChange, bool)> {
    use pb::change_member_request::Change;
    let change = match always(from.change, "change")? {
        Change::Add(pb::AddMember { name, peer }) => MemberChange::Add { name, peer },
        Change::Remove(pb::RemoveMember { name }) => MemberChange::Remove { name },
        Change::Replace(pb::ReplaceMember { old, new, peer }) => {
            MemberChange::Replace { old, new, peer }
        }
    };
    Ok((change, from.dry_run))
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

/// A membership for the wire.
pub(crate) fn membership_to(from: &Membership) -> pb::Membership {
    let configs = from.get_joint_config().iter();
    pb::Membership {
        configs: configs.map(|ids| pb::VoterSet { ids: ids.iter().copied().collect() }).collect(),
        nodes: members_to(from.nodes()),
    }
}

/// A membership from the wire.
pub(crate) fn membership_from(from: pb::Membership) -> Result<Membership> {
    let configs = from.configs.into_iter();
    let configs: Vec<BTreeSet<_>> = configs.map(|set| set.ids.into_iter().collect()).collect();
    let nodes = members_from(from.nodes)?;
    Membership::new(configs, nodes).map_err(|_| InvalidMessage::Membership)
}

fn entry_to(from: Entry) -> pb::Entry {
    let payload = match from.payload {
        EntryPayload::Blank => pb::entry::Payload::Blank(pb::Blank {}),
        EntryPayload::Normal(proposal) => pb::entry::Payload::Batch(pb::Batch {
            stamped_at: proposal.stamped_at.0,
            body: proposal.body,
        }),
        EntryPayload::Membership(membership) => {
            pb::entry::Payload::Membership(membership_to(&membership))
        }
    };
    pb::Entry { log_id: Some(log_id_to(&from.log_id)), payload: Some(payload) }
}

fn entry_from(from: pb::Entry) -> Result<Entry> {
    let log_id = log_id_from(always(from.log_id, "entry.log_id")?)?;
    let payload = match from.payload {
        None => return Err(InvalidMessage::UnknownEntry { index: log_index(&log_id).0 }),
        Some(pb::entry::Payload::Blank(pb::Blank {})) => EntryPayload::Blank,
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

/// An append request for the wire; `clock` is the leader's cluster time, `closed` whether it refuses
/// writes.
pub(crate) fn append_to(
    from: AppendEntriesRequest<TypeConfig>,
    clock: UnixMillis,
    closed: bool,
) -> pb::AppendRequest {
    pb::AppendRequest {
        vote: Some(vote_to(&from.vote)),
        prev: log_id_option_to(from.prev_log_id.as_ref()),
        entries: from.entries.into_iter().map(entry_to).collect(),
        commit: log_id_option_to(from.leader_commit.as_ref()),
        clock: clock.0,
        closed,
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

/// An append result for the wire, with a word on this replica's disk.
pub(crate) fn append_result_to(from: AppendResult, short_of_space: bool) -> pb::AppendReply {
    use pb::append_reply::Result as R;
    let result = match from {
        Ok(matched) => R::Matched(pb::Matched { log_id: log_id_option_to(matched.as_ref()) }),
        Err(StreamAppendError::Conflict(log_id)) => R::Conflict(log_id_to(&log_id)),
        Err(StreamAppendError::HigherVote(vote)) => R::Higher(vote_to(&vote)),
    };
    pb::AppendReply { result: Some(result), short_of_space }
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
pub(crate) fn vote_reply_to(from: &VoteResponse<TypeConfig>, clock: UnixMillis) -> pb::VoteReply {
    pb::VoteReply {
        vote: Some(vote_to(&from.vote)),
        granted: from.vote_granted,
        last_log_id: log_id_option_to(from.last_log_id.as_ref()),
        clock: clock.0,
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

/// The vote of a snapshot on disk, which nobody reads.
pub(crate) fn no_vote() -> Vote {
    Vote { leader_id: LeaderId { term: 0, node_id: 0 }, committed: false }
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

/// A thousand elections a second take nine thousand years to get here.
const TERM_MAX: u64 = 1 << 48;
/// openraft counts from 0, the engine from 1, and an index of the engine's has 52 bits.
const INDEX_MAX: u64 = (1 << 52) - 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(payload: Option<pb::entry::Payload>) -> pb::Entry {
        let log_id = pb::LogId { leader: Some(pb::LeaderId { term: 1, node: 1 }), index: 6 };
        pb::Entry { log_id: Some(log_id), payload }
    }

    /// A newer program's entry has a payload under a number that is skipped here. It used to look
    /// like a blank entry, and would have been left out of this replica's state in silence.
    #[test]
    fn an_entry_of_unknown_type_is_not_a_blank_one() {
        let unknown = entry_from(entry(None)).unwrap_err();
        assert_eq!(unknown, InvalidMessage::UnknownEntry { index: 7 });
        let blank = entry_from(entry(Some(pb::entry::Payload::Blank(pb::Blank {})))).unwrap();
        assert_eq!(blank.payload, EntryPayload::Blank);
        assert_eq!(entry_from(entry_to(blank.clone())).unwrap(), blank);
    }

    /// The largest index became 0 on its way to the engine, which counts from 1, or a panic where
    /// overflow is checked. (Found by fuzzing, `peer_messages`.)
    #[test]
    fn an_index_without_log_positions_is_refused() {
        let log_id = |index| {
            let leader = Some(pb::LeaderId { term: 1, node: 1 });
            log_id_from(pb::LogId { leader, index })
        };
        assert!(log_id(INDEX_MAX).is_ok());
        for index in [INDEX_MAX + 1, u64::MAX] {
            assert_eq!(log_id(index), Err(InvalidMessage::Index(index)));
        }
    }

    #[test]
    fn a_term_that_no_election_reaches_is_refused() {
        let vote = |term| {
            let leader = Some(pb::LeaderId { term, node: 1 });
            vote_from(Some(pb::Vote { leader, committed: true }))
        };
        assert!(vote(TERM_MAX).is_ok());
        for term in [TERM_MAX + 1, u64::MAX] {
            assert_eq!(vote(term), Err(InvalidMessage::Term(term)));
        }
    }
}
