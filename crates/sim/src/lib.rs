//! Deterministic simulation: a cluster in one thread, one history for each seed.
//!
//! ```text
//!   seed ──▶ Setup, Faults ──▶ Cluster ──tick──▶ Network ─▶ Host ─▶ Process (the real node)
//!                                 ▲                            └─▶ disk steps, clocks
//!                              Client ──history──▶ oracle          Invariants
//! ```
//!
//! The nodes are the real crates: engine, wal, replication with its gRPC, read path included. What
//! is simulated is what [`replication::world::World`] names, and time.
//!
//! # Invariants
//!
//! 1. *One seed, one history*, byte for byte: one thread, no clock, no random number and no hash
//!    order but the seed's. The digest of a run shows it.
//! 2. *Only what the promise allows.* Faults never take more memories than a minority at a time,
//!    so whatever is lost or stale is the nodes' fault.
//!
//! Not here: client protocols (the frontend has its own tests), TLS.
//!
//! # Source
//!
//! DESIGN section 6; TigerBeetle's simulator and openraft's turmoil tests are the models.

pub mod client;
pub mod cluster;
pub mod faults;
pub mod files;
pub mod host;
pub mod invariants;
pub mod network;
pub mod panics;
pub mod process;
pub mod rng;
pub mod run;
mod wire;
