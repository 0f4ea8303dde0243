//! Replies to meta commands: a status of two letters, and what the client asked to be shown.
//!
//! Source: memcached 1.6.45, `proto_parser.c`.

mod returns;

use bytes::BufMut;

pub(crate) use self::returns::{Returned, Returns};
use super::text::{error_line, put_number};
use crate::{ProtocolError, base64};

/// How to answer one meta request.
///
/// A request that was carried out is answered by one call of [`item`](Self::item),
/// [`number`](Self::number), [`status`](Self::status) or [`debug_item`](Self::debug_item). What
/// went wrong besides is answered through [`crate::ReplyTo`], and never hidden by `q`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MetaReply {
    command: MetaCommand,
    returns: Returns,
    quiet: bool,
    value: bool,
    ttl_before: bool,
    key_is_base64: bool,
    /// Of the request, for `ms`, which shows it even when nothing was stored.
    value_len: u32,
    opaque_len: u8,
    opaque: [u8; OPAQUE_LEN_MAX],
}

/// The commands, as far as their replies differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum MetaCommand {
    Arithmetic,
    Debug,
    Delete,
    Get,
    Noop,
    Store,
}

/// How a meta request ended, as spelled on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetaStatus {
    /// `HD`: done, or a hit whose value was not asked for.
    Hd,
    /// `VA`: done, or a hit, and the value follows.
    Va,
    /// `EN`: `mg` or `me` found nothing.
    En,
    /// `NF`: there is no item to work on.
    Nf,
    /// `NS`: the condition of a store did not hold.
    Ns,
    /// `EX`: the item has another cas unique.
    Ex,
}

/// What a reply can show of an item; whatever the client did not ask for is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetaItem<'a> {
    /// The key itself, decoded.
    pub key: &'a [u8],
    /// The item was stored with `b`. Looked at for `mg` and `me`; the other commands show a key
    /// as it came.
    pub key_is_base64: bool,
    /// `f`: the client's opaque number.
    pub flags: u32,
    /// `c`: the cas unique, after the request.
    pub cas: u64,
    /// `s`: length of the value; for `ms`, after the request.
    pub size: usize,
    /// `t`: seconds left, None without a deadline. Before or after the request: see
    /// [`MetaReply::wants_ttl_before`].
    pub ttl_s: Option<u64>,
    /// `l`: seconds since the access before this one.
    pub idle_s: u64,
    /// `h`: there has been an access before this one.
    pub fetched: bool,
    /// `W`: this client is to renew the item (`mg` alone, as the next two).
    pub won: bool,
    /// `X`: the item is stale.
    pub stale: bool,
    /// `Z`: another client is to renew the item.
    pub token_sent: bool,
}

impl MetaReply {
    pub(crate) fn new(command: MetaCommand) -> Self {
        Self {
            command,
            returns: Returns::default(),
            quiet: false,
            value: false,
            ttl_before: false,
            key_is_base64: false,
            value_len: 0,
            opaque_len: 0,
            opaque: [0; OPAQUE_LEN_MAX],
        }
    }

    pub(crate) fn with_flags(
        self,
        returns: Returns,
        quiet: bool,
        value: bool,
        ttl_before: bool,
    ) -> Self {
        Self { returns, quiet, value, ttl_before, ..self }
    }

    pub(crate) fn with_base64_key(self, key_is_base64: bool) -> Self {
        Self { key_is_base64, ..self }
    }

    /// At most an `i32` on the wire, so it does not saturate.
    pub(crate) fn with_value_len(self, value_len: usize) -> Self {
        Self { value_len: u32::try_from(value_len).unwrap_or(u32::MAX), ..self }
    }

    /// None if it is too long.
    pub(crate) fn with_opaque(mut self, opaque: &[u8]) -> Option<Self> {
        self.opaque.get_mut(..opaque.len())?.copy_from_slice(opaque);
        self.opaque_len = u8::try_from(opaque.len()).ok()?;
        Some(self)
    }

    /// `v`: whether the client wants the value.
    pub fn wants_value(self) -> bool {
        self.value
    }

    /// `k`: whether the client wants the key.
    pub fn wants_key(self) -> bool {
        self.returns.iter().any(|returned| returned == Returned::Key)
    }

    /// Whether [`MetaItem::ttl_s`] is to be that before the request: the client's `t` stands in
    /// front of the `T` (or, on a new item, the `N`) that changes it.
    pub fn wants_ttl_before(self) -> bool {
        self.ttl_before
    }

    /// `q`: whether the client waits for no success of a write, and no miss of a read.
    pub fn is_quiet(self) -> bool {
        self.quiet
    }

    /// The same without `q`, for what memcached says in any case.
    pub fn loud(self) -> Self {
        Self { quiet: false, ..self }
    }

    /// A status with what the client wants of the item. `value_len` is shown by `Va` alone;
    /// the caller then appends the value and CRLF.
    ///
    /// Nothing at all if the status is one that `q` hides: a success of a write.
    pub fn item(
        self,
        status: MetaStatus,
        value_len: usize,
        item: &MetaItem<'_>,
        out: &mut impl BufMut,
    ) {
        if self.hides(status) {
            return;
        }
        out.put_slice(status.letters());
        if status == MetaStatus::Va {
            out.put_slice(b" ");
            put_number(value_len as u64, out);
        }
        for returned in self.returns.iter() {
            self.put_returned(returned, item, out);
        }
        if self.command == MetaCommand::Get {
            for (is_so, mark) in [(item.token_sent, b" Z"), (item.stale, b" X"), (item.won, b" W")]
            {
                if is_so {
                    out.put_slice(mark);
                }
            }
        }
        out.put_slice(b"\r\n");
    }

    /// The number that `ma` came to, shown if it is wanted (`v`).
    pub fn number(self, value: u64, item: &MetaItem<'_>, out: &mut impl BufMut) {
        if !self.value {
            self.item(MetaStatus::Hd, 0, item, out);
        } else if !self.hides(MetaStatus::Va) {
            let mut buffer = itoa::Buffer::new();
            let digits = buffer.format(value).as_bytes();
            self.item(MetaStatus::Va, digits.len(), item, out);
            out.put_slice(digits);
            out.put_slice(b"\r\n");
        }
    }

    /// A status without an item, with the key and the opaque if they are wanted. `key` is the
    /// decoded one, and may be empty unless it is [wanted](Self::wants_key).
    pub fn status(self, status: MetaStatus, key: &[u8], out: &mut impl BufMut) {
        if self.hides(status) {
            return;
        }
        out.put_slice(status.letters());
        for returned in self.returns.iter() {
            match (returned, self.command) {
                (Returned::Opaque, _) => self.put_opaque(out),
                (Returned::Key, _) if !key.is_empty() => put_key(key, self.key_is_base64, out),
                // `ms` answers in full even if it stored nothing.
                (Returned::Cas, MetaCommand::Store) => out.put_slice(b" c0"),
                (Returned::Size, MetaCommand::Store) => {
                    put_field(b" s", u64::from(self.value_len), out);
                }
                _ => {}
            }
        }
        out.put_slice(b"\r\n");
    }

    /// What `me` shows of an item. `slab_class` and `total_len`, the item's size with all that
    /// belongs to it, are memcached's terms. (A miss is a [`status`](Self::status) `En`.)
    pub fn debug_item(
        self,
        item: &MetaItem<'_>,
        slab_class: u32,
        total_len: u64,
        out: &mut impl BufMut,
    ) {
        out.put_slice(b"ME ");
        if item.key_is_base64 || !is_word(item.key) {
            base64::encode(item.key, out);
        } else {
            out.put_slice(item.key);
        }
        match item.ttl_s {
            None => out.put_slice(b" exp=-1"),
            Some(ttl_s) => put_field(b" exp=", ttl_s, out),
        }
        put_field(b" la=", item.idle_s, out);
        put_field(b" cas=", item.cas, out);
        out.put_slice(if item.fetched { b" fetch=yes" } else { b" fetch=no" });
        put_field(b" cls=", u64::from(slab_class), out);
        put_field(b" size=", total_len, out);
        out.put_slice(b"\r\n");
    }

    /// `q` hides what a client expects to happen: misses of `mg`, successes of the others.
    fn hides(self, status: MetaStatus) -> bool {
        let expected = match self.command {
            MetaCommand::Get => status == MetaStatus::En,
            MetaCommand::Arithmetic | MetaCommand::Delete | MetaCommand::Store => {
                matches!(status, MetaStatus::Hd | MetaStatus::Va)
            }
            MetaCommand::Debug | MetaCommand::Noop => false,
        };
        self.quiet && expected
    }

    /// One thing of an item; nothing if the command does not show it.
    fn put_returned(self, returned: Returned, item: &MetaItem<'_>, out: &mut impl BufMut) {
        use MetaCommand::{Arithmetic, Get, Store};
        match (returned, self.command) {
            (Returned::Opaque, _) => self.put_opaque(out),
            (Returned::Key, Get) => put_key(item.key, item.key_is_base64, out),
            (Returned::Key, _) => put_key(item.key, self.key_is_base64, out),
            (Returned::Cas, Arithmetic | Get | Store) => put_field(b" c", item.cas, out),
            (Returned::Size, Get | Store) => put_field(b" s", item.size as u64, out),
            (Returned::Ttl, Arithmetic | Get) => match item.ttl_s {
                None => out.put_slice(b" t-1"),
                Some(ttl_s) => put_field(b" t", ttl_s, out),
            },
            (Returned::Fetched, Get) => put_field(b" h", u64::from(item.fetched), out),
            (Returned::Flags, Get) => put_field(b" f", u64::from(item.flags), out),
            (Returned::Idle, Get) => put_field(b" l", item.idle_s, out),
            _ => {}
        }
    }

    fn put_opaque(self, out: &mut impl BufMut) {
        out.put_slice(b" O");
        out.put_slice(self.opaque.get(..self.opaque_len.into()).unwrap_or_default());
    }
}

/// What [`crate::ReplyTo`] asks of every dialect. Without an item, a status is all there is to say,
/// and what no meta command asks for is not answered.
impl MetaReply {
    pub(crate) fn stored(self, _cas: u64, out: &mut impl BufMut) {
        self.status(MetaStatus::Hd, b"", out);
    }

    pub(crate) fn not_stored(self, out: &mut impl BufMut) {
        self.status(MetaStatus::Ns, b"", out);
    }

    pub(crate) fn exists(self, out: &mut impl BufMut) {
        self.status(MetaStatus::Ex, b"", out);
    }

    pub(crate) fn not_found(self, out: &mut impl BufMut) {
        self.status(MetaStatus::Nf, b"", out);
    }

    pub(crate) fn deleted(self, out: &mut impl BufMut) {
        self.status(MetaStatus::Hd, b"", out);
    }

    pub(crate) fn touched(self, _flags: u32, _cas: u64, out: &mut impl BufMut) {
        self.status(MetaStatus::Hd, b"", out);
    }

    pub(crate) fn miss(self, key: &[u8], out: &mut impl BufMut) {
        self.status(MetaStatus::En, key, out);
    }

    pub(crate) fn non_numeric(self, out: &mut impl BufMut) {
        out.put_slice(b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n");
    }

    pub(crate) fn out_of_memory(self, out: &mut impl BufMut) {
        out.put_slice(if self.command == MetaCommand::Store {
            b"SERVER_ERROR out of memory storing object\r\n"
        } else {
            b"SERVER_ERROR out of memory\r\n"
        });
    }

    pub(crate) fn done(self, out: &mut impl BufMut) {
        if self.command == MetaCommand::Noop {
            out.put_slice(b"MN\r\n");
        } else {
            self.status(MetaStatus::Hd, b"", out);
        }
    }

    pub(crate) fn hit_header(
        self,
        _key: &[u8],
        _flags: u32,
        _cas: u64,
        value_len: usize,
        out: &mut impl BufMut,
    ) {
        out.put_slice(b"VA ");
        put_number(value_len as u64, out);
        out.put_slice(b"\r\n");
    }

    pub(crate) fn version(self, _version: &[u8], _out: &mut impl BufMut) {}

    pub(crate) fn stat(self, _key: &[u8], _value: &[u8], _out: &mut impl BufMut) {}

    pub(crate) fn stats_end(self, _out: &mut impl BufMut) {}

    pub(crate) fn stats_reset(self, _out: &mut impl BufMut) {}

    pub(crate) fn error(self, error: ProtocolError, out: &mut impl BufMut) {
        out.put_slice(error_line(error));
    }

    pub(crate) fn server_error(self, text: &[u8], out: &mut impl BufMut) {
        out.put_slice(b"SERVER_ERROR ");
        out.put_slice(text);
        out.put_slice(b"\r\n");
    }
}

impl MetaStatus {
    fn letters(self) -> &'static [u8] {
        match self {
            Self::Hd => b"HD",
            Self::Va => b"VA",
            Self::En => b"EN",
            Self::Nf => b"NF",
            Self::Ns => b"NS",
            Self::Ex => b"EX",
        }
    }
}

/// ` k<key>`, and ` b` if it is base64.
///
/// A key that came by binary or base64 may hold a space or a line end, with which its owner
/// could forge replies to somebody else. memcached sends it as it is unless it was stored by
/// base64; here it is base64 in any case.
fn put_key(key: &[u8], is_base64: bool, out: &mut impl BufMut) {
    out.put_slice(b" k");
    put_name(key, is_base64, out);
}

/// The key as a command takes it.
pub(super) fn put_name(key: &[u8], is_base64: bool, out: &mut impl BufMut) {
    if is_base64 || !is_word(key) {
        base64::encode(key, out);
        out.put_slice(b" b");
    } else {
        out.put_slice(key);
    }
}

/// Whether a text line can hold the key.
fn is_word(key: &[u8]) -> bool {
    !key.iter().any(|byte| matches!(byte, b' ' | b'\n'))
}

fn put_field(name: &[u8], number: u64, out: &mut impl BufMut) {
    out.put_slice(name);
    put_number(number, out);
}

/// Longest opaque, without its letter.
const OPAQUE_LEN_MAX: usize = 31;
