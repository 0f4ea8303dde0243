//! What a log on disk amounts to, and whether it can be trusted.
//!
//! Every segment is read once, front to back, through a small buffer. Whatever was promised to be
//! durable must be there: the log is refused otherwise, with file and offset. What may be missing
//! or torn is the tail of the newest segment, and there only what no later frame's `synced` covers.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::DroppedTail;
use crate::disk::Disk;
use crate::error::Error;
use crate::frame::{FRAME_LEN, Kind};
use crate::segment::{HEADER_LEN, Segment, is_temporary, segment_name, segment_number, zero};
use crate::shards::Shards;
use crate::window::Window;
use crate::writer::Active;

/// A log that can go on.
pub(crate) struct Recovery {
    pub(crate) shards: Shards,
    pub(crate) active: Active,
    /// Sealed segments, oldest first: numbers and lengths.
    pub(crate) sealed: VecDeque<(u64, u64)>,
    /// The segment made ahead of time, not used yet.
    pub(crate) prepared: Option<Segment>,
    pub(crate) dropped: Option<DroppedTail>,
}

/// Where the records of a segment end.
enum End {
    Sealed(Tail),
    /// At the first thing that is no frame.
    Open(Tail),
}

/// The last of what could be read of a segment.
struct Tail {
    offset: u64,
    carried: u64,
    records_end: u64,
}

/// What lies behind the last readable frame.
struct Rest {
    /// A frame says that something before it, from the tail on, was durable.
    proof: bool,
    /// The end of the last bytes that are not zero, if there are any.
    used_end: Option<u64>,
}

/// Reads the log of `owner` and repairs its tail.
pub(crate) fn recover(disk: &dyn Disk, owner: u64) -> Result<Recovery, Error> {
    let mut segments = open_segments(disk, owner)?;
    let oldest = segments.front().map_or(1, |segment| segment.number);
    let mut shards = Shards::default();
    let mut sealed = VecDeque::new();
    while let Some(segment) = segments.pop_front() {
        let tail = match replay(&segment, &mut shards, oldest)? {
            End::Sealed(Tail { offset, carried, .. }) => {
                // Whoever sealed it may have died before it was durable, or because it could not be
                // made so. Simulation, seed 815.
                write_again(&segment, carried, offset)?;
                segment.file.sync_data().map_err(|e| segment.io("sync", e))?;
                sealed.push_back((segment.number, segment.len));
                continue;
            }
            End::Open(tail) => tail,
        };
        let rest = look_behind(&segment, tail.offset, tail.offset)?;
        if rest.proof {
            return Err(segment.corrupt(tail.offset, "a record that was durable is damaged"));
        }
        let next = segments.pop_front();
        if let Some(next) = &next {
            let unused = !look_behind(next, HEADER_LEN, 0)?.proof;
            if !segments.is_empty() || !unused {
                let what = "the records end without a seal, but there is a next segment";
                return Err(segment.corrupt(tail.offset, what));
            }
        }
        if shards.has_hole() {
            let why = "entries that count were in an older segment";
            return Err(Error::Missing { file: segment_name(oldest.saturating_sub(1)), why });
        }
        let prepared = next.and_then(Arc::into_inner);
        let (active, dropped) = repair(segment, &tail, rest.used_end)?;
        return Ok(Recovery { shards, active, sealed, prepared, dropped });
    }
    let newest = sealed.back().map_or(0, |(number, _)| *number);
    let why = "the segment before it is sealed";
    Err(Error::Missing { file: segment_name(newest + 1), why })
}

/// The numbers of the segments in the directory, ascending.
pub(crate) fn list_segments(disk: &dyn Disk) -> Result<Vec<u64>, Error> {
    let names = disk.list().map_err(|e| Error::io("list", "the directory", e))?;
    let mut numbers: Vec<_> = names.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Opens all segments, oldest first; removes what was never finished.
fn open_segments(disk: &dyn Disk, owner: u64) -> Result<VecDeque<Arc<Segment>>, Error> {
    let names = disk.list().map_err(|e| Error::io("list", "the directory", e))?;
    for name in names.iter().filter(|name| is_temporary(name)) {
        disk.remove(name).map_err(|e| Error::io("remove", name, e))?;
    }
    // What a process that died left in the cache is relied on from here.
    disk.sync_dir().map_err(|e| Error::io("sync", "the directory", e))?;

    let numbers = list_segments(disk)?;
    let Some(mut expected) = numbers.first().copied() else { return Err(Error::NoLog) };
    let mut segments = VecDeque::new();
    for number in numbers {
        if number != expected {
            let why = "there is one before and one behind it";
            return Err(Error::Missing { file: segment_name(expected), why });
        }
        segments.push_back(Arc::new(Segment::open(disk, number, owner)?));
        expected += 1;
    }
    Ok(segments)
}

/// Applies the records of a segment.
fn replay(segment: &Arc<Segment>, shards: &mut Shards, oldest: u64) -> Result<End, Error> {
    let mut window = Window::new(segment, WINDOW_LEN);
    let mut at = HEADER_LEN;
    let mut tail = Tail { offset: at, carried: at, records_end: at };
    while let Some(frame) = window.frame(at)? {
        let wanted = matches!(frame.kind, Kind::Head | Kind::Purge | Kind::Slot);
        let payload = if wanted {
            window.payload(at, &frame)?
        } else {
            window.check(at, &frame)?.then(Bytes::new)
        };
        let Some(payload) = payload else { break };
        if (frame.kind == Kind::Head) != (at == HEADER_LEN) {
            return Err(segment.corrupt(at, "a segment begins with its head and has no other"));
        }
        if frame.kind == Kind::Head {
            if segment.number == oldest {
                let head = Shards::decode_head(&payload);
                *shards = head.ok_or_else(|| segment.corrupt(at, "the head is no state"))?;
            } else if *shards.encode_head() != *payload {
                return Err(segment.corrupt(at, "the head contradicts the segment before"));
            }
        }
        shards
            .apply(segment, at, &frame, &payload)
            .map_err(|_| segment.corrupt(at, "the record does not follow those before it"))?;
        at += frame.span();
        tail.offset = at;
        tail.carried = frame.synced;
        if frame.kind != Kind::Mark {
            tail.records_end = at;
        }
        if frame.kind == Kind::Seal {
            return Ok(End::Sealed(tail));
        }
    }
    if at == HEADER_LEN && segment.number == oldest && oldest != 1 {
        return Err(segment.corrupt(at, "the head of the oldest segment is damaged"));
    }
    Ok(End::Open(tail))
}

/// Searches everything from `tail` on for a frame that says that more than `durable` was durable.
fn look_behind(segment: &Segment, tail: u64, durable: u64) -> Result<Rest, Error> {
    let mut window = Window::new(segment, WINDOW_LEN);
    let mut rest = Rest { proof: false, used_end: None };
    let mut at = tail;
    while at < segment.len {
        if window.bytes(at, ZEROS.len())? == ZEROS {
            // Nothing begins here, but perhaps a header whose last bytes lie behind.
            at += (ZEROS.len() - FRAME_LEN + WORD_LEN) as u64;
            continue;
        }
        let bytes = window.bytes(at, WORD_LEN)?;
        if bytes.iter().any(|byte| *byte != 0) {
            rest.used_end = Some(at + bytes.len() as u64);
        }
        // The payload may be torn: the header alone proves what was durable before it.
        if window.frame(at)?.is_some_and(|frame| durable < frame.synced) {
            rest.proof = true;
            return Ok(rest);
        }
        at += WORD_LEN as u64;
    }
    Ok(rest)
}

/// Writes `from..to` of a segment as it is. If a sync of it failed, the system shows it and takes it
/// for written: only what is written anew is synced (see `# Source` of the crate, fsync failures).
fn write_again(segment: &Segment, from: u64, to: u64) -> Result<(), Error> {
    let mut window = Window::new(segment, WINDOW_LEN);
    let mut at = from;
    while at < to {
        let len = usize::try_from(to - at).unwrap_or(usize::MAX);
        let bytes = window.bytes(at, len)?;
        segment.file.write_all_at(bytes, at).map_err(|e| segment.io("write", e))?;
        at += bytes.len() as u64;
    }
    Ok(())
}

/// Makes what is kept durable, and what is dropped impossible to find again.
fn repair(
    segment: Arc<Segment>,
    tail: &Tail,
    used_end: Option<u64>,
) -> Result<(Active, Option<DroppedTail>), Error> {
    let Tail { offset, carried, records_end } = *tail;
    let dropped = used_end.map(|end| DroppedTail {
        file: segment.name(),
        offset,
        bytes: end.saturating_sub(offset),
    });
    if let Some(end) = used_end {
        zero(&*segment.file, offset, end).map_err(|e| segment.io("write", e))?;
    }
    write_again(&segment, carried, offset)?;
    segment.file.sync_data().map_err(|e| segment.io("sync", e))?;
    Ok((Active { segment, offset, synced: offset, carried, records_end }, dropped))
}

const WORD_LEN: usize = 8;
/// What is skipped at once: most of a new segment is zeros.
const ZEROS: [u8; 4096] = [0; 4096];
const WINDOW_LEN: usize = 256 * 1024;
const _: () = assert!(FRAME_LEN.is_multiple_of(WORD_LEN));
