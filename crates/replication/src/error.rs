//! What can go wrong, by who has to act.

use std::io;
use std::path::PathBuf;

use crate::data_dir::DataDirError;

/// Why a client's operation got no answer from the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// This node is stopping.
    #[error("node is shutting down")]
    Draining,
    /// Nothing was done: no majority of the nodes could be reached in time.
    #[error("no quorum")]
    NoQuorum,
    /// Nothing was done: the disks of too many nodes are full.
    #[error("no space on the disks of a majority")]
    NoSpace,
    /// It may have been done, or may still be: the answer did not come in time.
    #[error("outcome unknown")]
    OutcomeUnknown,
}

/// The queue of commands is full: wait for `ready`, then try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("command queue is full")]
pub struct Full;

/// Why a node cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// openraft refuses the timing.
    #[error("timing: {0}")]
    Config(String),
    /// The data directory cannot be used.
    #[error("data directory")]
    DataDir(#[from] DataDirError),
    /// What the data directory holds does not go together.
    #[error("data directory {path}: {why}")]
    Recovery {
        /// The replica's files.
        path: PathBuf,
        /// Which record or file, and what is wrong with it.
        why: String,
    },
    /// The peer listener cannot be used.
    #[error("peer listener")]
    PeerListener(#[source] io::Error),
    /// The runtime or a thread could not be made.
    #[error("starting the raft thread")]
    Thread(#[source] io::Error),
}

/// Why a node must stop: it cannot ever serve, or not any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fatal {
    /// The cluster will not have this node.
    #[error("the cluster refuses this node: {0}")]
    Refused(String),
    /// The peers named in `join` contradict each other or this node.
    #[error("cannot form a cluster: {0}")]
    Formation(String),
    /// The disk cannot be trusted any more; names the file.
    #[error("data directory: {0}")]
    Disk(String),
    /// The raft side has died.
    #[error("raft has stopped: {0}")]
    Raft(String),
    /// An operator has removed this node from the cluster.
    #[error("this node was removed from the cluster")]
    Removed,
    /// Another node speaks of what this program does not know: going on would lose it.
    #[error("this program ({version}) is too old for its cluster: {what}")]
    TooOld {
        /// What it does not know.
        what: String,
        /// This program's version.
        version: String,
    },
}

/// Why the members did not change as an operator asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemberError {
    /// There is no leader that could do it; nothing was done.
    #[error("there is no leader")]
    NoLeader,
    /// Unsafe, impossible, or not now; nothing was done. Says why.
    #[error("{0}")]
    Refused(String),
    /// It may happen or not: look at the members. Says what is known.
    #[error("{0}")]
    Undecided(String),
    /// There is no member of that name; nothing was done.
    #[error("{0}")]
    Unknown(String),
}

/// Why leadership did not move.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MoveError {
    /// There is no leader that could hand it over.
    #[error("there is no leader")]
    NoLeader,
    /// The target cannot take it.
    #[error("{0}")]
    Refused(String),
    /// The target did not take it in time; the old leader goes on.
    #[error("leadership did not move in time")]
    TimedOut,
}
