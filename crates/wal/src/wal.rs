//! The handle.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::Shard;
use crate::appender::Appender;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::error::Error;
use crate::preparer::Preparer;
use crate::queue::Queue;
use crate::reader::read;
use crate::recovery::{Recovery, list_segments, recover};
use crate::segment::{Segment, segment_name};
use crate::shards::Shards;
use crate::steps::Steps;
use crate::writer::{Active, Writer};

/// When an append is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When it is on the disk.
    Fsync,
    /// When the operating system has it. A process that dies loses nothing; a machine that dies
    /// loses up to the last `sync_every`, never a part from the middle.
    Os {
        /// The longest time between a write and the sync that covers it.
        sync_every: Duration,
    },
}

/// How a log is kept.
#[derive(Debug, Clone)]
pub struct Config {
    /// The replica it belongs to. It is written into each segment and never changes.
    pub owner: u64,
    /// The length of new segments in bytes; less than [`SEGMENT_LEN_MIN`] is taken as that. A
    /// record that is longer gets a segment of its own length.
    pub segment_len: u64,
    /// When an append is done.
    pub durability: Durability,
    /// Who writes and syncs.
    pub work: Work,
}

/// Who does a log's work.
#[derive(Debug, Clone)]
pub enum Work {
    /// Two threads of its own.
    Threads,
    /// Whoever holds a clone of the steps, in its own time: a simulation.
    Steps(Steps),
}

/// What a log on disk holds.
#[derive(Debug)]
pub struct Recovered {
    /// The shards that ever had a record.
    pub shards: BTreeMap<Shard, RecoveredShard>,
    /// What was dropped at the end; none of it was acknowledged as durable.
    pub dropped: Option<DroppedTail>,
}

/// What a log holds of one shard. Bodies of entries are read with [`Wal::read`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveredShard {
    /// The latest value of each slot.
    pub slots: BTreeMap<u8, Bytes>,
    /// The purge point and its value.
    pub purged: Option<(u64, Bytes)>,
    /// The entries that are there.
    pub entries: Option<RangeInclusive<u64>>,
}

/// The torn end of a log whose writer died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DroppedTail {
    /// The segment.
    pub file: String,
    /// Where in it, in bytes.
    pub offset: u64,
    /// How many bytes lay there.
    pub bytes: u64,
}

/// A log that is open for appending. A clone is the same log; the last one dropped closes it.
#[derive(Clone)]
pub struct Wal {
    handle: Arc<Handle>,
}

/// What the threads share. No lock is held while another is taken.
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    pub(crate) shards: Mutex<Shards>,
    pub(crate) preparer: Preparer,
}

struct Handle {
    shared: Arc<Shared>,
    work: Doing,
}

/// The work under way.
enum Doing {
    Threads { running: Mutex<Vec<JoinHandle<()>>>, writer: thread::ThreadId },
    Steps(Steps),
}

impl Wal {
    /// Begins a new log.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] if there is a segment, else [`Error::Io`].
    pub fn create(disk: Arc<dyn Disk>, config: Config) -> Result<Self, Error> {
        if let Some(number) = list_segments(&*disk)?.first() {
            return Err(Error::Exists { file: segment_name(*number) });
        }
        let segment = Segment::create(&*disk, 1, config.owner, config.segment_len())?;
        let recovery = Recovery {
            shards: Shards::default(),
            active: Active::new(Arc::new(segment)),
            sealed: VecDeque::new(),
            prepared: None,
            dropped: None,
        };
        Self::start(disk, config, recovery)
    }

    /// Opens a log: checks all of it, repairs a torn tail, and says what is there. Memory needed
    /// is some MB, whatever the length of the log.
    ///
    /// # Errors
    ///
    /// [`Error::NoLog`] if there is no segment; [`Error::Corrupt`], [`Error::Missing`],
    /// [`Error::Foreign`], [`Error::Version`] if the log cannot be trusted; [`Error::Io`].
    pub fn open(disk: Arc<dyn Disk>, config: Config) -> Result<(Self, Recovered), Error> {
        let recovery = recover(&*disk, config.owner)?;
        let shards = recovery.shards.recovered();
        let recovered = Recovered { shards, dropped: recovery.dropped.clone() };
        Ok((Self::start(disk, config, recovery)?, recovered))
    }

    fn start(disk: Arc<dyn Disk>, config: Config, recovery: Recovery) -> Result<Self, Error> {
        let Recovery { shards, active, sealed, prepared, dropped: _ } = recovery;
        let disk_bytes = sealed.iter().map(|(_, len)| len).sum::<u64>()
            + active.segment.len
            + prepared.as_ref().map_or(0, |segment| segment.len);
        let (by_hand, clock) = match &config.work {
            Work::Threads => (false, Clock::system()),
            Work::Steps(steps) => (true, steps.clock.clone()),
        };
        let shared = Arc::new(Shared {
            queue: Queue::new(shards.extents(), clock.clone()),
            shards: Mutex::new(shards),
            preparer: Preparer::new(disk, config.owner, prepared, disk_bytes, by_hand),
        });
        let (durability, segment_len) = (config.durability, config.segment_len());
        let writer = Writer::new(shared.clone(), durability, segment_len, active, sealed, clock);
        if let Work::Steps(steps) = config.work {
            steps.take_over(Arc::clone(&shared), writer);
            let work = Doing::Steps(steps);
            return Ok(Self { handle: Arc::new(Handle { shared, work }) });
        }
        let for_preparer = shared.clone();
        let preparer =
            spawn("wal-prepare", move || for_preparer.preparer.run(&for_preparer.queue))?;
        let writer = spawn("wal-write", move || writer.run()).inspect_err(|_| {
            shared.preparer.stop();
        })?;
        let id = writer.thread().id();
        let work = Doing::Threads { running: Mutex::new(vec![writer, preparer]), writer: id };
        Ok(Self { handle: Arc::new(Handle { shared, work }) })
    }

    /// Appends the records that `fill` makes for `shard`, behind all earlier ones. Never waits for
    /// the disk; whoever appends keeps an eye on [`Wal::queued_bytes`].
    ///
    /// `done` is called once, in order of the appends, on the writer's thread when the records are
    /// durable (or written, see [`Durability`]); or at once, here, if they are refused. It must be
    /// quick and must not panic. `fill` runs under a lock of this log and must not call it.
    ///
    /// A crash may keep the first records of an append and lose the rest, never the reverse.
    ///
    /// # Errors
    ///
    /// `done` gets [`Error::Order`] or [`Error::TooLarge`] for records that do not fit, none of
    /// which is then written; [`Error::Closed`]; or why the log has failed.
    pub fn append(
        &self,
        shard: Shard,
        fill: impl FnOnce(&mut Appender<'_>),
        done: impl FnOnce(Result<(), Error>) + Send + 'static,
    ) {
        self.handle.shared.queue.append(shard, fill, Box::new(done));
    }

    /// Sets a slot like [`Appender::slot`], when it is cheap: with the next append, or after
    /// 100 ms. Only the last value counts. At most [`VALUE_LEN_MAX`](crate::VALUE_LEN_MAX) bytes;
    /// what is longer, or comes after the end, is ignored.
    pub fn note(&self, shard: Shard, slot: u8, value: &[u8]) {
        self.handle.shared.queue.note(shard, slot, value);
    }

    /// Reads entries of `[from, to)` in order, with their indices: as many as fit `bytes_max`
    /// bytes of bodies, at least one if there is one. Sees what has been written, which may be
    /// less than what was appended and more than what is durable. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if what was written is no longer there, [`Error::Io`].
    pub fn read(
        &self,
        shard: Shard,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> Result<Vec<(u64, Bytes)>, Error> {
        let runs = self.handle.shared.shards.lock().runs(shard, from, to);
        read(&runs, shard, from..to, bytes_max)
    }

    /// Bytes appended and not yet written.
    pub fn queued_bytes(&self) -> usize {
        self.handle.shared.queue.bytes()
    }

    /// Bytes that the segments take on the disk.
    pub fn disk_bytes(&self) -> u64 {
        self.handle.shared.preparer.disk_bytes()
    }

    /// Whether there is no space for the segment that will be wanted next; appends go on while the
    /// one in use has room.
    pub fn is_short(&self) -> bool {
        self.handle.shared.preparer.is_short()
    }

    /// Whether appends wait because the disk is full; they go on when there is space.
    pub fn is_full(&self) -> bool {
        self.handle.shared.preparer.is_full()
    }

    /// Why this log can no longer be written, for good.
    pub fn failed(&self) -> Option<Error> {
        self.handle.shared.queue.failed()
    }

    /// Has `f` called once when the log fails, on the writer's thread; at once if it has failed.
    pub fn on_failure(&self, f: impl FnOnce(Error) + Send + 'static) {
        self.handle.shared.queue.on_failure(Box::new(f));
    }

    /// Writes and syncs what is queued and ends the threads. Later appends are refused. Called
    /// from a `done`, it does not wait.
    ///
    /// # Errors
    ///
    /// Why the log has failed. A disk that is full is a failure now.
    pub fn close(&self) -> Result<(), Error> {
        self.handle.close();
        self.failed().map_or(Ok(()), Err)
    }
}

impl fmt::Debug for Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal").field("disk_bytes", &self.disk_bytes()).finish_non_exhaustive()
    }
}

impl Handle {
    fn close(&self) {
        self.shared.queue.close();
        self.shared.preparer.close();
        match &self.work {
            Doing::Threads { writer, .. } if thread::current().id() == *writer => {}
            Doing::Threads { running, .. } => {
                for thread in running.lock().drain(..) {
                    // A thread that panicked has said so already.
                    drop(thread.join());
                }
            }
            Doing::Steps(steps) => steps.finish(),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

impl Config {
    fn segment_len(&self) -> u64 {
        self.segment_len.max(SEGMENT_LEN_MIN).next_multiple_of(8)
    }
}

fn spawn(name: &'static str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    let thread = thread::Builder::new().name(name.to_owned());
    thread.spawn(run).map_err(|e| Error::io("start the thread", name, e))
}

/// The shortest segment in bytes.
pub const SEGMENT_LEN_MIN: u64 = 1024;
