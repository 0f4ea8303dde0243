//! Directories that are not the log they should be. Each is refused with a message of its own.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::segment::segment_name as name;
use crate::{Disk, OsDisk};

type Files = BTreeMap<String, Vec<u8>>;

/// Segments 1 to 3.
fn log() -> Files {
    log_of(b"vote")
}

fn log_of(vote: &[u8]) -> Files {
    let disk = SimDisk::new(1);
    let wal = create(&disk);
    append(&wal, 1, |records| records.slot(1, vote)).unwrap();
    for index in 1..=6 {
        append_entry(&wal, 1, index, &[7; 300]).unwrap();
    }
    wal.close().unwrap();
    let mut files = disk.files();
    files.remove(&name(4));
    assert_eq!(files.len(), 3);
    files
}

#[test]
fn foreign_and_incomplete_directories() {
    type Harm = fn(&mut Files);
    let cases: &[(&str, Harm, &str)] = &[
        (
            "newest deleted",
            |files| drop(files.remove(&name(3))),
            "wal-0000000000000003.seg is missing: the segment before it is sealed",
        ),
        (
            "middle deleted",
            |files| drop(files.remove(&name(2))),
            "wal-0000000000000002.seg is missing: there is one before and one behind it",
        ),
        (
            "oldest deleted",
            |files| drop(files.remove(&name(1))),
            "wal-0000000000000001.seg is missing: entries that count were in an older segment",
        ),
        (
            "swapped",
            |files| {
                let (one, two) = (files[&name(1)].clone(), files[&name(2)].clone());
                files.insert(name(1), two);
                files.insert(name(2), one);
            },
            "wal-0000000000000001.seg, offset 8: the header is that of another segment: files \
             were swapped",
        ),
        (
            "empty file",
            |files| drop(files.insert(name(3), Vec::new())),
            "wal-0000000000000003.seg, offset 0: the file ends before its header does",
        ),
        (
            "something else",
            |files| drop(files.insert(name(1), vec![b'x'; 4096])),
            "wal-0000000000000001.seg, offset 0: not a segment of a log",
        ),
        (
            "from another copy of the log",
            |files| drop(files.insert(name(2), log_of(b"veto")[&name(2)].clone())),
            "wal-0000000000000002.seg, offset 64: the head contradicts the segment before",
        ),
        (
            "seal overwritten",
            |files| {
                let bytes = files.get_mut(&name(2)).unwrap();
                let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
                bytes[end - 31..].fill(0);
            },
            "the records end without a seal, but there is a next segment",
        ),
    ];
    for (case, harm, want) in cases {
        let mut files = log();
        harm(&mut files);
        let error = open(&SimDisk::with_files(0, files)).expect_err(case).to_string();
        assert!(error.ends_with(want), "case: {case}: {error}");
    }
}

/// All that is left is one segment, and of that not even the head: no state, not an empty one.
#[test]
fn the_oldest_segment_needs_its_head() {
    let mut files = log();
    files.retain(|file, _| *file == name(3));
    files.get_mut(&name(3)).unwrap()[70..].fill(0);
    let error = open(&SimDisk::with_files(0, files)).unwrap_err().to_string();
    let want = "wal-0000000000000003.seg, offset 64: the head of the oldest segment is damaged";
    assert_eq!(error, want);
}

#[test]
fn headers_of_others() {
    let edit = |files: &mut Files, number, at: usize, byte| {
        let bytes = files.get_mut(&name(number)).unwrap();
        bytes[at] = byte;
        let crc = crc32fast::hash(&bytes[..60]).to_le_bytes();
        bytes[60..64].copy_from_slice(&crc);
    };
    let mut files = log();
    edit(&mut files, 2, 4, 2);
    let error = open(&SimDisk::with_files(0, files)).unwrap_err().to_string();
    let want = "wal-0000000000000002.seg, offset 4: format version 2, this program knows up to 1";
    assert_eq!(error, want);

    let mut files = log();
    edit(&mut files, 1, 16, 1);
    let error = open(&SimDisk::with_files(0, files)).unwrap_err();
    assert!(matches!(error, Error::Foreign { found: 0x0a0b_0c01, owner: OWNER, .. }), "{error}");
}

#[test]
fn create_and_open_do_not_stand_in_for_each_other() {
    let disk = SimDisk::new(1);
    assert!(matches!(open(&disk), Err(Error::NoLog)));
    create(&disk).close().unwrap();
    let error = Wal::create(Arc::new(disk.clone()), CONFIG).unwrap_err();
    assert!(matches!(error, Error::Exists { .. }));
    assert_eq!(open(&disk).unwrap().1.shards, BTreeMap::new());
}

/// Files of others are left alone, unfinished ones of ours are removed.
#[test]
fn leftovers_are_removed() {
    let mut files = log();
    files.insert("wal-0000000000000004.tmp".into(), vec![1; 10]);
    files.insert("wal-4.seg".into(), vec![1; 10]);
    files.insert("identity".into(), vec![1; 10]);
    let disk = SimDisk::with_files(0, files);
    open(&disk).unwrap().0.close().unwrap();
    let files = disk.files();
    assert!(!files.contains_key("wal-0000000000000004.tmp"));
    assert!(files.contains_key("wal-4.seg") && files.contains_key("identity"));
}

#[test]
fn a_directory_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let disk = OsDisk::open(&path).unwrap();
    let error = OsDisk::open(&path).unwrap_err().to_string();
    let pid = std::process::id();
    let want = format!("{} is in use by another process (pid {pid})", path.display());
    assert_eq!(error, want);
    drop(disk);
    drop(OsDisk::open(&path).unwrap());
}

#[test]
fn symbolic_links_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let link = |name: &str| std::os::unix::fs::symlink("/dev/null", dir.path().join(name)).unwrap();
    link("wal-0000000000000001.seg");
    assert!(matches!(OsDisk::open(dir.path()), Err(Error::Symlink { .. })));
    std::fs::remove_file(dir.path().join("wal-0000000000000001.seg")).unwrap();
    let disk = OsDisk::open(dir.path()).unwrap();
    link("later");
    assert!(disk.open("later").is_err());
    for name in ["", ".", "..", "a/b", "/etc/passwd"] {
        assert!(disk.open(name).is_err() && disk.create(name, 0).is_err(), "{name:?}");
    }
}

/// The real disk keeps the same contract as the one in memory.
#[test]
fn a_log_on_the_real_disk_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { segment_len: 16 * 1024, ..CONFIG };
    let open_disk = |path: &Path| Arc::new(OsDisk::open(path).unwrap());
    let wal = Wal::create(open_disk(dir.path()), config.clone()).unwrap();
    for index in 1..=50 {
        append_entry(&wal, 1, index, &[7; 1000]).unwrap();
    }
    append(&wal, 1, |records| records.purge(30, b"thirty")).unwrap();
    let first = dir.path().join(name(1));
    wait_until("the first segment is removed", || !first.exists());
    drop(wal);
    let (wal, recovered) = Wal::open(open_disk(dir.path()), config).unwrap();
    assert_eq!(recovered.dropped, None);
    assert_eq!(recovered.shards[&1].entries, Some(31..=50));
    assert_eq!(read_all(&wal, 1).len(), 20);
}

/// The number behind the last one has no name. It was counted up to all the same, which is a panic
/// where overflow is checked. (Found by fuzzing, `wal_reader`.)
#[test]
fn the_last_number_of_all_is_no_segment() {
    let disk = SimDisk::new(1);
    drop(crate::segment::Segment::create(&disk, u64::MAX, OWNER, SEGMENT_LEN_MIN).unwrap());
    assert!(matches!(open(&disk), Err(Error::NoLog)));
}
