//! The body of one raft entry: who sends it, and its commands.
//!
//! # Format, versions 1 and 2
//!
//! Numbers are little-endian. The commands stand one after the other, without padding; nothing
//! follows the last one.
//!
//! ```text
//! offset  bytes  field
//!      0      1  version: 1, or 2 if there is a command that 1 does not have
//!      1      8  origin.node
//!      9      8  origin.epoch
//!     17      8  seq: 1 or more
//!     25      8  acked: less than seq
//!     33      4  command_count: 0 to 4096
//!     37      -  commands
//!
//! command: a tag of one byte, then
//!   0 Tick
//!   1 Store        mode u8, flags u32, expiry, cas, key, value_len u32, value
//!   2 Delete       cas, key
//!   3 Arithmetic   direction u8, delta u64, initial, cas, key
//!   4 Touch        expiry, key
//!   5 GetAndTouch  expiry, key
//!   6 FlushAll     after_ms u64
//!   7 Configure    memory_limit u64, evict u8 (0 or 1), item_len_max u64
//! and in version 2, the meta commands each with options u8 and then those of the fields in brackets whose bit of
//! options is set, the first one's is 1:
//!   8 MetaGet         [touch expiry, vivify expiry, recache expiry, new_cas u64, base64], key
//!   9 MetaStore       [cas u64, new_cas u64, vivify expiry, invalidate, base64], mode u8, flags
//!                     u32, expiry, key, value_len u32, value
//!  10 MetaDelete      [cas u64, new_cas u64, touch expiry, mark_stale, drop_value], key
//!  11 MetaArithmetic  [cas u64, new_cas u64, touch expiry, initial: value u64 and expiry, base64],
//!                     direction u8, delta u64, key
//!  12 LimitMemory     memory_limit u64
//!
//! mode       0 Set, 1 Add, 2 Replace, 3 Append, 4 Prepend
//! direction  0 Increment, 1 Decrement
//! expiry     0 Never | 1 Now | 2 AfterMillis, u64 | 3 At, u64
//! cas        0 | 1, u64
//! initial    0 | 1, value u64, expiry
//! key        len u8 (1 to 250), bytes
//! ```

mod command;
mod meta;

use crate::codec::{Cursor, Put};
use crate::{BATCH_COMMANDS_MAX, Command, Origin};

/// Builds the body of one raft entry.
///
/// `push` the commands, then `finish`; the bytes are sent again as they are when the fate of the
/// batch is not known.
#[derive(Debug)]
pub struct BatchBuilder {
    body: Vec<u8>,
    version: u8,
    command_count: u32,
}

impl BatchBuilder {
    /// Starts a batch without commands.
    pub fn new() -> Self {
        Self { body: vec![0; HEADER_LEN], version: VERSION, command_count: 0 }
    }

    /// Appends a command and returns its position, from 0.
    ///
    /// # Panics
    ///
    /// If the batch has [`BATCH_COMMANDS_MAX`] commands already, or the key or the value is longer
    /// than [`Command`] allows: such a batch would stop every replica.
    pub fn push(&mut self, command: &Command<'_>) -> usize {
        let position = self.command_count();
        assert!(position < BATCH_COMMANDS_MAX, "a batch of more than {BATCH_COMMANDS_MAX}");
        if command::is_of_version_2(command) {
            self.version = VERSION_2;
        }
        command::encode(command, &mut self.body);
        self.command_count += 1;
        position
    }

    /// Commands so far.
    pub fn command_count(&self) -> usize {
        self.command_count as usize
    }

    /// Bytes so far, header included.
    pub fn body_len(&self) -> usize {
        self.body.len()
    }

    /// Whether no command has been pushed.
    pub fn is_empty(&self) -> bool {
        self.command_count == 0
    }

    /// Writes the header and returns the body.
    ///
    /// # Panics
    ///
    /// Unless `acked < seq`.
    pub fn finish(self, origin: Origin, seq: u64, acked: u64) -> Vec<u8> {
        assert!(acked < seq, "batch {seq} acknowledges {acked}");
        let mut header = Vec::with_capacity(HEADER_LEN);
        header.push(self.version);
        header.put_u64(origin.node);
        header.put_u64(origin.epoch);
        header.put_u64(seq);
        header.put_u64(acked);
        header.put_u32(self.command_count);
        let mut body = self.body;
        if let Some(space) = body.first_chunk_mut::<HEADER_LEN>() {
            space.copy_from_slice(&header);
        }
        body
    }
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// The part of a batch that says whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Who formed the batch.
    pub origin: Origin,
    /// The origin's batches are numbered from 1 without holes.
    pub seq: u64,
    /// The origin has the outcomes of all its batches up to this one; less than `seq`.
    pub acked: u64,
    /// Commands in the batch.
    pub command_count: u32,
}

impl BatchHeader {
    /// Reads the header alone.
    ///
    /// # Errors
    ///
    /// If the body does not start with the header of a batch.
    pub fn decode(body: &[u8]) -> Result<Self, CorruptBatch> {
        Ok(decode_header(body)?.1)
    }

    /// Reads the header and checks every command: what a leader does before it proposes a body
    /// that came from elsewhere, because a corrupt entry would stop every replica.
    ///
    /// # Errors
    ///
    /// If [`StateMachine::apply`](crate::StateMachine::apply) would refuse the body.
    pub fn check(body: &[u8]) -> Result<Self, CorruptBatch> {
        Ok(Batch::decode(body)?.header)
    }
}

/// A body of which every byte has been checked; borrows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch<'a> {
    pub(crate) header: BatchHeader,
    version: u8,
    commands: Cursor<'a>,
}

impl<'a> Batch<'a> {
    pub(crate) fn decode(body: &'a [u8]) -> Result<Self, CorruptBatch> {
        let (version, header, commands) = decode_header(body)?;
        let mut rest = commands;
        for _ in 0..header.command_count {
            let at = body.len() - rest.len();
            command::decode(&mut rest, version).map_err(|reason| CorruptBatch { at, reason })?;
        }
        if !rest.is_empty() {
            return Err(CorruptBatch { at: body.len() - rest.len(), reason: "trailing bytes" });
        }
        Ok(Self { header, version, commands })
    }

    /// The commands in order. Decoding twice is cheaper than a list of them.
    pub(crate) fn commands(mut self) -> impl Iterator<Item = Command<'a>> {
        std::iter::from_fn(move || command::decode(&mut self.commands, self.version).ok())
            .take(self.header.command_count as usize)
    }
}

fn decode_header(body: &[u8]) -> Result<(u8, BatchHeader, Cursor<'_>), CorruptBatch> {
    let corrupt = |at, reason| Err(CorruptBatch { at, reason });
    let mut cursor = Cursor(body);
    let Some(version @ VERSION..=VERSION_2) = cursor.u8() else {
        return corrupt(0, "unknown version");
    };
    let mut read = || {
        let origin = Origin { node: cursor.u64()?, epoch: cursor.u64()? };
        let (seq, acked) = (cursor.u64()?, cursor.u64()?);
        Some(BatchHeader { origin, seq, acked, command_count: cursor.u32()? })
    };
    let Some(header) = read() else { return corrupt(body.len(), "header cut short") };
    if header.seq <= header.acked {
        return corrupt(25, "acknowledges itself");
    }
    if BATCH_COMMANDS_MAX < header.command_count as usize {
        return corrupt(33, "too many commands");
    }
    Ok((version, header, cursor))
}

/// Bytes that are not the body of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("corrupt batch at byte {at}: {reason}")]
pub struct CorruptBatch {
    at: usize,
    reason: &'static str,
}

const VERSION: u8 = 1;
/// The first that has the meta commands.
const VERSION_2: u8 = 2;
const HEADER_LEN: usize = 37;

#[cfg(test)]
mod tests;
