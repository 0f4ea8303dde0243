//! A connection's bytes, in pieces, through the parser.

use protocol::{Compat, LINE_LEN_MAX, Limits, Parser, Protocol, ProtocolError, Request};

use crate::allocations::{LIMIT, bounded};
use crate::input::Input;

/// Input: how many pieces, a byte each for how long they are, and the stream. Invariants 1, 3 and
/// 5 of crate `protocol`: read at once, byte by byte and in the pieces, the same comes out.
pub fn check(data: &[u8], protocol: Protocol) {
    check_with(data, &|| Parser::with_protocol(protocol));
}

/// As [`check`], with a parser that may ask clients who they are: they are let in by what cannot
/// be the wrong password, and nothing comes through before that.
pub fn check_with(data: &[u8], parser: &dyn Fn() -> Parser) {
    let mut input = Input(data);
    let count = input.below(8);
    let pieces: Vec<_> = input.bytes(count).iter().map(|len| usize::from(*len) + 1).collect();
    // A longer line is invariant 3's one exception.
    let stream = input.bytes(LINE_LEN_MAX);
    let whole = events(stream, &[stream.len().max(1)], parser());
    assert_eq!(events(stream, &[1], parser()), whole, "byte by byte");
    if !pieces.is_empty() {
        assert_eq!(events(stream, &pieces, parser()), whole, "in pieces of {pieces:?}");
    }
}

/// What a shell would see of `stream`, read in pieces of these lengths, over and over.
fn events(stream: &[u8], pieces: &[usize], mut parser: Parser) -> Vec<String> {
    let mut events = Vec::new();
    let mut is_in = !parser.asks_who();
    let (mut front, mut arrived) = (0, 0);
    for piece in pieces.iter().cycle() {
        arrived = (arrived + piece).min(stream.len());
        while let Some(input) = stream.get(front..arrived) {
            // Invariant 6: it does not allocate.
            match bounded(0, || parser.parse(input, &LIMITS)) {
                Ok(None) => {
                    assert!(input.len() < parser.needed(), "waits for what it has");
                    assert!(parser.needed() <= LIMIT, "asks for {}", parser.needed());
                    break;
                }
                Ok(Some(parsed)) => {
                    assert!(0 < parsed.consumed && parsed.consumed <= input.len());
                    events.push(format!("{parsed:?}"));
                    front += parsed.consumed;
                    let says = who(&parsed.request);
                    assert!(is_in || says.is_some(), "let through: {parsed:?}");
                    if says == Some(true) {
                        parser.let_in();
                        is_in = true;
                    }
                }
                Err(refusal) if refusal.close => {
                    // How much is dropped before closing matters to nobody.
                    events.push(format!("{:?} {:?}", refusal.error, refusal.reply_to));
                    return events;
                }
                Err(refusal) => {
                    assert!(0 < refusal.consumed);
                    assert_ne!(refusal.error, ProtocolError::NotMemcached);
                    events.push(format!("{refusal:?}"));
                    front = front.saturating_add(refusal.consumed);
                }
            }
        }
        if arrived == stream.len() {
            break;
        }
    }
    // What is left, so that it is compared too.
    events.push(format!("{:?}", stream.get(front..)));
    events
}

/// Whether a request that needs nobody to be let in says who the client is, or might.
fn who(request: &Request<'_>) -> Option<bool> {
    match request {
        Request::Authenticate { password, .. } => Some(*password == b"p"),
        Request::SaslAuth { data, .. } | Request::SaslStep { data, .. } => {
            Some(data.ends_with(b"\0p"))
        }
        Request::SaslList | Request::Version => Some(false),
        _ => None,
    }
}

/// So small that some of the values do not fit.
const LIMITS: Limits = Limits { item_len_max: 95, compat: Compat::V1_6_18 };
