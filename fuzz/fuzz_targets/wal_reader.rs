//! Arbitrary segments: refused by file, or a log that is found again as it is.
//!
//! Input: a byte whose bit 0 says whether checksums are put right, then each segment: a length in
//! 8 bytes' steps (2 bytes), its bytes.
#![no_main]

use std::collections::BTreeMap;

use harness::allocations::{LIMIT, bounded};
use harness::input::Input;
use wal::Error;
use wal::fuzzing::{file_name, mend, recovered};
use wal::testing::SimDisk;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let mended = input.flag();
    let mut files = BTreeMap::new();
    while !input.is_empty() && files.len() < 4 {
        let len = usize::from(input.u16() % 1024) * 8;
        let mut segment = input.bytes(len).to_vec();
        let [number, owner] = [8, 16].map(|at| {
            let bytes = segment.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            u64::from_le_bytes(bytes.unwrap_or_default())
        });
        if mended {
            // The name and the owner are what they say, so that the rest is looked at.
            mend(&mut segment);
        }
        let number = if mended { number } else { files.len() as u64 + 1 };
        files.insert(file_name(number), (segment, owner));
    }
    let owner = files.values().next().map_or(OWNER, |(_, owner)| *owner);
    let owner = if mended { owner } else { OWNER };
    let files = files.into_iter().map(|(name, (segment, _))| (name, segment)).collect();
    let disk = SimDisk::with_files(1, files);
    match bounded(LIMIT, || recovered(&disk, owner)) {
        // What was dropped stays dropped, and all else stays.
        Ok((found, _)) => {
            let again = recovered(&disk, owner).expect("a log that was repaired");
            assert_eq!(again, (found, None));
        }
        Err(error) => named(&error),
    }
});

/// Whoever reads the message finds the place.
fn named(error: &Error) {
    let text = error.to_string();
    let place = text.contains("wal-") || matches!(error, Error::NoLog);
    assert!(place, "{text}");
}

/// The replica of the fixtures of crate `wal`.
const OWNER: u64 = 0x0a0b_0c0d;
