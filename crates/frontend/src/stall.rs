//! Clients that hold up a node that has no room.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// Watches one connection that holds much, once a second, for as long as it does.
#[derive(Debug)]
pub(crate) struct Stall {
    tick: Pin<Box<Sleep>>,
    /// What had been moved at the last tick.
    moved_len: u64,
    /// Ticks since then.
    still_count: u32,
}

impl Stall {
    /// Begins at a connection that has moved `moved_len` bytes so far, either way.
    pub(crate) fn new(moved_len: u64) -> Self {
        Self { tick: Box::pin(sleep(TICK)), moved_len, still_count: 0 }
    }

    /// Ready when `over`, and nothing has moved, at [`STILL_COUNT_MAX`] ticks in a row. Wakes the
    /// task at each tick.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, moved_len: u64, over: bool) -> Poll<()> {
        while self.tick.as_mut().poll(cx).is_ready() {
            let still = over && moved_len == self.moved_len;
            self.still_count = if still { self.still_count + 1 } else { 0 };
            self.moved_len = moved_len;
            if STILL_COUNT_MAX <= self.still_count {
                return Poll::Ready(());
            }
            self.tick.as_mut().reset(Instant::now() + TICK);
        }
        Poll::Pending
    }
}

const TICK: Duration = Duration::from_secs(1);
/// While there is no room, a client has that many seconds to move a byte.
const STILL_COUNT_MAX: u32 = 5;
