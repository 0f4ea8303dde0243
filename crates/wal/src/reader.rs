//! Reads entries back.

use std::ops::Range;

use bytes::Bytes;

use crate::Shard;
use crate::error::Error;
use crate::frame::Kind;
use crate::run::Run;
use crate::window::Window;

/// Reads the entries of `indices` from `runs`, see [`Wal::read`](crate::Wal::read).
pub(crate) fn read(
    runs: &[Run],
    shard: Shard,
    indices: Range<u64>,
    bytes_max: usize,
) -> Result<Vec<(u64, Bytes)>, Error> {
    let mut entries = Vec::new();
    let mut bytes = 0_usize;
    for run in runs {
        let damaged = |at| run.segment.corrupt(at, "an entry that was written is damaged");
        let mut index = indices.start.max(run.first);
        let Some((mut found, mut at)) = run.seek(index) else { continue };
        let mut window = Window::new(&run.segment, WINDOW_LEN);
        while index <= run.last && index < indices.end {
            let frame = window.frame(at)?.ok_or_else(|| damaged(at))?;
            if (frame.shard, frame.kind) == (shard, Kind::Entry) {
                if frame.index != found {
                    return Err(damaged(at));
                }
                if found == index {
                    bytes = bytes.saturating_add(frame.len as usize);
                    if !entries.is_empty() && bytes_max < bytes {
                        return Ok(entries);
                    }
                    let body = window.payload(at, &frame)?.ok_or_else(|| damaged(at))?;
                    entries.push((index, body));
                    index += 1;
                }
                found += 1;
            }
            at += frame.span();
        }
    }
    Ok(entries)
}

const WINDOW_LEN: usize = 64 * 1024;
