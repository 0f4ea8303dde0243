//! Why a request was refused, and how to go on.

use crate::{MetaKey, ReplyTo};

/// Why a request was refused. `Display` is the exact text reply, without CRLF.
///
/// Source: memcached 1.6.18, `proto_text.c`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// User or password is not right; binary: status 0x20.
    #[error("CLIENT_ERROR authentication failure")]
    AuthFailed,
    /// Nothing is served before authentication; binary: status 0x20.
    #[error("CLIENT_ERROR unauthenticated")]
    AuthRequired,
    /// User and password of more than 16 KiB.
    #[error("CLIENT_ERROR auth token too long")]
    AuthTooLong,
    /// The line with user and password does not end in CRLF where `<bytes>` said it would.
    #[error("CLIENT_ERROR bad command line termination")]
    BadAuthEnd,
    /// The line with user and password does not have the two words.
    #[error("CLIENT_ERROR bad authentication token format")]
    BadAuthToken,
    /// A key that is said to be base64 (`b`) and is not.
    #[error("CLIENT_ERROR error decoding key")]
    BadBase64,
    /// `stats cachedump` without its two numbers.
    #[error("CLIENT_ERROR bad command line")]
    BadCommandLine,
    /// `lru_crawler sleep` of more than a second.
    #[error("CLIENT_ERROR sleep must be one second or less")]
    BadCrawlerSleep,
    /// The data block did not end in CRLF where `<bytes>` said it would.
    #[error("CLIENT_ERROR bad data chunk")]
    BadDataChunk,
    /// `delete` with something behind the key that it does not take.
    #[error("CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]")]
    BadDelete,
    /// The amount of `incr` or `decr` is not a number.
    #[error("CLIENT_ERROR invalid numeric delta argument")]
    BadDelta,
    /// The exptime is not a number.
    #[error("CLIENT_ERROR invalid exptime argument")]
    BadExptime,
    /// A known command with a key too long or a number that is none; in binary, extras, key and
    /// body that do not fit the opcode.
    #[error("CLIENT_ERROR bad command line format")]
    BadFormat,
    /// `lru tune` with factors that are not.
    #[error("ERROR hot/warm age factors must be greater than 0")]
    BadLruAges,
    /// `lru tune` with shares that do.
    #[error("ERROR hot and warm pcts must not exceed 80")]
    BadLruShares,
    /// `ma` with a flag that is unknown, repeated or has a bad argument.
    #[error("CLIENT_ERROR invalid or duplicate flag")]
    BadMetaArithmeticFlag,
    /// `ma` with an unknown `M`.
    #[error("CLIENT_ERROR invalid mode for ma M token")]
    BadMetaArithmeticMode,
    /// A meta flag `D` that is not a number.
    #[error("CLIENT_ERROR invalid numeric delta value")]
    BadMetaDelta,
    /// A meta flag that no command knows.
    #[error("CLIENT_ERROR invalid flag")]
    BadMetaFlag,
    /// A meta flag `J` that is not a number.
    #[error("CLIENT_ERROR invalid numeric initial value")]
    BadMetaInitial,
    /// `ms` with an unknown `M`.
    #[error("CLIENT_ERROR invalid mode for ms M token")]
    BadMetaStoreMode,
    /// A meta flag `C`, `E`, `N`, `R` or `T` that is not a number.
    #[error("CLIENT_ERROR bad token in command line format")]
    BadMetaToken,
    /// `shutdown` with an unknown word.
    #[error("CLIENT_ERROR invalid shutdown mode")]
    BadShutdownMode,
    /// `stats cachedump` of a slab class that cannot exist.
    #[error("CLIENT_ERROR Illegal slab id")]
    BadSlabClass,
    /// `stats detail` with an unknown word.
    #[error("CLIENT_ERROR usage: stats detail on|off|dump")]
    BadStatsDetail,
    /// The operator has forbidden dumps (`-X`).
    #[error("CLIENT_ERROR stats cachedump not allowed")]
    CacheDumpNotAllowed,
    /// `lru_crawler` of a slab class that cannot exist.
    #[error("BADCLASS invalid class id")]
    CrawlerClass,
    /// A meta flag that was there before, or is no ASCII.
    #[error("CLIENT_ERROR duplicate flag")]
    DuplicateMetaFlag,
    /// The operator has forbidden `flush_all` (`-F`).
    #[error("CLIENT_ERROR flush_all not allowed")]
    FlushNotAllowed,
    /// `cache_memlimit` with a number that must be meant in bytes.
    #[error("MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes")]
    MemlimitNotMegabytes,
    /// `cache_memlimit` below what the largest item needs.
    #[error("MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust")]
    MemlimitOutOfBounds,
    /// `cache_memlimit` below 8 MiB.
    #[error("MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m")]
    MemlimitTooSmall,
    /// The operator has forbidden dumps (`-X`).
    #[error("ERROR metadump not allowed")]
    MetaDumpNotAllowed,
    /// The peer does not speak the protocol (a line without end, HTTP, a bad magic byte): close
    /// without a word.
    #[error("not a memcached client")]
    NotMemcached,
    /// A meta opaque (`O`) of more than 31 bytes.
    #[error("CLIENT_ERROR opaque token too long")]
    OpaqueTooLong,
    /// `shutdown`, which is off.
    #[error("ERROR: shutdown not enabled")]
    ShutdownNotEnabled,
    /// `shutdown`, which is off, as 1.6.45 says it.
    #[error("SERVER_ERROR: shutdown not enabled")]
    ShutdownNotEnabledServer,
    /// The item would be larger than [`crate::Limits::item_len_max`].
    #[error("SERVER_ERROR object too large for cache")]
    TooLarge,
    /// A meta command of more than 20 words.
    #[error("CLIENT_ERROR options flags are too long")]
    TooManyMetaFlags,
    /// `watch` on one connection too many.
    #[error("WATCHER_TOO_MANY log watcher limit reached")]
    TooManyWatchers,
    /// A command name or opcode this node does not know, or a wrong number of tokens.
    #[error("ERROR")]
    UnknownCommand,
    /// Statistics that this node does not have.
    #[error("ERROR")]
    UnknownStats,
    /// The operator has forbidden `watch` (`-W`).
    #[error("CLIENT_ERROR watch commands not allowed")]
    WatchNotAllowed,
}

/// A request that was refused: answer, drop the bytes, and go on or close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// The answer; give it to [`ReplyTo::error`].
    pub error: ProtocolError,
    /// Whom to answer, if at all (`noreply`).
    pub reply_to: ReplyTo,
    /// Bytes to drop from the front before parsing again: at least 1, and possibly more than
    /// have arrived, so that a value too large is dropped as it arrives and never buffered.
    pub consumed: usize,
    /// Close the connection once the answer is out.
    pub close: bool,
    /// Delete this key before answering: a `set` or `ms` that is too large must not leave the old
    /// value to be read as if it were the new one.
    pub delete: Option<MetaKey<'a>>,
}
