//! Election safety: leaders come in the order of their ids, each of which is a term and a replica.
//!
//! A leader needs votes of a majority, no voter votes for less than it has voted for, and any two
//! majorities share a voter: so whoever comes to lead is greater than all who led before. (Raft has
//! one leader in a term; openraft orders two of the same term by their replica ids.)
//!
//! Source: Raft paper, figure 3; openraft `docs::data::leader_id`, "adv".

use std::collections::BTreeMap;

use replication::View;

use crate::network::HostId;

/// All who ever led, and when they were first seen to.
#[derive(Default)]
pub(crate) struct Leaders {
    seen: BTreeMap<(u64, u64), u64>,
    look: u64,
}

impl Leaders {
    /// What follows is seen at a later moment than what came before.
    pub(crate) fn look_again(&mut self) {
        self.look += 1;
    }

    pub(crate) fn check(&mut self, host: HostId, view: &View) -> Result<(), String> {
        let id = (view.term, view.replica);
        if !view.leads || self.seen.contains_key(&id) {
            return Ok(());
        }
        let mut greater = self.seen.range(id..);
        let before = greater.find(|(_, look)| **look < self.look);
        if let Some(((term, replica), _)) = before {
            let name = host + 1;
            return Err(format!(
                "n{name} comes to lead as {id:?} after ({term}, {replica}) has led"
            ));
        }
        self.seen.insert(id, self.look);
        Ok(())
    }
}
