//! Panics: of tasks, which a runtime would keep to itself, and of the simulation.

use std::cell::RefCell;
use std::panic;

/// Has every panic of a thread noted, and printed no longer.
pub fn watch() {
    panic::set_hook(Box::new(|info| {
        let what = info.to_string();
        SEEN.with_borrow_mut(|seen| {
            seen.get_or_insert(what);
        });
    }));
}

/// The first panic on this thread since it was last forgotten.
pub fn seen() -> Option<String> {
    SEEN.with_borrow(Clone::clone)
}

/// Begins anew.
pub fn forget() {
    SEEN.with_borrow_mut(|seen| *seen = None);
}

thread_local! {
    static SEEN: RefCell<Option<String>> = const { RefCell::new(None) };
}
