//! Holds back answers to writers while the log in memory is as long as it may be.
//!
//! A follower that stands still for some hundred milliseconds is not ill: its processor was needed
//! elsewhere. It must not lose the log over that, because a snapshot of everything would cost both
//! sides far more memory than the log. Every node has one batch on its way to the leader, so one
//! whose answer waits sends nothing.

use tokio::sync::watch;

/// Whether answers wait now.
#[derive(Debug)]
pub(crate) struct Backpressure(watch::Sender<bool>);

impl Default for Backpressure {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Backpressure {
    /// Answers wait until the guard is dropped.
    pub(crate) fn hold(&self) -> Hold<'_> {
        self.0.send_replace(true);
        Hold(self)
    }

    /// Waits while answers must wait.
    pub(crate) async fn passed(&self) {
        // It ends only with the sender, which `self` has.
        let _ = self.0.subscribe().wait_for(|holds| !holds).await;
    }
}

/// One time of waiting.
pub(crate) struct Hold<'a>(&'a Backpressure);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.0.send_replace(false);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn answers_wait_for_as_long_as_it_is_held() {
        let backpressure = Backpressure::default();
        assert!(backpressure.passed().now_or_never().is_some());
        let hold = backpressure.hold();
        let mut waiting = Box::pin(backpressure.passed());
        assert!((&mut waiting).now_or_never().is_none());
        drop(hold);
        assert!(waiting.now_or_never().is_some());
    }
}
