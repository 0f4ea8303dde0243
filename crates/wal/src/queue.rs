//! What waits for the writer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::appender::{Appender, UNSEALED_SEED, push_frame};
use crate::clock::Clock;
use crate::error::Error;
use crate::extent::Extent;
use crate::frame::{Frame, Kind};
use crate::{Shard, VALUE_LEN_MAX};

/// Called with the fate of an append.
pub(crate) type Done = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// Records in the order of appends, and whoever waits for them. Callers fill it, the writer
/// empties it.
pub(crate) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    bytes: AtomicUsize,
    clock: Clock,
}

#[derive(Default)]
struct State {
    batch: Batch,
    notes: BTreeMap<(Shard, u8), Vec<u8>>,
    /// When the oldest note came.
    noted_at: Option<Instant>,
    /// What the shards will be once the batch is written.
    extents: BTreeMap<Shard, Extent>,
    closing: bool,
    /// What went wrong elsewhere, for the writer to die of.
    broken: Option<Error>,
    failed: Option<Error>,
    on_failure: Vec<Box<dyn FnOnce(Error) + Send>>,
}

/// What goes out together.
#[derive(Default)]
pub(crate) struct Batch {
    /// Frames, see [`push_frame`].
    pub(crate) buf: Vec<u8>,
    pub(crate) waiters: Vec<Done>,
    /// How many of the bytes were counted as queued; notes are not.
    pub(crate) counted: usize,
}

/// Why the writer woke up.
pub(crate) enum Wake {
    /// There may be records and waiters in the batch.
    Work,
    /// Nothing will be queued any more; the batch is the last.
    Closing,
}

impl Queue {
    pub(crate) fn new(extents: BTreeMap<Shard, Extent>, clock: Clock) -> Self {
        let state = State { extents, ..State::default() };
        let bytes = AtomicUsize::new(0);
        Self { state: Mutex::new(state), filled: Condvar::new(), bytes, clock }
    }

    /// Queues the records that `fill` makes; a refusal is told at once.
    pub(crate) fn append(&self, shard: Shard, fill: impl FnOnce(&mut Appender<'_>), done: Done) {
        let mut state = self.state.lock();
        if let Some(error) = state.refusal() {
            drop(state);
            return done(Err(error));
        }
        let State { batch, notes, extents, .. } = &mut *state;
        let start = batch.buf.len();
        let extent = extents.entry(shard).or_default();
        let before = *extent;
        let mut appender = Appender { shard, extent, notes, buf: &mut batch.buf, outcome: Ok(()) };
        fill(&mut appender);
        if let Err(error) = appender.outcome {
            *extent = before;
            batch.buf.truncate(start);
            drop(state);
            return done(Err(error));
        }
        self.bytes.fetch_add(batch.buf.len() - start, Ordering::Relaxed);
        batch.waiters.push(done);
        drop(state);
        self.filled.notify_one();
    }

    /// Queues the latest value of a slot for the next occasion.
    pub(crate) fn note(&self, shard: Shard, slot: u8, value: &[u8]) {
        let mut state = self.state.lock();
        if state.refusal().is_some() || VALUE_LEN_MAX < value.len() {
            return;
        }
        let kept = state.notes.entry((shard, slot)).or_default();
        kept.clear();
        kept.extend_from_slice(value);
        if state.noted_at.is_none() {
            state.noted_at = Some(self.clock.now());
            drop(state);
            // It may be waiting without a deadline.
            self.filled.notify_one();
        }
    }

    /// Moves what is queued into `batch`, which is empty, without waiting. `None`: nothing is.
    pub(crate) fn try_take(&self, batch: &mut Batch) -> Result<Option<Wake>, Error> {
        self.state.lock().take(batch, self.clock.now())
    }

    /// Waits for something to do, at most until `deadline`, and moves it into `batch`.
    pub(crate) fn take(&self, batch: &mut Batch, deadline: Option<Instant>) -> Result<Wake, Error> {
        let mut state = self.state.lock();
        loop {
            let now = self.clock.now();
            if let Some(wake) = state.take(batch, now)? {
                return Ok(wake);
            }
            let noted = state.noted_at.map(|at| at + NOTE_DELAY);
            if deadline.is_some_and(|at| at <= now) {
                return Ok(Wake::Work);
            }
            match deadline.into_iter().chain(noted).min() {
                Some(at) => drop(self.filled.wait_until(&mut state, at)),
                None => self.filled.wait(&mut state),
            }
        }
    }

    /// `len` bytes have been written.
    pub(crate) fn written(&self, len: usize) {
        self.bytes.fetch_sub(len, Ordering::Relaxed);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Takes no more appends, and tells the writer so.
    pub(crate) fn close(&self) {
        self.state.lock().closing = true;
        self.filled.notify_one();
    }

    /// Makes the writer fail with `error`.
    pub(crate) fn break_off(&self, error: Error) {
        self.state.lock().broken.get_or_insert(error);
        self.filled.notify_one();
    }

    /// Fails everything queued and all that will be, and tells whoever asked to be told.
    pub(crate) fn fail(&self, error: &Error) {
        let mut state = self.state.lock();
        state.failed = Some(error.clone());
        let Batch { waiters, .. } = std::mem::take(&mut state.batch);
        let on_failure = std::mem::take(&mut state.on_failure);
        drop(state);
        self.bytes.store(0, Ordering::Relaxed);
        waiters.into_iter().for_each(|done| done(Err(error.clone())));
        on_failure.into_iter().for_each(|tell| tell(error.clone()));
    }

    pub(crate) fn failed(&self) -> Option<Error> {
        self.state.lock().failed.clone()
    }

    pub(crate) fn on_failure(&self, tell: Box<dyn FnOnce(Error) + Send>) {
        let mut state = self.state.lock();
        match state.failed.clone() {
            None => state.on_failure.push(tell),
            Some(error) => {
                drop(state);
                tell(error);
            }
        }
    }
}

impl State {
    fn refusal(&self) -> Option<Error> {
        self.failed.clone().or_else(|| self.closing.then_some(Error::Closed))
    }

    fn take(&mut self, batch: &mut Batch, now: Instant) -> Result<Option<Wake>, Error> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        let notes_due = self.noted_at.is_some_and(|at| at + NOTE_DELAY <= now);
        if self.batch.waiters.is_empty() && !notes_due && !self.closing {
            return Ok(None);
        }
        std::mem::swap(&mut self.batch, batch);
        batch.counted = batch.buf.len();
        self.noted_at = None;
        for ((shard, slot), value) in std::mem::take(&mut self.notes) {
            let len = u32::try_from(value.len()).unwrap_or(u32::MAX);
            let frame = Frame { slot, shard, len, ..Frame::bare(Kind::Slot) };
            push_frame(&mut batch.buf, frame, UNSEALED_SEED, &[&value]);
        }
        Ok(Some(if self.closing { Wake::Closing } else { Wake::Work }))
    }
}

/// How long a note waits for an append to ride with.
const NOTE_DELAY: Duration = Duration::from_millis(100);
