//! What was appended is there, in the process and after it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use super::*;
use crate::RecoveredShard;

fn body(index: u64, len: usize) -> Vec<u8> {
    index.to_le_bytes().into_iter().cycle().take(len).collect()
}

/// Two shards, all kinds of records, over many segments, before and after a restart.
#[test]
fn a_log_comes_back() {
    let disk = SimDisk::new(1);
    let wal = create(&disk);
    for index in 1..=40 {
        append_entry(&wal, 1, index, &body(index, 100)).unwrap();
        append_entry(&wal, 2, index, &[]).unwrap();
    }
    append(&wal, 1, |records| {
        records.slot(3, b"old");
        records.slot(3, b"vote");
        records.truncate(Some(30));
        records.entry(31, &[b"thirty", b"", b"one"]);
        records.purge(20, b"twenty");
    })
    .unwrap();
    append(&wal, 2, |records| records.truncate(None)).unwrap();

    let want_1 = RecoveredShard {
        slots: BTreeMap::from([(3, Bytes::from("vote"))]),
        purged: Some((20, Bytes::from("twenty"))),
        entries: Some(21..=31),
    };
    let want_2 = RecoveredShard { slots: BTreeMap::new(), purged: None, entries: None };
    let check = |wal: &Wal| {
        let mut want: Vec<_> = (21..=30).map(|index| (index, body(index, 100).into())).collect();
        want.push((31, Bytes::from("thirtyone")));
        assert_eq!(read_all(wal, 1), want);
        assert_eq!(read_all(wal, 2), []);
        assert_eq!(read_all(wal, 3), []);
        assert_eq!(wal.read(1, 22, 25, usize::MAX).unwrap(), want[1..4]);
        assert_eq!(wal.read(1, 22, 25, 250).unwrap(), want[1..3]);
        assert_eq!(wal.read(1, 22, 25, 0).unwrap(), want[1..2]);
        assert_eq!(wal.read(1, 32, 99, 0).unwrap(), []);
        assert_eq!(wal.read(1, 25, 22, 0).unwrap(), []);
    };
    check(&wal);
    wal.close().unwrap();
    for _ in 0..2 {
        let (wal, recovered) = open(&disk).unwrap();
        assert_eq!(recovered.dropped, None);
        assert_eq!(recovered.shards, BTreeMap::from([(1, want_1.clone()), (2, want_2.clone())]));
        check(&wal);
        wal.close().unwrap();
    }
}

/// Opening and closing writes nothing: a node that is restarted often does not fill its disk.
#[test]
fn a_restart_leaves_the_bytes_alone() {
    let disk = SimDisk::new(1);
    let wal = create(&disk);
    append_entry(&wal, 1, 1, b"one").unwrap();
    wait_until("the next segment is made", || wal.disk_bytes() == 2 * SEGMENT_LEN_MIN);
    wal.close().unwrap();
    let files = disk.files();
    for _ in 0..3 {
        open(&disk).unwrap().0.close().unwrap();
        assert!(disk.files() == files);
    }
}

#[test]
fn what_does_not_follow_is_refused_as_a_whole() {
    let disk = SimDisk::new(1);
    let wal = create(&disk);
    let refused = |fill: fn(&mut Appender<'_>)| {
        let outcome = append(&wal, 1, fill);
        assert!(matches!(outcome, Err(Error::Order { shard: 1, .. })), "{outcome:?}");
    };
    append_entry(&wal, 1, 5, b"five").unwrap();
    refused(|records| {
        records.entry(6, &[b"six"]);
        records.entry(8, &[b"eight"]);
        records.slot(1, b"never");
    });
    refused(|records| records.entry(5, &[]));
    append_entry(&wal, 1, 6, b"really six").unwrap();
    append(&wal, 1, |records| records.purge(9, b"nine")).unwrap();
    refused(|records| records.entry(9, &[]));
    refused(|records| records.purge(8, b"eight"));
    let too_long = vec![0; crate::VALUE_LEN_MAX + 1];
    let outcome = append(&wal, 1, |records| records.slot(1, &too_long));
    assert!(matches!(outcome, Err(Error::TooLarge { .. })), "{outcome:?}");
    append_entry(&wal, 1, 10, b"ten").unwrap();
    wal.close().unwrap();

    let (wal, recovered) = open(&disk).unwrap();
    assert_eq!(read_all(&wal, 1), [(10, Bytes::from("ten"))]);
    assert_eq!(recovered.shards[&1].slots, BTreeMap::new());
    let outcome = append_entry(&wal, 1, 12, b"twelve");
    assert!(matches!(outcome, Err(Error::Order { .. })), "{outcome:?}");
}

/// A note alone is written soon; one that is older than the slot's value is not written at all.
#[test]
fn notes_are_kept_in_order_with_slots() {
    let disk = SimDisk::new(1);
    let wal = create(&disk);
    wal.note(1, 1, b"first");
    wal.note(1, 1, b"last");
    wal.note(1, 2, b"old");
    append(&wal, 1, |records| records.slot(2, b"new")).unwrap();
    let slots = |disk: &SimDisk| {
        let copy = SimDisk::with_files(0, disk.files());
        open(&copy).unwrap().1.shards[&1].slots.clone()
    };
    assert_eq!(slots(&disk), BTreeMap::from([(1, "last".into()), (2, "new".into())]));
    wal.note(1, 3, b"alone");
    wait_until("the note is written", || slots(&disk).contains_key(&3));
    wal.note(1, 4, b"at the end");
    wal.note(1, 5, &vec![0; crate::VALUE_LEN_MAX + 1]);
    wal.close().unwrap();
    assert_eq!(slots(&disk).keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn a_record_longer_than_a_segment_gets_its_own() {
    let disk = SimDisk::new(1);
    let wal = create(&disk);
    let long = body(7, 100_000);
    append_entry(&wal, 1, 1, &long).unwrap();
    append_entry(&wal, 1, 2, b"short").unwrap();
    append_entry(&wal, 1, 3, &long).unwrap();
    let want = [(1, long.clone().into()), (2, Bytes::from("short")), (3, long.into())];
    assert_eq!(read_all(&wal, 1), want);
    wal.close().unwrap();
    assert_eq!(read_all(&open(&disk).unwrap().0, 1), want);
}

/// Entries that a read finds by skipping from place to place, among another shard's.
#[test]
fn a_read_begins_anywhere() {
    let disk = SimDisk::new(1);
    let config = Config { segment_len: 1 << 20, ..CONFIG };
    let wal = Wal::create(Arc::new(disk), config).unwrap();
    let mut fates = Vec::new();
    for index in 1..=300 {
        fates.push(send(&wal, 1, |records| records.entry(index, &[&body(index, 3000)])));
        fates.push(send(&wal, 2, |records| records.entry(index, &[&body(index, 100)])));
    }
    fates.iter().for_each(|fate| fate.recv_timeout(DEADLINE).unwrap().unwrap());
    for index in 1..=300 {
        let want = |len| vec![(index, Bytes::from(body(index, len)))];
        assert_eq!(wal.read(1, index, index + 1, 0).unwrap(), want(3000));
        assert_eq!(wal.read(2, index, index + 9, 0).unwrap(), want(100));
    }
    assert_eq!(wal.queued_bytes(), 0);
}

/// Method: purge as the log grows; only segments with entries that count may stay.
#[test]
fn purged_segments_are_removed() {
    let disk = SimDisk::new(1);
    let wal = create(&disk);
    append(&wal, 2, |records| records.slot(1, b"vote")).unwrap();
    for index in 1..=100 {
        append_entry(&wal, 1, index, &body(index, 200)).unwrap();
        if let Some(through) = index.checked_sub(4) {
            append(&wal, 1, |records| records.purge(through, b"")).unwrap();
        }
    }
    wait_until("old segments are gone", || wal.disk_bytes() <= 4 * SEGMENT_LEN_MIN);
    wal.close().unwrap();
    assert!(disk.files().len() <= 4, "{:?}", disk.files().keys());

    let (wal, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.shards[&1].entries, Some(97..=100));
    assert_eq!(recovered.shards[&2].slots[&1], "vote");
    assert_eq!(read_all(&wal, 1).len(), 4);
}

/// Method: the disk holds the first sync until all others have queued; two syncs then serve all.
#[test]
fn appends_share_syncs() {
    let disk = SimDisk::new(1);
    let config = Config { segment_len: 1 << 20, ..CONFIG };
    let wal = Wal::create(Arc::new(disk.clone()), config).unwrap();
    wait_until("the next segment is made", || wal.disk_bytes() == 2 << 20);
    let before = disk.sync_count();
    let queued = Arc::new(Barrier::new(2));
    let hold = queued.clone();
    let held = std::sync::Once::new();
    disk.on_sync(move || {
        held.call_once(|| {
            hold.wait();
        });
    });
    let first = send(&wal, 0, |records| records.entry(1, &[b"first"]));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=64)
            .map(|shard| {
                let wal = wal.clone();
                scope.spawn(move || send(&wal, shard, |records| records.entry(1, &[b"one"])))
            })
            .collect();
        let fates: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        queued.wait();
        first.recv_timeout(DEADLINE).unwrap().unwrap();
        fates.iter().for_each(|fate| fate.recv_timeout(DEADLINE).unwrap().unwrap());
    });
    let syncs = disk.sync_count() - before;
    assert!(syncs <= 3, "{syncs} syncs for 65 appends");
}

/// Under `Os` an append is done once written; the sync follows by itself.
#[test]
fn the_operating_system_is_trusted_for_a_while() {
    let disk = SimDisk::new(1);
    let durability = Durability::Os { sync_every: Duration::from_millis(50) };
    let wal = Wal::create(Arc::new(disk.clone()), Config { durability, ..CONFIG }).unwrap();
    wait_until("the next segment is made", || wal.disk_bytes() == 2 * SEGMENT_LEN_MIN);
    let before = disk.sync_count();
    let hold = Arc::new(parking_lot::Mutex::new(()));
    let held = hold.lock();
    let wait = hold.clone();
    let begun = Arc::new(AtomicBool::new(false));
    let begin = Arc::clone(&begun);
    disk.on_sync(move || {
        begin.store(true, Ordering::SeqCst);
        drop(wait.lock());
    });
    append_entry(&wal, 1, 1, b"one").unwrap();
    assert_eq!(disk.sync_count(), before, "done before any sync ended");
    wait_until("a sync is under way", || begun.load(Ordering::SeqCst));
    append_entry(&wal, 1, 2, b"two").unwrap();
    assert_eq!(disk.sync_count(), before, "done while a sync was under way");
    assert_eq!(wal.queued_bytes(), 0);
    drop(held);
    wait_until("the sync comes by itself", || disk.sync_count() == before + 1);
    disk.crash();
    let entries = open(&disk).unwrap().1.shards[&1].entries.clone().unwrap();
    assert!(entries.contains(&1), "{entries:?}");
}

/// A process that dies leaves bytes in the cache. Whoever opens the log relies on them, so they
/// must outlive the machine from then on.
#[test]
fn what_is_recovered_is_durable() {
    for seed in 0..16 {
        let disk = SimDisk::new(seed);
        let durability = Durability::Os { sync_every: Duration::from_secs(3600) };
        let wal = Wal::create(Arc::new(disk.clone()), Config { durability, ..CONFIG }).unwrap();
        wait_until("the next segment is made", || wal.disk_bytes() == 2 * SEGMENT_LEN_MIN);
        append_entry(&wal, 1, 1, b"in the cache").unwrap();
        // The first one never comes to sync: for the disk it has died.
        let (second, recovered) = open(&disk).unwrap();
        assert_eq!(recovered.shards[&1].entries, Some(1..=1));
        disk.crash();
        drop((wal, second));
        let found = open(&disk).unwrap().1.shards;
        assert_eq!(found.get(&1).and_then(|shard| shard.entries.clone()), Some(1..=1));
    }
}

/// An append of no records waits for those before it.
#[test]
fn an_empty_append_is_a_barrier() {
    let disk = SimDisk::new(1);
    let wal = create(&disk);
    let entry = send(&wal, 1, |records| records.entry(1, &[b"one"]));
    append(&wal, 2, |_| {}).unwrap();
    assert!(matches!(entry.try_recv(), Ok(Ok(()))));
}

#[test]
fn a_closed_log_refuses() {
    let disk = SimDisk::new(1);
    let wal = create(&disk);
    let entry = send(&wal, 1, |records| records.entry(1, &[b"one"]));
    wal.close().unwrap();
    assert!(matches!(entry.try_recv(), Ok(Ok(()))));
    wal.close().unwrap();
    assert!(matches!(append_entry(&wal, 1, 2, b"two"), Err(Error::Closed)));
    assert_eq!(read_all(&wal, 1), [(1, Bytes::from("one"))]);
}

/// The writer that woke up for a sync alone counted its last batch as written once more, and the
/// bytes queued were then close to 2^64: whoever waits for few of them waited for ever.
#[test]
fn a_sync_by_time_writes_nothing() {
    let disk = SimDisk::new(1);
    let durability = Durability::Os { sync_every: Duration::from_millis(1) };
    let wal = Wal::create(Arc::new(disk.clone()), Config { durability, ..CONFIG }).unwrap();
    wait_until("the next segment is made", || wal.disk_bytes() == 2 * SEGMENT_LEN_MIN);
    for index in 1..=3 {
        let before = disk.sync_count();
        append_entry(&wal, 1, index, b"body").unwrap();
        wait_until("the sync", || before < disk.sync_count());
    }
    // The writer has been round again when this is done.
    append_entry(&wal, 1, 4, b"body").unwrap();
    assert_eq!(wal.queued_bytes(), 0);
}
