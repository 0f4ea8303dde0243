//! The reason for which this node must stop, whoever finds it.

use tokio::sync::watch;

use crate::error::Fatal;

/// Holds the first reason; there is no way back.
#[derive(Debug)]
pub(crate) struct Fault(watch::Sender<Option<Fatal>>);

impl Fault {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// The node must stop.
    pub(crate) fn raise(&self, fatal: Fatal) {
        self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            if is_first {
                *first = Some(fatal);
            }
            is_first
        });
    }

    /// Waits until it must.
    pub(crate) async fn raised(&self) -> Fatal {
        let mut receiver = self.0.subscribe();
        let fatal = receiver.wait_for(Option::is_some).await.ok().and_then(|fatal| fatal.clone());
        match fatal {
            Some(fatal) => fatal,
            // The sender is `self`: the wait does not end without a reason.
            None => std::future::pending().await,
        }
    }
}
