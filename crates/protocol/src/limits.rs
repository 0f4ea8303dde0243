//! What a client may ask for at most.

/// What the operator decides about requests. The rest are constants of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest item in bytes as memcached counts it (`-I`): [`item_len`] may not exceed it.
    pub item_len_max: u64,
    /// Which memcached's replies to expect where two of them differ.
    pub compat: Compat,
}

/// Which memcached is followed where two of them answer differently.
///
/// | request | 1.6.18 | 1.6.45 |
/// |---|---|---|
/// | `cas` without its cas unique | `ERROR`, and the block is read as commands | one `CLIENT_ERROR` |
/// | an empty line | `ERROR` | `CLIENT_ERROR bad command line format` |
/// | `shutdown` where it is off | `ERROR: shutdown not enabled` | `SERVER_ERROR: shutdown not enabled` |
/// | `stats` | 92 names | 93, one of them gone and two new; over TLS one more |
/// | `lru_crawler metadump` | items | `OK` first, and flags of items that have some |
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Compat {
    /// Debian 12's.
    #[default]
    V1_6_18,
    /// The newest.
    V1_6_45,
}

impl Compat {
    /// What `version` answers. Clients read `1.6.x` from it and choose their commands by that:
    /// Dalli refuses anything below 1.6.27, and nothing that came between 1.6.18 and that is
    /// missing here.
    pub fn version(self) -> &'static str {
        match self {
            Self::V1_6_18 => "1.6.27",
            Self::V1_6_45 => "1.6.45",
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { item_len_max: 1024 * 1024, compat: Compat::default() }
    }
}

/// Size of an item in bytes as memcached counts it against `-I`.
///
/// Clients know this limit by experience (a little under 1 MiB), so its arithmetic is kept.
/// Source: `item_size_ok` in memcached's `items.c`.
pub fn item_len(key_len: usize, flags: u32, value_len: u64) -> u64 {
    let flags_len = if flags == 0 { 0 } else { 4 };
    value_len.saturating_add(ITEM_OVERHEAD_LEN).saturating_add(key_len as u64 + flags_len)
}

/// Longest key, in bytes.
pub const KEY_LEN_MAX: usize = 250;

/// A text line with more bytes than this and no end in sight is no memcached client.
pub const LINE_LEN_MAX: usize = 2048;

/// Longest line of a text get, whose number of keys memcached does not limit: about 4,000 keys
/// of the longest kind. Longer ends the connection.
pub const GET_LINE_LEN_MAX: usize = 1024 * 1024;

/// Longest body of a binary request. Longer is taken for garbage and ends the connection
/// (memcached since 1.6.45; 1.6.18 loses step instead).
pub const BINARY_BODY_LEN_MAX: u32 = 1024 * 1024 * 1024;

/// Bytes of an item that are neither key, flags nor value: header 48, cas unique 8, the key's
/// terminator 1, the value's CRLF 2.
pub const ITEM_OVERHEAD_LEN: u64 = 59;
