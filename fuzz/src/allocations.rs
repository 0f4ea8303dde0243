//! What an input may allocate.
//!
//! libFuzzer's own `-malloc_limit_mb` needs a sanitizer's allocator, and `-rss_limit_mb` looks once
//! a second. This one is exact.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Twice the largest item of a node with default settings.
pub const LIMIT: usize = 2 * 1024 * 1024;

/// Runs `f`; the process aborts, which is a finding, if at any moment more than `limit` bytes are
/// held that were not held before, or asked for at once.
pub fn bounded<T>(limit: usize, f: impl FnOnce() -> T) -> T {
    LIMIT_NOW.store(HELD.load(Ordering::Relaxed).saturating_add(limit), Ordering::Relaxed);
    let result = f();
    LIMIT_NOW.store(usize::MAX, Ordering::Relaxed);
    result
}

struct Bounded;

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;
static HELD: AtomicUsize = AtomicUsize::new(0);
static LIMIT_NOW: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Counts what is about to be allocated.
fn take(len: usize) {
    let held = HELD.fetch_add(len, Ordering::Relaxed).saturating_add(len);
    // A panic is the finding then, and has a message to write.
    if LIMIT_NOW.load(Ordering::Relaxed) < held && !std::thread::panicking() {
        LIMIT_NOW.store(usize::MAX, Ordering::Relaxed);
        eprintln!("an allocation of {len} bytes is more than this input may have");
        std::process::abort();
    }
}

fn give(len: usize) {
    HELD.fetch_sub(len, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came; what is added are two counters.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller's promises are the system allocator's conditions.
        unsafe { System.alloc(layout) }
    }

    // Not by way of `alloc`: the system knows which pages are zeros already.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        give(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, new_len: usize) -> *mut u8 {
        take(new_len);
        give(layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, new_len) }
    }
}
