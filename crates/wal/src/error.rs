//! What can go wrong.

use std::io;
use std::sync::Arc;

use crate::Shard;

/// Why the log cannot do what it was asked. `Display` names the file, and the offset in it.
///
/// [`Error::Closed`], [`Error::Order`] and [`Error::TooLarge`] refuse one append and change
/// nothing. All others mean that this log cannot be trusted or written any more.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The log was closed before this append.
    #[error("the log is closed")]
    Closed,
    /// Bytes that must be there are damaged or contradict each other.
    #[error("{file}, offset {offset}: {what}")]
    Corrupt {
        /// The segment.
        file: String,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// A new log was asked for where there is one.
    #[error("{file} exists already: this directory has a log")]
    Exists {
        /// One of its segments.
        file: String,
    },
    /// The segment belongs to another replica.
    #[error("{file}, offset 16: the log of another node (owner {found:#x}, this is {owner:#x})")]
    Foreign {
        /// The segment.
        file: String,
        /// The owner in its header.
        found: u64,
        /// The owner asked for.
        owner: u64,
    },
    /// Another process has the directory.
    #[error("{dir} is in use by another process{}", pid.map_or(String::new(), |pid| format!(" (pid {pid})")))]
    InUse {
        /// The directory.
        dir: String,
        /// The process, if it left its id.
        pid: Option<u32>,
    },
    /// The operating system refused.
    #[error("cannot {action} {file}: {source}")]
    Io {
        /// What was tried: a verb.
        action: &'static str,
        /// On which file.
        file: String,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// A segment is gone.
    #[error("{file} is missing: {why}")]
    Missing {
        /// The name it had.
        file: String,
        /// How that is known.
        why: &'static str,
    },
    /// A log was asked for where there is none.
    #[error("there is no log here")]
    NoLog,
    /// The records handed over do not continue the shard's log.
    #[error("shard {shard}: index {index} {what}")]
    Order {
        /// The shard.
        shard: Shard,
        /// The index that does not fit.
        index: u64,
        /// In what way.
        what: &'static str,
    },
    /// A file of the directory is a symbolic link.
    #[error("{file} is a symbolic link")]
    Symlink {
        /// The link.
        file: String,
    },
    /// A record or value is longer than the format allows.
    #[error("a record of {len} bytes, at most {len_max} are possible")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        len_max: usize,
    },
    /// The segment was written by a newer version.
    #[error("{file}, offset 4: format version {found}, this program knows up to {known}")]
    Version {
        /// The segment.
        file: String,
        /// Its version.
        found: u16,
        /// The newest version known.
        known: u16,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, file: &str, source: io::Error) -> Self {
        Self::Io { action, file: file.to_owned(), source: Arc::new(source) }
    }

    /// Whether there was no space: nothing is lost, and it can be tried again.
    pub(crate) fn is_storage_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}
