//! The work of a log's threads, one step at a time.
//!
//! ```text
//!   queue ──write──▶ written ──sync──▶ told          prepare: segments made, removed, synced aside
//! ```
//!
//! A simulation has one thread for everything and decides itself how long a disk takes: it calls
//! the steps. What happens between two of them, a crash for example, happens between two calls.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::error::Error;
use crate::queue::Wake;
use crate::wal::Shared;
use crate::writer::Writer;

/// Does the work of the log that was last opened with it. A clone does the same log's.
#[derive(Clone)]
pub struct Steps {
    log: Arc<Mutex<Option<Log>>>,
    pub(crate) clock: Clock,
}

impl Default for Steps {
    fn default() -> Self {
        Self { log: Arc::default(), clock: Clock::by_hand() }
    }
}

struct Log {
    shared: Arc<Shared>,
    writer: Writer,
    /// What was written and is to be synced.
    written: Option<Wake>,
}

impl Steps {
    /// Sets the time with which the log measures its delays: since some beginning, never back.
    pub fn set_time(&self, elapsed: Duration) {
        self.clock.set(elapsed);
    }

    /// Writes what is queued, unless what was written last is not synced yet or the disk is full.
    /// Says whether there is something to sync.
    pub fn write(&self) -> bool {
        self.with(|log| {
            if log.written.is_none() && log.shared.preparer.has_room() {
                log.written = log.writer.take()?;
                if log.written.is_some() {
                    log.writer.write_batch()?;
                }
            }
            Ok(log.written.is_some())
        })
    }

    /// Syncs what was written, and tells whoever waits for it. Says whether that was the end of a
    /// log that is closing.
    pub fn sync(&self) -> bool {
        let ended = self.with(|log| match log.written.take() {
            Some(wake) => log.writer.finish(&wake),
            None => Ok(false),
        });
        if ended {
            self.abandon();
        }
        ended
    }

    /// Makes a segment ahead of time, removes an old one, or syncs one for
    /// [`Durability::Os`](crate::Durability::Os). Says whether there was something to do.
    pub fn prepare(&self) -> bool {
        self.with(|log| Ok(log.shared.preparer.step(&log.shared.queue)))
    }

    /// Forgets the log, as a crash does: what was not written never will be, and nobody is told.
    pub fn abandon(&self) {
        let log = self.log.lock().take();
        // Outside of the lock: whoever waits may hold the log, and closes it when dropped.
        drop(log);
    }

    pub(crate) fn take_over(&self, shared: Arc<Shared>, mut writer: Writer) {
        let log = match writer.begin() {
            Ok(()) => Some(Log { shared, writer, written: None }),
            Err(error) => {
                writer.fail(&error);
                None
            }
        };
        let before = std::mem::replace(&mut *self.log.lock(), log);
        drop(before);
    }

    /// Does all that is left to do of a log that is closing.
    pub(crate) fn finish(&self) {
        while self.prepare() {}
        while self.write() && !self.sync() {}
        self.abandon();
    }

    /// `false` if there is no log, or if it fails.
    fn with(&self, step: impl FnOnce(&mut Log) -> Result<bool, Error>) -> bool {
        let mut log = self.log.lock();
        let Some(open) = log.as_mut() else { return false };
        match step(open) {
            Ok(done) => done,
            Err(error) => {
                let failed = log.take();
                drop(log);
                if let Some(mut failed) = failed {
                    failed.writer.fail(&error);
                    failed.shared.preparer.stop();
                }
                false
            }
        }
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steps").finish_non_exhaustive()
    }
}
