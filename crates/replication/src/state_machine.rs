//! openraft's view of the engine: applies entries, freezes and installs snapshots.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use canary::Canary;
use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};

use crate::applied::Applied;
use crate::clock::ClusterClock;
use crate::snapshot_file::{Pace, SnapshotStore};
use crate::types::{
    Answer, Entry, LogId, Snapshot, SnapshotData, SnapshotMeta, StoredMembership, TypeConfig,
    log_index,
};
use crate::world::Labour;

/// The one writer of this replica's state.
pub(crate) struct StateMachine {
    engine: engine::StateMachine,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    applied: Arc<Applied>,
    clock: Arc<ClusterClock>,
    /// Where snapshots are kept; none on a node without a data directory.
    snapshots: Option<Arc<SnapshotStore>>,
    labour: Labour,
}

impl StateMachine {
    pub(crate) fn new(
        engine: engine::StateMachine,
        applied: Arc<Applied>,
        clock: Arc<ClusterClock>,
        snapshots: Option<Arc<SnapshotStore>>,
        labour: Labour,
    ) -> Self {
        let membership = StoredMembership::default();
        Self { engine, last_applied: None, membership, applied, clock, snapshots, labour }
    }

    /// Starts from a snapshot, or replaces what is here by a newer one.
    pub(crate) fn install(&mut self, meta: &SnapshotMeta, restored: engine::Restored) {
        self.engine.install(restored);
        self.last_applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.publish();
    }

    /// A state that is there already: `engine` has applied everything up to `last`. It is made
    /// durable first where there is a data directory.
    pub(crate) fn begin(
        engine: engine::StateMachine,
        last: LogId,
        membership: StoredMembership,
        applied: Arc<Applied>,
        clock: Arc<ClusterClock>,
        snapshots: Option<Arc<SnapshotStore>>,
        labour: Labour,
    ) -> io::Result<Self> {
        let last_applied = Some(last);
        let state = Self { engine, last_applied, membership, applied, clock, snapshots, labour };
        if let Some(store) = &state.snapshots {
            store.save(&state.meta(), state.engine.freeze(), Pace::Full)?;
        }
        state.publish();
        Ok(state)
    }

    /// A frozen view; copies nothing until a write meets it.
    fn snapshot(&self) -> Snapshot {
        let snapshot = SnapshotData::Frozen(Box::new(self.engine.freeze()));
        Snapshot { meta: self.meta(), snapshot }
    }

    fn meta(&self) -> SnapshotMeta {
        let last_membership = self.membership.clone();
        SnapshotMeta { last_log_id: self.last_applied, last_membership }
    }

    /// A batch that cannot be read has passed the leader's check, so the leader's program knows
    /// more than this one: to skip it would be to lose what other replicas have applied.
    fn apply_entry(&mut self, entry: Entry) -> Result<Answer, io::Error> {
        let index = log_index(&entry.log_id);
        let answer = match entry.payload {
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
                let mut stamped_at = proposal.stamped_at;
                if Canary::TtlByLocalClock.is_planted() {
                    stamped_at = self.clock.now();
                }
                let applied = self.engine.apply(index, stamped_at, &proposal.body);
                let applied = applied.map_err(|error| {
                    let index = index.0;
                    io::Error::other(format!(
                        "entry {index} cannot be applied by this version of the program: {error}"
                    ))
                })?;
                Answer::Applied(applied)
            }
        };
        self.last_applied = Some(entry.log_id);
        Ok(answer)
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
            let answer = self.apply_entry(entry)?;
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
        let (view, store) = (Some(self.snapshot()), self.snapshots.clone());
        Builder { view, store, labour: self.labour }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        self.install(meta, restore(snapshot)?);
        if let Some(store) = &self.snapshots {
            save(Arc::clone(store), self.snapshot(), Pace::Full, self.labour).await?;
        }
        Ok(())
    }

    /// A view of the state as it is now: newer than the one that let the log be purged is fine.
    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.last_applied.is_some().then(|| self.snapshot()))
    }
}

/// A view taken at once. With a data directory it is written there; without, its bytes are made
/// only when a peer asks for them.
pub(crate) struct Builder {
    view: Option<Snapshot>,
    store: Option<Arc<SnapshotStore>>,
    labour: Labour,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let view = self.view.take();
        let view = view.ok_or_else(|| io::Error::other("a builder builds one snapshot"))?;
        match self.store.take() {
            None => Ok(view),
            Some(store) => {
                let meta = view.meta.clone();
                save(store, view, Pace::Beside, self.labour).await?;
                Ok(Snapshot { meta, snapshot: SnapshotData::Saved })
            }
        }
    }
}

/// Makes a view durable, on a thread of its own. A full disk is waited for: nothing is lost as long
/// as the log is there.
///
/// The view is dropped on that thread too: it may be the last that holds all the items that have
/// been written over meanwhile, and to free them takes longer than a client should wait.
async fn save(
    store: Arc<SnapshotStore>,
    view: Snapshot,
    pace: Pace,
    labour: Labour,
) -> Result<(), io::Error> {
    let SnapshotData::Frozen(mut frozen) = view.snapshot else { return Ok(()) };
    loop {
        let (store, meta) = (Arc::clone(&store), view.meta.clone());
        let work = move || match store.save(&meta, (*frozen).clone(), pace) {
            Ok(_) => None,
            Err(error) => Some((error, frozen)),
        };
        match labour.run("snapshot", work).await? {
            None => return Ok(()),
            Some((error, kept)) if is_full(&error) => {
                frozen = kept;
                tracing::error!(%error, "no room for a snapshot: trying again");
                tokio::time::sleep(FULL_PAUSE).await;
            }
            Some((error, _)) => return Err(error),
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The state in `snapshot`, verified.
fn restore(snapshot: SnapshotData) -> Result<engine::Restored, io::Error> {
    match snapshot {
        SnapshotData::Restored(restored) => Ok(*restored),
        SnapshotData::Saved => Err(io::Error::other("a saved snapshot is read at the start only")),
        SnapshotData::Frozen(frozen) => {
            let mut restorer = engine::Restorer::new();
            for chunk in frozen.encode() {
                restorer.push(&chunk).map_err(io::Error::other)?;
            }
            restorer.finish().map_err(io::Error::other)
        }
    }
}

/// About a millisecond of applying.
const YIELD_BYTES: usize = 1024 * 1024;

const FULL_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    use openraft::StorageError;
    use openraft::testing::log::{StoreBuilder, Suite};

    use crate::log::MemoryLog;

    /// A fresh pair for each case.
    struct Fresh;

    impl StoreBuilder<TypeConfig, MemoryLog, StateMachine> for Fresh {
        async fn build(&self) -> Result<((), MemoryLog, StateMachine), StorageError<TypeConfig>> {
            let engine = engine::StateMachine::new();
            let (applied, clock) =
                (Arc::default(), Arc::new(ClusterClock::new(crate::world::system_wall())));
            let state_machine = StateMachine::new(engine, applied, clock, None, Labour::Threads);
            Ok(((), MemoryLog::default(), state_machine))
        }
    }

    /// It used to be skipped on all replicas alike. But a leader checks what it proposes, so bytes
    /// that cannot be read come from a newer program, which has applied them.
    #[tokio::test]
    async fn a_batch_that_cannot_be_read_is_an_error() {
        use crate::types::{LeaderId, Proposal};
        use openraft::entry::RaftEntry;

        let ((), _, mut state_machine) = Fresh.build().await.unwrap();
        let log_id = |index| LogId::new(LeaderId { term: 1, node_id: 1 }, index);
        let mut batch = engine::BatchBuilder::new();
        batch.push(&engine::Command::Tick);
        let body = batch.finish(engine::Origin { node: 1, epoch: 1 }, 1, 0);
        let unknown_command = [body.get(..37).unwrap(), &[0xff]].concat();
        let newer_version = [&[3], body.get(1..).unwrap()].concat();
        let proposal =
            |body: Vec<u8>| Proposal { stamped_at: engine::UnixMillis(1), body: body.into() };
        let good = Entry::new(log_id(0), EntryPayload::Normal(proposal(body)));
        state_machine.apply_entry(good).unwrap();
        for body in [unknown_command, newer_version] {
            let entry = Entry::new(log_id(1), EntryPayload::Normal(proposal(body)));
            let error = state_machine.apply_entry(entry).unwrap_err().to_string();
            assert!(error.contains("entry 2 cannot be applied"), "{error}");
            assert_eq!(state_machine.last_applied, Some(log_id(0)));
        }
    }

    /// openraft's own cases for a log and a state machine.
    #[tokio::test]
    async fn storage_keeps_openrafts_contract() {
        Suite::test_all(Fresh).await.unwrap();
    }
}
