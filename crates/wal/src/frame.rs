//! One record as it lies in a segment.
//!
//! Little-endian, at offsets that are multiples of 8:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | CRC-32 of bytes 4 to 31, started from the CRC of the segment's header |
//! | 4 | 4 | CRC-32 of the payload and its padding |
//! | 8 | 4 | length of the payload |
//! | 12 | 1 | kind |
//! | 13 | 1 | slot (kind 5, else 0) |
//! | 14 | 2 | shard (kinds 2 to 5, else 0) |
//! | 16 | 8 | index (kinds 2 to 4, else 0) |
//! | 24 | 8 | `synced`: the offset up to which this segment was durable when this was written |
//! | 32 | .. | payload, then zeros up to a multiple of 8 |
//!
//! | kind | what | index | payload |
//! |---|---|---|---|
//! | 1 | head: the state at the start of the segment, see `shards.rs` | | every shard's |
//! | 2 | entry | its index | the body |
//! | 3 | truncate | entries from here on are gone | none |
//! | 4 | purge | entries up to here are gone | the value kept for them |
//! | 5 | slot | | its latest value |
//! | 6 | mark: only carries `synced` | | none |
//! | 7 | seal: the segment ends here, there is a next one | | none |
//!
//! The two checksums have different jobs. The first makes a length safe to follow before the
//! payload has been read, and proves `synced` even where the payload behind it is torn. It starts
//! from the header's, so that a frame left behind in reused blocks by another segment, or one
//! stored as a value, is none. A header of zeros is none either, because its kind is 0.

use crate::Shard;

/// The header's length in bytes.
pub(crate) const FRAME_LEN: usize = 32;

/// What a record does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Head,
    Entry,
    Truncate,
    Purge,
    Slot,
    Mark,
    Seal,
}

/// A record's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) slot: u8,
    pub(crate) shard: Shard,
    pub(crate) index: u64,
    pub(crate) len: u32,
    pub(crate) payload_crc: u32,
    pub(crate) synced: u64,
}

impl Frame {
    /// A record of no shard.
    pub(crate) fn bare(kind: Kind) -> Self {
        Self { kind, slot: 0, shard: 0, index: 0, len: 0, payload_crc: 0, synced: 0 }
    }

    /// Bytes in the segment, padding included.
    pub(crate) fn span(&self) -> u64 {
        (FRAME_LEN as u64 + u64::from(self.len)).next_multiple_of(8)
    }

    /// Zeros behind the payload.
    pub(crate) fn padding(&self) -> usize {
        (self.len.next_multiple_of(8) - self.len) as usize
    }

    /// The bytes of the header, for a segment whose header has the CRC `seed`.
    pub(crate) fn encode(&self, seed: u32) -> [u8; FRAME_LEN] {
        let mut bytes = [0; FRAME_LEN];
        let (crc, rest) = bytes.split_at_mut(4);
        let shard = self.shard.to_le_bytes();
        let fields: [&[u8]; 7] = [
            &self.payload_crc.to_le_bytes(),
            &self.len.to_le_bytes(),
            &[self.kind.code()],
            &[self.slot],
            &shard,
            &self.index.to_le_bytes(),
            &self.synced.to_le_bytes(),
        ];
        let mut left = &mut *rest;
        for field in fields {
            let (here, behind) = left.split_at_mut(field.len());
            here.copy_from_slice(field);
            left = behind;
        }
        crc.copy_from_slice(&crc_from(seed, rest).to_le_bytes());
        bytes
    }

    /// The header in `bytes`, if it is one of the segment that `seed` stands for.
    pub(crate) fn decode(bytes: &[u8; FRAME_LEN], seed: u32) -> Option<Self> {
        let [c0, c1, c2, c3, rest @ ..] = bytes;
        let [p0, p1, p2, p3, l0, l1, l2, l3, kind, slot, s0, s1, i @ .., _, _, _, _, _, _, _, _] =
            rest;
        let [.., y0, y1, y2, y3, y4, y5, y6, y7] = rest;
        // The cheap test first: a search looks at every eighth byte, most of them zeros.
        let kind = Kind::of(*kind)?;
        if crc_from(seed, rest) != u32::from_le_bytes([*c0, *c1, *c2, *c3]) {
            return None;
        }
        Some(Self {
            kind,
            slot: *slot,
            shard: Shard::from_le_bytes([*s0, *s1]),
            index: u64::from_le_bytes(*i),
            len: u32::from_le_bytes([*l0, *l1, *l2, *l3]),
            payload_crc: u32::from_le_bytes([*p0, *p1, *p2, *p3]),
            synced: u64::from_le_bytes([*y0, *y1, *y2, *y3, *y4, *y5, *y6, *y7]),
        })
    }
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Head => 1,
            Self::Entry => 2,
            Self::Truncate => 3,
            Self::Purge => 4,
            Self::Slot => 5,
            Self::Mark => 6,
            Self::Seal => 7,
        }
    }

    fn of(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Head,
            2 => Self::Entry,
            3 => Self::Truncate,
            4 => Self::Purge,
            5 => Self::Slot,
            6 => Self::Mark,
            7 => Self::Seal,
            _ => return None,
        })
    }
}

fn crc_from(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame = Frame {
        kind: Kind::Slot,
        slot: 2,
        shard: 0x0304,
        index: 0x0506_0708_090a_0b0c,
        len: 13,
        payload_crc: 0x0d0e_0f10,
        synced: 0x1112_1314_1516_1718,
    };

    #[test]
    fn a_header_comes_back_for_its_segment_alone() {
        let bytes = FRAME.encode(7);
        assert_eq!(Frame::decode(&bytes, 7), Some(FRAME));
        assert_eq!(Frame::decode(&bytes, 8), None);
        assert_eq!(Frame::decode(&[0; FRAME_LEN], 7), None);
        assert_eq!((FRAME.span(), FRAME.padding()), (48, 3));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for bit in 0..FRAME_LEN * 8 {
            let mut bytes = FRAME.encode(7);
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Frame::decode(&bytes, 7), None, "bit {bit}");
        }
    }
}
