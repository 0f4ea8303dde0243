//! Messages between nodes: protobuf, then our own types, then what is inside them.
//!
//! Input: a byte for the kind of message, then its bytes.
#![no_main]

use harness::allocations::{LIMIT, bounded};

libfuzzer_sys::fuzz_target!(|data: &[u8]| bounded(LIMIT, || {
    if let Some((kind, message)) = data.split_first() {
        replication::fuzzing::peer_message(*kind, message);
    }
}));
