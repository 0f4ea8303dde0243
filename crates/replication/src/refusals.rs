//! Says that a peer was refused, and does not let a peer fill the log.

use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Why a connection or a call was refused; each kind is counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The system gave no connection.
    Accept,
    /// A call without a whole envelope, of another cluster, or for another replica.
    Envelope,
    /// More connections than a cluster can need.
    Crowd,
    /// No TLS, or a certificate that is not good enough, of who connects here.
    Handshake,
    /// The same, of whom this node connects to.
    Dial,
    /// What a caller claims to be is not what its certificate says.
    Name,
    /// A peer will not have this node.
    Unwelcome,
    /// No version of the protocol in common.
    Version,
}

/// One line for each kind every few seconds.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    told: Mutex<[Told; KINDS]>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Told {
    last: Option<Instant>,
    /// Since then.
    unsaid: u64,
}

impl Refusals {
    /// Logs a refusal if none of its kind was logged a moment ago.
    pub(crate) fn log(&self, kind: Refusal, why: fmt::Arguments<'_>) {
        if let Some(unsaid) = self.due(kind, Instant::now()) {
            tracing::warn!(?kind, unsaid, "{why}");
        }
    }

    /// How many of this kind were not said, if one may be said again.
    fn due(&self, kind: Refusal, now: Instant) -> Option<u64> {
        let mut told = self.told.lock();
        let told = told.get_mut(kind as usize)?;
        if told.last.is_some_and(|last| now - last < SAY_EVERY) {
            told.unsaid += 1;
            return None;
        }
        told.last = Some(now);
        Some(std::mem::take(&mut told.unsaid))
    }
}

const KINDS: usize = Refusal::Version as usize + 1;
const SAY_EVERY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_said_once_in_a_while() {
        let refusals = Refusals::default();
        let now = Instant::now();
        assert_eq!(refusals.due(Refusal::Accept, now), Some(0));
        assert_eq!(refusals.due(Refusal::Accept, now), None);
        assert_eq!(refusals.due(Refusal::Version, now), Some(0), "a kind of its own");
        assert_eq!(refusals.due(Refusal::Accept, now + SAY_EVERY / 2), None);
        assert_eq!(refusals.due(Refusal::Accept, now + SAY_EVERY), Some(2));
        assert_eq!(refusals.due(Refusal::Accept, now + SAY_EVERY * 2), Some(0));
    }
}
