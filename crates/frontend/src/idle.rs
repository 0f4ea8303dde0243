//! Clients that have asked nothing for too long (`-o idle_timeout`).

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::clock::coarse_ms;

/// Watches one connection. It is looked at when the time may be over, and not whenever the client
/// asks something.
#[derive(Debug)]
pub(crate) struct Idle {
    limit: Duration,
    look: Pin<Box<Sleep>>,
}

impl Idle {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, look: Box::pin(sleep(limit)) }
    }

    /// Ready when nothing has come since `heard_at_ms` (of [`coarse_ms`]) for the whole time.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, heard_at_ms: u64) -> Poll<()> {
        loop {
            ready!(self.look.as_mut().poll(cx));
            let quiet = Duration::from_millis(coarse_ms().saturating_sub(heard_at_ms));
            let Some(left) = self.limit.checked_sub(quiet).filter(|left| !left.is_zero()) else {
                return Poll::Ready(());
            };
            self.look.as_mut().reset(Instant::now() + left);
        }
    }
}
