//! Chunks of a snapshot as a peer sends them: refused, or a state that can be written again.
//!
//! Input: a byte: bit 0, whether checksums and the digest are put right; bits 1 and 2, how many
//! chunks there are before the last. Then their lengths (2 bytes each), and the bytes of all.
#![no_main]

use engine::fuzzing::{mend_chunk, restore};
use harness::allocations::{LIMIT, bounded};
use harness::input::Input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let first = input.byte();
    let mended = first & 1 == 1;
    let lens: Vec<_> = (0..first >> 1 & 3).map(|_| usize::from(input.u16())).collect();
    let mut chunks: Vec<Vec<u8>> = Vec::new();
    for len in lens.into_iter().chain([usize::MAX]) {
        let mut chunk = input.bytes(len).to_vec();
        if mended {
            mend_chunk(&mut chunk, u32::try_from(chunks.len()).expect("few"));
        }
        chunks.push(chunk);
    }
    let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
    // Three states, each with some hundred KiB of empty tables.
    drop(bounded(LIMIT, || restore(&chunks, mended)));
});
