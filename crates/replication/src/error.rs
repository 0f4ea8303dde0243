//! What can go wrong, by who has to act.

use std::io;

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
    /// The raft side has died.
    #[error("raft has stopped: {0}")]
    Raft(String),
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
