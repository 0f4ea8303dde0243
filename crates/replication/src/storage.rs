//! Everything a replica keeps: in memory, or in its data directory.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::data_dir::{DataDir, OpenDir};
use crate::error::{Fatal, StartError};
use crate::log::{DiskLog, MemoryLog};
use crate::snapshot_file::{Found, SnapshotStore};
use crate::types::{ReplicaId, SHARD};
use crate::world::{Labour, World};

/// One replica's log, vote and snapshots.
pub(crate) enum Storage {
    /// Nothing survives the process.
    Memory(MemoryLog),
    /// In a data directory.
    Disk(Box<DiskStorage>),
}

/// What is in a data directory, open.
pub(crate) struct DiskStorage {
    pub(crate) log: DiskLog,
    pub(crate) snapshots: Arc<SnapshotStore>,
    dir: Mutex<OpenDir>,
    path: PathBuf,
    /// Why the disk is given up, once it is.
    failure: watch::Receiver<Option<String>>,
}

impl Storage {
    /// Opens what `config` names, and reads the newest snapshot; `fresh` is the id of a replica
    /// that has none, or that is to `renew` its identity. Blocks for as long as reading the log takes.
    ///
    /// # Errors
    ///
    /// [`StartError`]: anything but a torn tail stops the node, by file and offset.
    pub(crate) fn open(
        config: Option<&DataDir>,
        world: &World,
        name: &str,
        fresh: ReplicaId,
        renew: bool,
    ) -> Result<(Self, Option<Found>), StartError> {
        let Some(config) = config else { return Ok((Self::Memory(MemoryLog::default()), None)) };
        let mut dir = OpenDir::open(config, &world.files, name, fresh, renew)?;
        let path = dir.replica_path();
        let broken = |error: std::io::Error| StartError::Recovery {
            path: path.clone(),
            why: error.to_string(),
        };
        let (snapshots, found) = SnapshotStore::open(Arc::clone(&dir.disk)).map_err(broken)?;
        let log = match dir.recovered.take() {
            None => DiskLog::blank(dir.wal.clone(), world.labour),
            Some(mut recovered) => {
                if let Some(dropped) = &recovered.dropped {
                    let wal::DroppedTail { file, offset, bytes } = dropped;
                    tracing::warn!(file, offset, bytes, "torn tail of the log dropped");
                }
                let shard = recovered.shards.remove(&SHARD).unwrap_or_default();
                DiskLog::recovered(dir.wal.clone(), shard, world.labour).map_err(broken)?
            }
        };
        let covered = snapshots.latest().index;
        if let Some(purged) = log.purged_through()
            && covered < purged
        {
            return Err(StartError::Recovery {
                path,
                why: format!(
                    "the log begins behind entry {purged}, but the snapshot that has the entries \
                     before is missing (the one here ends at {covered}; 0: there is none). Remove \
                     the whole data directory to come back as a new replica"
                ),
            });
        }
        let (sender, failure) = watch::channel(None);
        dir.wal.on_failure(move |error| drop(sender.send(Some(error.to_string()))));
        let snapshots = Arc::new(snapshots);
        let disk = DiskStorage { log, snapshots, dir: Mutex::new(dir), path, failure };
        Ok((Self::Disk(Box::new(disk)), found))
    }

    /// The replica whose files these are.
    pub(crate) fn replica(&self) -> Option<ReplicaId> {
        self.disk().map(|disk| disk.dir.lock().replica())
    }

    /// How often the replica has been started, this time included.
    pub(crate) fn boots(&self) -> u64 {
        self.disk().map_or(1, |disk| disk.dir.lock().boots())
    }

    /// Whether files of an earlier replica may be the last copy of something.
    pub(crate) fn has_predecessor(&self) -> bool {
        self.disk().is_some_and(|disk| disk.dir.lock().has_predecessor())
    }

    /// Where snapshots are kept, if anywhere.
    pub(crate) fn snapshots(&self) -> Option<Arc<SnapshotStore>> {
        self.disk().map(|disk| Arc::clone(&disk.snapshots))
    }

    /// This replica has everything; what an earlier one left may go.
    pub(crate) fn forget_predecessors(&self) {
        if let Some(disk) = self.disk()
            && let Err(error) = disk.dir.lock().forget_predecessors()
        {
            tracing::warn!(%error, "files of an earlier replica could not be removed");
        }
    }

    /// Resolves with the reason when the disk cannot be trusted any more.
    pub(crate) async fn failed(&self) -> String {
        let Some(disk) = self.disk() else { return std::future::pending().await };
        let mut failure = disk.failure.clone();
        let failed = failure.wait_for(Option::is_some).await;
        match failed.ok().and_then(|why| why.clone()) {
            Some(why) => format!("{}: {why}", disk.path.display()),
            // Closed in order: nothing will ever fail.
            None => std::future::pending().await,
        }
    }

    /// Why raft died: a disk that fails takes raft with it a moment before it speaks for itself.
    pub(crate) async fn reason(&self, died: String) -> Fatal {
        let failed = tokio::time::timeout(DISK_SPEAKS_WITHIN, self.failed()).await;
        failed.map_or(Fatal::Raft(died), Fatal::Disk)
    }

    /// Makes everything durable and lets go of the files, after raft has stopped.
    pub(crate) async fn close(self: Arc<Self>, labour: Labour) {
        let closed = labour.run_blocking(move || {
            let Some(disk) = self.disk() else { return };
            if let Err(error) = disk.log.close() {
                tracing::error!(%error, "the log was not closed in order");
            } else if let Err(error) = disk.dir.lock().mark_clean() {
                tracing::error!(%error, "the data directory was not closed in order");
            }
        });
        let _ = closed.await;
    }

    /// What openraft says when it finds the storage wanting.
    pub(crate) fn start_error(&self, error: &dyn std::error::Error) -> StartError {
        match self.disk() {
            Some(disk) => StartError::Recovery { path: disk.path.clone(), why: error.to_string() },
            None => StartError::Config(error.to_string()),
        }
    }

    fn disk(&self) -> Option<&DiskStorage> {
        match self {
            Self::Disk(disk) => Some(disk),
            Self::Memory(_) => None,
        }
    }
}

const DISK_SPEAKS_WITHIN: Duration = Duration::from_millis(100);
