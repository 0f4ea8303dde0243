//! The entry to both parsers, and what they must remember between reads.

use crate::binary::{self, Sasl};
use crate::{Limits, ProtocolError, Refusal, ReplyTo, Request, TextReply, text};

/// Which dialect a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// 24-byte headers, magic 0x80.
    Binary,
    /// Lines.
    Text,
}

impl Protocol {
    /// Tells the dialect by the first byte of a connection; it never changes afterwards.
    pub fn detect(first_byte: u8) -> Self {
        if first_byte == binary::MAGIC_REQUEST { Self::Binary } else { Self::Text }
    }
}

/// A whole request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// What is asked.
    pub request: Request<'a>,
    /// How to answer it.
    pub reply_to: ReplyTo,
    /// Bytes to drop from the front before parsing again: `0 < consumed <= input.len()`.
    pub consumed: usize,
}

/// The parser of one connection.
///
/// It holds no bytes: the caller keeps everything not yet consumed and passes it, from its first
/// byte, to [`parse`](Self::parse) whenever more has arrived. What the parser remembers is how
/// far that front has been looked at, so that a long request is not scanned again and again.
///
/// ```
/// use protocol::{Limits, Parser, Request};
///
/// let mut parser = Parser::new();
/// let input = b"delete k\r\nquit\r\n";
/// let parsed = parser.parse(input, &Limits::default()).unwrap().unwrap();
/// assert_eq!(parsed.request, Request::Delete { key: b"k", cas: None });
/// let rest = &input[parsed.consumed..];
/// assert_eq!(parser.parse(rest, &Limits::default()).unwrap().unwrap().request, Request::Quit);
/// ```
#[derive(Debug, Clone)]
pub struct Parser {
    protocol: Option<Protocol>,
    gate: Gate,
    /// Length below which the unconsumed input cannot hold a whole request.
    needed: usize,
    /// Bytes at the front that hold no line end.
    scanned: usize,
}

impl Parser {
    /// A parser that tells the dialect by the first byte.
    pub fn new() -> Self {
        Self { protocol: None, gate: Gate::Open, needed: 1, scanned: 0 }
    }

    /// A binary parser that lets nothing through but SASL and VERSION (`-S`), until
    /// [`Parser::let_in`]; anything else is refused and closes the connection.
    pub fn with_sasl() -> Self {
        Self { gate: Gate::Sasl(Sasl::Required), ..Self::with_protocol(Protocol::Binary) }
    }

    /// A text parser that lets nothing through but [`Request::Authenticate`] (`-Y`), until
    /// [`Parser::let_in`].
    pub fn with_text_auth() -> Self {
        Self { gate: Gate::Text, ..Self::with_protocol(Protocol::Text) }
    }

    /// Whether the client still has to prove who it is.
    pub fn asks_who(&self) -> bool {
        matches!(self.gate, Gate::Sasl(Sasl::Required) | Gate::Text)
    }

    /// The client has proven who it is.
    pub fn let_in(&mut self) {
        self.gate = match self.gate {
            Gate::Sasl(_) => Gate::Sasl(Sasl::Passed),
            Gate::Open | Gate::Text => Gate::Open,
        };
    }

    /// A parser for one dialect (`-B ascii`, `-B binary`).
    pub fn with_protocol(protocol: Protocol) -> Self {
        Self { protocol: Some(protocol), ..Self::new() }
    }

    /// The dialect, once the first byte has been seen.
    pub fn protocol(&self) -> Option<Protocol> {
        self.protocol
    }

    /// The length that the unconsumed input must reach before another call can give more than
    /// `Ok(None)`. At most one item, one key and one header beyond what has been looked at, so
    /// it may be used to size the buffer.
    pub fn needed(&self) -> usize {
        self.needed
    }

    /// Parses one request from the front of `input`, everything read and not yet consumed.
    ///
    /// - `Ok(Some(parsed))`: whole; drop [`Parsed::consumed`] bytes, then call again.
    /// - `Ok(None)`: a valid prefix; call again once more bytes have arrived behind it.
    ///
    /// # Errors
    ///
    /// The request cannot be served: delete what [`Refusal::delete`] names, answer, drop
    /// [`Refusal::consumed`] bytes (some may still have to arrive), then close or call again.
    pub fn parse<'a>(
        &mut self,
        input: &'a [u8],
        limits: &Limits,
    ) -> Result<Option<Parsed<'a>>, Refusal<'a>> {
        if input.len() < self.needed {
            return Ok(None);
        }
        let Some(first_byte) = input.first() else {
            return Ok(None);
        };
        let protocol = *self.protocol.get_or_insert_with(|| Protocol::detect(*first_byte));
        let step = match protocol {
            Protocol::Binary => {
                let sasl = if let Gate::Sasl(sasl) = self.gate { sasl } else { Sasl::Off };
                binary::parse(input, limits, sasl)
            }
            Protocol::Text if self.gate == Gate::Text => text::auth::parse(input),
            Protocol::Text => text::parse(input, self.scanned, limits),
        };
        (self.needed, self.scanned) = match step {
            Step::More { needed, scanned } => (needed, scanned),
            Step::Request(_) | Step::Refused(_) => (1, 0),
        };
        match step {
            Step::More { .. } => Ok(None),
            Step::Refused(refusal) => Err(refusal),
            Step::Request(parsed) => Ok(Some(parsed)),
        }
    }
}

impl Default for Parser {
    fn default() -> Self {
        Self::new()
    }
}

/// What a client has to pass before it is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    Sasl(Sasl),
    Text,
}

/// What one look at the input gave.
pub(crate) enum Step<'a> {
    /// A valid prefix.
    More {
        needed: usize,
        scanned: usize,
    },
    Refused(Refusal<'a>),
    Request(Parsed<'a>),
}

impl<'a> Step<'a> {
    pub(crate) fn request(request: Request<'a>, reply_to: ReplyTo, consumed: usize) -> Self {
        Self::Request(Parsed { request, reply_to, consumed })
    }

    /// Refused, and the stream goes on after `consumed` bytes.
    pub(crate) fn refused(error: ProtocolError, reply_to: ReplyTo, consumed: usize) -> Self {
        Self::Refused(Refusal { error, reply_to, consumed, close: false, delete: None })
    }

    /// Answered, then closed: the peer's idea of where the next request starts is unknown.
    pub(crate) fn fatal(error: ProtocolError, reply_to: ReplyTo, consumed: usize) -> Self {
        Self::Refused(Refusal { error, reply_to, consumed, close: true, delete: None })
    }

    /// Closed without a word.
    pub(crate) fn hang_up(consumed: usize) -> Self {
        let reply_to = ReplyTo::Text(TextReply { noreply: true, with_cas: false });
        Self::fatal(ProtocolError::NotMemcached, reply_to, consumed)
    }
}
