//! A connection's bytes, in pieces, through the parser.

use protocol::{LINE_LEN_MAX, Limits, Parser, Protocol, ProtocolError};

use crate::allocations::{LIMIT, bounded};
use crate::input::Input;

/// Input: how many pieces, a byte each for how long they are, and the stream. Invariants 1, 3 and
/// 5 of crate `protocol`: read at once, byte by byte and in the pieces, the same comes out.
pub fn check(data: &[u8], protocol: Protocol) {
    let mut input = Input(data);
    let count = input.below(8);
    let pieces: Vec<_> = input.bytes(count).iter().map(|len| usize::from(*len) + 1).collect();
    // A longer line is invariant 3's one exception.
    let stream = input.bytes(LINE_LEN_MAX);
    let whole = events(stream, &[stream.len().max(1)], protocol);
    assert_eq!(events(stream, &[1], protocol), whole, "byte by byte");
    if !pieces.is_empty() {
        assert_eq!(events(stream, &pieces, protocol), whole, "in pieces of {pieces:?}");
    }
}

/// What a shell would see of `stream`, read in pieces of these lengths, over and over.
fn events(stream: &[u8], pieces: &[usize], protocol: Protocol) -> Vec<String> {
    let mut events = Vec::new();
    let mut parser = Parser::with_protocol(protocol);
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

/// So small that some of the values do not fit.
const LIMITS: Limits = Limits { item_len_max: 95 };
