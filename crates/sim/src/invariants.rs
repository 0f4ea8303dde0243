//! What must be true at every moment, whoever leads: one file per invariant.

mod completeness;
mod digests;
mod identity;
mod leaders;
mod progress;

use replication::View;

use crate::network::HostId;

/// All of them, fed with what the nodes believe.
#[derive(Default)]
pub struct Invariants {
    leaders: leaders::Leaders,
    completeness: completeness::Completeness,
    digests: digests::Digests,
    progress: progress::Progress,
    identity: identity::Identity,
}

impl Invariants {
    /// Looks at the nodes.
    ///
    /// # Errors
    ///
    /// What is not so.
    pub fn check(&mut self, views: &[(HostId, View)]) -> Result<(), String> {
        self.leaders.look_again();
        for (host, view) in views {
            self.leaders.check(*host, view)?;
            self.completeness.check(*host, view)?;
            self.digests.check(*host, view)?;
            self.progress.check(*host, view)?;
            self.identity.check(*host, view)?;
        }
        Ok(())
    }

    /// The host has lost what its replica held: that replica's id must not come back.
    pub fn lost(&mut self, host: HostId) {
        self.identity.lost(host);
    }

    /// A new process begins at the host.
    pub fn started(&mut self, host: HostId) {
        self.progress.started(host);
    }
}
