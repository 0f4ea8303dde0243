//! Binary requests: any bytes, in any pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    harness::stream::check(data, protocol::Protocol::Binary);
});
