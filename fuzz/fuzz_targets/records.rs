//! What a replica keeps beside its state: identity, vote, committed index, purge point, entries.
//!
//! Input: a byte for which, then its bytes.
#![no_main]

use harness::allocations::{LIMIT, bounded};
use harness::input::Input;
use replication::fuzzing::{entry, identity, leader, log_id, vote};

libfuzzer_sys::fuzz_target!(|data: &[u8]| bounded(LIMIT, || {
    let mut input = Input(data);
    match input.below(6) {
        0 => identity(input.rest(), false),
        1 => identity(input.rest(), true),
        2 => vote(input.rest()),
        3 => log_id(input.rest()),
        4 => leader(input.rest()),
        _ => entry(input.u64(), input.rest()),
    };
}));
