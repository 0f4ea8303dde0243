//! The memcached protocols, sans-io: bytes to requests, replies to bytes.
//!
//! ```text
//!   bytes read --> Parser::parse --> Request + ReplyTo --> (lowered and answered elsewhere)
//!                      |                        |
//!                      +--> Refusal             +--> ReplyTo::stored, hit, miss, ... --> bytes
//! ```
//!
//! Three dialects come out as one tree of [`Request`]s: binary, told by the first byte of a
//! connection, and classic text and meta, told by the first word of each line. [`ReplyTo`]
//! remembers what the answer needs to look like, so that nobody else has to know which dialect a
//! client speaks.
//!
//! # Layout
//!
//! Read in this order: `parser` (the caller's contract), `request` and `meta` (what is asked),
//! `error`, `text`, `text/meta` and `binary` (the parsers), `reply` with `reply/text`, `reply/meta`
//! and `reply/binary` (the encoders).
//!
//! # Invariants
//!
//! 1. *Total.* Every sequence of bytes is parsed, waited on or refused; nothing panics, and a
//!    request or a refusal always consumes at least one byte.
//! 2. *Prefix.* A strict prefix of a valid request asks for more; it is never refused.
//! 3. *Splits.* How a stream is cut into reads does not change the requests that come out of it.
//!    (One exception, memcached's own: a line that is no `get` and longer than
//!    [`LINE_LEN_MAX`] is served if its end is already there, and ends the connection if not.)
//! 4. *Linear.* A partial request is not scanned again when more of it arrives.
//! 5. *In step.* After a refusal the stream goes on exactly where memcached's would.
//! 6. *No allocation.* Neither parsing nor encoding allocates, but for the output's growth.
//!
//! Not here: sockets, time (an exptime stays the number on the wire), items, raft, metrics.
//!
//! # Source
//!
//! memcached 1.6.18: `doc/protocol.txt`, `proto_text.c`, `proto_bin.c`, and where those leave a
//! choice, what the server does. Meta commands: memcached 1.6.45, where `text/meta` tells how the
//! two differ.

mod base64;
mod binary;
mod error;
mod limits;
mod meta;
mod opcode;
mod parser;
mod reply;
mod request;
mod text;
mod words;

pub use error::{ProtocolError, Refusal};
pub use limits::{
    BINARY_BODY_LEN_MAX, Compat, GET_LINE_LEN_MAX, ITEM_OVERHEAD_LEN, KEY_LEN_MAX, LINE_LEN_MAX,
    Limits, item_len,
};
pub use meta::{KeyBuffer, MetaArithmetic, MetaDelete, MetaGet, MetaKey, MetaStore};
pub use parser::{Parsed, Parser, Protocol};
pub use reply::{
    BinaryReply, DumpedItem, MetaItem, MetaReply, MetaStatus, ReplyTo, TextReply, uri_encode,
};
pub use request::{
    Direction, DumpClasses, DumpForm, Initial, Keys, Request, StatsDetail, StatsTopic, StoreMode,
    WatchTopics,
};
