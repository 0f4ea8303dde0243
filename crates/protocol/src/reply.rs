//! Replies in the dialect of the request they answer.

mod binary;
mod dump;
mod meta;
mod text;

use bytes::BufMut;

pub use self::binary::BinaryReply;
pub use self::dump::{DumpedItem, uri_encode};
pub(crate) use self::meta::{MetaCommand, Returned, Returns};
pub use self::meta::{MetaItem, MetaReply, MetaStatus};
pub use self::text::TextReply;
use crate::{DumpForm, ProtocolError};

/// How, and whether, to answer one request; small, and free of the input's lifetime, so that a
/// reply can be encoded long after the request's bytes are gone.
///
/// Every method appends one reply, or its part of one, to `out`, and appends nothing where the
/// client asked for silence (`noreply`, quiet opcodes). A success answered with a wrong method
/// (`deleted` for a `get`) is a bug of the caller, and goes out as it was asked for.
///
/// # Panics
///
/// As `BufMut` does when `out` cannot grow; `Vec<u8>` and `BytesMut` can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReplyTo {
    /// Answer in frames.
    Binary(BinaryReply),
    /// Answer in lines that begin with two letters. The reply of a request that was carried out
    /// is encoded by [`MetaReply`] itself: the methods here do not know what it shows of an item.
    Meta(MetaReply),
    /// Answer in lines.
    Text(TextReply),
}

/// One arm per dialect; all of them have the same methods.
macro_rules! either {
    ($reply_to:expr, $method:ident($($argument:expr),*)) => {
        match $reply_to {
            ReplyTo::Binary(reply) => reply.$method($($argument),*),
            ReplyTo::Meta(reply) => reply.$method($($argument),*),
            ReplyTo::Text(reply) => reply.$method($($argument),*),
        }
    };
}

/// Outcomes of writes.
impl ReplyTo {
    /// A store took place.
    pub fn stored(self, cas: u64, out: &mut impl BufMut) {
        either!(self, stored(cas, out));
    }

    /// The condition of an `add`, `replace`, `append` or `prepend` did not hold.
    pub fn not_stored(self, out: &mut impl BufMut) {
        either!(self, not_stored(out));
    }

    /// The item has another cas unique.
    pub fn exists(self, out: &mut impl BufMut) {
        either!(self, exists(out));
    }

    /// There is no such item. (For reads see [`miss`](Self::miss).)
    pub fn not_found(self, out: &mut impl BufMut) {
        either!(self, not_found(out));
    }

    /// An item was deleted.
    pub fn deleted(self, out: &mut impl BufMut) {
        either!(self, deleted(out));
    }

    /// An item has a new deadline.
    pub fn touched(self, flags: u32, cas: u64, out: &mut impl BufMut) {
        either!(self, touched(flags, cas, out));
    }

    /// The number that arithmetic came to.
    pub fn number(self, value: u64, cas: u64, out: &mut impl BufMut) {
        match self {
            Self::Binary(reply) => reply.number(value, cas, out),
            Self::Meta(reply) => reply.stored(cas, out),
            Self::Text(reply) => reply.number(value, cas, out),
        }
    }

    /// The item's value is not a number.
    pub fn non_numeric(self, out: &mut impl BufMut) {
        either!(self, non_numeric(out));
    }

    /// There is no memory for the item, and eviction is off or did not help.
    pub fn out_of_memory(self, out: &mut impl BufMut) {
        either!(self, out_of_memory(out));
    }

    /// `flush_all`, `verbosity`, `stats detail on|off`, NOOP, `mn` or QUIT is done.
    pub fn done(self, out: &mut impl BufMut) {
        either!(self, done(out));
    }
}

/// Answers to reads.
impl ReplyTo {
    /// An item, with its value copied.
    pub fn hit(self, key: &[u8], flags: u32, cas: u64, value: &[u8], out: &mut impl BufMut) {
        self.hit_header(key, flags, cas, value.len(), out);
        out.put_slice(value);
        out.put_slice(self.hit_trailer());
    }

    /// What goes before the value of a hit, for a value that is sent from where it is.
    pub fn hit_header(
        self,
        key: &[u8],
        flags: u32,
        cas: u64,
        value_len: usize,
        out: &mut impl BufMut,
    ) {
        either!(self, hit_header(key, flags, cas, value_len, out));
    }

    /// What goes behind the value of a hit.
    pub fn hit_trailer(self) -> &'static [u8] {
        match self {
            Self::Binary(_) => b"",
            Self::Meta(_) | Self::Text(_) => b"\r\n",
        }
    }

    /// One key of a read is not there.
    pub fn miss(self, key: &[u8], out: &mut impl BufMut) {
        match self {
            Self::Binary(reply) => reply.miss(key, out),
            Self::Meta(reply) => reply.miss(key, out),
            Self::Text(_) => {}
        }
    }

    /// All keys of a read have been answered.
    pub fn end(self, out: &mut impl BufMut) {
        match self {
            Self::Binary(_) | Self::Meta(_) => {}
            Self::Text(reply) => reply.end(out),
        }
    }

    /// This server's version, such as `1.6.18`.
    pub fn version(self, version: &str, out: &mut impl BufMut) {
        either!(self, version(version.as_bytes(), out));
    }
}

/// Statistics.
impl ReplyTo {
    /// One of them. An empty `key` would end them early, so it is not sent.
    pub fn stat(self, key: &[u8], value: &[u8], out: &mut impl BufMut) {
        if !key.is_empty() {
            either!(self, stat(key, value, out));
        }
    }

    /// There are no more of them.
    pub fn stats_end(self, out: &mut impl BufMut) {
        either!(self, stats_end(out));
    }

    /// `stats reset` is done.
    pub fn stats_reset(self, out: &mut impl BufMut) {
        either!(self, stats_reset(out));
    }

    /// One key of `stats cachedump`; `deadline_s` is in unix seconds, 0 for none.
    ///
    /// A key that came by binary may hold line ends, with which its owner could forge replies to
    /// somebody else; control bytes and spaces are sent as `%XX`.
    pub fn dumped_item(self, key: &[u8], value_len: usize, deadline_s: u64, out: &mut impl BufMut) {
        match self {
            // memcached has no cachedump in binary.
            Self::Binary(_) | Self::Meta(_) => {}
            Self::Text(reply) => reply.dumped_item(key, value_len, deadline_s, out),
        }
    }
}

/// Dumps, which only text has.
impl ReplyTo {
    /// One item of a dump; `with_flags` as memcached does since 1.6.22 in `metadump`.
    pub fn dump_item(
        self,
        form: DumpForm,
        item: &DumpedItem<'_>,
        with_flags: bool,
        out: &mut impl BufMut,
    ) {
        if let Self::Text(_) = self {
            match form {
                DumpForm::Metadump => dump::meta(item, with_flags, out),
                DumpForm::Mgdump => dump::mg(item, out),
            }
        }
    }

    /// There are no more items.
    pub fn dump_end(self, form: DumpForm, out: &mut impl BufMut) {
        if let Self::Text(_) = self {
            out.put_slice(match form {
                DumpForm::Metadump => b"END\r\n",
                DumpForm::Mgdump => b"EN\r\n",
            });
        }
    }
}

/// Errors.
impl ReplyTo {
    /// The request was refused.
    pub fn error(self, error: ProtocolError, out: &mut impl BufMut) {
        either!(self, error(error, out));
    }

    /// SASL: what there is to say, mechanisms or that it worked.
    pub fn sasl(self, text: &str, out: &mut impl BufMut) {
        if let Self::Binary(reply) = self {
            reply.sasl(text.as_bytes(), out);
        }
    }

    /// SASL: the client is to go on.
    pub fn sasl_continue(self, out: &mut impl BufMut) {
        if let Self::Binary(reply) = self {
            reply.sasl_continue(out);
        }
    }

    /// This node cannot answer now, or does not know what became of the write.
    ///
    /// Text and meta: `SERVER_ERROR <text>`; binary: status 0x84 with `text` as its body. `text`
    /// must be one line. With `noreply` nothing is sent, as a client that waits for no answer
    /// would take it for the answer to its next request; `q` and quiet opcodes do not hide it.
    pub fn server_error(self, text: &str, out: &mut impl BufMut) {
        debug_assert!(!text.bytes().any(|byte| byte < b' '), "one line: {text:?}");
        either!(self, server_error(text.as_bytes(), out));
    }

    /// Whether the client waits for no success of this write (`noreply`, a quiet opcode).
    pub fn is_quiet(self) -> bool {
        either!(self, is_quiet())
    }
}

#[cfg(test)]
mod tests;
