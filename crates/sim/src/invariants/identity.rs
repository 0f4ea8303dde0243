//! A replica id belongs to one life of one memory: who has forgotten what it acknowledged comes
//! back under another id.
//!
//! Source: DESIGN 5.2; openraft `docs::faq`, "reuse of a node id".

use std::collections::BTreeMap;

use replication::View;

use crate::network::HostId;

/// Who has had which id, in which of its lives.
#[derive(Default)]
pub(crate) struct Identity {
    lives: BTreeMap<HostId, u64>,
    owners: BTreeMap<u64, (HostId, u64)>,
}

impl Identity {
    pub(crate) fn check(&mut self, host: HostId, view: &View) -> Result<(), String> {
        let life = self.lives.get(&host).copied().unwrap_or_default();
        let (owner, then) = *self.owners.entry(view.replica).or_insert((host, life));
        if (owner, then) == (host, life) {
            return Ok(());
        }
        let replica = view.replica;
        Err(format!("replica id {replica} of n{} is used again by n{}", owner + 1, host + 1))
    }

    pub(crate) fn lost(&mut self, host: HostId) {
        *self.lives.entry(host).or_default() += 1;
    }
}
