//! State machine safety: no two replicas have different states at the same index, at any time.
//!
//! Every state's digest includes all that came before it, so an entry that was applied and then
//! replaced by another one shows here, however briefly.
//!
//! Source: Raft paper, figure 3; DESIGN section 6.

use std::collections::BTreeMap;

use replication::View;

use crate::network::HostId;

/// The digest at each index, and who had it first.
#[derive(Default)]
pub(crate) struct Digests {
    by_index: BTreeMap<u64, (u64, HostId)>,
    /// By replica: indices up to here have been compared.
    seen: BTreeMap<u64, u64>,
}

impl Digests {
    pub(crate) fn check(&mut self, host: HostId, view: &View) -> Result<(), String> {
        let seen = self.seen.entry(view.replica).or_default();
        for (index, digest) in view.digests.iter().rev() {
            if *index <= *seen && *index != view.applied {
                break;
            }
            let (first, by) = *self.by_index.entry(*index).or_insert((*digest, host));
            if first != *digest {
                return Err(format!(
                    "n{} and n{} differ after entry {index}: {first:016x} and {digest:016x}",
                    by + 1,
                    host + 1
                ));
            }
        }
        // A replica that starts anew applies again: those must be equal too.
        *seen = view.applied;
        Ok(())
    }
}
