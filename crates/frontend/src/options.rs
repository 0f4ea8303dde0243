//! What the operator decides about client connections.

use std::sync::Arc;
use std::time::Duration;

use protocol::{Compat, Protocol};
use tokio::sync::mpsc;

use crate::auth::Credentials;
use crate::tls::ClientTls;

/// Limits and names of one node's client side.
#[derive(Debug, Clone)]
pub struct Options {
    /// I/O threads that clients are spread over (`-t`), at least 1.
    pub threads: usize,
    /// Connections at the same time (`-c`); of one more, see
    /// [`Options::maxconns_fast`].
    pub connections_max: usize,
    /// Whether one connection too many is told so and closed (`-o maxconns_fast`); if not, it waits
    /// in the kernel until there is room.
    pub maxconns_fast: bool,
    /// Connections that the kernel keeps until they are accepted (`-b`).
    pub backlog: i32,
    /// Largest item in bytes as memcached counts it (`-I`): header, key and value.
    pub item_len_max: usize,
    /// Bytes that all connections together may hold in buffers: requests that arrive slowly, replies
    /// that are not taken (`-o read_buf_mem_limit`). What each may hold whatever the others do, 32
    /// KiB, is in it but never refused.
    pub buffers_len_max: usize,
    /// Requests that a connection may make in a row before others have a turn (`-R`), at least 1.
    pub requests_per_turn: usize,
    /// Connections that have asked nothing for so long are closed (`-o idle_timeout`); `None`: never.
    pub idle_timeout: Option<Duration>,
    /// The only dialect that clients may speak (`-B`); `None`: the first byte tells.
    pub protocol: Option<Protocol>,
    /// Who may come in (`-S`, `-Y`).
    pub auth: Auth,
    /// What is spoken on listeners that ask for it ([`crate::Listener::with_tls`], `-Z`).
    pub tls: Option<Arc<ClientTls>>,
    /// Whether clients are told that there is no cas unique (`-C`).
    pub cas_disabled: bool,
    /// Whether `flush_all` is refused (`-F`).
    pub flush_all_refused: bool,
    /// Whether `stats cachedump` and `lru_crawler metadump` are refused (`-X`).
    pub dump_refused: bool,
    /// Whether `watch` is refused (`-W`).
    pub watch_refused: bool,
    /// Where a client's `shutdown` goes (`-A`); `None`: it is refused.
    pub shutdown: Option<mpsc::UnboundedSender<Shutdown>>,
    /// Whether `stats sizes` counts items by size (`-o track_sizes`).
    pub sizes_tracked: bool,
    /// Whether `stats` has the lines of memcached's LRU crawler, and so its number of lines
    /// (`-o no_lru_crawler`).
    pub lru_crawler_shown: bool,
    /// As that, of its LRU maintainer (`-o no_lru_maintainer`).
    pub lru_maintainer_shown: bool,
    /// Whether `stats detail` counts from the start (`-D`).
    pub detail_enabled: bool,
    /// What ends a key's prefix in `stats detail` (`-D`).
    pub prefix_delimiter: u8,
    /// Which memcached is followed where two of them answer differently (`--compat`), and
    /// what `version` says.
    pub compat: Compat,
    /// How long connections may take to finish what they have begun once shutdown has started.
    pub drain_timeout: Duration,
    /// Over how long idle connections are closed at shutdown, if there are more than
    /// [`DRAIN_AT_ONCE`]: their clients do not all go to the next node at the same moment.
    pub drain_time: Duration,
    /// Lines of `stats settings` that are not known here: what other parts of the node were told,
    /// and what was told and has no effect.
    pub settings: Vec<(String, String)>,
}

/// How clients prove who they are, before anything else is served.
#[derive(Debug, Clone, Default)]
pub enum Auth {
    /// They do not.
    #[default]
    None,
    /// SASL PLAIN in the binary protocol (`-S`).
    Sasl(Arc<Credentials>),
    /// A first `set` whose value is a user and a password, in the text protocol (`-Y`).
    Ascii(Arc<Credentials>),
}

/// How a client wants the node to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// `shutdown`.
    Now,
    /// `shutdown graceful`.
    Graceful,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threads: 4,
            connections_max: 1024,
            maxconns_fast: true,
            backlog: 1024,
            item_len_max: 1024 * 1024,
            buffers_len_max: 256 * 1024 * 1024,
            requests_per_turn: 1024,
            idle_timeout: None,
            protocol: None,
            auth: Auth::default(),
            tls: None,
            cas_disabled: false,
            flush_all_refused: false,
            dump_refused: false,
            watch_refused: false,
            shutdown: None,
            sizes_tracked: false,
            lru_crawler_shown: true,
            lru_maintainer_shown: true,
            detail_enabled: false,
            prefix_delimiter: b':',
            compat: Compat::default(),
            drain_timeout: Duration::from_secs(5),
            drain_time: Duration::from_secs(1),
            settings: Vec::new(),
        }
    }
}

/// So many connections are closed at once at shutdown.
pub const DRAIN_AT_ONCE: usize = 64;
