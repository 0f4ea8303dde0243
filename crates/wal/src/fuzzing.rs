//! What the fuzz targets need of this crate and nobody else may have; see `fuzz/README.md`.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::disk::Disk;
use crate::error::Error;
use crate::frame::FRAME_LEN;
use crate::reader::read;
use crate::recovery::recover;
use crate::segment::{HEADER_LEN, segment_name};
use crate::{DroppedTail, RecoveredShard, Shard};

/// Each shard's state and entries.
pub type Found = BTreeMap<Shard, (RecoveredShard, Vec<(u64, Bytes)>)>;

/// What recovery finds, bodies included, without starting the log; and what it dropped.
///
/// # Errors
///
/// As `Wal::open` and `Wal::read`.
pub fn recovered(disk: &dyn Disk, owner: u64) -> Result<(Found, Option<DroppedTail>), Error> {
    let recovery = recover(disk, owner)?;
    let mut found = Found::new();
    for (shard, state) in recovery.shards.recovered() {
        let runs = recovery.shards.runs(shard, 0, u64::MAX);
        let entries = read(&runs, shard, 0..u64::MAX, usize::MAX)?;
        found.insert(shard, (state, entries));
    }
    Ok((found, recovery.dropped))
}

/// The file name of segment `number`.
pub fn file_name(number: u64) -> String {
    segment_name(number)
}

/// Gives a segment and the frames in it the checksums without which nobody looks at them.
pub fn mend(segment: &mut [u8]) {
    const HEADER: usize = HEADER_LEN as usize;
    let Some((header, mut frames)) = segment.split_first_chunk_mut::<HEADER>() else { return };
    let (fields, crc) = header.split_at_mut(HEADER - 4);
    let seed = crc32fast::hash(fields);
    crc.copy_from_slice(&seed.to_le_bytes());
    while let Some((head, rest)) = frames.split_first_chunk_mut::<FRAME_LEN>() {
        let [_, _, _, _, _, _, _, _, l0, l1, l2, l3, kind, ..] = *head;
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let Some((payload, next)) = rest.split_at_mut_checked(len.next_multiple_of(8)) else {
            return;
        };
        if kind != 0 {
            let (crc, fields) = head.split_at_mut(4);
            let (payload_crc, _) = fields.split_at_mut(4);
            payload_crc.copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
            let mut hasher = crc32fast::Hasher::new_with_initial(seed);
            hasher.update(fields);
            crc.copy_from_slice(&hasher.finalize().to_le_bytes());
        }
        frames = next;
    }
}
