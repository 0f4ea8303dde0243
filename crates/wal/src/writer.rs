//! The thread that writes; or whoever does its work by hand, see [`Steps`](crate::Steps).
//!
//! ```text
//!   wait ──▶ take all that is queued ──▶ write ──▶ sync ──▶ tell whoever waits ──┐
//!    ▲                                     │ no room                             │
//!    │                                     └─▶ seal, sync, next segment, head    │
//!    └────────────────── nothing queued: mark ◀──────────────────────────────────┘
//! ```
//!
//! The first failure ends it: what a failed write or sync left behind is not known, and trying
//! again could report as durable what is not.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use canary::Canary;

use crate::Durability;
use crate::appender::{UNSEALED_SEED, push_frame};
use crate::clock::Clock;
use crate::error::Error;
use crate::frame::{FRAME_LEN, Frame, Kind};
use crate::queue::{Batch, Wake};
use crate::segment::{HEADER_LEN, Segment};
use crate::wal::Shared;

/// What only the writing thread knows.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    durability: Durability,
    /// The length of new segments in bytes.
    segment_len: u64,
    active: Active,
    /// Sealed segments still kept, oldest first: numbers and lengths.
    sealed: VecDeque<(u64, u64)>,
    batch: Batch,
    clock: Clock,
    /// When the oldest record that is not durable was written.
    unsynced_since: Option<Instant>,
}

/// The segment being written.
pub(crate) struct Active {
    pub(crate) segment: Arc<Segment>,
    /// Where the next frame goes.
    pub(crate) offset: u64,
    /// Everything before is durable.
    pub(crate) synced: u64,
    /// The greatest `synced` that a frame in the segment carries.
    pub(crate) carried: u64,
    /// Where the last frame ends that is not a mark.
    pub(crate) records_end: u64,
}

impl Active {
    /// A segment in which nothing is written yet.
    pub(crate) fn new(segment: Arc<Segment>) -> Self {
        let (offset, synced, records_end) = (HEADER_LEN, HEADER_LEN, HEADER_LEN);
        Self { segment, offset, synced, carried: HEADER_LEN, records_end }
    }

    /// Whether a frame of `span` bytes fits, with a mark and the seal behind it.
    fn has_room(&self, span: u64) -> bool {
        self.offset + span + RESERVE <= self.segment.len
    }
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        durability: Durability,
        segment_len: u64,
        active: Active,
        sealed: VecDeque<(u64, u64)>,
        clock: Clock,
    ) -> Self {
        let (batch, unsynced_since) = (Batch::default(), None);
        Self { shared, durability, segment_len, active, sealed, batch, clock, unsynced_since }
    }

    /// The thread: works until the log is closed or something fails.
    pub(crate) fn run(mut self) {
        if let Err(error) = self.work() {
            self.fail(&error);
        }
        self.shared.preparer.stop();
    }

    /// Tells everybody, in their order: what was taken first, then what is queued.
    pub(crate) fn fail(&mut self, error: &Error) {
        tracing::error!("the log has failed: {error}");
        self.batch.waiters.drain(..).for_each(|done| done(Err(error.clone())));
        self.shared.queue.fail(error);
    }

    fn work(&mut self) -> Result<(), Error> {
        self.begin()?;
        loop {
            let wake = match self.take()? {
                Some(wake) => wake,
                None => {
                    let deadline = self.sync_deadline();
                    self.shared.queue.take(&mut self.batch, deadline)?
                }
            };
            self.write_batch()?;
            if self.finish(&wake)? {
                return Ok(());
            }
        }
    }

    /// Before anything else.
    pub(crate) fn begin(&mut self) -> Result<(), Error> {
        self.shared.preparer.want(self.active.segment.number + 1, self.segment_len);
        if self.active.offset == HEADER_LEN && !self.sealed.is_empty() {
            // Whoever sealed the one before died before this one said that it is durable.
            self.write_head()?;
            self.sync()?;
        }
        self.release();
        Ok(())
    }

    /// Takes what is queued, without waiting; if nothing is, notes how far all is durable.
    pub(crate) fn take(&mut self) -> Result<Option<Wake>, Error> {
        let wake = self.shared.queue.try_take(&mut self.batch)?;
        if wake.is_none() {
            self.note_synced();
            self.mark()?;
        }
        Ok(wake)
    }

    /// Makes what was written as durable as it is to be, and tells whoever waits. Says whether
    /// that was the end.
    pub(crate) fn finish(&mut self, wake: &Wake) -> Result<bool, Error> {
        match self.durability {
            Durability::Fsync if self.active.synced < self.active.records_end => self.sync()?,
            Durability::Os { sync_every } => self.sync_aside(sync_every),
            Durability::Fsync => {}
        }
        let closing = matches!(wake, Wake::Closing);
        if closing {
            self.shared.preparer.wait_synced()?;
            self.sync()?;
            self.mark()?;
            self.sync()?;
        }
        self.batch.waiters.drain(..).for_each(|done| done(Ok(())));
        Ok(closing)
    }

    /// Writes the batch, over as many segments as it takes.
    pub(crate) fn write_batch(&mut self) -> Result<(), Error> {
        let mut buf = std::mem::take(&mut self.batch.buf);
        let mut left = &mut *buf;
        while let Some(first) = next_frame(left) {
            if self.active.offset == HEADER_LEN {
                self.write_head()?;
            }
            if !self.active.has_room(first.span()) {
                self.rotate(first.span())?;
                continue;
            }
            let len = self.fit(left);
            let (chunk, rest) = left.split_at_mut(len);
            self.write(chunk)?;
            left = rest;
        }
        self.shared.queue.written(std::mem::take(&mut self.batch.counted));
        if !buf.is_empty() && self.unsynced_since.is_none() {
            self.unsynced_since = Some(self.clock.now());
        }
        buf.clear();
        if buf.capacity() <= BUF_KEPT_MAX {
            self.batch.buf = buf;
        }
        if Canary::AckBeforeFsync.is_planted() {
            self.batch.waiters.drain(..).for_each(|done| done(Ok(())));
        }
        Ok(())
    }

    /// Makes final the frames at the front of `buf` that fit the segment; returns their length.
    fn fit(&self, buf: &mut [u8]) -> usize {
        let room = self.active.segment.len - self.active.offset - RESERVE;
        let mut len = 0;
        while let Some(frame) = buf.get(len..).and_then(next_frame) {
            let end = len + usize::try_from(frame.span()).unwrap_or(usize::MAX);
            if room < end as u64 {
                break;
            }
            let frame = Frame { synced: self.active.synced, ..frame };
            if let Some(header) = buf.get_mut(len..len + FRAME_LEN) {
                header.copy_from_slice(&frame.encode(self.active.segment.seed));
            }
            len = end;
        }
        len
    }

    /// Writes final frames and lets readers see them.
    fn write(&mut self, chunk: &[u8]) -> Result<(), Error> {
        let Active { segment, offset, synced, .. } = &self.active;
        segment.file.write_all_at(chunk, *offset).map_err(|e| segment.io("write", e))?;

        let mut shards = self.shared.shards.lock();
        let mut at = 0;
        while let Some(bytes) = chunk.get(at..at + FRAME_LEN) {
            let header = bytes.try_into().unwrap_or(&[0; FRAME_LEN]);
            let Some(frame) = Frame::decode(header, segment.seed) else { break };
            let payload = chunk.get(at + FRAME_LEN..at + FRAME_LEN + frame.len as usize);
            let payload = payload.unwrap_or_default();
            shards.apply(segment, offset + at as u64, &frame, payload)?;
            at += usize::try_from(frame.span()).unwrap_or(usize::MAX);
        }
        drop(shards);
        self.active.carried = *synced;
        self.active.offset += chunk.len() as u64;
        self.active.records_end = self.active.offset;
        Ok(())
    }

    fn write_head(&mut self) -> Result<(), Error> {
        let head = self.shared.shards.lock().encode_head();
        let frame = self.encode_alone(Kind::Head, &head);
        self.write(&frame)
    }

    fn encode_alone(&self, kind: Kind, payload: &[u8]) -> Vec<u8> {
        let mut buf = Vec::new();
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let frame = Frame { len, synced: self.active.synced, ..Frame::bare(kind) };
        push_frame(&mut buf, frame, self.active.segment.seed, &[payload]);
        buf
    }

    /// Goes on in the next segment, which has room for the head and a frame of `span` bytes. The
    /// next one is durable before this one says that there is one.
    fn rotate(&mut self, span: u64) -> Result<(), Error> {
        let head_len = self.shared.shards.lock().encode_head().len() as u64;
        let head_span = (FRAME_LEN as u64 + head_len).next_multiple_of(8);
        let len = HEADER_LEN + head_span + span + RESERVE;
        let number = self.active.segment.number + 1;
        let next = self.shared.preparer.take(number, self.segment_len.max(len))?;

        let seal = self.encode_alone(Kind::Seal, &[]);
        self.write(&seal)?;
        match self.durability {
            Durability::Fsync => self.sync()?,
            Durability::Os { .. } => {
                self.shared.preparer.sync_later(&self.active.segment, self.active.offset);
            }
        }
        self.sealed.push_back((self.active.segment.number, self.active.segment.len));
        self.active = Active::new(Arc::new(next));
        self.shared.preparer.want(number + 1, self.segment_len);
        Ok(())
    }

    /// Leaves word in the segment of how much of it is durable, for when that is found damaged.
    /// Needs no sync: losing the mark with the power loses a proof, not a record.
    fn mark(&mut self) -> Result<(), Error> {
        let Active { synced, carried, records_end, .. } = self.active;
        if synced < records_end || records_end <= carried {
            return Ok(());
        }
        let mark = self.encode_alone(Kind::Mark, &[]);
        self.write(&mark)?;
        self.active.records_end = records_end;
        Ok(())
    }

    /// Has what was written synced on another thread, once in `sync_every`: nobody waits for it,
    /// however long the disk takes.
    fn sync_aside(&mut self, sync_every: Duration) {
        let now = self.clock.now();
        if self.unsynced_since.is_some_and(|since| since + sync_every <= now) {
            self.unsynced_since = None;
            self.shared.preparer.sync_later(&self.active.segment, self.active.offset);
        }
        self.note_synced();
    }

    /// Takes over what the other thread has synced.
    fn note_synced(&mut self) {
        let (number, end) = self.shared.preparer.synced();
        if number == self.active.segment.number && self.active.synced < end {
            self.active.synced = end;
            self.release();
        }
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.unsynced_since = None;
        let Active { segment, offset, synced, .. } = &mut self.active;
        if *synced < *offset {
            segment.file.sync_data().map_err(|e| segment.io("sync", e))?;
            *synced = *offset;
            self.release();
        }
        Ok(())
    }

    /// Gives up the oldest segments in which nothing counts any more. Called when all that was
    /// written is durable: the records that ended theirs, and the head that repeats their state.
    fn release(&mut self) {
        if self.active.synced == HEADER_LEN {
            return;
        }
        let oldest = self.shared.shards.lock().oldest_segment();
        let oldest = oldest.unwrap_or(self.active.segment.number);
        let count = self.sealed.iter().take_while(|(number, _)| *number < oldest).count();
        if 0 < count {
            self.shared.preparer.remove(self.sealed.drain(..count));
        }
    }

    fn sync_deadline(&self) -> Option<Instant> {
        match self.durability {
            Durability::Fsync => None,
            Durability::Os { sync_every } => match self.unsynced_since {
                Some(since) => Some(since + sync_every),
                // Under way elsewhere; looked after for the mark that is due then.
                None if self.active.synced < self.active.records_end => {
                    Some(self.clock.now() + SYNCED_CHECK)
                }
                None => None,
            },
        }
    }
}

/// The time between two looks at whether a sync on another thread has ended, while nothing else is
/// to do.
const SYNCED_CHECK: Duration = Duration::from_millis(100);

/// The frame at the front of what was queued.
fn next_frame(buf: &[u8]) -> Option<Frame> {
    Frame::decode(buf.first_chunk()?, UNSEALED_SEED)
}

/// Kept free at the end of a segment: a mark and the seal.
pub(crate) const RESERVE: u64 = 2 * FRAME_LEN as u64;
/// The largest buffer that is kept for the next batch, in bytes.
const BUF_KEPT_MAX: usize = 4 * 1024 * 1024;
