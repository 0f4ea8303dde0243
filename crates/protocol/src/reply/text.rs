//! Replies in lines.
//!
//! Source: memcached 1.6.18, `proto_text.c`.

use bytes::BufMut;

use crate::ProtocolError;

/// How to answer a text request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct TextReply {
    /// Answer nothing at all, errors included.
    pub noreply: bool,
    /// Hits carry the cas unique (`gets`, `gats`).
    pub with_cas: bool,
}

impl TextReply {
    pub(crate) fn stored(self, _cas: u64, out: &mut impl BufMut) {
        self.line(b"STORED\r\n", out);
    }

    pub(crate) fn not_stored(self, out: &mut impl BufMut) {
        self.line(b"NOT_STORED\r\n", out);
    }

    pub(crate) fn exists(self, out: &mut impl BufMut) {
        self.line(b"EXISTS\r\n", out);
    }

    pub(crate) fn not_found(self, out: &mut impl BufMut) {
        self.line(b"NOT_FOUND\r\n", out);
    }

    pub(crate) fn deleted(self, out: &mut impl BufMut) {
        self.line(b"DELETED\r\n", out);
    }

    pub(crate) fn touched(self, _flags: u32, _cas: u64, out: &mut impl BufMut) {
        self.line(b"TOUCHED\r\n", out);
    }

    pub(crate) fn number(self, value: u64, _cas: u64, out: &mut impl BufMut) {
        if !self.noreply {
            put_number(value, out);
            out.put_slice(b"\r\n");
        }
    }

    pub(crate) fn non_numeric(self, out: &mut impl BufMut) {
        let line = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
        self.line(line, out);
    }

    pub(crate) fn out_of_memory(self, out: &mut impl BufMut) {
        self.line(b"SERVER_ERROR out of memory storing object\r\n", out);
    }

    pub(crate) fn done(self, out: &mut impl BufMut) {
        self.line(b"OK\r\n", out);
    }

    pub(crate) fn hit_header(
        self,
        key: &[u8],
        flags: u32,
        cas: u64,
        value_len: usize,
        out: &mut impl BufMut,
    ) {
        out.put_slice(b"VALUE ");
        out.put_slice(key);
        out.put_slice(b" ");
        put_number(u64::from(flags), out);
        out.put_slice(b" ");
        put_number(value_len as u64, out);
        if self.with_cas {
            out.put_slice(b" ");
            put_number(cas, out);
        }
        out.put_slice(b"\r\n");
    }

    pub(crate) fn end(self, out: &mut impl BufMut) {
        self.line(b"END\r\n", out);
    }

    pub(crate) fn version(self, version: &[u8], out: &mut impl BufMut) {
        self.words(b"VERSION ", version, out);
    }

    pub(crate) fn stat(self, key: &[u8], value: &[u8], out: &mut impl BufMut) {
        out.put_slice(b"STAT ");
        out.put_slice(key);
        if !value.is_empty() {
            out.put_slice(b" ");
            out.put_slice(value);
        }
        out.put_slice(b"\r\n");
    }

    pub(crate) fn stats_end(self, out: &mut impl BufMut) {
        self.line(b"END\r\n", out);
    }

    pub(crate) fn stats_reset(self, out: &mut impl BufMut) {
        self.line(b"RESET\r\n", out);
    }

    pub(crate) fn dumped_item(
        self,
        key: &[u8],
        value_len: usize,
        deadline_s: u64,
        out: &mut impl BufMut,
    ) {
        out.put_slice(b"ITEM ");
        for byte in key {
            if *byte <= b' ' || *byte == 0x7f || *byte == b'%' {
                out.put_slice(&[b'%', hex_digit(byte >> 4), hex_digit(byte & 0xf)]);
            } else {
                out.put_slice(&[*byte]);
            }
        }
        out.put_slice(b" [");
        put_number(value_len as u64, out);
        out.put_slice(b" b; ");
        put_number(deadline_s, out);
        out.put_slice(b" s]\r\n");
    }

    pub(crate) fn error(self, error: ProtocolError, out: &mut impl BufMut) {
        self.line(error_line(error), out);
    }

    pub(crate) fn server_error(self, text: &[u8], out: &mut impl BufMut) {
        self.words(b"SERVER_ERROR ", text, out);
    }

    pub(crate) fn is_quiet(self) -> bool {
        self.noreply
    }

    fn line(self, line: &[u8], out: &mut impl BufMut) {
        if !self.noreply {
            out.put_slice(line);
        }
    }

    fn words(self, first: &[u8], rest: &[u8], out: &mut impl BufMut) {
        if !self.noreply {
            out.put_slice(first);
            out.put_slice(rest);
            out.put_slice(b"\r\n");
        }
    }
}

/// The `Display` of an error with its line end, without formatting at run time. That the two
/// agree is tested.
pub(super) fn error_line(error: ProtocolError) -> &'static [u8] {
    match error {
        ProtocolError::AuthFailed => b"CLIENT_ERROR authentication failure\r\n",
        ProtocolError::AuthRequired => b"CLIENT_ERROR unauthenticated\r\n",
        ProtocolError::AuthTooLong => b"CLIENT_ERROR auth token too long\r\n",
        ProtocolError::BadAuthEnd => b"CLIENT_ERROR bad command line termination\r\n",
        ProtocolError::BadAuthToken => b"CLIENT_ERROR bad authentication token format\r\n",
        ProtocolError::BadBase64 => b"CLIENT_ERROR error decoding key\r\n",
        ProtocolError::BadCommandLine => b"CLIENT_ERROR bad command line\r\n",
        ProtocolError::BadCrawlerSleep => b"CLIENT_ERROR sleep must be one second or less\r\n",
        ProtocolError::BadDataChunk => b"CLIENT_ERROR bad data chunk\r\n",
        ProtocolError::BadDelete => {
            b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n"
        }
        ProtocolError::BadDelta => b"CLIENT_ERROR invalid numeric delta argument\r\n",
        ProtocolError::BadExptime => b"CLIENT_ERROR invalid exptime argument\r\n",
        ProtocolError::BadFormat => b"CLIENT_ERROR bad command line format\r\n",
        ProtocolError::BadLruAges => b"ERROR hot/warm age factors must be greater than 0\r\n",
        ProtocolError::BadLruShares => b"ERROR hot and warm pcts must not exceed 80\r\n",
        ProtocolError::BadMetaArithmeticFlag => b"CLIENT_ERROR invalid or duplicate flag\r\n",
        ProtocolError::BadMetaArithmeticMode => b"CLIENT_ERROR invalid mode for ma M token\r\n",
        ProtocolError::BadMetaDelta => b"CLIENT_ERROR invalid numeric delta value\r\n",
        ProtocolError::BadMetaFlag => b"CLIENT_ERROR invalid flag\r\n",
        ProtocolError::BadMetaInitial => b"CLIENT_ERROR invalid numeric initial value\r\n",
        ProtocolError::BadMetaStoreMode => b"CLIENT_ERROR invalid mode for ms M token\r\n",
        ProtocolError::BadMetaToken => b"CLIENT_ERROR bad token in command line format\r\n",
        ProtocolError::BadShutdownMode => b"CLIENT_ERROR invalid shutdown mode\r\n",
        ProtocolError::BadSlabClass => b"CLIENT_ERROR Illegal slab id\r\n",
        ProtocolError::BadStatsDetail => b"CLIENT_ERROR usage: stats detail on|off|dump\r\n",
        ProtocolError::CacheDumpNotAllowed => b"CLIENT_ERROR stats cachedump not allowed\r\n",
        ProtocolError::CrawlerClass => b"BADCLASS invalid class id\r\n",
        ProtocolError::DuplicateMetaFlag => b"CLIENT_ERROR duplicate flag\r\n",
        ProtocolError::FlushNotAllowed => b"CLIENT_ERROR flush_all not allowed\r\n",
        ProtocolError::MemlimitNotMegabytes => {
            b"MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n"
        }
        ProtocolError::MemlimitOutOfBounds => {
            b"MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n"
        }
        ProtocolError::MemlimitTooSmall => {
            b"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n"
        }
        ProtocolError::MetaDumpNotAllowed => b"ERROR metadump not allowed\r\n",
        ProtocolError::NotMemcached => b"",
        ProtocolError::OpaqueTooLong => b"CLIENT_ERROR opaque token too long\r\n",
        ProtocolError::ShutdownNotEnabled => b"ERROR: shutdown not enabled\r\n",
        ProtocolError::ShutdownNotEnabledServer => b"SERVER_ERROR: shutdown not enabled\r\n",
        ProtocolError::TooLarge => b"SERVER_ERROR object too large for cache\r\n",
        ProtocolError::TooManyMetaFlags => b"CLIENT_ERROR options flags are too long\r\n",
        ProtocolError::TooManyWatchers => b"WATCHER_TOO_MANY log watcher limit reached\r\n",
        ProtocolError::WatchNotAllowed => b"CLIENT_ERROR watch commands not allowed\r\n",
        ProtocolError::UnknownCommand | ProtocolError::UnknownStats => b"ERROR\r\n",
    }
}

pub(super) fn put_number(number: u64, out: &mut impl BufMut) {
    out.put_slice(itoa::Buffer::new().format(number).as_bytes());
}

pub(super) fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'A' + nibble - 10 }
}
