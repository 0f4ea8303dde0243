//! Sees when a node writes a snapshot: the unfinished file is there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::cpu;

/// A thread that looks every [`LOOK_EVERY`] until this is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread has seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    builds: Mutex<Vec<Build>>,
    /// Nanoseconds, as of the last look.
    stolen: AtomicU64,
    ends: AtomicBool,
}

/// One snapshot that was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Build {
    pub(super) begun: Instant,
    /// None: it is still being written.
    pub(super) ended: Option<Instant>,
}

impl Watch {
    /// Watches a node's data directory, in which it has its one replica already.
    ///
    /// # Errors
    ///
    /// If there is no replica.
    pub(super) fn start(data_dir: &Path) -> anyhow::Result<Self> {
        let unfinished = replica_dir(data_dir)?.join(UNFINISHED);
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        let thread = std::thread::Builder::new().name("watch".to_owned());
        let thread = thread.spawn(move || {
            while !shared.ends.load(Ordering::Relaxed) {
                shared.look(&unfinished);
                std::thread::sleep(LOOK_EVERY);
            }
        });
        Ok(Self { seen, thread: Some(thread.context("a thread")?) })
    }

    /// For other threads.
    pub(super) fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.seen.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It cannot have panicked.
            let _ = thread.join();
        }
    }
}

impl Seen {
    /// Every snapshot since the watch began, the one under way included.
    pub(super) fn builds(&self) -> Vec<Build> {
        self.builds.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stolen time, at most [`LOOK_EVERY`] ago.
    pub(super) fn stolen(&self) -> Duration {
        Duration::from_nanos(self.stolen.load(Ordering::Relaxed))
    }

    fn look(&self, unfinished: &Path) {
        let stolen = cpu::stolen_time().unwrap_or_default().as_nanos();
        self.stolen.store(u64::try_from(stolen).unwrap_or(u64::MAX), Ordering::Relaxed);
        let is_there = unfinished.exists();
        let mut builds = self.builds.lock().unwrap_or_else(PoisonError::into_inner);
        match builds.last_mut().filter(|build| build.ended.is_none()) {
            None if is_there => builds.push(Build { begun: Instant::now(), ended: None }),
            Some(build) if !is_there => build.ended = Some(Instant::now()),
            None | Some(_) => {}
        }
    }
}

/// Bytes of the newest snapshot in a node's data directory, 0 without one.
///
/// # Errors
///
/// If the directory cannot be read.
pub(super) fn snapshot_bytes(data_dir: &Path) -> anyhow::Result<u64> {
    let mut newest = 0;
    for entry in std::fs::read_dir(replica_dir(data_dir)?).context("listing a replica")? {
        let entry = entry.context("listing a replica")?;
        if entry.file_name().to_string_lossy().starts_with("snapshot-") {
            // It may have been replaced since it was listed.
            newest = newest.max(entry.metadata().map_or(0, |file| file.len()));
        }
    }
    Ok(newest)
}

fn replica_dir(data_dir: &Path) -> anyhow::Result<PathBuf> {
    for entry in std::fs::read_dir(data_dir).context("listing a data directory")? {
        let entry = entry.context("listing a data directory")?;
        if entry.file_name().to_string_lossy().starts_with("replica-") {
            return Ok(entry.path());
        }
    }
    anyhow::bail!("no replica in {}", data_dir.display())
}

const LOOK_EVERY: Duration = Duration::from_millis(2);
const UNFINISHED: &str = "snapshot.tmp";
