//! What never goes back: the term of a replica, over all its starts; what it has applied, while it
//! runs.
//!
//! Source: Raft paper, figure 2, "persistent state on all servers"; dissertation 3.8.

use std::collections::BTreeMap;

use replication::View;

use crate::network::HostId;

/// The latest of each.
#[derive(Default)]
pub(crate) struct Progress {
    terms: BTreeMap<u64, u64>,
    applied: BTreeMap<HostId, u64>,
}

impl Progress {
    pub(crate) fn check(&mut self, host: HostId, view: &View) -> Result<(), String> {
        let name = host + 1;
        let term = self.terms.entry(view.replica).or_default();
        if view.term < *term {
            let (replica, now) = (view.replica, view.term);
            return Err(format!("n{name}, replica {replica}, went back from term {term} to {now}"));
        }
        *term = view.term;
        let applied = self.applied.entry(host).or_default();
        if view.applied < *applied {
            return Err(format!("n{name} went back from entry {applied} to {}", view.applied));
        }
        *applied = view.applied;
        Ok(())
    }

    pub(crate) fn started(&mut self, host: HostId) {
        self.applied.remove(&host);
    }
}
