//! A disk that fails or is full.

use std::sync::mpsc;

use super::*;

/// Invariant 6: after one failed sync nothing is acknowledged, though later syncs would succeed.
#[test]
fn a_failed_sync_is_the_end() {
    let disk = SimDisk::new(1);
    let wal = create(&disk);
    wait_until("the next segment is made", || wal.disk_bytes() == 2 * SEGMENT_LEN_MIN);
    append_entry(&wal, 1, 1, b"one").unwrap();
    let (tell, told) = mpsc::channel();
    wal.on_failure(move |error| drop(tell.send(error)));
    disk.fail_sync(0);
    let error = append_entry(&wal, 1, 2, b"two").unwrap_err();
    assert!(error.to_string().starts_with("cannot sync wal-0000000000000001.seg: "), "{error}");
    told.recv_timeout(DEADLINE).unwrap();
    assert!(wal.failed().is_some());
    append_entry(&wal, 1, 3, b"three").unwrap_err();
    append(&wal, 2, |_| {}).unwrap_err();
    wal.close().unwrap_err();
    let (tell, told) = mpsc::channel();
    wal.on_failure(move |error| drop(tell.send(error)));
    told.try_recv().unwrap();

    disk.crash();
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.shards[&1].entries, Some(1..=1));
}

/// The next process finds the segment sealed, and its last records only in the cache. Simulation,
/// seed 815.
#[test]
fn a_failed_sync_of_a_seal_loses_nothing_that_the_next_process_has_shown() {
    let disk = SimDisk::new(1);
    let wal = create(&disk);
    wait_until("the next segment is made", || wal.disk_bytes() == 2 * SEGMENT_LEN_MIN);
    let body = vec![7; usize::try_from(SEGMENT_LEN_MIN).unwrap() * 3 / 5];
    append_entry(&wal, 1, 1, &body).unwrap();
    disk.fail_sync(0);
    let error = append_entry(&wal, 1, 2, &body).unwrap_err();
    assert!(error.to_string().starts_with("cannot sync wal-0000000000000001.seg: "), "{error}");

    let (next, _) = open(&disk).unwrap();
    append_entry(&next, 1, 2, &body).unwrap();
    disk.crash();
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.shards[&1].entries, Some(1..=2));
}

#[test]
fn a_failed_write_is_the_end() {
    let disk = SimDisk::new(1);
    let wal = create(&disk);
    wait_until("the next segment is made", || wal.disk_bytes() == 2 * SEGMENT_LEN_MIN);
    disk.fail_write(0);
    let error = append_entry(&wal, 1, 1, b"one").unwrap_err();
    assert!(error.to_string().starts_with("cannot write wal-0000000000000001.seg: "), "{error}");
    append_entry(&wal, 1, 1, b"one").unwrap_err();
}

/// What the preparing thread meets is as fatal, and nobody waits for it for ever.
#[test]
fn a_failure_in_the_background_is_the_end() {
    let disk = SimDisk::new(1);
    let wal = create(&disk);
    wait_until("the next segment is made", || wal.disk_bytes() == 2 * SEGMENT_LEN_MIN);
    let (tell, told) = mpsc::channel();
    wal.on_failure(move |error| drop(tell.send(error)));
    // All power: the writer may be the one that notices.
    disk.crash_after(0);
    append_entry(&wal, 1, 1, &[0; 2000]).unwrap_err();
    told.recv_timeout(DEADLINE).unwrap();
}

/// Method: a disk with room for two segments; the third must wait until there is room.
#[test]
fn a_full_disk_is_waited_for() {
    let disk = SimDisk::new(1);
    let wal = create(&disk);
    wait_until("the next segment is made", || wal.disk_bytes() == 2 * SEGMENT_LEN_MIN);
    disk.set_capacity(Some(2 * SEGMENT_LEN_MIN));
    let fates: Vec<_> =
        (1..=9).map(|index| send(&wal, 1, |records| records.entry(index, &[&[7; 300]]))).collect();
    wait_until("the log says that it is full", || wal.is_full());
    assert!(fates[8].try_recv().is_err());
    assert_ne!(wal.queued_bytes(), 0);
    disk.set_capacity(None);
    fates.iter().for_each(|fate| fate.recv_timeout(DEADLINE).unwrap().unwrap());
    assert!(!wal.is_full() && wal.failed().is_none());
    wal.close().unwrap();
    assert_eq!(read_all(&open(&disk).unwrap().0, 1).len(), 9);
}

/// A log on a full disk can be closed, and what had no room is refused, not forgotten.
#[test]
fn a_full_log_can_be_closed() {
    let disk = SimDisk::new(1);
    let wal = create(&disk);
    wait_until("the next segment is made", || wal.disk_bytes() == 2 * SEGMENT_LEN_MIN);
    disk.set_capacity(Some(2 * SEGMENT_LEN_MIN));
    append_entry(&wal, 1, 1, b"one").unwrap();
    let fate = send(&wal, 1, |records| {
        (2..=9).for_each(|index| records.entry(index, &[&[7; 300]]));
    });
    wait_until("the log says that it is full", || wal.is_full());
    wal.close().unwrap_err();
    fate.recv_timeout(DEADLINE).unwrap().unwrap_err();
    disk.set_capacity(None);
    assert!(!read_all(&open(&disk).unwrap().0, 1).is_empty());
}
