//! What the operator decides about client connections.

use std::sync::Arc;
use std::time::Duration;

use protocol::Protocol;
use tokio::sync::mpsc;

use crate::auth::Credentials;

/// Limits and names of one node's client side.
#[derive(Debug, Clone)]
pub struct Options {
    /// I/O threads that clients are spread over (`-t`), at least 1.
    pub threads: usize,
    /// Connections at the same time (`-c`); one more is told so and closed.
    pub connections_max: usize,
    /// Connections that the kernel keeps until they are accepted (`-b`).
    pub backlog: i32,
    /// Largest item in bytes as memcached counts it (`-I`): header, key and value.
    pub item_len_max: usize,
    /// Requests that a connection may make in a row before others have a turn (`-R`), at least 1.
    pub requests_per_turn: usize,
    /// Connections that have asked nothing for so long are closed (`-o idle_timeout`); `None`: never.
    pub idle_timeout: Option<Duration>,
    /// The only dialect that clients may speak (`-B`); `None`: the first byte tells.
    pub protocol: Option<Protocol>,
    /// Who may come in (`-S`, `-Y`).
    pub auth: Auth,
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
    /// What ends a key's prefix in `stats detail` (`-D`).
    pub prefix_delimiter: u8,
    /// Which memcached is followed where two of them answer differently (`--compat`).
    pub compat: Compat,
    /// How long connections may take to finish what they have begun once shutdown has started.
    pub drain_timeout: Duration,
    /// Over how long idle connections are closed at shutdown, if there are more than
    /// [`DRAIN_AT_ONCE`]: their clients do not all go to the next node at the same moment.
    pub drain_time: Duration,
    /// What `version` answers. Clients read `1.6.x` from it and choose their commands by that.
    pub version: &'static str,
    /// Further lines for `stats settings`: what other parts of the node were told.
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

/// Which memcached is followed where two of them answer differently; also the version clients see.
///
/// | request | 1.6.18 | 1.6.45 |
/// |---|---|---|
/// | `cas` without its cas unique | `ERROR`, and the block is read as commands | one `CLIENT_ERROR` |
/// | an empty line | `ERROR` | `CLIENT_ERROR bad command line format` |
/// | `shutdown` without `-A` | `ERROR: shutdown not enabled` | `SERVER_ERROR: shutdown not enabled` |
/// | keys of `stats` | 83 | 84 |
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compat {
    /// Debian 12's.
    #[default]
    V1_6_18,
    /// The newest.
    V1_6_45,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threads: 4,
            connections_max: 1024,
            backlog: 1024,
            item_len_max: 1024 * 1024,
            requests_per_turn: 1024,
            idle_timeout: None,
            protocol: None,
            auth: Auth::default(),
            cas_disabled: false,
            flush_all_refused: false,
            dump_refused: false,
            watch_refused: false,
            shutdown: None,
            prefix_delimiter: b':',
            compat: Compat::default(),
            drain_timeout: Duration::from_secs(5),
            drain_time: Duration::from_secs(1),
            version: MEMCACHED_VERSION,
            settings: Vec::new(),
        }
    }
}

/// So many connections are closed at once at shutdown.
pub const DRAIN_AT_ONCE: usize = 64;

/// The memcached whose behaviour clients may expect: Dalli refuses anything below 1.6.27.
pub const MEMCACHED_VERSION: &str = "1.6.27";
