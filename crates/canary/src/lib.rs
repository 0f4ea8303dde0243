//! Bugs on purpose: the simulation must find each of them, or it would not find a real one.
//!
//! They are there only in a build with `RAFTCACHED_CANARIES=1` in its environment, which sets
//! `cfg(canary)`; in every other build [`Canary::is_planted`] is a constant `false`, and nothing
//! is left of them. In such a build one canary at a time is planted, for one thread.
//!
//! # Source
//!
//! TigerBeetle's and openraft's canaries; each names the promise that it breaks.

/// A bug that somebody has made, somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canary {
    /// A set is answered when it is sent, not when a majority has it.
    AckBeforeQuorum,
    /// An entry counts as durable when it is written, not when it is synced.
    AckBeforeFsync,
    /// A vote is given and not written down.
    VoteNotPersisted,
    /// A follower answers reads from what it has.
    LocalRead,
    /// A deadline counts from the clock of whoever applies the entry.
    TtlByLocalClock,
    /// Each replica evicts what it thinks best.
    LocalEviction,
    /// CAS uniques come from a counter in memory.
    CasFromCounter,
    /// A batch that comes again is executed again.
    BlindRetry,
    /// A snapshot has no table of what was executed.
    SnapshotWithoutOrigins,
    /// A snapshot has no deadlines.
    SnapshotWithoutDeadlines,
    /// A node answers before it has caught up.
    ServeBeforeReplay,
    /// Records of the log are not checked.
    BadChecksumAccepted,
    /// The name of a new segment is not made durable.
    NoDirectorySync,
    /// A node that has lost its memory comes back under its old id.
    ReplicaIdReused,
}

impl Canary {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::AckBeforeQuorum,
        Self::AckBeforeFsync,
        Self::VoteNotPersisted,
        Self::LocalRead,
        Self::TtlByLocalClock,
        Self::LocalEviction,
        Self::CasFromCounter,
        Self::BlindRetry,
        Self::SnapshotWithoutOrigins,
        Self::SnapshotWithoutDeadlines,
        Self::ServeBeforeReplay,
        Self::BadChecksumAccepted,
        Self::NoDirectorySync,
        Self::ReplicaIdReused,
    ];

    /// Whether the calling thread has this bug.
    #[cfg(canary)]
    pub fn is_planted(self) -> bool {
        PLANTED.get() == Some(self)
    }

    /// Whether the calling thread has this bug: never, in this build.
    #[cfg(not(canary))]
    #[inline(always)]
    pub const fn is_planted(self) -> bool {
        false
    }
}

/// Whether this build can have bugs planted at all.
pub const POSSIBLE: bool = cfg!(canary);

/// Gives the calling thread one bug, or none.
#[cfg(canary)]
pub fn plant(canary: Option<Canary>) {
    PLANTED.set(canary);
    COUNTED.set(0);
}

/// Counts its calls on the calling thread: what differs between replicas.
pub fn count() -> u64 {
    COUNTED.set(COUNTED.get() + 1);
    COUNTED.get()
}

/// Does nothing in this build.
#[cfg(not(canary))]
pub fn plant(_canary: Option<Canary>) {}

thread_local! {
    static COUNTED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

#[cfg(canary)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Canary>> = const { std::cell::Cell::new(None) };
}
