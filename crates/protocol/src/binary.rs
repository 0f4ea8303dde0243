//! The binary protocol: a header of 24 bytes, then extras, key and value.
//!
//! ```text
//!   0: magic 0x80 | opcode | key length (2)
//!   4: extras length | data type | reserved (2)
//!   8: body length (4) = extras + key + value
//!  12: opaque (4)
//!  16: cas unique (8)
//!  24: extras, key, value
//! ```
//!
//! Data type and reserved bytes are ignored, as memcached does. Everything that can be judged by
//! the header alone is judged by it, before any of the body has arrived: a length that lies is
//! not waited for. Deliberately different from 1.6.18, which loses step there:
//!
//! - An unknown opcode's body is dropped once (1.6.18 drops its key and extras twice).
//! - A value where the opcode has none (GAT, TOUCH, STAT) is malformed.
//! - A body of more than 1 GiB is malformed (as in 1.6.45).
//!
//! Source: memcached 1.6.18, `proto_bin.c`.

use bytes::Buf;

use crate::opcode;
use crate::parser::Step;
use crate::{
    BINARY_BODY_LEN_MAX, BinaryReply, Direction, Initial, KEY_LEN_MAX, Keys, Limits, MetaKey,
    ProtocolError, Refusal, ReplyTo, Request, StatsDetail, StatsTopic, StoreMode, item_len,
};

/// The first byte of every binary request, and of no text request.
pub(crate) const MAGIC_REQUEST: u8 = 0x80;

/// Whether clients prove who they are by SASL (`-S`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sasl {
    /// They need not, and cannot.
    Off,
    /// This one has.
    Passed,
    /// Nothing else is served.
    Required,
}

/// Parses one request.
pub(crate) fn parse<'a>(input: &'a [u8], limits: &Limits, sasl: Sasl) -> Step<'a> {
    if input.first().is_some_and(|magic| *magic != MAGIC_REQUEST) {
        return Step::hang_up(input.len());
    }
    let Some((header, body)) = input.split_first_chunk() else {
        return Step::More { needed: HEADER_LEN, scanned: 0 };
    };
    let header = Header::decode(header);
    let reply_to = header.reply_to();
    let Some(value_len) = header.value_len() else {
        return Step::fatal(ProtocolError::UnknownCommand, reply_to, HEADER_LEN);
    };
    if sasl == Sasl::Required && !header.needs_no_sasl() {
        return Step::fatal(ProtocolError::AuthRequired, reply_to, HEADER_LEN);
    }
    let consumed = HEADER_LEN + header.body_len as usize;
    match header.shape(value_len, sasl) {
        Shape::Known => {}
        Shape::Malformed => return Step::fatal(ProtocolError::BadFormat, reply_to, HEADER_LEN),
        Shape::Unknown => return Step::refused(ProtocolError::UnknownCommand, reply_to, consumed),
    }

    // Extras and key first: they say whether the value is wanted at all.
    let Some((extras, rest)) = body.split_at_checked(header.extras_len.into()) else {
        return Step::More { needed: header.value_at(), scanned: 0 };
    };
    let Some((key, rest)) = rest.split_at_checked(header.key_len.into()) else {
        return Step::More { needed: header.value_at(), scanned: 0 };
    };
    let (flags, _) = header.flags_and_exptime(extras);
    if header.stores() && limits.item_len_max < item_len(key.len(), flags, value_len.into()) {
        let delete =
            matches!(header.opcode, opcode::SET | opcode::SETQ).then(|| MetaKey::plain(key));
        let error = ProtocolError::TooLarge;
        return Step::Refused(Refusal { error, reply_to, consumed, close: false, delete });
    }
    if header.is_sasl() && (MECHANISM_LEN_MAX < key.len() || SASL_DATA_LEN_MAX < value_len) {
        return Step::refused(ProtocolError::BadFormat, reply_to, consumed);
    }
    let Some(value) = rest.get(..value_len as usize) else {
        return Step::More { needed: consumed, scanned: 0 };
    };
    match header.request(extras, key, value) {
        Ok(request) => Step::request(request, reply_to, consumed),
        Err(error) => Step::refused(error, reply_to, consumed),
    }
}

/// A request's header.
struct Header {
    opcode: u8,
    key_len: u16,
    extras_len: u8,
    body_len: u32,
    opaque: u32,
    cas: u64,
}

/// What the lengths of a header say about it.
enum Shape {
    Known,
    Malformed,
    Unknown,
}

impl Header {
    fn decode(header: &[u8; HEADER_LEN]) -> Self {
        // The array is as long as all that is taken from it, so `Buf` does not run out.
        let mut header = header.as_slice();
        header.advance(1);
        let opcode = header.get_u8();
        let key_len = header.get_u16();
        let extras_len = header.get_u8();
        header.advance(3);
        let body_len = header.get_u32();
        let opaque = header.get_u32();
        let cas = header.get_u64();
        Self { opcode, key_len, extras_len, body_len, opaque, cas }
    }

    fn reply_to(&self) -> ReplyTo {
        ReplyTo::Binary(BinaryReply { opcode: self.opcode, opaque: self.opaque })
    }

    /// What the body holds besides extras and key; `None` if it cannot even hold these.
    fn value_len(&self) -> Option<u32> {
        self.body_len.checked_sub(u32::from(self.extras_len) + u32::from(self.key_len))
    }

    /// Where the value starts.
    fn value_at(&self) -> usize {
        HEADER_LEN + usize::from(self.extras_len) + usize::from(self.key_len)
    }

    /// Begins or continues a conversation about who the client is.
    fn is_sasl(&self) -> bool {
        matches!(self.opcode, opcode::SASL_AUTH | opcode::SASL_STEP)
    }

    fn needs_no_sasl(&self) -> bool {
        self.is_sasl() || matches!(self.opcode, opcode::SASL_LIST | opcode::VERSION)
    }

    /// Judges the lengths by the opcode.
    fn shape(&self, value_len: u32, sasl: Sasl) -> Shape {
        use opcode::*;
        let too_long = KEY_LEN_MAX < self.key_len.into() || BINARY_BODY_LEN_MAX < self.body_len;
        let has_key = self.key_len != 0;
        let has_value = value_len != 0;
        let well_formed = match self.opcode {
            GET | GETQ | GETK | GETKQ | DELETE | DELETEQ => {
                self.extras_len == 0 && has_key && !has_value
            }
            SET | SETQ | ADD | ADDQ | REPLACE | REPLACEQ => self.extras_len == 8 && has_key,
            APPEND | APPENDQ | PREPEND | PREPENDQ => self.extras_len == 0 && has_key,
            INCREMENT | INCREMENTQ | DECREMENT | DECREMENTQ => {
                self.extras_len == 20 && has_key && !has_value
            }
            TOUCH | GAT | GATQ | GATK | GATKQ => self.extras_len == 4 && has_key && !has_value,
            QUIT | QUITQ | NOOP | VERSION | SASL_LIST => self.body_len == 0,
            FLUSH | FLUSHQ => matches!(self.extras_len, 0 | 4) && !has_key && !has_value,
            STAT => self.extras_len == 0 && !has_value,
            SASL_AUTH | SASL_STEP => self.extras_len == 0 && has_key,
            _ => true,
        };
        match self.opcode {
            _ if too_long || !well_formed => Shape::Malformed,
            // Without SASL these are unknown, but not before their shape has been looked at.
            SASL_LIST | SASL_AUTH | SASL_STEP if sasl == Sasl::Off => Shape::Unknown,
            SASL_LIST | SASL_AUTH | SASL_STEP => Shape::Known,
            GET..=PREPENDQ | TOUCH..=GATQ | GATK | GATKQ => Shape::Known,
            _ => Shape::Unknown,
        }
    }

    /// Whether the body's value is to be stored.
    fn stores(&self) -> bool {
        self.store_mode().is_some()
    }

    fn store_mode(&self) -> Option<StoreMode> {
        match self.opcode {
            opcode::SET | opcode::SETQ => Some(StoreMode::Set),
            opcode::ADD | opcode::ADDQ => Some(StoreMode::Add),
            opcode::REPLACE | opcode::REPLACEQ => Some(StoreMode::Replace),
            opcode::APPEND | opcode::APPENDQ => Some(StoreMode::Append),
            opcode::PREPEND | opcode::PREPENDQ => Some(StoreMode::Prepend),
            _ => None,
        }
    }

    /// The extras of a store; append and prepend have none.
    fn flags_and_exptime(&self, extras: &[u8]) -> (u32, i64) {
        match extras.split_first_chunk() {
            Some((flags, exptime)) if self.stores() => {
                (u32::from_be_bytes(*flags), number_u32(exptime).into())
            }
            _ => (0, 0),
        }
    }

    /// The request, all of whose parts are here and of the length that the opcode asks for.
    fn request<'a>(
        &self,
        extras: &'a [u8],
        key: &'a [u8],
        value: &'a [u8],
    ) -> Result<Request<'a>, ProtocolError> {
        use opcode::*;
        let cas = (self.cas != 0).then_some(self.cas);
        if let Some(mode) = self.store_mode() {
            let (flags, exptime) = self.flags_and_exptime(extras);
            return Ok(Request::Store {
                mode: with_cas(mode, cas),
                key,
                flags,
                exptime,
                value,
                cas,
            });
        }
        let exptime = i64::from(number_u32(extras));
        Ok(match self.opcode {
            GET | GETQ | GETK | GETKQ => Request::Get { keys: Keys::one(key) },
            GAT | GATQ | GATK | GATKQ => Request::GetAndTouch { exptime, keys: Keys::one(key) },
            TOUCH => Request::Touch { key, exptime },
            DELETE | DELETEQ => Request::Delete { key, cas },
            INCREMENT | INCREMENTQ => arithmetic(Direction::Increment, key, extras, cas),
            DECREMENT | DECREMENTQ => arithmetic(Direction::Decrement, key, extras, cas),
            FLUSH | FLUSHQ => Request::FlushAll { exptime },
            NOOP => Request::Noop,
            QUIT | QUITQ => Request::Quit,
            SASL_AUTH => Request::SaslAuth { mechanism: key, data: value },
            SASL_LIST => Request::SaslList,
            SASL_STEP => Request::SaslStep { mechanism: key, data: value },
            STAT => Request::Stats { topic: stats_topic(key)? },
            VERSION => Request::Version,
            // `shape` lets nothing else through.
            _ => return Err(ProtocolError::UnknownCommand),
        })
    }
}

/// With a cas unique, SET, ADD and REPLACE are all a compare-and-swap to memcached.
fn with_cas(mode: StoreMode, cas: Option<u64>) -> StoreMode {
    match (mode, cas) {
        (StoreMode::Add | StoreMode::Replace, Some(_)) => StoreMode::Set,
        (mode, _) => mode,
    }
}

fn arithmetic<'a>(
    direction: Direction,
    key: &'a [u8],
    mut extras: &'a [u8],
    cas: Option<u64>,
) -> Request<'a> {
    // `shape` has seen to the 20 bytes; without them these would read as zeros.
    let delta = extras.try_get_u64().unwrap_or_default();
    let value = extras.try_get_u64().unwrap_or_default();
    let exptime = extras.try_get_u32().unwrap_or_default();
    let initial = (exptime != NO_INITIAL).then_some(Initial { value, exptime: exptime.into() });
    Request::Arithmetic { direction, key, delta, initial, cas }
}

/// memcached compares names by their beginning here, but for those that come last.
fn stats_topic(name: &[u8]) -> Result<StatsTopic<'_>, ProtocolError> {
    if name.is_empty() {
        return Ok(StatsTopic::General);
    }
    if name.starts_with(b"reset") {
        return Ok(StatsTopic::Reset);
    }
    if name.starts_with(b"settings") {
        return Ok(StatsTopic::Settings);
    }
    if let Some(rest) = name.strip_prefix(b"detail") {
        return match rest {
            [b' ', b'd', b'u', b'm', b'p', ..] => Ok(StatsTopic::Detail(StatsDetail::Dump)),
            [b' ', b'o', b'n', ..] => Ok(StatsTopic::Detail(StatsDetail::On)),
            [b' ', b'o', b'f', b'f', ..] => Ok(StatsTopic::Detail(StatsDetail::Off)),
            _ => Err(ProtocolError::BadStatsDetail),
        };
    }
    Ok(StatsTopic::named(name))
}

/// The number in the first four bytes; 0 if there are fewer.
fn number_u32(mut bytes: &[u8]) -> u32 {
    bytes.try_get_u32().unwrap_or_default()
}

const HEADER_LEN: usize = 24;

/// Longest name of a SASL mechanism, as in memcached.
const MECHANISM_LEN_MAX: usize = 32;
/// Longer than any user and password; memcached takes whatever fits an item.
const SASL_DATA_LEN_MAX: u32 = 16 * 1024;

/// The exptime that says: do not create a missing item.
const NO_INITIAL: u32 = 0xffff_ffff;

#[cfg(test)]
mod tests;
