//! Encodes the records of one append straight into the writer's queue.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::extent::Extent;
use crate::frame::{FRAME_LEN, Frame, Kind};
use crate::{RECORD_LEN_MAX, Shard, VALUE_LEN_MAX};

/// Takes the records of one [`Wal::append`](crate::Wal::append), all of one shard, in order.
///
/// After a record that is refused the rest is ignored, and the whole append fails.
pub struct Appender<'a> {
    pub(crate) shard: Shard,
    pub(crate) extent: &'a mut Extent,
    pub(crate) notes: &'a mut BTreeMap<(Shard, u8), Vec<u8>>,
    pub(crate) buf: &'a mut Vec<u8>,
    pub(crate) outcome: Result<(), Error>,
}

impl Appender<'_> {
    /// Entry `index`, whose body is the concatenation of `body`, at most [`RECORD_LEN_MAX`] bytes.
    /// It must follow the last entry; in an empty log, any index beyond the purge point will do.
    pub fn entry(&mut self, index: u64, body: &[&[u8]]) {
        self.record(Kind::Entry, 0, index, body, RECORD_LEN_MAX, |extent, shard| {
            extent.append(shard, index)
        });
    }

    /// Entries behind `after` are gone; `None`: all of them. Entries then go on behind `after`.
    pub fn truncate(&mut self, after: Option<u64>) {
        let from = after.map_or(Some(0), |after| after.checked_add(1));
        let Some(from) = from else { return };
        self.record(Kind::Truncate, 0, from, &[], 0, |extent, _| {
            extent.truncate(from);
            Ok(())
        });
    }

    /// Entries up to `through` are gone, also ones that are still to come; `value`, at most
    /// [`VALUE_LEN_MAX`] bytes, is kept in their place. The purge point never goes back.
    pub fn purge(&mut self, through: u64, value: &[u8]) {
        self.record(Kind::Purge, 0, through, &[value], VALUE_LEN_MAX, |extent, shard| {
            extent.purge(shard, through)
        });
    }

    /// The latest value under a small key, at most [`VALUE_LEN_MAX`] bytes.
    pub fn slot(&mut self, slot: u8, value: &[u8]) {
        self.record(Kind::Slot, slot, 0, &[value], VALUE_LEN_MAX, |_, _| Ok(()));
        if self.outcome.is_ok() {
            // A note that has not left yet is older.
            self.notes.remove(&(self.shard, slot));
        }
    }

    fn record(
        &mut self,
        kind: Kind,
        slot: u8,
        index: u64,
        body: &[&[u8]],
        len_max: usize,
        apply: impl FnOnce(&mut Extent, Shard) -> Result<(), Error>,
    ) {
        if self.outcome.is_err() {
            return;
        }
        let len = body.iter().fold(0_usize, |sum, part| sum.saturating_add(part.len()));
        self.outcome = match u32::try_from(len) {
            Ok(short) if len <= len_max => apply(self.extent, self.shard).map(|()| {
                let frame =
                    Frame { slot, shard: self.shard, index, len: short, ..Frame::bare(kind) };
                push_frame(self.buf, frame, UNSEALED_SEED, body);
            }),
            Ok(_) | Err(_) => Err(Error::TooLarge { len, len_max }),
        };
    }
}

/// Appends a frame with its payload's checksum, for the segment that `seed` stands for.
pub(crate) fn push_frame(buf: &mut Vec<u8>, mut frame: Frame, seed: u32, payload: &[&[u8]]) {
    let start = buf.len();
    buf.resize(start + FRAME_LEN, 0);
    for part in payload {
        buf.extend_from_slice(part);
    }
    buf.resize(buf.len() + frame.padding(), 0);
    let (header, payload) = buf.split_at_mut(start + FRAME_LEN);
    frame.payload_crc = crc32fast::hash(payload);
    if let Some(header) = header.get_mut(start..) {
        header.copy_from_slice(&frame.encode(seed));
    }
}

/// The seed of frames in the queue: which segment they go to, and `synced`, only the writer knows.
pub(crate) const UNSEALED_SEED: u32 = 0;
