//! Bytes of votes and entries on disk.
//!
//! # Format, version 1
//!
//! Numbers are little-endian. The index of an entry is in the frame of crate `wal`, and so are
//! lengths and checksums.
//!
//! ```text
//! offset  bytes  entry
//!      0      1  kind: 1 blank, 2 batch, 3 membership
//!      1      8  term
//!      9      8  replica id of the term's leader
//!     17      8  batch only: stamped_at, milliseconds
//!     25      -  batch: body, see crate `engine`, module `batch`
//!     17      -  membership: `Membership` of proto/peer.proto
//!
//! offset  bytes  slot 0: vote            offset  bytes  slot 1: committed
//!      0      8  term                         0      8  term
//!      8      8  replica id                   8      8  replica id
//!     16      1  committed: 0 or 1           16      8  index
//!
//! offset  bytes  value of a purge point
//!      0      8  term
//!      8      8  replica id
//! ```
//!
//! A kind that is none of these was written by a newer version: the node stops, it never skips.

use std::io;

use bytes::{Buf, Bytes};
use engine::UnixMillis;
use openraft::EntryPayload;
use prost::Message;

use crate::convert;
use crate::pb;
use crate::types::{Entry, LeaderId, LogId, Proposal, Vote};

/// The latest vote.
pub(super) const SLOT_VOTE: u8 = 0;
/// The latest index known to be committed.
pub(super) const SLOT_COMMITTED: u8 = 1;

const KIND_BLANK: u8 = 1;
const KIND_BATCH: u8 = 2;
const KIND_MEMBERSHIP: u8 = 3;

/// An entry in two parts, so that a batch is not copied to stand behind its header.
pub(super) fn encode_entry(entry: &Entry) -> (Vec<u8>, Bytes) {
    let (kind, stamped_at, body) = match &entry.payload {
        EntryPayload::Blank => (KIND_BLANK, None, Bytes::new()),
        EntryPayload::Normal(proposal) => {
            (KIND_BATCH, Some(proposal.stamped_at.0), proposal.body.clone())
        }
        EntryPayload::Membership(membership) => {
            let membership = convert::membership_to(membership);
            (KIND_MEMBERSHIP, None, membership.encode_to_vec().into())
        }
    };
    let mut head = Vec::with_capacity(HEAD_LEN_MAX);
    head.push(kind);
    head.extend(leader_bytes(&entry.log_id.leader_id));
    head.extend(stamped_at.into_iter().flat_map(u64::to_le_bytes));
    (head, body)
}

/// The entry at `index`.
pub(super) fn decode_entry(index: u64, bytes: Bytes) -> io::Result<Entry> {
    let corrupt = |what: &str| {
        let why = format!("log entry {index}: {what}");
        io::Error::new(io::ErrorKind::InvalidData, why)
    };
    let mut rest = bytes;
    let cut = |_| corrupt("cut short");
    let kind = rest.try_get_u8().map_err(cut)?;
    let log_id = LogId::new(take_leader(&mut rest).ok_or_else(|| corrupt("cut short"))?, index);
    let payload = match kind {
        KIND_BLANK if rest.is_empty() => EntryPayload::Blank,
        KIND_BATCH => {
            let stamped_at = UnixMillis(rest.try_get_u64_le().map_err(cut)?);
            EntryPayload::Normal(Proposal { stamped_at, body: rest })
        }
        KIND_MEMBERSHIP => {
            let membership = pb::Membership::decode(rest);
            let membership = membership.map_err(|error| corrupt(&error.to_string()))?;
            let membership = convert::membership_from(membership);
            EntryPayload::Membership(membership.map_err(|error| corrupt(&error.to_string()))?)
        }
        other => {
            return Err(corrupt(&format!("unknown kind {other}: written by a newer version")));
        }
    };
    Ok(Entry { log_id, payload })
}

pub(super) fn encode_vote(vote: &Vote) -> Vec<u8> {
    let mut bytes = leader_bytes(&vote.leader_id).to_vec();
    bytes.push(u8::from(vote.committed));
    bytes
}

pub(super) fn decode_vote(mut bytes: Bytes) -> io::Result<Vote> {
    let vote = take_leader(&mut bytes).zip(bytes.try_get_u8().ok());
    match vote {
        Some((leader_id, committed @ 0..=1)) if bytes.is_empty() => {
            Ok(Vote { leader_id, committed: committed == 1 })
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "vote: not 17 bytes of a vote")),
    }
}

pub(super) fn encode_log_id(log_id: &LogId) -> [u8; 24] {
    let mut bytes = [0; 24];
    let (leader, index) = bytes.split_at_mut(16);
    leader.copy_from_slice(&leader_bytes(&log_id.leader_id));
    index.copy_from_slice(&log_id.index.to_le_bytes());
    bytes
}

pub(super) fn decode_log_id(mut bytes: Bytes) -> io::Result<LogId> {
    let parts = take_leader(&mut bytes).zip(bytes.try_get_u64_le().ok());
    match parts {
        Some((leader_id, index)) if bytes.is_empty() => Ok(LogId::new(leader_id, index)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "committed: not 24 bytes")),
    }
}

pub(super) fn encode_leader(leader_id: &LeaderId) -> [u8; 16] {
    leader_bytes(leader_id)
}

pub(super) fn decode_leader(mut bytes: Bytes) -> io::Result<LeaderId> {
    match take_leader(&mut bytes) {
        Some(leader_id) if bytes.is_empty() => Ok(leader_id),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "purge point: not 16 bytes")),
    }
}

fn leader_bytes(leader_id: &LeaderId) -> [u8; 16] {
    let mut bytes = [0; 16];
    let (term, node) = bytes.split_at_mut(8);
    term.copy_from_slice(&leader_id.term.to_le_bytes());
    node.copy_from_slice(&leader_id.node_id.to_le_bytes());
    bytes
}

fn take_leader(bytes: &mut Bytes) -> Option<LeaderId> {
    let term = bytes.try_get_u64_le().ok()?;
    let node_id = bytes.try_get_u64_le().ok()?;
    Some(LeaderId { term, node_id })
}

const HEAD_LEN_MAX: usize = 25;

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::types::{Member, Membership};

    fn entries() -> [Entry; 3] {
        let leader_id = LeaderId { term: 3, node_id: u64::MAX };
        let body = Bytes::from_static(b"body");
        let nodes = BTreeMap::from([(7, Member { name: "n1".to_owned(), ..Member::default() })]);
        let membership = Membership::new(vec![BTreeSet::from([7])], nodes).unwrap();
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(Proposal { stamped_at: UnixMillis(5), body }),
            EntryPayload::Membership(membership),
        ];
        payloads.map(|payload| Entry { log_id: LogId::new(leader_id, 9), payload })
    }

    fn bytes(entry: &Entry) -> Vec<u8> {
        let (mut head, body) = encode_entry(entry);
        head.extend_from_slice(&body);
        head
    }

    #[test]
    fn entries_survive_the_disk() {
        for entry in entries() {
            assert_eq!(decode_entry(9, bytes(&entry).into()).unwrap(), entry);
        }
    }

    /// What version 1 wrote stays readable.
    #[test]
    fn the_bytes_of_version_1() {
        let [blank, batch, _] = entries();
        let leader = [3, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255];
        assert_eq!(bytes(&blank), [&[1][..], &leader].concat());
        let stamp = [5, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(bytes(&batch), [&[2][..], &leader, &stamp, b"body"].concat());
        let vote = Vote { leader_id: batch.log_id.leader_id, committed: true };
        assert_eq!(encode_vote(&vote), [&leader[..], &[1]].concat());
    }

    #[test]
    fn votes_and_log_ids_survive_the_disk() {
        let leader_id = LeaderId { term: 1, node_id: 2 };
        for committed in [false, true] {
            let vote = Vote { leader_id, committed };
            assert_eq!(decode_vote(encode_vote(&vote).into()).unwrap(), vote);
        }
        let log_id = LogId::new(leader_id, 3);
        let bytes = Bytes::copy_from_slice(&encode_log_id(&log_id));
        assert_eq!(decode_log_id(bytes).unwrap(), log_id);
        let bytes = Bytes::copy_from_slice(&encode_leader(&leader_id));
        assert_eq!(decode_leader(bytes).unwrap(), leader_id);
    }

    #[test]
    fn what_is_cut_or_unknown_is_refused_by_name() {
        for entry in entries() {
            let whole = bytes(&entry);
            for len in 0..17 {
                let cut = Bytes::copy_from_slice(&whole[..len]);
                assert!(decode_entry(9, cut).is_err(), "{entry:?} cut at {len}");
            }
        }
        let mut newer = bytes(&entries()[0]);
        newer[0] = 77;
        let error = decode_entry(9, newer.into()).unwrap_err().to_string();
        assert!(error.contains("log entry 9") && error.contains("newer version"), "{error}");
        assert!(decode_vote(Bytes::from_static(&[0; 18])).is_err());
        assert!(decode_log_id(Bytes::from_static(&[0; 25])).is_err());
        assert!(decode_leader(Bytes::from_static(&[0; 15])).is_err());
    }
}
