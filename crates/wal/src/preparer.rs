//! The thread that makes segments ahead of time, removes old ones, and syncs for
//! [`Durability::Os`](crate::Durability::Os), so that the writer never waits for any of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::disk::Disk;
use crate::error::Error;
use crate::queue::Queue;
use crate::segment::{Segment, segment_name};

/// What the writer and the thread tell each other.
pub(crate) struct Preparer {
    disk: Arc<dyn Disk>,
    owner: u64,
    state: Mutex<State>,
    changed: Condvar,
    disk_bytes: AtomicU64,
    /// There is no thread: whoever would wait does its work instead.
    by_hand: bool,
}

/// What became of one look at what is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// One thing was done.
    Done,
    /// Nothing is to do.
    Idle,
    /// There is no space for what is wanted.
    Full,
    Stopped,
}

#[derive(Default)]
struct State {
    /// The segment to make: its number and length in bytes.
    wanted: Option<(u64, u64)>,
    /// The segment that was made.
    ready: Option<Segment>,
    /// Segments to remove, oldest first, with their lengths.
    old: VecDeque<(u64, u64)>,
    /// What to sync, oldest first: each segment once, with the offset up to which it is written.
    unsynced: VecDeque<(Arc<Segment>, u64)>,
    /// Up to where the last segment synced here is durable: its number, and an offset in it.
    synced: (u64, u64),
    /// The last attempt found no space.
    full: bool,
    /// The writer cannot go on without what it wants.
    awaited: bool,
    closing: bool,
    stopping: bool,
    failed: Option<Error>,
}

impl Preparer {
    /// `ready`: a segment made earlier and not used. `disk_bytes`: what all segments take.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        owner: u64,
        ready: Option<Segment>,
        disk_bytes: u64,
        by_hand: bool,
    ) -> Self {
        let state = Mutex::new(State { ready, ..State::default() });
        let disk_bytes = AtomicU64::new(disk_bytes);
        Self { disk, owner, state, changed: Condvar::new(), disk_bytes, by_hand }
    }

    /// Asks for segment `number` of `len` bytes, if it is not there.
    pub(crate) fn want(&self, number: u64, len: u64) {
        let mut state = self.state.lock();
        if state.ready.is_none() {
            state.wanted = Some((number, len));
            self.changed.notify_all();
        }
    }

    /// Waits for segment `number` of at least `len` bytes. While the disk is full it waits, unless
    /// the log is being closed.
    pub(crate) fn take(&self, number: u64, len: u64) -> Result<Segment, Error> {
        let mut state = self.state.lock();
        loop {
            match &state.failed {
                Some(error) if !state.full || state.closing => return Err(error.clone()),
                Some(_) | None => {}
            }
            if let Some(segment) = state.ready.take() {
                if len <= segment.len {
                    state.awaited = false;
                    return Ok(segment);
                }
                // Too short for a very large record: it is replaced under its name.
                self.disk_bytes.fetch_sub(segment.len, Ordering::Relaxed);
                state.wanted = None;
            }
            match &mut state.wanted {
                Some((_, wanted)) => *wanted = len.max(*wanted),
                None => state.wanted = Some((number, len)),
            }
            state.awaited = true;
            self.changed.notify_all();
            state = self.wait(state)?;
        }
    }

    /// Asks for segments to be removed, oldest first: numbers and lengths.
    pub(crate) fn remove(&self, old: impl Iterator<Item = (u64, u64)>) {
        self.state.lock().old.extend(old);
        self.changed.notify_all();
    }

    /// Asks for a segment to be synced, which is written up to `end`.
    pub(crate) fn sync_later(&self, segment: &Arc<Segment>, end: u64) {
        let mut state = self.state.lock();
        match state.unsynced.back_mut() {
            Some((last, until)) if last.number == segment.number => *until = end,
            Some(_) | None => state.unsynced.push_back((Arc::clone(segment), end)),
        }
        self.changed.notify_all();
    }

    /// How far the last segment synced here is durable: its number, and an offset in it.
    pub(crate) fn synced(&self) -> (u64, u64) {
        self.state.lock().synced
    }

    /// Waits until everything asked for with [`Self::sync_later`] is durable.
    pub(crate) fn wait_synced(&self) -> Result<(), Error> {
        let mut state = self.state.lock();
        while !state.unsynced.is_empty() {
            match &state.failed {
                Some(error) if !state.full => return Err(error.clone()),
                Some(_) | None => state = self.wait(state)?,
            }
        }
        Ok(())
    }

    /// From now on a full disk is a failure.
    pub(crate) fn close(&self) {
        self.state.lock().closing = true;
        self.changed.notify_all();
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        self.state.lock().stopping = true;
        self.changed.notify_all();
    }

    /// Whether the writer could go on in a next segment now, or there is hope of one.
    pub(crate) fn has_room(&self) -> bool {
        let state = self.state.lock();
        state.ready.is_some() || !state.full || state.closing
    }

    /// Whether there is no space for the segment that will be wanted next.
    pub(crate) fn is_short(&self) -> bool {
        self.state.lock().full
    }

    /// Whether the writer waits for space on the disk.
    pub(crate) fn is_full(&self) -> bool {
        let state = self.state.lock();
        state.full && state.awaited
    }

    pub(crate) fn disk_bytes(&self) -> u64 {
        self.disk_bytes.load(Ordering::Relaxed)
    }

    /// The thread: works until it is stopped or something fails.
    pub(crate) fn run(&self, queue: &Queue) {
        if let Err(error) = self.work() {
            self.fail(&error, queue);
        }
    }

    fn work(&self) -> Result<(), Error> {
        let mut state = self.state.lock();
        loop {
            let turn;
            (state, turn) = self.turn(state)?;
            match turn {
                Turn::Done => {}
                Turn::Idle => self.changed.wait(&mut state),
                Turn::Full => drop(self.changed.wait_for(&mut state, RETRY_DELAY)),
                Turn::Stopped => return Ok(()),
            }
        }
    }

    /// Does one thing that is to be done, without the lock.
    fn turn<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
    ) -> Result<(MutexGuard<'a, State>, Turn), Error> {
        if state.stopping {
            return Ok((state, Turn::Stopped));
        }
        if let Some((number, len)) = state.old.pop_front() {
            drop(state);
            self.remove_now(number, len)?;
            return Ok((self.state.lock(), Turn::Done));
        }
        if let Some((segment, end)) = state.unsynced.front().cloned() {
            drop(state);
            segment.file.sync_data().map_err(|e| segment.io("sync", e))?;
            state = self.state.lock();
            state.synced = (segment.number, end);
            // Still there: `wait_synced` must not believe that it is done before it is. More
            // may have been written to it meanwhile.
            if state.unsynced.front().is_some_and(|(_, until)| *until == end) {
                state.unsynced.pop_front();
            }
            self.changed.notify_all();
            return Ok((state, Turn::Done));
        }
        let Some((number, len)) = state.wanted else { return Ok((state, Turn::Idle)) };
        drop(state);
        let made = Segment::create(&*self.disk, number, self.owner, len);
        state = self.state.lock();
        match made {
            Ok(segment) => {
                self.disk_bytes.fetch_add(len, Ordering::Relaxed);
                if std::mem::take(&mut state.full) {
                    tracing::info!("there is space for the log again");
                }
                state.failed = None;
                state.wanted = None;
                state.ready = Some(segment);
                self.changed.notify_all();
                Ok((state, Turn::Done))
            }
            Err(error) if error.is_storage_full() => {
                if !std::mem::replace(&mut state.full, true) {
                    tracing::error!("no space for the next segment of the log: {error}");
                }
                state.failed = Some(error);
                self.changed.notify_all();
                Ok((state, Turn::Full))
            }
            Err(error) => Err(error),
        }
    }

    /// Does one thing that is to be done, for whoever has no thread for it; `false`: nothing was.
    pub(crate) fn step(&self, queue: &Queue) -> bool {
        let turn = self.turn(self.state.lock()).map(|(_, turn)| turn);
        turn.inspect_err(|error| self.fail(error, queue)).is_ok_and(|turn| turn == Turn::Done)
    }

    /// Waits until something has changed; without a thread, changes it.
    fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
    ) -> Result<MutexGuard<'a, State>, Error> {
        if !self.by_hand {
            self.changed.wait(&mut state);
            return Ok(state);
        }
        match self.turn(state)? {
            (state, Turn::Done) => Ok(state),
            (state, Turn::Full | Turn::Idle | Turn::Stopped) => {
                Err(state.failed.clone().unwrap_or(Error::Closed))
            }
        }
    }

    fn fail(&self, error: &Error, queue: &Queue) {
        let mut state = self.state.lock();
        state.failed = Some(error.clone());
        state.full = false;
        drop(state);
        self.changed.notify_all();
        queue.break_off(error.clone());
    }

    /// Each removal is made durable before the next: the segments left have no gap.
    fn remove_now(&self, number: u64, len: u64) -> Result<(), Error> {
        let name = segment_name(number);
        self.disk.remove(&name).map_err(|e| Error::io("remove", &name, e))?;
        self.disk.sync_dir().map_err(|e| Error::io("sync the directory of", &name, e))?;
        self.disk_bytes.fetch_sub(len, Ordering::Relaxed);
        Ok(())
    }
}

/// The time between two attempts to find space.
const RETRY_DELAY: Duration = Duration::from_millis(100);
