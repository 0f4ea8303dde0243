//! The replicated operations, as a client asked for them.

use crate::item::{Deadline, Marks};
use crate::{CasUnique, Item, UnixMillis};

/// One replicated operation; borrows from the caller's buffer and is encoded straight into a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command<'a> {
    /// `set`, `add`, `replace`, `append`, `prepend` and `cas`.
    Store {
        /// What must be true of the old item, and what becomes of its value.
        mode: StoreMode,
        /// 1 to [`KEY_LEN_MAX`](crate::KEY_LEN_MAX) bytes.
        key: &'a [u8],
        /// The client's; ignored by `Append` and `Prepend`.
        flags: u32,
        /// Ignored by `Append` and `Prepend`.
        expiry: Expiry,
        /// At most `u32::MAX` bytes.
        value: &'a [u8],
        /// `Some`: store only over this version (`Set`, `Add` and `Replace` then all mean `cas`).
        cas: Option<CasUnique>,
    },
    /// `delete`.
    Delete {
        /// 1 to [`KEY_LEN_MAX`](crate::KEY_LEN_MAX) bytes.
        key: &'a [u8],
        /// `Some`: delete only this version.
        cas: Option<CasUnique>,
    },
    /// `incr` and `decr`.
    Arithmetic {
        /// Up wraps at 64 bits, down stops at 0.
        direction: Direction,
        /// 1 to [`KEY_LEN_MAX`](crate::KEY_LEN_MAX) bytes.
        key: &'a [u8],
        /// How far.
        delta: u64,
        /// What to store when there is no item; `None` answers `NotFound`.
        initial: Option<Initial>,
        /// `Some`: change only this version.
        cas: Option<CasUnique>,
    },
    /// `touch`.
    Touch {
        /// 1 to [`KEY_LEN_MAX`](crate::KEY_LEN_MAX) bytes.
        key: &'a [u8],
        /// Replaces the item's deadline.
        expiry: Expiry,
    },
    /// `gat` and `gats`.
    GetAndTouch {
        /// 1 to [`KEY_LEN_MAX`](crate::KEY_LEN_MAX) bytes.
        key: &'a [u8],
        /// Replaces the item's deadline.
        expiry: Expiry,
    },
    /// `ma`.
    MetaArithmetic(MetaArithmetic<'a>),
    /// `md`.
    MetaDelete(MetaDelete<'a>),
    /// An `mg` that may change something.
    MetaGet(MetaGet<'a>),
    /// `ms`.
    MetaStore(MetaStore<'a>),
    /// `flush_all`: replaces a flush that is still pending.
    FlushAll {
        /// Milliseconds after the entry's stamp; 0 is now.
        after_ms: u64,
    },
    /// The leader's `-m`, `-M` and `-I` become cluster state, and end a `LimitMemory`.
    Configure(Settings),
    /// `cache_memlimit`: another limit than the leader's `-m`, until the next `Configure`.
    LimitMemory {
        /// As [`Settings::memory_limit`].
        memory_limit: u64,
    },
    /// Carries time only.
    Tick,
}

/// `ma`: arithmetic that can create and touch at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetaArithmetic<'a> {
    /// Up wraps at 64 bits, down stops at 0.
    pub direction: Direction,
    /// 1 to [`KEY_LEN_MAX`](crate::KEY_LEN_MAX) bytes.
    pub key: &'a [u8],
    /// The key came in base64, which an item that is created remembers.
    pub base64: bool,
    /// How far.
    pub delta: u64,
    /// What to store when there is no item, whatever `cas` says; `None` answers `NotFound`.
    pub initial: Option<Initial>,
    /// Replaces the item's deadline.
    pub touch: Option<Expiry>,
    /// `Some`: change only this version.
    pub cas: Option<CasUnique>,
    /// `Some`: the number of the new version.
    pub new_cas: Option<CasUnique>,
}

/// `md`: removes an item, or leaves it there as one that is out of date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetaDelete<'a> {
    /// 1 to [`KEY_LEN_MAX`](crate::KEY_LEN_MAX) bytes.
    pub key: &'a [u8],
    /// `Some`: only this version.
    pub cas: Option<CasUnique>,
    /// `Some`: the number of the version that stays.
    pub new_cas: Option<CasUnique>,
    /// The item stays, marked stale.
    pub mark_stale: bool,
    /// The deadline of the item that stays; `None` keeps the one it has.
    pub touch: Option<Expiry>,
    /// The item stays, without value and flags, and without a deadline unless it has a new one.
    pub drop_value: bool,
}

/// `mg`: reads an item, and may touch, create or win it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetaGet<'a> {
    /// 1 to [`KEY_LEN_MAX`](crate::KEY_LEN_MAX) bytes.
    pub key: &'a [u8],
    /// The key came in base64, which an item that is created remembers.
    pub base64: bool,
    /// Replaces the item's deadline.
    pub touch: Option<Expiry>,
    /// Creates a missing item, without a value, that ends then.
    pub vivify: Option<Expiry>,
    /// Wins if the item ends before then, and nobody has won it.
    pub recache: Option<Expiry>,
    /// `Some`: the number of the version that is created.
    pub new_cas: Option<CasUnique>,
}

/// `ms`: a store with more conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetaStore<'a> {
    /// What must be true of the old item, and what becomes of its value.
    pub mode: StoreMode,
    /// 1 to [`KEY_LEN_MAX`](crate::KEY_LEN_MAX) bytes.
    pub key: &'a [u8],
    /// The key came in base64, which the item remembers.
    pub base64: bool,
    /// The client's; ignored where a value is appended or prepended.
    pub flags: u32,
    /// Ignored where a value is appended or prepended.
    pub expiry: Expiry,
    /// At most `u32::MAX` bytes.
    pub value: &'a [u8],
    /// `Some`: as in [`Command::Store`].
    pub cas: Option<CasUnique>,
    /// `Some`: the number of the new version.
    pub new_cas: Option<CasUnique>,
    /// A version newer than `cas` is replaced, too, and the new one is stale: it keeps the deadline
    /// of the one before, and whether somebody has won it.
    pub invalidate: bool,
    /// Creates a missing item that ends then, where a value is to be appended or prepended.
    pub vivify: Option<Expiry>,
}

impl MetaStore<'_> {
    /// Sets an empty key to nothing; what the classic commands cannot ask for is not asked.
    pub(crate) const PLAIN: MetaStore<'static> = MetaStore {
        mode: StoreMode::Set,
        key: &[],
        base64: false,
        flags: 0,
        expiry: Expiry::Never,
        value: &[],
        cas: None,
        new_cas: None,
        invalidate: false,
        vivify: None,
    };
}

impl MetaGet<'_> {
    /// Whether it changes an item that is found so at `at`: then the log has to decide.
    pub fn changes(&self, item: &Item, at: UnixMillis) -> bool {
        self.touch.is_some() || self.wins(item.marks, item.deadline, at)
    }

    /// Whether the client is the one to renew an item that is found so at `now`: it is stale or ends
    /// before [`Self::recache`], and nobody has been asked yet.
    pub(crate) fn wins(&self, marks: Marks, deadline: Deadline, now: UnixMillis) -> bool {
        // Begun ones included: what has been set for 30 s does not end before 30 s from now.
        let seconds_to = |deadline: Deadline| deadline.0.saturating_sub(now.0).div_ceil(1000);
        let ends_before = |bound: Deadline| {
            let never = [deadline, bound].contains(&Deadline::NEVER);
            !never && seconds_to(deadline) < seconds_to(bound)
        };
        let bound = self.recache.and_then(|expiry| expiry.deadline(now));
        let is_due = marks.has(Marks::STALE) || bound.is_some_and(ends_before);
        is_due && !marks.has(Marks::TOKEN_SENT)
    }
}

impl Expiry {
    /// The deadline of an item that is stored at `now`; `None` if it is gone at once.
    pub(crate) fn deadline(self, now: UnixMillis) -> Option<Deadline> {
        let at = match self {
            Self::Never => return Some(Deadline::NEVER),
            Self::Now => return None,
            Self::AfterMillis(after) => now.0.saturating_add(after),
            Self::At(UnixMillis(at)) => at,
        };
        // The largest number stands for never, and nobody asked for that.
        (now.0 < at).then_some(Deadline(at.min(Deadline::NEVER.0 - 1)))
    }
}

/// When an item ends, as the client asked; becomes a deadline with the entry's stamp at apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// The item has no deadline.
    Never,
    /// Already gone: a negative exptime.
    Now,
    /// This many milliseconds after the cluster time of the entry.
    AfterMillis(u64),
    /// An absolute time; already gone if it is not after the cluster time of the entry.
    At(UnixMillis),
}

/// What a `Store` asks of the old item and does with its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreMode {
    /// Whatever was there.
    Set,
    /// Only if nothing is there.
    Add,
    /// Only if something is there.
    Replace,
    /// Behind the value that is there; keeps its flags and deadline.
    Append,
    /// Before the value that is there; keeps its flags and deadline.
    Prepend,
}

/// Which way an `Arithmetic` goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Adds, wrapping at 64 bits.
    Increment,
    /// Subtracts, stopping at 0.
    Decrement,
}

/// What an `Arithmetic` stores when it finds no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Initial {
    /// Stored as decimal text, with flags 0; also the answer.
    pub value: u64,
    /// When the new item ends.
    pub expiry: Expiry,
}

/// Limits that decide outcomes, and so must be the same on every replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Accounted bytes of all items together; see [`ITEM_OVERHEAD`](crate::ITEM_OVERHEAD).
    pub memory_limit: u64,
    /// Whether a full memory evicts the oldest items; otherwise it refuses to store.
    pub evict: bool,
    /// Largest item, in bytes as memcached counts them: header, key, flags and value.
    pub item_len_max: u64,
}

impl Default for Settings {
    /// memcached's defaults: `-m 64`, evicting, `-I 1m`.
    fn default() -> Self {
        Self { memory_limit: 64 << 20, evict: true, item_len_max: 1 << 20 }
    }
}
