//! A cluster that begins with one survivor's state (DESIGN 5.4).
//!
//! ```text
//!   survivor: frozen state + its log behind it ──file──▶ new replica, new cluster, one voter
//! ```
//!
//! The log behind the applied state goes along: some of it was acknowledged by a leader that died
//! before it could say so. What was not may happen late, which its clients were told.
//!
//! # Format of the file, version 1
//!
//! Numbers are little-endian. Only the version that wrote a file reads it: it lives for seconds.
//!
//! ```text
//! magic "RCBG", version u16: 1, then frames: tag u8, length u32, crc32 of all else u32, payload
//!   1 Chunk   of a snapshot, see crate `engine`, module `snapshot`
//!   2 Entry   index u64, stamped_at u64, body: see crate `engine`, module `batch`
//!   3 Skip    index u64: a blank or a membership entry
//!   4 End     nothing, and nothing after it
//! ```

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use engine::{LogIndex, Restorer, UnixMillis};
use openraft::EntryPayload;

use crate::types::log_index;
use crate::types::{Entry, LeaderId, LogId, Member, Membership, ReplicaId, StoredMembership};

/// The state that a new cluster begins with.
#[derive(Debug)]
pub struct Beginning {
    engine: engine::StateMachine,
}

/// Why a file does not hold a beginning.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BeginningError {
    /// It cannot be read.
    #[error("cannot be read")]
    Io(#[from] io::Error),
    /// It is cut off, changed, or not ours; says what is wrong.
    #[error("does not hold a state: {0}")]
    Corrupt(String),
}

fn corrupt(why: impl std::fmt::Display) -> BeginningError {
    BeginningError::Corrupt(why.to_string())
}

impl Beginning {
    /// Reads what [`write`] wrote.
    ///
    /// # Errors
    ///
    /// [`BeginningError`]; nothing of a damaged file is used.
    pub fn read(path: &Path) -> Result<Self, BeginningError> {
        let mut frames = Frames::open(File::open(path)?)?;
        let mut restorer = Restorer::new();
        let mut frame = frames.next()?;
        while frame.0 == CHUNK {
            restorer.push(&frame.1).map_err(corrupt)?;
            frame = frames.next()?;
        }
        let mut engine = engine::StateMachine::new();
        engine.install(restorer.finish().map_err(corrupt)?);
        while frame.0 != END {
            replay(&mut engine, &frame)?;
            frame = frames.next()?;
        }
        frames.ended()?;
        if engine.applied() == LogIndex(0) {
            return Err(corrupt("it is empty"));
        }
        Ok(Self { engine })
    }

    /// The state, the position its log continues from, and the membership of `me` alone.
    pub(crate) fn into_parts(
        self,
        id: ReplicaId,
        me: Member,
    ) -> Result<
        (engine::StateMachine, LogId, StoredMembership),
        openraft::errors::MembershipError<ReplicaId>,
    > {
        // Term 0: below every vote of the cluster that begins.
        let leader_id = LeaderId { term: 0, node_id: id };
        let last = LogId::new(leader_id, self.engine.applied().0 - 1);
        let nodes = std::collections::BTreeMap::from([(id, me)]);
        let membership = Membership::new(vec![[id].into()], nodes)?;
        Ok((self.engine, last, StoredMembership::new(Some(last), membership)))
    }
}

fn replay(engine: &mut engine::StateMachine, frame: &(u8, Vec<u8>)) -> Result<(), BeginningError> {
    let (tag, payload) = frame;
    let cut = || corrupt("an entry is cut off");
    let (index, rest) = payload.split_first_chunk().ok_or_else(cut)?;
    let index = LogIndex(u64::from_le_bytes(*index));
    if index <= engine.applied() {
        return Err(corrupt(format!("entry {} is out of order", index.0)));
    }
    match *tag {
        SKIP => engine.skip(index),
        ENTRY => {
            let (stamped_at, body) = rest.split_first_chunk().ok_or_else(cut)?;
            let stamped_at = UnixMillis(u64::from_le_bytes(*stamped_at));
            if engine.apply(index, stamped_at, body).is_err() {
                // As every replica does with an entry that it cannot read.
                engine.skip(index);
            }
        }
        tag => return Err(corrupt(format!("frame {tag}"))),
    }
    Ok(())
}

/// Writes a frozen state and the log behind it; returns once all of it is with the system.
///
/// # Errors
///
/// What `file` returns.
pub(crate) fn write(file: File, frozen: engine::Frozen, tail: &[Entry]) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    out.write_all(MAGIC)?;
    out.write_all(&VERSION.to_le_bytes())?;
    let applied = frozen.applied();
    for chunk in frozen.encode() {
        put(&mut out, CHUNK, &chunk)?;
    }
    let mut payload = Vec::new();
    for entry in tail {
        let index = log_index(&entry.log_id);
        if index <= applied {
            continue;
        }
        payload.clear();
        payload.extend_from_slice(&index.0.to_le_bytes());
        let tag = match &entry.payload {
            EntryPayload::Normal(proposal) => {
                payload.extend_from_slice(&proposal.stamped_at.0.to_le_bytes());
                payload.extend_from_slice(&proposal.body);
                ENTRY
            }
            EntryPayload::Blank | EntryPayload::Membership(_) => SKIP,
        };
        put(&mut out, tag, &payload)?;
    }
    put(&mut out, END, &[])?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

fn put(out: &mut impl Write, tag: u8, payload: &[u8]) -> io::Result<()> {
    let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "frame is too long");
    let len = u32::try_from(payload.len()).map_err(too_long)?;
    out.write_all(&[tag])?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(&checksum(tag, len, payload).to_le_bytes())?;
    out.write_all(payload)
}

fn checksum(tag: u8, len: u32, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[tag]);
    hasher.update(&len.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

struct Frames(BufReader<File>);

impl Frames {
    fn open(file: File) -> Result<Self, BeginningError> {
        let mut frames = Self(BufReader::new(file));
        let (magic, version) = (frames.array::<4>()?, frames.array::<2>()?);
        if magic != *MAGIC || u16::from_le_bytes(version) != VERSION {
            return Err(corrupt("it begins with something else"));
        }
        Ok(frames)
    }

    fn next(&mut self) -> Result<(u8, Vec<u8>), BeginningError> {
        let [tag] = self.array()?;
        let len = u32::from_le_bytes(self.array()?);
        let crc = u32::from_le_bytes(self.array()?);
        let mut payload = Vec::new();
        // Grows with what is there, not with what a damaged length promises.
        self.0.by_ref().take(u64::from(len)).read_to_end(&mut payload)?;
        if payload.len() as u64 != u64::from(len) || checksum(tag, len, &payload) != crc {
            return Err(corrupt("a frame is cut off or changed"));
        }
        Ok((tag, payload))
    }

    fn ended(&mut self) -> Result<(), BeginningError> {
        let mut more = [0];
        if self.0.read(&mut more)? == 0 {
            Ok(())
        } else {
            Err(corrupt("it goes on behind its end"))
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BeginningError> {
        let mut bytes = [0; N];
        match self.0.read_exact(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(corrupt("it is cut off"))
            }
            read => Ok(read.map(|()| bytes)?),
        }
    }
}

const MAGIC: &[u8; 4] = b"RCBG";
const VERSION: u16 = 1;
const CHUNK: u8 = 1;
const ENTRY: u8 = 2;
const SKIP: u8 = 3;
const END: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    use bytes::Bytes;
    use engine::{BatchBuilder, Command, Expiry, Origin, StoreMode};

    use crate::types::Proposal;

    fn body(seq: u64, key: &[u8]) -> Bytes {
        let mut builder = BatchBuilder::new();
        builder.push(&Command::Store {
            mode: StoreMode::Set,
            key,
            flags: 0,
            expiry: Expiry::Never,
            value: b"value",
            cas: None,
        });
        builder.finish(Origin { node: 7, epoch: 1 }, seq, seq - 1).into()
    }

    fn entry(index: u64, payload: EntryPayload<Proposal, ReplicaId, Member>) -> Entry {
        Entry { log_id: LogId::new(LeaderId { term: 3, node_id: 1 }, index), payload }
    }

    /// A state with one item at index 5, and behind it a blank entry and one with another item.
    fn saved() -> tempfile::NamedTempFile {
        let mut engine = engine::StateMachine::new();
        engine.apply(LogIndex(5), UnixMillis(1), &body(1, b"applied")).unwrap();
        let proposal = Proposal { stamped_at: UnixMillis(2), body: body(2, b"tail") };
        let again = Proposal { stamped_at: UnixMillis(1), body: body(1, b"applied") };
        let tail = [
            entry(4, EntryPayload::Normal(again)),
            entry(5, EntryPayload::Blank),
            entry(6, EntryPayload::Normal(proposal)),
        ];
        let file = tempfile::NamedTempFile::new().unwrap();
        write(file.reopen().unwrap(), engine.freeze(), &tail).unwrap();
        file
    }

    #[test]
    fn the_state_and_the_log_behind_it_come_back() {
        let beginning = Beginning::read(saved().path()).unwrap();
        let (engine, last, membership) = beginning.into_parts(9, Member::default()).unwrap();
        assert_eq!((last.index, log_index(&last)), (6, LogIndex(7)), "CAS uniques go on from here");
        let reader = engine.reader();
        for key in [&b"applied"[..], b"tail"] {
            assert!(reader.get(key, UnixMillis(2)).is_some(), "{key:?}");
        }
        assert!(membership.voter_ids().eq([9]));
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let whole = std::fs::read(saved().path()).unwrap();
        let damaged = tempfile::NamedTempFile::new().unwrap();
        for cut in 0..whole.len() {
            std::fs::write(damaged.path(), &whole[..cut]).unwrap();
            assert!(Beginning::read(damaged.path()).is_err(), "cut at {cut}");
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(damaged.path(), &bytes).unwrap();
            assert!(Beginning::read(damaged.path()).is_err(), "changed at {at}");
        }
        std::fs::write(damaged.path(), [&whole[..], b"x"].concat()).unwrap();
        assert!(Beginning::read(damaged.path()).is_err(), "something behind the end");
    }
}
