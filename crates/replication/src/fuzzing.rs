//! What the fuzz targets need of this crate and nobody else may have; see `fuzz/README.md`.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use crate::compress::{self, Packed};
use crate::snapshot_file::{Pace, SnapshotStore};
use crate::{convert, pb};

pub use crate::data_dir::fuzzing::identity;
pub use crate::log::fuzzing::{entry, leader, log_id, vote};

/// Reads the newest snapshot of a disk; if there is one, writes it to `copy` and reads it again.
///
/// # Errors
///
/// A snapshot that is damaged.
///
/// # Panics
///
/// If the copy is not the same.
pub fn snapshot(disk: Arc<dyn wal::Disk>, copy: Arc<dyn wal::Disk>) -> io::Result<bool> {
    let (_, Some(found)) = SnapshotStore::open(disk)? else { return Ok(false) };
    let (meta, digest) = (found.meta, found.restored.digest());
    let mut engine = engine::StateMachine::new();
    engine.install(found.restored);
    let (store, nothing) = SnapshotStore::open(Arc::clone(&copy))?;
    assert!(nothing.is_none());
    store.save(&meta, engine.freeze(), Pace::Full)?;
    let (_, again) = SnapshotStore::open(copy).expect("a snapshot that was just written");
    if 0 < engine.applied().0 {
        let again = again.expect("a snapshot that was just written");
        assert_eq!((again.meta, again.restored.digest()), (meta, digest));
    }
    Ok(true)
}

/// Gives a snapshot file the checksums and numbers without which nobody looks at its blocks.
pub fn mend_snapshot(file: &mut [u8]) {
    let Some((_, mut blocks)) = file.split_first_chunk_mut::<8>() else { return };
    let mut number = 0_u32;
    while let Some((head, rest)) = blocks.split_first_chunk_mut::<16>() {
        let [_, _, _, _, n @ .., _, _, _, _, l0, l1, l2, l3] = head;
        let (number_at, _) = n.split_at_mut(4);
        number_at.copy_from_slice(&number.to_le_bytes());
        let len = u32::from_le_bytes([*l0, *l1, *l2, *l3]) as usize;
        let Some((bytes, next)) = rest.split_at_mut_checked(len) else { return };
        let (checksum, fields) = head.split_at_mut(4);
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(fields);
        hasher.update(bytes);
        checksum.copy_from_slice(&hasher.finalize().to_le_bytes());
        (blocks, number) = (next, number + 1);
    }
}

/// A chunk of a snapshot as a peer sends it: its bytes, if it is one.
///
/// # Panics
///
/// If it cannot be packed again.
pub fn unpack(raw_len: u32, bytes: &[u8]) -> Option<Vec<u8>> {
    let raw = Packed { raw_len, bytes: Bytes::copy_from_slice(bytes) }.unpack().ok()?;
    let again = compress::pack(&raw).and_then(Packed::unpack);
    assert_eq!(again.as_ref(), Ok(&raw));
    Some(raw)
}

/// One message of `proto/peer.proto`, chosen by `kind`; whether it was taken.
///
/// # Panics
///
/// If what was taken is something else after it has been sent on.
pub fn peer_message(kind: u8, bytes: &[u8]) -> bool {
    type Check = fn(&[u8]) -> Option<()>;
    const CHECKS: [Check; 10] = [
        append,
        append_reply,
        vote_request,
        vote_reply,
        transfer,
        snapshot_part,
        members,
        change,
        forwarded,
        forward_reply,
    ];
    CHECKS.get(usize::from(kind) % CHECKS.len()).is_some_and(|check| check(bytes).is_some())
}

fn append(bytes: &[u8]) -> Option<()> {
    let from = pb::AppendRequest::decode(bytes).ok()?;
    let (clock, closed) = (engine::UnixMillis(from.clock), from.closed);
    let request = convert::append_from(from).ok()?;
    let sent = convert::append_to(request.clone(), clock, closed);
    let again = convert::append_from(sent).expect("what was just encoded");
    assert_eq!(again.vote, request.vote);
    assert_eq!(again.prev_log_id, request.prev_log_id);
    assert_eq!(again.entries, request.entries);
    assert_eq!(again.leader_commit, request.leader_commit);
    // What becomes of each entry on its way to the state.
    for entry in &request.entries {
        crate::types::log_index(&entry.log_id);
        if let openraft::EntryPayload::Normal(proposal) = &entry.payload {
            let _checked = engine::BatchHeader::check(&proposal.body);
        }
    }
    Some(())
}

fn append_reply(bytes: &[u8]) -> Option<()> {
    let from = pb::AppendReply::decode(bytes).ok()?;
    let short = from.short_of_space;
    let result = convert::append_result_from(from).ok()?;
    let sent = convert::append_result_to(result.clone(), short);
    assert_eq!(convert::append_result_from(sent).ok(), Some(result));
    Some(())
}

fn vote_request(bytes: &[u8]) -> Option<()> {
    let request = convert::vote_request_from(pb::VoteRequest::decode(bytes).ok()?).ok()?;
    let sent = convert::vote_request_to(&request);
    assert_eq!(convert::vote_request_from(sent), Ok(request));
    Some(())
}

fn vote_reply(bytes: &[u8]) -> Option<()> {
    let reply = convert::vote_reply_from(pb::VoteReply::decode(bytes).ok()?).ok()?;
    assert_eq!(
        convert::vote_reply_from(convert::vote_reply_to(&reply, engine::UnixMillis(0))),
        Ok(reply)
    );
    Some(())
}

fn transfer(bytes: &[u8]) -> Option<()> {
    let request = convert::transfer_from(pb::TransferLeaderRequest::decode(bytes).ok()?).ok()?;
    let sent = convert::transfer_to(&request);
    assert_eq!(convert::transfer_from(sent), Ok(request));
    Some(())
}

fn snapshot_part(bytes: &[u8]) -> Option<()> {
    use pb::snapshot_part::Part;
    match pb::SnapshotPart::decode(bytes).ok()?.part? {
        Part::Header(header) => {
            let (vote, meta) = convert::snapshot_header_from(header).ok()?;
            let sent = convert::snapshot_header_to(&vote, &meta);
            assert_eq!(convert::snapshot_header_from(sent), Ok((vote, meta)));
        }
        Part::Packed(pb::Packed { raw_len, bytes }) => {
            unpack(raw_len, &bytes)?;
        }
    }
    Some(())
}

fn members(bytes: &[u8]) -> Option<()> {
    let from = pb::FormRequest::decode(bytes).ok()?;
    let members = convert::members_from(from.members).ok()?;
    let sent = convert::members_to(members.iter());
    assert_eq!(convert::members_from(sent), Ok(members));
    Some(())
}

fn change(bytes: &[u8]) -> Option<()> {
    let from = pb::ChangeMemberRequest::decode(bytes).ok()?;
    let (change, dry_run) = convert::member_change_from(from).ok()?;
    let sent = convert::member_change_to(&change, dry_run);
    assert_eq!(convert::member_change_from(sent), Ok((change, dry_run)));
    Some(())
}

fn forwarded(bytes: &[u8]) -> Option<()> {
    use pb::forward_request::What;
    match pb::ForwardRequest::decode(bytes).ok()?.what? {
        What::Batch(body) => {
            engine::BatchHeader::check(&body).ok()?;
        }
        What::Barrier(_) => {}
    }
    Some(())
}

fn forward_reply(bytes: &[u8]) -> Option<()> {
    use pb::batch_reply::Result as R;
    use pb::forward_reply::What;
    let What::Batch(reply) = pb::ForwardReply::decode(bytes).ok()?.what? else { return Some(()) };
    let R::Outcomes(outcomes) = reply.result? else { return Some(()) };
    let outcomes = engine::Outcomes::decode(&outcomes).ok()?;
    let mut sent = Vec::new();
    outcomes.encode(&mut sent);
    assert_eq!(engine::Outcomes::decode(&sent), Ok(outcomes));
    Some(())
}
