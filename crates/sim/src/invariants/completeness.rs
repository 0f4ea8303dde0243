//! Leader completeness: whoever leads has every entry that was committed in an earlier term.
//!
//! What a replica has applied when it is in some term was committed in that term or before. A
//! leader's log only grows, so this holds for as long as it leads.
//!
//! Source: Raft paper, figure 3 and section 5.4.3.

use std::collections::BTreeMap;

use replication::View;

use crate::network::HostId;

/// By term: the last entry that was applied in it, and by whom.
#[derive(Default)]
pub(crate) struct Completeness(BTreeMap<u64, (u64, HostId)>);

impl Completeness {
    pub(crate) fn check(&mut self, host: HostId, view: &View) -> Result<(), String> {
        let last = self.0.entry(view.term).or_default();
        *last = (*last).max((view.applied, host));
        if !view.leads {
            return Ok(());
        }
        match self.0.range(..view.term).map(|(_, last)| *last).max() {
            Some((applied, by)) if view.last_index < applied => Err(format!(
                "n{} leads in term {} with a log up to {}, and n{} has applied {applied} before",
                host + 1,
                view.term,
                view.last_index,
                by + 1,
            )),
            Some(_) | None => Ok(()),
        }
    }
}
