//! Invariants 3 and 7: a damaged log is refused, or found to be the one written.

use std::collections::BTreeMap;

use super::*;
use crate::RecoveredShard;
use crate::frame::{FRAME_LEN, Frame, Kind};
use crate::reader::read;
use crate::recovery::recover;

type Files = BTreeMap<String, Vec<u8>>;
/// State and entries of each shard.
type Found = BTreeMap<Shard, (RecoveredShard, Vec<(u64, Bytes)>)>;

/// What recovery finds, bodies included, without starting the log.
fn found(files: &Files) -> Result<Found, Error> {
    let disk = SimDisk::with_files(0, files.clone());
    let recovery = recover(&disk, OWNER)?;
    let mut found = Found::new();
    for (shard, state) in recovery.shards.recovered() {
        let runs = recovery.shards.runs(shard, 0, u64::MAX);
        found.insert(shard, (state, read(&runs, shard, 0..u64::MAX, usize::MAX)?));
    }
    Ok(found)
}

/// Three segments, the first purged away, closed.
fn small_log() -> Files {
    let disk = SimDisk::new(1);
    let wal = create(&disk);
    append(&wal, 1, |records| records.slot(1, b"vote")).unwrap();
    for index in 1..=7 {
        append_entry(&wal, 1, index, &[b'a'; 333]).unwrap();
        append_entry(&wal, 2, index, b"odd").unwrap();
    }
    append(&wal, 1, |records| records.purge(2, b"two")).unwrap();
    append(&wal, 2, |records| records.truncate(Some(6))).unwrap();
    append(&wal, 2, |records| records.purge(2, b"two")).unwrap();
    wait_until("the first segment is gone", || !disk.files().contains_key(&name(1)));
    wal.close().unwrap();
    disk.files()
}

fn name(number: u64) -> String {
    format!("wal-{number:016x}.seg")
}

/// The frames of the first segment, with their offsets.
fn frames(files: &Files) -> Vec<(usize, Frame)> {
    let bytes = &files[&name(1)];
    let seed = crc32fast::hash(&bytes[..60]);
    let mut frames = Vec::new();
    let mut at = 64;
    while let Some(frame) = Frame::decode(bytes[at..].first_chunk().unwrap(), seed) {
        frames.push((at, frame));
        at += span(&frame);
    }
    frames
}

fn span(frame: &Frame) -> usize {
    usize::try_from(frame.span()).unwrap()
}

/// Waits until the first segment ends with a mark; returns where the mark ends.
fn wait_for_mark(disk: &SimDisk) -> usize {
    let last = || frames(&disk.files()).pop();
    wait_until("the mark is written", || last().is_some_and(|(_, frame)| frame.kind == Kind::Mark));
    last().unwrap().0 + FRAME_LEN
}

/// All that recovery may say of a damaged file names it and the place.
fn assert_names_the_place(error: &Error, file: &str) {
    let text = error.to_string();
    assert!(
        text.contains("wal-") && (text.contains("offset") || text.contains("missing")),
        "{text}"
    );
    assert!(text.contains(file) || matches!(error, Error::Missing { .. } | Error::Corrupt { .. }));
}

#[test]
fn a_flipped_bit_in_any_byte_is_refused_or_harmless() {
    let files = small_log();
    let want = found(&files).unwrap();
    let (mut refused, mut harmless) = (0, 0);
    for (file, bytes) in &files {
        for bit in (0..bytes.len()).map(|byte| byte * 8 + byte * 5 % 8) {
            let mut damaged = files.clone();
            damaged.get_mut(file).unwrap()[bit / 8] ^= 1 << (bit % 8);
            match found(&damaged) {
                Ok(found) => {
                    assert_eq!(found, want, "{file}, bit {bit}");
                    harmless += 1;
                }
                Err(error) => {
                    assert_names_the_place(&error, file);
                    refused += 1;
                }
            }
        }
    }
    assert!(1_000 < refused && 100 < harmless, "{refused} refused, {harmless} harmless");
}

#[test]
fn every_shortened_file_is_refused() {
    let files = small_log();
    for (file, bytes) in &files {
        for len in 0..bytes.len() {
            let mut damaged = files.clone();
            damaged.get_mut(file).unwrap().truncate(len);
            let error = found(&damaged).expect_err(&format!("{file}, {len} bytes"));
            assert!(matches!(error, Error::Corrupt { .. }), "{error}");
            assert!(error.to_string().contains(file.as_str()), "{error}");
        }
    }
}

/// The last record was written and not synced: it may be torn anywhere, and then it never was.
#[test]
fn a_torn_tail_is_dropped_wherever_it_is_torn() {
    let disk = SimDisk::new(1);
    let wal = create(&disk);
    wait_until("the next segment is made", || wal.disk_bytes() == 2 * SEGMENT_LEN_MIN);
    append_entry(&wal, 1, 1, b"durable").unwrap();
    // The tail begins where the mark ends, which comes when the writer is idle.
    let start = wait_for_mark(&disk);
    disk.fail_sync(0);
    append_entry(&wal, 1, 2, b"in the cache only").unwrap_err();
    let files = disk.files();
    let whole = found(&files).unwrap();
    assert_eq!(whole[&1].0.entries, Some(1..=2));

    let end = frames(&files).last().map(|(at, frame)| at + span(frame)).unwrap();
    for cut in start..end {
        for garbage in [0, 0xa5] {
            let mut torn = files.clone();
            torn.get_mut(&name(1)).unwrap()[cut..].fill(garbage);
            if torn == files {
                // Only zeros of the padding were cut off.
                continue;
            }
            let disk = SimDisk::with_files(0, torn);
            let (wal, recovered) = open(&disk).unwrap();
            assert_eq!(read_all(&wal, 1), [(1, Bytes::from("durable"))], "cut at {cut}");
            let dropped = recovered.dropped.map(|dropped| (dropped.file, dropped.offset));
            let all_zero = cut == start && garbage == 0;
            assert_eq!(dropped, (!all_zero).then(|| (name(1), start as u64)), "cut at {cut}");
            append_entry(&wal, 1, 2, b"another").unwrap();
            wal.close().unwrap();
            let (wal, recovered) = open(&disk).unwrap();
            assert_eq!(recovered.dropped, None);
            assert_eq!(read_all(&wal, 1)[1], (2, Bytes::from("another")));
        }
    }
}

/// The last acknowledged record is protected without a clean end: the idle writer's mark does it.
#[test]
fn the_last_durable_record_is_not_taken_for_a_torn_tail() {
    let disk = SimDisk::new(1);
    let wal = create(&disk);
    append_entry(&wal, 1, 1, b"acknowledged").unwrap();
    wait_for_mark(&disk);
    let mut files = disk.files();
    let at = files[&name(1)].windows(12).position(|bytes| bytes == b"acknowledged").unwrap();
    files.get_mut(&name(1)).unwrap()[at] ^= 1;
    let error = found(&files).unwrap_err();
    let what = "a record that was durable is damaged";
    assert!(matches!(&error, Error::Corrupt { what: found, .. } if *found == what), "{error}");
}

/// A bit that flips while the log is open is noticed by the read that meets it.
#[test]
fn a_read_checks_again() {
    let disk = SimDisk::new(1);
    let wal = create(&disk);
    append_entry(&wal, 1, 1, b"first").unwrap();
    append_entry(&wal, 1, 2, b"second").unwrap();
    let bytes = &disk.files()[&name(1)];
    let at = bytes.windows(6).position(|bytes| bytes == b"second").unwrap() as u64;
    disk.flip_bit(&name(1), at * 8);
    assert_eq!(wal.read(1, 1, 2, usize::MAX).unwrap().len(), 1);
    let error = wal.read(1, 1, 3, usize::MAX).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
}

proptest::proptest! {
    /// Invariant 7: arbitrary bytes behind a valid header, and as a whole file.
    #[test]
    fn arbitrary_bytes_are_no_log(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..3000),
        keep in 0_usize..200,
    ) {
        let mut files = small_log_once().clone();
        let last = files.keys().next_back().unwrap().clone();
        let segment = files.get_mut(&last).unwrap();
        segment.truncate(keep);
        segment.extend(bytes);
        drop(found(&files));
    }
}

fn small_log_once() -> &'static Files {
    static FILES: std::sync::OnceLock<Files> = std::sync::OnceLock::new();
    FILES.get_or_init(small_log)
}
