//! What a client asks for, in one tree for all dialects.

use crate::words::Words;
use crate::{MetaArithmetic, MetaDelete, MetaGet, MetaKey, MetaStore};

/// One request, borrowed from the bytes it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request<'a> {
    /// Slab and LRU commands: understood, and without effect, as there are no slabs; answered by
    /// [`crate::ReplyTo::done`].
    Accepted,
    /// `incr`, `decr`.
    Arithmetic {
        /// Up or down.
        direction: Direction,
        /// The item's key.
        key: &'a [u8],
        /// By how much.
        delta: u64,
        /// Creates a missing item (binary only); `None`: a missing item is not found.
        initial: Option<Initial>,
        /// Only if the item still has this cas unique (binary only).
        cas: Option<u64>,
    },
    /// The `set` by which a text client says who it is (`-Y`); answered by
    /// [`crate::ReplyTo::stored`] or [`crate::ProtocolError::AuthFailed`].
    Authenticate {
        /// Who.
        user: &'a [u8],
        /// The secret.
        password: &'a [u8],
    },
    /// `cache_memlimit`.
    CacheMemlimit {
        /// The new limit in MiB, 8 to 1,000,000,000.
        megabytes: u32,
    },
    /// `delete`.
    Delete {
        /// The item's key.
        key: &'a [u8],
        /// Only if the item still has this cas unique (binary only).
        cas: Option<u64>,
    },
    /// `lru_crawler metadump`, `lru_crawler mgdump`.
    Dump {
        /// What is shown of an item.
        form: DumpForm,
        /// A class of items; all there are is class 1.
        classes: DumpClasses,
    },
    /// `flush_all`.
    FlushAll {
        /// When; the number on the wire as in [`Request::Store`], but 0 and below mean now.
        exptime: i64,
    },
    /// `get`, `gets`.
    Get {
        /// One or more.
        keys: Keys<'a>,
    },
    /// `gat`, `gats`: sets a new exptime and reads.
    GetAndTouch {
        /// The new exptime, as in [`Request::Store`].
        exptime: i64,
        /// None or more: `gat 10` without a key is served.
        keys: Keys<'a>,
    },
    /// `ma`.
    MetaArithmetic(MetaArithmetic<'a>),
    /// `me`: shows what is known of an item ([`crate::MetaReply::debug_item`]).
    MetaDebug {
        /// The item's key.
        key: MetaKey<'a>,
    },
    /// `md`.
    MetaDelete(MetaDelete<'a>),
    /// `mg`.
    MetaGet(MetaGet<'a>),
    /// `mn`: answer ([`crate::ReplyTo::done`]) once everything before it has been answered.
    MetaNoop,
    /// `ms`.
    MetaStore(MetaStore<'a>),
    /// Binary only: answer once everything before it has been answered.
    Noop,
    /// Close the connection after what came before, and this ([`crate::ReplyTo::done`]: an
    /// answer for QUIT, silence for QUITQ and a text `quit`), have been answered.
    Quit,
    /// `refresh_certs`.
    RefreshCerts,
    /// SASL AUTH: begins a conversation; answered by [`crate::ReplyTo::sasl`],
    /// [`crate::ReplyTo::sasl_continue`] or [`crate::ProtocolError::AuthFailed`].
    SaslAuth {
        /// The name of the mechanism, at most 32 bytes.
        mechanism: &'a [u8],
        /// The client's first words; may be empty.
        data: &'a [u8],
    },
    /// SASL LIST MECHS: answered by [`crate::ReplyTo::sasl`] with names and spaces.
    SaslList,
    /// SASL STEP: goes on with a conversation, as [`Request::SaslAuth`].
    SaslStep {
        /// As in the request that began it.
        mechanism: &'a [u8],
        /// The client's next words.
        data: &'a [u8],
    },
    /// `shutdown`.
    Shutdown {
        /// Whether it was `shutdown graceful`; `None` for an unknown word
        /// ([`crate::ProtocolError::BadShutdownMode`], where it is allowed at all).
        graceful: Option<bool>,
    },
    /// `stats`.
    Stats {
        /// Which of them.
        topic: StatsTopic<'a>,
    },
    /// `set`, `add`, `replace`, `append`, `prepend`, `cas`.
    Store {
        /// Under which condition. `Set` for every request that carries a cas unique: memcached
        /// treats binary ADD and REPLACE with one as a plain compare-and-swap.
        mode: StoreMode,
        /// The item's key.
        key: &'a [u8],
        /// The client's opaque number.
        flags: u32,
        /// The number on the wire, in seconds: 0 never, below 0 already gone, up to 30 days
        /// relative, above absolute. Text: an i32 (larger numbers wrap, as in memcached).
        /// Binary: a u32.
        exptime: i64,
        /// The item's value, without the data block's CRLF.
        value: &'a [u8],
        /// Only if the item still has this cas unique. `Some(0)` never matches.
        cas: Option<u64>,
    },
    /// `touch`.
    Touch {
        /// The item's key.
        key: &'a [u8],
        /// The new exptime, as in [`Request::Store`].
        exptime: i64,
    },
    /// `verbosity`.
    Verbosity {
        /// The level asked for; memcached knows 0 to 2 and takes larger ones for 2.
        level: u32,
    },
    /// `version`.
    Version,
    /// `watch`: the connection shows events from now on.
    Watch {
        /// Which; `None` for an unknown word ([`crate::ProtocolError::UnknownCommand`], where it is
        /// allowed at all).
        topics: Option<WatchTopics>,
    },
}

/// What a dump shows of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpForm {
    /// `key=.. exp=.. la=.. cas=.. fetch=.. cls=.. size=..`.
    Metadump,
    /// `mg key`, to be sent to another server.
    Mgdump,
}

/// Which items a dump shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpClasses {
    /// `all`, `hash`, or a list with class 1.
    All,
    /// A list without class 1, in which there are none.
    Empty,
}

/// Events that `watch` shows, a set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WatchTopics(u8);

impl WatchTopics {
    /// Connections that come and go.
    pub const CONNEVENTS: Self = Self(1);
    /// Items that make room.
    pub const EVICTIONS: Self = Self(2);
    /// Keys read.
    pub const FETCHERS: Self = Self(4);
    /// Stores and deletes.
    pub const MUTATIONS: Self = Self(8);
    /// No event: that of memcached's proxy, raw commands and system events, which there are not.
    pub const NONE: Self = Self(0);

    /// Both sets together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the sets have something in common.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The set as a number.
    pub fn bits(self) -> u8 {
        self.0
    }
}

/// Under which condition a value is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreMode {
    /// Only if the key is not there.
    Add,
    /// Behind the value that is there; flags and exptime of the request are ignored.
    Append,
    /// In front of the value that is there; flags and exptime of the request are ignored.
    Prepend,
    /// Only if the key is there.
    Replace,
    /// Whether the key is there or not.
    Set,
}

/// Up or down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// `decr`: stops at 0.
    Decrement,
    /// `incr`: wraps at 2^64.
    Increment,
}

/// What arithmetic makes of a missing item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Initial {
    /// Its first value; the delta is not applied to it.
    pub value: u64,
    /// Its exptime, as in [`Request::Store`].
    pub exptime: i64,
}

/// Which statistics are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StatsTopic<'a> {
    /// `stats cachedump`: keys of a slab class, at most `limit` of them, 0 for no limit.
    CacheDump {
        /// Slab class, 0 to 63.
        class: u32,
        /// Number of keys, 0 for no limit.
        limit: u32,
    },
    /// `stats conns`.
    Conns,
    /// `stats detail`.
    Detail(StatsDetail),
    /// `stats` alone.
    General,
    /// `stats items`.
    Items,
    /// Any other word, which memcached does not know ([`crate::ProtocolError::UnknownStats`]).
    Other(&'a [u8]),
    /// `stats reset`: answered by [`crate::ReplyTo::stats_reset`].
    Reset,
    /// `stats settings`.
    Settings,
    /// `stats sizes`.
    Sizes,
    /// `stats slabs`.
    Slabs,
}

impl<'a> StatsTopic<'a> {
    /// The topics that both dialects find by their exact name.
    pub(crate) fn named(name: &'a [u8]) -> Self {
        match name {
            b"items" => Self::Items,
            b"sizes" => Self::Sizes,
            b"slabs" => Self::Slabs,
            name => Self::Other(name),
        }
    }
}

/// What `stats detail` is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatsDetail {
    /// Show the counters per key prefix.
    Dump,
    /// Stop counting.
    Off,
    /// Start counting.
    On,
}

/// The keys of a get: an iterator over the line itself, none of them longer than
/// [`crate::KEY_LEN_MAX`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys<'a> {
    words: Words<'a>,
    /// Text keys end at a space; a binary key may contain some.
    spaced: bool,
}

impl<'a> Keys<'a> {
    /// The one key of a binary request.
    pub(crate) fn one(key: &'a [u8]) -> Self {
        Self { words: Words::new(key), spaced: false }
    }

    /// The rest of a text line.
    pub(crate) fn words(words: Words<'a>) -> Self {
        Self { words, spaced: true }
    }
}

impl<'a> Iterator for Keys<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.spaced { self.words.next() } else { self.words.take_rest() }
    }
}
