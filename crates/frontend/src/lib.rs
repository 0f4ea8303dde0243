//! Client connections: memcached protocols on sockets, lowered to replicated commands.
//!
//! ```text
//!   Listener ──▶ I/O thread, one of -t ──▶ connection: socket <──bytes──> Session
//!   (accepts)    (single-threaded runtime)                                  │    ▲
//!                                                             reads: get    │    │ outcomes,
//!                                                             writes: propose    │ items
//!                                                                           ▼    │
//!                                                                          Backend
//! ```
//!
//! # Layout
//!
//! Read in this order: `backend` (what is needed from the rest of the node), `session` (requests
//! in, replies out, without a socket), `lower` (request to command), `pending` (writes under way),
//! `connection` (session and socket), `server` and `listener` (who is served where), `stats`.
//!
//! # Invariants
//!
//! 1. *Order.* Replies of a connection leave in the order of its requests.
//! 2. *Own writes.* A read is executed after every write that its connection has sent before it has
//!    been applied, whether the client wanted a reply to it or not.
//! 3. *No false miss.* A read is looked up only under a lease or behind a read barrier that began
//!    after the request had arrived; else it is answered with an error.
//! 4. *Whole replies.* An error never follows the beginning of an answer.
//! 5. *Bounds.* A connection holds one request, [`protocol::Limits::item_len_max`] bytes at the
//!    most, 256 KiB of replies and one reply more, and 1024 writes under way; of a request that is
//!    not whole, at most four times what has arrived; idle, no buffer at all. What all connections
//!    hold together is counted: beyond 32 KiB each it comes from one budget,
//!    [`Options::buffers_len_max`]. A connection that it has nothing left for stops reading and
//!    executing, and one that moves no byte for 5 s meanwhile is closed. TLS holds up to 64 KiB
//!    more in each direction, which is not counted; a handshake has 10 s. A UDP listener has at
//!    most 256 requests under way, each with one datagram of 64 KiB and a reply of one value and
//!    256 KiB.
//!
//! Not here: raft (behind [`Backend`]), the bytes of the protocols, deadlines of operations (a
//! [`Backend`]'s futures end by themselves).
//!
//! # Source
//!
//! memcached's `doc/protocol.txt`; `memcached.c` for limits on connections.

mod acceptor;
mod auth;
mod backend;
mod budget;
mod buffer;
mod clock;
mod connection;
mod counters;
#[cfg(fuzzing)]
pub mod fuzzing;
mod idle;
mod io_thread;
mod listener;
mod lower;
mod options;
mod output;
mod pending;
mod registry;
mod server;
mod session;
mod slot;
mod stall;
mod stats;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tls;
mod udp;
mod watch;

pub use auth::{Credentials, CredentialsError};
pub use backend::{Backend, Full, Unavailable};
pub use counters::Totals;
pub use listener::{Address, ListenError, Listener};
pub use options::{Auth, DRAIN_AT_ONCE, Options, Shutdown};
pub use protocol::{Compat, Protocol};
pub use registry::ConnectionInfo;
pub use server::{Figures, RunError, Server};
pub use stats::OnlyClass;
pub use stats::settings::MEMCACHEDS_SETTINGS;
pub use tls::{BadFile, ClientTls, TlsError, TlsFile, TlsOptions, Verify};

#[cfg(test)]
mod tests;
