//! The snapshot file of a data directory: refused by name, or what was written.
//!
//! Input: a byte: bit 0, whether checksums are put right; then the index that the name says (1
//! byte), then the file.
#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;

use harness::allocations::{LIMIT, bounded};
use harness::input::Input;
use replication::fuzzing::{mend_snapshot, snapshot};
use wal::testing::SimDisk;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let (mended, index) = (input.flag(), input.byte());
    let mut file = input.rest().to_vec();
    if mended {
        mend_snapshot(&mut file);
    }
    let name = format!("snapshot-{index:016x}");
    let disk = SimDisk::with_files(1, BTreeMap::from([(name.clone(), file)]));
    let read = bounded(LIMIT, || snapshot(Arc::new(disk), Arc::new(SimDisk::new(2))));
    if let Err(error) = read {
        assert!(error.to_string().contains(&name), "{error}");
    }
});
