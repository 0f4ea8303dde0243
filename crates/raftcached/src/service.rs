//! What a service manager is told (`sd_notify(3)`); without one, nothing happens.

use std::time::Duration;

use replication::Node;
use sd_notify::NotifyState;

/// Clients can connect.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("answers clients")]);
}

/// The node is about to end; says how.
pub(crate) fn stopping(how: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(how)]);
}

/// What the node is doing.
pub(crate) fn status(what: &str) {
    tell(&[NotifyState::Status(what)]);
}

/// Shows twice in each period of the watchdog that the raft thread does not hang. Never resolves.
pub(crate) async fn keep_watchdog(node: Node) {
    let Some(period) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    loop {
        node.pulse().await;
        tell(&[NotifyState::Watchdog]);
        tokio::time::sleep((period / 2).max(SHORTEST)).await;
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::info!(target: "details", %error, "the service manager was not told");
    }
}

const SHORTEST: Duration = Duration::from_millis(10);
