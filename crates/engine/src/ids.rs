//! Newtypes for the numbers that must not be mixed up.

/// Wall-clock time as the leader stamped it: milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub u64);

/// Version of an item: the log position that wrote it, `(log index << 12) | position in the batch`.
///
/// Never 0, unique for ever, and the same on every replica.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CasUnique(pub u64);

/// Index of a raft entry; the first one is 1, and 0 means "nothing applied yet".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogIndex(pub u64);

/// Who formed a batch: a replica or agent, and which run of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Id of the replica or agent.
    pub node: u64,
    /// Differs for every start of that replica or agent; its sequence numbers begin at 1 again.
    pub epoch: u64,
}

/// Low bits of a log position that number the commands within one entry.
pub(crate) const POSITION_BITS: u32 = 12;

/// The log position of the command at `position` of the entry at `index`.
pub(crate) fn log_position(index: LogIndex, position: u64) -> u64 {
    (index.0 << POSITION_BITS) | position
}

/// Highest index whose positions still fit 64 bits.
pub(crate) const LOG_INDEX_MAX: u64 = u64::MAX >> POSITION_BITS;
