//! The admin port, both sides: an operator's requests, and a reply to `status` and `member`.
//!
//! Input: a byte for which, then the body, the query, or the reply. HTTP itself is hyper's.
#![no_main]

use harness::allocations::{LIMIT, bounded};
use harness::binary::{admin, http};

libfuzzer_sys::fuzz_target!(|data: &[u8]| bounded(LIMIT, || {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind % 6 {
        5 => http::fuzzing::reply(rest),
        kind => admin::fuzzing::request(kind, rest),
    }
}));
