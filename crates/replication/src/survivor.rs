//! What is left when a majority is gone, and saving it for a new beginning.

use std::fs::File;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::storage::RaftLogReader;

use crate::beginning;
use crate::context::Context;
use crate::error::MemberError;
use crate::gather;
use crate::plan::majority;
use crate::types::{Raft, SnapshotData, TypeConfig};

/// What one node holds of a cluster that has lost its majority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survivor {
    /// Name of the node.
    pub name: String,
    /// Index of the last entry of its log.
    pub last_index: u64,
    /// Term of that entry.
    pub last_term: u64,
    /// Index of the last entry that it has applied.
    pub applied: u64,
    /// Items held.
    pub items: u64,
    /// Names of the other members: nodes of them that still run must be started again.
    pub others: Vec<String>,
}

/// What this node holds, if the cluster's majority is gone.
///
/// # Errors
///
/// [`MemberError::Refused`] while a majority of the voters answers, or on a node without a cluster.
pub(crate) async fn survivor(raft: &Raft, context: &Context) -> Result<Survivor, MemberError> {
    let census = gather::census(raft, context).await;
    if context.cluster() == 0 || !census.is_member {
        let why = format!("{} belongs to no cluster and holds nothing", context.me.name);
        return Err(MemberError::Refused(why));
    }
    let (voters, alive) = (census.voters, census.alive);
    if majority(voters) <= alive {
        return Err(MemberError::Refused(format!(
            "{alive} of {voters} voters answer, and {} are a majority: nothing is lost",
            majority(voters)
        )));
    }
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let last_term = metrics.last_applied.map_or(0, |last| last.leader_id.term);
    Ok(Survivor {
        name: context.me.name.clone(),
        last_index: metrics.last_log_index.map_or(0, |index| index + 1),
        last_term,
        applied: context.applied.index(),
        items: context.reader.stats().items,
        others: census.others,
    })
}

/// Writes this node's state, and the log behind it, to `file`.
///
/// # Errors
///
/// [`MemberError::Refused`] as in [`survivor`], or if the file cannot be written.
pub(crate) async fn save(
    raft: &Raft,
    context: &Context,
    mut log: impl RaftLogReader<TypeConfig>,
    file: File,
) -> Result<(), MemberError> {
    survivor(raft, context).await?;
    let failed =
        |error: &dyn std::fmt::Display| MemberError::Refused(format!("nothing saved: {error}"));
    let snapshot = raft.get_snapshot().await.map_err(|error| failed(&error))?;
    let frozen = match snapshot.map(|snapshot| snapshot.snapshot) {
        Some(SnapshotData::Frozen(frozen)) => *frozen,
        Some(SnapshotData::Restored(_) | SnapshotData::Saved) | None => {
            return Err(failed(&"there is no state"));
        }
    };
    // From the index that `frozen` ends with, as openraft counts: one entry too many is skipped.
    let from = frozen.applied().0.saturating_sub(1);
    let tail = log.try_get_log_entries(from..).await.map_err(|error| failed(&error))?;
    let written =
        context.world.labour.run_blocking(move || beginning::write(file, frozen, &tail)).await;
    written.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    // Whoever came back meanwhile has what this node has, and more.
    survivor(raft, context).await.map(|_| ())
}
