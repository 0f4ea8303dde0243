//! Tests with real processes: clusters, their clients, and what befalls them.
//!
//! All of them are one program, which is linked once. `tests/run cluster:NAME` runs a file of them;
//! each has the machine for itself.

mod bad_input;
mod chaos;
mod damaged_data;
mod differential;
mod disk_faults;
mod drain;
mod drop_in;
mod exactly_once;
mod failover;
mod follower_snapshot;
mod headline;
mod hostile_clients;
mod idle_connections;
mod kill_all;
mod membership;
mod membership_chaos;
mod memory;
mod metrics;
mod never_a_false_miss;
mod no_spurious_election;
mod peer_tls;
mod power_loss;
mod recache;
mod rolling;
mod signals;
mod stuck_client;
