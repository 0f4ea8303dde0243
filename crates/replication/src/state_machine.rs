//! openraft's view of the engine: applies entries, freezes and installs snapshots.

use std::io;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};

use crate::applied::Applied;
use crate::clock::ClusterClock;
use crate::types::{
    Answer, Entry, LogId, Snapshot, SnapshotData, SnapshotMeta, StoredMembership, TypeConfig,
    log_index,
};

/// The one writer of this replica's state.
pub(crate) struct StateMachine {
    engine: engine::StateMachine,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    applied: Arc<Applied>,
    clock: Arc<ClusterClock>,
}

impl StateMachine {
    pub(crate) fn new(
        engine: engine::StateMachine,
        applied: Arc<Applied>,
        clock: Arc<ClusterClock>,
    ) -> Self {
        let membership = StoredMembership::default();
        Self { engine, last_applied: None, membership, applied, clock }
    }

    /// A frozen view; copies nothing until a write meets it.
    fn snapshot(&self) -> Snapshot {
        let last_membership = self.membership.clone();
        let meta = SnapshotMeta { last_log_id: self.last_applied, last_membership };
        Snapshot { meta, snapshot: SnapshotData::Frozen(Box::new(self.engine.freeze())) }
    }

    fn apply_entry(&mut self, entry: Entry) -> Answer {
        let index = log_index(&entry.log_id);
        self.last_applied = Some(entry.log_id);
        match entry.payload {
            EntryPayload::Blank => {
                self.engine.skip(index);
                Answer::Nothing
            }
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
                self.engine.skip(index);
                Answer::Nothing
            }
            EntryPayload::Normal(proposal) => {
                match self.engine.apply(index, proposal.stamped_at, &proposal.body) {
                    Ok(answer) => Answer::Applied(answer),
                    Err(error) => {
                        // Every replica refuses the same bytes, so they still agree.
                        tracing::error!(index = index.0, %error, "batch refused");
                        self.engine.skip(index);
                        Answer::Corrupt
                    }
                }
            }
        }
    }

    fn publish(&self) {
        self.clock.at_least(self.engine.now());
        self.applied.publish(self.engine.applied().0, self.engine.digest());
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.last_applied, self.membership.clone()))
    }

    /// Answers go out after the state is published, so that an acknowledged write can be read.
    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut applied_bytes = 0;
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            applied_bytes += crate::types::entry_len(&entry);
            let answer = self.apply_entry(entry);
            self.publish();
            if let Some(responder) = responder {
                responder.send(answer);
            }
            if YIELD_BYTES < applied_bytes {
                applied_bytes = 0;
                // Heartbeats share this thread.
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        Builder(Some(self.snapshot()))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        self.engine.install(restore(snapshot).map_err(io::Error::other)?);
        self.last_applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.publish();
        Ok(())
    }

    /// A view of the state as it is now: newer than the one that let the log be purged is fine.
    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.last_applied.is_some().then(|| self.snapshot()))
    }
}

/// A view taken at once; its bytes are made only when a peer asks for them.
pub(crate) struct Builder(Option<Snapshot>);

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        self.0.take().ok_or_else(|| io::Error::other("a builder builds one snapshot"))
    }
}

/// The state in `snapshot`, verified.
fn restore(snapshot: SnapshotData) -> Result<engine::Restored, engine::CorruptSnapshot> {
    match snapshot {
        SnapshotData::Restored(restored) => Ok(*restored),
        SnapshotData::Frozen(frozen) => {
            let mut restorer = engine::Restorer::new();
            for chunk in frozen.encode() {
                restorer.push(&chunk)?;
            }
            restorer.finish()
        }
    }
}

/// About a millisecond of applying.
const YIELD_BYTES: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    use openraft::StorageError;
    use openraft::testing::log::{StoreBuilder, Suite};

    use crate::memory_log::MemoryLog;

    /// A fresh pair for each case.
    struct Fresh;

    impl StoreBuilder<TypeConfig, MemoryLog, StateMachine> for Fresh {
        async fn build(&self) -> Result<((), MemoryLog, StateMachine), StorageError<TypeConfig>> {
            let engine = engine::StateMachine::new();
            let (applied, clock) = (Arc::default(), Arc::new(ClusterClock::new()));
            let state_machine = StateMachine::new(engine, applied, clock);
            Ok(((), MemoryLog::default(), state_machine))
        }
    }

    /// openraft's own cases for a log and a state machine.
    #[tokio::test]
    async fn storage_keeps_openrafts_contract() {
        Suite::test_all(Fresh).await.unwrap();
    }
}
