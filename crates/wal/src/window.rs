//! Reads frames of a segment through a buffer of fixed length.

use bytes::Bytes;
use canary::Canary;

use crate::error::Error;
use crate::frame::{FRAME_LEN, Frame};
use crate::segment::{Segment, read_exact_at};

/// A view of a segment: what was last read, and where it lies.
pub(crate) struct Window<'a> {
    segment: &'a Segment,
    /// Where in the segment `buf` begins.
    start: u64,
    buf: Vec<u8>,
    len_max: usize,
}

impl<'a> Window<'a> {
    /// Holds at most `len_max` bytes at a time; `FRAME_LEN <= len_max`.
    pub(crate) fn new(segment: &'a Segment, len_max: usize) -> Self {
        Self { segment, start: 0, buf: Vec::new(), len_max }
    }

    /// The bytes at `at`: `len`, or fewer at the end of the segment, at most the window's.
    pub(crate) fn bytes(&mut self, at: u64, len: usize) -> Result<&[u8], Error> {
        let len = len.min(self.len_max).min(clamp(self.segment.len.saturating_sub(at)));
        let mut from = at.checked_sub(self.start).map_or(usize::MAX, clamp);
        if self.buf.get(from..from.saturating_add(len)).is_none() {
            let len = self.len_max.min(clamp(self.segment.len.saturating_sub(at)));
            self.buf.resize(len, 0);
            self.start = at;
            from = 0;
            if let Err(error) = read_exact_at(&*self.segment.file, &mut self.buf, at) {
                self.buf.clear();
                return Err(self.segment.io("read", error));
            }
        }
        Ok(self.buf.get(from..from + len).unwrap_or_default())
    }

    /// The header at `at`, if there is one and its payload fits the segment. The payload is not
    /// looked at.
    pub(crate) fn frame(&mut self, at: u64) -> Result<Option<Frame>, Error> {
        let (seed, len) = (self.segment.seed, self.segment.len);
        let Ok(bytes) = self.bytes(at, FRAME_LEN)?.try_into() else { return Ok(None) };
        let frame = Frame::decode(bytes, seed);
        Ok(frame.filter(|frame| frame.span() <= len - at && frame.synced <= at))
    }

    /// Whether the payload of `frame`, which is at `at`, is what was written.
    pub(crate) fn check(&mut self, at: u64, frame: &Frame) -> Result<bool, Error> {
        let mut hasher = crc32fast::Hasher::new();
        let end = at + frame.span();
        let mut at = at + FRAME_LEN as u64;
        while at < end {
            let bytes = self.bytes(at, clamp(end - at))?;
            hasher.update(bytes);
            at += bytes.len() as u64;
        }
        Ok(hasher.finalize() == frame.payload_crc || Canary::BadChecksumAccepted.is_planted())
    }

    /// The payload of `frame`, which is at `at`; `None` if it is not what was written.
    pub(crate) fn payload(&mut self, at: u64, frame: &Frame) -> Result<Option<Bytes>, Error> {
        let padded = frame.len as usize + frame.padding();
        let at = at + FRAME_LEN as u64;
        let mut payload = vec![0; padded];
        if padded <= self.len_max {
            payload.copy_from_slice(self.bytes(at, padded)?);
        } else {
            read_exact_at(&*self.segment.file, &mut payload, at)
                .map_err(|error| self.segment.io("read", error))?;
        }
        let intact = crc32fast::hash(&payload) == frame.payload_crc
            || Canary::BadChecksumAccepted.is_planted();
        payload.truncate(frame.len as usize);
        Ok(intact.then(|| payload.into()))
    }
}

fn clamp(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
