//! The requests of the meta protocol: `mg`, `ms`, `md`, `ma`, `mn` and `me`.
//!
//! A request here says what is to be done; what of the item the client wants to be shown is kept
//! in [`crate::MetaReply`]. Source: memcached 1.6.45, `doc/protocol.txt`, "Meta Commands".

use crate::{Direction, Initial, KEY_LEN_MAX, StoreMode, base64};

/// A key as it stands on the line; [`bytes`](Self::bytes) decodes base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetaKey<'a> {
    token: &'a [u8],
    is_base64: bool,
}

/// Room for a decoded key.
pub type KeyBuffer = [u8; KEY_LEN_MAX];

impl<'a> MetaKey<'a> {
    /// A key that stands on the line as it is.
    pub(crate) fn plain(token: &'a [u8]) -> Self {
        Self { token, is_base64: false }
    }

    /// The same in base64 (`b`), if it decodes.
    pub(crate) fn from_base64(plain: Self) -> Option<Self> {
        base64::decode(plain.token, &mut [0; KEY_LEN_MAX])?;
        Some(Self { is_base64: true, ..plain })
    }

    /// Whether it came in base64 (`b`). An item stored so remembers it, and shows its key in
    /// base64 to everybody.
    pub fn is_base64(&self) -> bool {
        self.is_base64
    }

    /// The key itself, 1 to [`KEY_LEN_MAX`] bytes; the parser has checked that it decodes. In
    /// `buffer` if it had to be decoded.
    pub fn bytes<'b>(&self, buffer: &'b mut KeyBuffer) -> &'b [u8]
    where
        'a: 'b,
    {
        if self.is_base64 {
            base64::decode(self.token, buffer).unwrap_or_default()
        } else {
            self.token
        }
    }
}

/// `mg`: reads an item, and may touch it, make it, or hand out the right to renew it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetaGet<'a> {
    /// The item's key.
    pub key: MetaKey<'a>,
    /// `T`: the new exptime, as in [`crate::Request::Store`]; an i32, as all of them here.
    pub touch: Option<i64>,
    /// `N`: makes a missing item, empty and with this exptime, and lets this client win.
    pub vivify: Option<i64>,
    /// `R`: lets one client win once the item has fewer seconds left than this exptime leaves.
    pub recache: Option<i64>,
    /// `E`: the cas unique of an item that is made.
    pub new_cas: Option<u64>,
    /// `C`: the value is left out when this is the item's cas unique.
    pub unless_cas: Option<u64>,
    /// `u`: the access does not count as one.
    pub no_bump: bool,
}

/// `ms`: stores an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetaStore<'a> {
    /// `M`: under which condition. `Set` for a `Replace` that carries a cas unique: both are a
    /// plain compare-and-swap to memcached.
    pub mode: StoreMode,
    /// The item's key.
    pub key: MetaKey<'a>,
    /// `F`: the client's opaque number.
    pub flags: u32,
    /// `T`: the exptime, as in [`crate::Request::Store`].
    pub exptime: i64,
    /// The item's value, without the data block's CRLF.
    pub value: &'a [u8],
    /// `C`: only if the item still has this cas unique. `Some(0)` never matches. None where
    /// memcached does not look at it: with `Add`, and a 0 with `Append` and `Prepend`.
    pub cas: Option<u64>,
    /// `E`: the item's new cas unique.
    pub new_cas: Option<u64>,
    /// `I`: a `cas` lower than the item's stores too, as a stale value that keeps the exptime
    /// and the won token of the old one. Only in mode `Set` with a `cas`.
    pub invalidate: bool,
    /// `N`: makes a missing item, with this exptime. Only with `Append` and `Prepend`.
    pub vivify: Option<i64>,
}

/// `md`: deletes an item, marks it stale, or empties it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetaDelete<'a> {
    /// The item's key.
    pub key: MetaKey<'a>,
    /// `C`: only if the item still has this cas unique. `Some(0)` never matches.
    pub cas: Option<u64>,
    /// `E`: the new cas unique of an item that stays.
    pub new_cas: Option<u64>,
    /// `I`: the item stays, stale, with a new cas unique and a token to be won again.
    pub mark_stale: bool,
    /// `T`: the new exptime of an item that stays; None without `I` or `x`.
    pub touch: Option<i64>,
    /// `x`: the item stays, without its value, flags and exptime.
    pub drop_value: bool,
}

/// `ma`: counts an item up or down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetaArithmetic<'a> {
    /// `M`: up or down.
    pub direction: Direction,
    /// The item's key.
    pub key: MetaKey<'a>,
    /// `D`: by how much.
    pub delta: u64,
    /// `N` and `J`: makes a missing item; None: a missing item is not found.
    pub initial: Option<Initial>,
    /// `T`: the new exptime, as in [`crate::Request::Store`].
    pub touch: Option<i64>,
    /// `C`: only if the item still has this cas unique. Never 0, which memcached takes for none.
    pub cas: Option<u64>,
    /// `E`: the item's new cas unique.
    pub new_cas: Option<u64>,
}
