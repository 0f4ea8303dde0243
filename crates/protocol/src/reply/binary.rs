//! Replies in frames.
//!
//! ```text
//!   0: magic 0x81 | opcode | key length (2)
//!   4: extras length | data type 0 | status (2)
//!   8: body length (4) = extras + key + value
//!  12: opaque (4), as in the request
//!  16: cas unique (8)
//!  24: extras, key, value
//! ```
//!
//! Source: memcached 1.6.18, `proto_bin.c`.

use bytes::BufMut;

use crate::ProtocolError;
use crate::opcode::{self, is_quiet};

/// How to answer a binary request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct BinaryReply {
    /// The request's opcode: it is repeated, and says which replies are wanted.
    pub opcode: u8,
    /// The request's opaque, repeated as it came.
    pub opaque: u32,
}

impl BinaryReply {
    pub(crate) fn stored(self, cas: u64, out: &mut impl BufMut) {
        self.success(cas, b"", b"", out);
    }

    pub(crate) fn not_stored(self, out: &mut impl BufMut) {
        match self.opcode {
            opcode::ADD | opcode::ADDQ => self.exists(out),
            opcode::REPLACE | opcode::REPLACEQ => self.not_found(out),
            _ => self.failure(Status::NotStored, b"Not stored.", out),
        }
    }

    pub(crate) fn exists(self, out: &mut impl BufMut) {
        self.failure(Status::Exists, b"Data exists for key.", out);
    }

    pub(crate) fn not_found(self, out: &mut impl BufMut) {
        self.failure(Status::NotFound, b"Not found", out);
    }

    pub(crate) fn deleted(self, out: &mut impl BufMut) {
        self.success(0, b"", b"", out);
    }

    pub(crate) fn touched(self, flags: u32, cas: u64, out: &mut impl BufMut) {
        self.success(cas, &flags.to_be_bytes(), b"", out);
    }

    pub(crate) fn number(self, value: u64, cas: u64, out: &mut impl BufMut) {
        self.success(cas, b"", &value.to_be_bytes(), out);
    }

    pub(crate) fn non_numeric(self, out: &mut impl BufMut) {
        let text = b"Non-numeric server-side value for incr or decr";
        self.failure(Status::BadDelta, text, out);
    }

    pub(crate) fn out_of_memory(self, out: &mut impl BufMut) {
        let text: &[u8] = match self.opcode {
            opcode::INCREMENT | opcode::INCREMENTQ | opcode::DECREMENT | opcode::DECREMENTQ => {
                b"Out of memory incrementing value"
            }
            _ => b"Out of memory allocating item",
        };
        self.failure(Status::OutOfMemory, text, out);
    }

    pub(crate) fn done(self, out: &mut impl BufMut) {
        self.success(0, b"", b"", out);
    }

    pub(crate) fn hit_header(
        self,
        key: &[u8],
        flags: u32,
        cas: u64,
        value_len: usize,
        out: &mut impl BufMut,
    ) {
        let key = if self.wants_key() { key } else { b"" };
        self.frame(Status::Success, cas, &flags.to_be_bytes(), key, value_len, out);
    }

    pub(crate) fn miss(self, key: &[u8], out: &mut impl BufMut) {
        if is_quiet(self.opcode) {
            return;
        }
        if self.wants_key() {
            self.frame(Status::NotFound, 0, b"", key, 0, out);
        } else {
            self.not_found(out);
        }
    }

    pub(crate) fn version(self, version: &[u8], out: &mut impl BufMut) {
        self.success(0, b"", version, out);
    }

    pub(crate) fn stat(self, key: &[u8], value: &[u8], out: &mut impl BufMut) {
        self.frame(Status::Success, 0, b"", key, value.len(), out);
        out.put_slice(value);
    }

    pub(crate) fn stats_end(self, out: &mut impl BufMut) {
        self.success(0, b"", b"", out);
    }

    pub(crate) fn stats_reset(self, out: &mut impl BufMut) {
        self.stats_end(out);
    }

    pub(crate) fn error(self, error: ProtocolError, out: &mut impl BufMut) {
        match error {
            ProtocolError::AuthTooLong
            | ProtocolError::BadAuthEnd
            | ProtocolError::BadAuthToken
            | ProtocolError::BadBase64
            | ProtocolError::BadCommandLine
            | ProtocolError::BadCrawlerSleep
            | ProtocolError::BadDataChunk
            | ProtocolError::BadDelete
            | ProtocolError::BadDelta
            | ProtocolError::BadExptime
            | ProtocolError::BadFormat
            | ProtocolError::BadLruAges
            | ProtocolError::BadLruShares
            | ProtocolError::BadMetaArithmeticFlag
            | ProtocolError::BadMetaArithmeticMode
            | ProtocolError::BadMetaDelta
            | ProtocolError::BadMetaFlag
            | ProtocolError::BadMetaInitial
            | ProtocolError::BadMetaStoreMode
            | ProtocolError::BadMetaToken
            | ProtocolError::BadShutdownMode
            | ProtocolError::BadSlabClass
            | ProtocolError::CacheDumpNotAllowed
            | ProtocolError::CrawlerClass
            | ProtocolError::DuplicateMetaFlag
            | ProtocolError::MemlimitNotMegabytes
            | ProtocolError::MemlimitOutOfBounds
            | ProtocolError::MemlimitTooSmall
            | ProtocolError::MetaDumpNotAllowed
            | ProtocolError::OpaqueTooLong
            | ProtocolError::TooManyMetaFlags
            | ProtocolError::TooManyWatchers
            | ProtocolError::WatchNotAllowed => {
                self.failure(Status::Invalid, b"Invalid arguments", out);
            }
            ProtocolError::AuthFailed
            | ProtocolError::AuthRequired
            | ProtocolError::FlushNotAllowed => {
                self.failure(Status::AuthError, b"Auth failure.", out);
            }
            ProtocolError::NotMemcached => {}
            ProtocolError::ShutdownNotEnabled
            | ProtocolError::ShutdownNotEnabledServer
            | ProtocolError::UnknownCommand => {
                self.failure(Status::UnknownCommand, b"Unknown command", out);
            }
            ProtocolError::TooLarge => self.failure(Status::TooLarge, b"Too large.", out),
            ProtocolError::BadStatsDetail | ProtocolError::UnknownStats => self.not_found(out),
        }
    }

    pub(crate) fn sasl(self, text: &[u8], out: &mut impl BufMut) {
        self.success(0, b"", text, out);
    }

    pub(crate) fn sasl_continue(self, out: &mut impl BufMut) {
        self.frame(Status::AuthContinue, 0, b"", b"", 0, out);
    }

    pub(crate) fn server_error(self, text: &[u8], out: &mut impl BufMut) {
        self.failure(Status::Internal, text, out);
    }

    pub(crate) fn is_quiet(self) -> bool {
        is_quiet(self.opcode)
    }

    fn wants_key(self) -> bool {
        matches!(self.opcode, opcode::GETK | opcode::GETKQ | opcode::GATK | opcode::GATKQ)
    }

    fn success(self, cas: u64, extras: &[u8], value: &[u8], out: &mut impl BufMut) {
        if !is_quiet(self.opcode) {
            self.frame(Status::Success, cas, extras, b"", value.len(), out);
            out.put_slice(value);
        }
    }

    /// Quiet opcodes hide successes only.
    fn failure(self, status: Status, text: &[u8], out: &mut impl BufMut) {
        self.frame(status, 0, b"", b"", text.len(), out);
        out.put_slice(text);
    }

    /// Everything but the value, which the caller appends.
    fn frame(
        self,
        status: Status,
        cas: u64,
        extras: &[u8],
        key: &[u8],
        value_len: usize,
        out: &mut impl BufMut,
    ) {
        let body_len = extras.len() + key.len() + value_len;
        // Keys are at most 250 bytes, names of statistics are ours, and values stay below the
        // 1 GiB that `-I` may be: none of the three saturates.
        let key_len = u16::try_from(key.len()).unwrap_or(u16::MAX);
        let extras_len = u8::try_from(extras.len()).unwrap_or(u8::MAX);
        let body_len = u32::try_from(body_len).unwrap_or(u32::MAX);

        let mut header = [0; HEADER_LEN];
        let mut rest = header.as_mut_slice();
        rest.put_u8(MAGIC_REPLY);
        rest.put_u8(self.opcode);
        rest.put_u16(key_len);
        rest.put_u8(extras_len);
        rest.put_u8(0);
        rest.put_u16(status as u16);
        rest.put_u32(body_len);
        rest.put_u32(self.opaque);
        rest.put_u64(cas);
        out.put_slice(&header);
        out.put_slice(extras);
        out.put_slice(key);
    }
}

/// How a request ended.
#[derive(Clone, Copy)]
enum Status {
    Success = 0x00,
    NotFound = 0x01,
    Exists = 0x02,
    TooLarge = 0x03,
    Invalid = 0x04,
    NotStored = 0x05,
    BadDelta = 0x06,
    AuthError = 0x20,
    AuthContinue = 0x21,
    UnknownCommand = 0x81,
    OutOfMemory = 0x82,
    Internal = 0x84,
}

const HEADER_LEN: usize = 24;
const MAGIC_REPLY: u8 = 0x81;
