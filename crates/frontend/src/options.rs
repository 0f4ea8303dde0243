//! What the operator decides about client connections.

use std::time::Duration;

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
    /// Whether `flush_all` is refused (`-F`).
    pub flush_all_refused: bool,
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

impl Default for Options {
    fn default() -> Self {
        Self {
            threads: 4,
            connections_max: 1024,
            backlog: 1024,
            item_len_max: 1024 * 1024,
            flush_all_refused: false,
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
