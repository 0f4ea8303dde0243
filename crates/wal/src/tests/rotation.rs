//! Invariants 1, 3 and 4 at the one moment when the newest segment is empty: the process died
//! between sealing one and writing to the next.

use super::*;

/// Records of one append that take three segments.
fn three_segments(records: &mut Appender<'_>) {
    (1..=3).for_each(|index| records.entry(index, &[&[b'x'; 800]]));
}

/// What was found after a process died is told to raft, which tells it to others. It used to be
/// made durable in the newest segment alone. The one before it may be sealed in the cache only, and
/// was gone after a power loss.
#[test]
fn what_a_dead_process_left_in_the_cache_survives_the_power() {
    for seed in 0..4 {
        for changes in 0..80 {
            let disk = SimDisk::new(seed);
            let wal = create(&disk);
            append_entry(&wal, 1, 0, b"durable").unwrap();
            disk.crash_after(changes);
            let _fate = append(&wal, 1, three_segments);
            drop(wal);
            disk.kill();

            let (wal, _) = open(&disk).unwrap();
            let found = read_all(&wal, 1);
            // So that it ends, without making anything else durable.
            disk.crash_after(0);
            drop(wal);
            disk.crash();
            let (wal, _) = open(&disk).unwrap_or_else(|error| panic!("{seed} {changes}: {error}"));
            assert_eq!(read_all(&wal, 1), found, "seed {seed}, {changes} changes");
        }
    }
}

/// An empty segment says nothing of the one before it. So a flipped bit there looked like a torn
/// tail, and the records behind it were dropped in silence. (Found by fuzzing, `wal_recovery`.)
#[test]
fn a_sealed_segment_before_an_empty_one_is_no_torn_tail() {
    let disk = SimDisk::new(1);
    let wal = create(&disk);
    append(&wal, 1, three_segments).unwrap();
    wal.close().unwrap();
    let mut files = disk.files();
    let newest = "wal-0000000000000003.seg";
    files.retain(|name, _| name.as_str() <= newest);
    files.get_mut(newest).unwrap()[64..].fill(0);

    let disk = SimDisk::with_files(1, files);
    let (wal, _) = open(&disk).unwrap();
    assert_eq!(read_all(&wal, 1).len(), 2);
    wal.close().unwrap();
    // As if there had been no time to make another one ahead.
    let mut files = disk.files();
    files.retain(|name, _| name.as_str() <= newest);
    let disk = SimDisk::with_files(1, files);
    disk.flip_bit("wal-0000000000000002.seg", 300 * 8);
    let error = open(&disk).unwrap_err();
    assert!(matches!(&error, Error::Corrupt { file, .. } if file.contains("2.seg")), "{error}");
}
