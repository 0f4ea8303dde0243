//! Room on the disks of the cluster.
//!
//! A log that cannot grow holds up everything behind it: votes, heartbeats' answers, and so the
//! leader's right to be read from. So nothing more is written while there is still room for those:
//! a node is short of space as soon as there is none for the segment after the one in use. When a
//! majority would not be left, the leader says so and every node refuses writes; reads go on.
//! A leader whose own disk is short, but not a majority's, lets another one lead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use parking_lot::Mutex;
use tokio::time::sleep;

use crate::context::Context;
use crate::log::DiskLog;
use crate::membership;
use crate::plan::majority;
use crate::types::{Metrics, Raft, ReplicaId};

/// What is known of it, as of some milliseconds ago.
#[derive(Debug, Default)]
pub(crate) struct Space {
    short_here: AtomicBool,
    /// Whether the others are short, as they said while this node leads.
    short_there: Mutex<BTreeMap<ReplicaId, bool>>,
    closed: AtomicBool,
}

impl Space {
    /// Whether this node's disk has no room for more log than it has begun.
    pub(crate) fn is_short(&self) -> bool {
        self.short_here.load(Ordering::Relaxed)
    }

    /// A replica has said whether its disk is short of space.
    pub(crate) fn heard(&self, replica: ReplicaId, short: bool) {
        self.short_there.lock().insert(replica, short);
    }

    /// Whether writes are refused: too many disks are short of space.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// The leader's word, or this leader's own finding.
    pub(crate) fn close(&self, closed: bool) {
        if self.closed.swap(closed, Ordering::Relaxed) != closed {
            if closed {
                tracing::error!("no space on the disks of a majority: writes are refused");
            } else {
                tracing::info!("there is space for writes again");
            }
        }
    }

    /// Whether `replica` has room; of one that has said nothing, `unknown`.
    fn has_room(&self, replica: ReplicaId, me: ReplicaId, unknown: bool) -> bool {
        if replica == me {
            return !self.is_short();
        }
        self.short_there.lock().get(&replica).map_or(unknown, |short| !short)
    }

    /// Whether a majority of `voters` has room; nothing changes by what is not known yet.
    fn is_writable(&self, voters: &BTreeSet<ReplicaId>, me: ReplicaId) -> bool {
        let unknown = !self.is_closed();
        let roomy = voters.iter().filter(|voter| self.has_room(**voter, me, unknown)).count();
        majority(voters.len()) <= roomy
    }
}

/// Watches this node's disk, `log` if it has one, and does what a leader must.
pub(crate) async fn keep_space(raft: Raft, context: Arc<Context>, log: Option<DiskLog>) {
    loop {
        sleep(CHECK_EVERY).await;
        let short = log.as_ref().is_some_and(DiskLog::is_short);
        context.space.short_here.store(short, Ordering::Relaxed);
        let (closed, successor) = {
            let metrics = raft.metrics();
            let metrics = metrics.borrow_watched();
            if metrics.state != ServerState::Leader {
                context.space.short_there.lock().clear();
                continue;
            }
            let membership = metrics.membership_config.membership();
            let writable = |voters| context.space.is_writable(voters, context.id);
            let closed = !membership.get_joint_config().iter().all(writable);
            let successor = if short && !closed { successor(&metrics, &context) } else { None };
            (closed, successor)
        };
        context.space.close(closed);
        if let Some(name) = successor {
            tracing::warn!(to = name, "no space on this disk: another node shall lead");
            if let Err(error) = membership::move_leader(&raft, &context, &name).await {
                tracing::warn!(to = name, %error, "leadership stays here");
                sleep(MOVE_PAUSE).await;
            }
        }
    }
}

/// The name of a voter that is alive and known to have room.
fn successor(metrics: &Metrics, context: &Context) -> Option<String> {
    let membership = metrics.membership_config.membership();
    let id = membership.voter_ids().find(|id| {
        context.space.has_room(*id, context.id, false)
            && membership::answered_within(metrics, *id, ALIVE_WITHIN)
    })?;
    membership.get_node(&id).map(|member| member.name.clone())
}

/// What is written meanwhile is far less than the segment in use has left.
const CHECK_EVERY: Duration = Duration::from_millis(20);
const ALIVE_WITHIN: Duration = Duration::from_millis(500);
const MOVE_PAUSE: Duration = Duration::from_millis(1000);

#[cfg(test)]
mod tests {
    use super::*;

    /// The voters, those that have said so to be short, and whether writes were refused before.
    fn is_writable(voters: &[u64], roomy: &[u64], short: &[u64], closed: bool) -> bool {
        let space = Space::default();
        roomy.iter().for_each(|id| space.heard(*id, false));
        short.iter().for_each(|id| space.heard(*id, true));
        space.short_here.store(short.contains(&1), Ordering::Relaxed);
        space.close(closed);
        space.is_writable(&voters.iter().copied().collect(), 1)
    }

    #[test]
    fn a_majority_must_have_room() {
        let cases: [(&[u64], &[u64], bool); 6] = [
            (&[1, 2, 3], &[], true),
            (&[1, 2, 3], &[1], true),
            (&[1, 2, 3], &[1, 3], false),
            (&[1, 2, 3], &[7, 8, 9], true),
            (&[1], &[1], false),
            (&[1, 2, 3, 4, 5], &[1, 2], true),
        ];
        for (voters, short, want) in cases {
            assert_eq!(is_writable(voters, &[], short, false), want, "{short:?} of {voters:?}");
        }
    }

    #[test]
    fn what_is_not_known_changes_nothing() {
        assert!(is_writable(&[1, 2, 3], &[], &[1], false));
        assert!(!is_writable(&[1, 2, 3], &[], &[1], true));
        assert!(!is_writable(&[1, 2, 3], &[2], &[1], true));
        assert!(is_writable(&[1, 2, 3], &[2, 3], &[1], true));
    }

    #[test]
    fn what_was_said_last_counts() {
        let space = Space::default();
        space.heard(2, true);
        assert!(!space.has_room(2, 1, true));
        space.heard(2, false);
        assert!(space.has_room(2, 1, false));
    }
}
