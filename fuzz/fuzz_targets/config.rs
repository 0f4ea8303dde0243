//! A configuration file: refused with a reason, or a configuration that keeps what it promises.
//!
//! Input: the file.
#![no_main]

use harness::allocations::{LIMIT, bounded};
use harness::binary::config::fuzzing::check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bounded(LIMIT, || check(data)));
