//! What the cluster tests share: real processes, plain clients, and faults.
//!
//! ```text
//!   tests/*.rs ──▶ Cluster ──▶ Process x 3      kill -9, SIGSTOP, SIGTERM, restart
//!       │             └──────▶ http, Status     the admin port: who leads, who lags
//!       ├────────▶ Fleet                    nodes started one by one, and the operator's tools
//!       ├────────▶ TextClient, BinaryClient     ONE connection each, every close is reported
//!       └────────▶ StockMemcached               the control: the same surface, no replication
//! ```
//!
//! # Rules of the harness
//!
//! 1. *No client reconnects by itself.* A closed connection to a living node breaks the promise, so
//!    it is an error of its own ([`ClientError::Closed`]) and the test decides.
//! 2. *No wait without a deadline*, and no sleep that stands for one ([`wait_for`]).
//! 3. *No process survives its test*: dropped, panicked or killed ([`Process`]).
//! 4. *A failure shows the evidence*: [`Cluster`] prints the end of each node's stderr unless
//!    [`Cluster::finish`] was reached.
//!
//! Not here: an async runtime, or any crate of the product. The tests see what a client and an
//! operator see, nothing more.
//!
//! # Environment
//!
//! `RAFTCACHED_BIN` names the binary (default: `release/raftcached` in the target directory),
//! `RAFTCACHED_PREVIOUS_BIN` the one of the version before (default: built from git),
//! `QUICK=1` lowers every count for development, `SEED` replays a run's random choices; each test
//! names its own (`ROUNDS`, `SECONDS`, `SETS`).

pub use certificates::Certificates;
pub use client::{
    BinaryClient, BinaryReply, Client, ClientError, Item, Protocol, Store, TextClient,
};
pub use cluster::Cluster;
pub use cluster_options::{ClusterOptions, Durability};
pub use control::StockMemcached;
pub use faults::{Gates, Liveness, Violations};
pub use figures::{Figures, millis};
pub use fleet::{Fleet, Said};
pub use http::HttpReply;
pub use load::Mixed;
pub use loop_disk::{FileSystem, LoopDisk};
pub use machine::{Undisturbed, stolen};
pub use paced::{Journal, PacedWriter};
pub use partitions::{Narrow, Partitions, Rule};
pub use poll::{pause, wait_for};
pub use ports::free_port;
pub use previous::previous_binary;
pub use process::{Process, Resources};
pub use rng::Rng;
pub use roamer::{Partings, Roamer};
pub use router::Router;
pub use settings::{count, quick, seed};
pub use status::{NodeStatus, ReplicaStatus, ShardStatus, Status};
pub use strace::Strace;
pub use under_test::{alone, binary, target_dir};
pub use writers::Writers;

mod certificates;
mod client;
mod cluster;
mod cluster_options;
mod control;
pub mod data_files;
mod faults;
mod figures;
mod fleet;
pub mod http;
mod load;
mod loop_disk;
mod machine;
mod paced;
mod partitions;
mod poll;
mod ports;
mod previous;
mod process;
mod rng;
mod roamer;
mod router;
mod settings;
mod status;
mod strace;
mod under_test;
mod writers;
