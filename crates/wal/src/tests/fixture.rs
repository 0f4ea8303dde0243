//! What version 1 wrote stays readable, and is still what is written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;
use crate::RecoveredShard;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

/// Every kind of record, over four segments. Between waiting and closing the writer leaves one
/// mark, at the one time or the other, so that the bytes do not depend on how threads meet.
fn written() -> BTreeMap<String, Vec<u8>> {
    let disk = SimDisk::new(1);
    let wal = create(&disk);
    append(&wal, 1, |records| {
        records.slot(0, b"vote");
        for index in 1..=8 {
            records.entry(index, &[b"entry ", index.to_string().as_bytes(), &[b'.'; 180]]);
        }
        records.truncate(Some(7));
        records.entry(8, &[b"eight again"]);
        records.purge(2, b"log id of two");
    })
    .unwrap();
    wal.close().unwrap();
    let wal = open(&disk).unwrap().0;
    append(&wal, 0x0102, |records| {
        records.entry(0, &[]);
        (1..=3).for_each(|index| records.entry(index, &[&[b'x'; 150]]));
    })
    .unwrap();
    wal.close().unwrap();
    let mut files = disk.files();
    // One made ahead of time may or may not be there.
    files.retain(|_, bytes| bytes[64..].iter().any(|byte| *byte != 0));
    files
}

/// To write the fixture of a new version: run this test with `UPDATE=1` and review the difference.
#[test]
fn the_fixture_is_what_is_written() {
    let written = written();
    assert_eq!(written.len(), 4);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(directory()).unwrap();
        for (name, bytes) in &written {
            std::fs::write(directory().join(name), bytes).unwrap();
        }
    }
    assert!(committed() == written, "the format has changed");
}

#[test]
fn the_fixture_can_be_read() {
    let (wal, recovered) = open(&SimDisk::with_files(0, committed())).unwrap();
    assert_eq!(recovered.dropped, None);
    let shard_1 = RecoveredShard {
        slots: BTreeMap::from([(0, Bytes::from("vote"))]),
        purged: Some((2, Bytes::from("log id of two"))),
        entries: Some(3..=8),
    };
    let shard_2 = RecoveredShard { slots: BTreeMap::new(), purged: None, entries: Some(0..=3) };
    assert_eq!(recovered.shards, BTreeMap::from([(1, shard_1), (0x0102, shard_2)]));
    assert_eq!(read_all(&wal, 1)[5], (8, Bytes::from("eight again")));
    assert!(read_all(&wal, 1)[0].1.starts_with(b"entry 3..."));
}

fn committed() -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
        })
        .collect()
}
