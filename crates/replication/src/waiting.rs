//! What a node without a cluster waits for, and who has invited it meanwhile.

use parking_lot::Mutex;

/// Written by the formation and by the peer server, read by `status`.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    reason: Mutex<String>,
    invitation: Mutex<Option<Invitation>>,
}

/// A cluster's word that it would take this node in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invitation {
    /// Peer address to ask at.
    pub(crate) join: String,
    /// Whose vote to take; empty: its namesake's, or one of its own.
    pub(crate) replaces: String,
}

impl Waiting {
    /// Says what is being waited for; empty once there is a cluster. Logs what is new.
    pub(crate) fn explain(&self, reason: String) {
        let mut current = self.reason.lock();
        if *current != reason {
            if !reason.is_empty() {
                tracing::info!("waiting: {reason}");
            }
            *current = reason;
        }
    }

    /// What is being waited for; empty: nothing.
    pub(crate) fn reason(&self) -> String {
        self.reason.lock().clone()
    }

    /// Takes the place of an earlier invitation.
    pub(crate) fn invite(&self, invitation: Invitation) {
        *self.invitation.lock() = Some(invitation);
    }

    /// The last invitation.
    pub(crate) fn invitation(&self) -> Option<Invitation> {
        self.invitation.lock().clone()
    }
}
