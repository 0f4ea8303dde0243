//! The meta commands within a batch; the table is in the parent's doc.

use super::command::{
    CUT, decode_direction, decode_expiry, decode_initial, decode_key, decode_mode, decode_value,
    direction_byte, encode_expiry, encode_initial, encode_key, encode_value, mode_byte,
};
use crate::codec::{Cursor, Put};
use crate::{CasUnique, Command, MetaArithmetic, MetaDelete, MetaGet, MetaStore};

pub(super) fn encode_get(get: &MetaGet<'_>, body: &mut Vec<u8>) {
    let mut options = Options::begin(GET, body);
    options.put(get.touch, encode_expiry);
    options.put(get.vivify, encode_expiry);
    options.put(get.recache, encode_expiry);
    options.put(get.new_cas, encode_cas);
    options.set(get.base64);
    encode_key(get.key, body);
}

pub(super) fn encode_store(store: &MetaStore<'_>, body: &mut Vec<u8>) {
    let mut options = Options::begin(STORE, body);
    options.put(store.cas, encode_cas);
    options.put(store.new_cas, encode_cas);
    options.put(store.vivify, encode_expiry);
    options.set(store.invalidate);
    options.set(store.base64);
    body.push(mode_byte(store.mode));
    body.put_u32(store.flags);
    encode_expiry(store.expiry, body);
    encode_key(store.key, body);
    encode_value(store.value, body);
}

pub(super) fn encode_delete(delete: &MetaDelete<'_>, body: &mut Vec<u8>) {
    let mut options = Options::begin(DELETE, body);
    options.put(delete.cas, encode_cas);
    options.put(delete.new_cas, encode_cas);
    options.put(delete.touch, encode_expiry);
    options.set(delete.mark_stale);
    options.set(delete.drop_value);
    encode_key(delete.key, body);
}

pub(super) fn encode_arithmetic(arithmetic: &MetaArithmetic<'_>, body: &mut Vec<u8>) {
    let mut options = Options::begin(ARITHMETIC, body);
    options.put(arithmetic.cas, encode_cas);
    options.put(arithmetic.new_cas, encode_cas);
    options.put(arithmetic.touch, encode_expiry);
    options.put(arithmetic.initial, encode_initial);
    options.set(arithmetic.base64);
    body.push(direction_byte(arithmetic.direction));
    body.put_u64(arithmetic.delta);
    encode_key(arithmetic.key, body);
}

pub(super) fn decode<'a>(tag: u8, cursor: &mut Cursor<'a>) -> Result<Command<'a>, &'static str> {
    if !(GET..=ARITHMETIC).contains(&tag) {
        return Err("unknown command");
    }
    let mut given = Given::begin(cursor)?;
    match tag {
        GET => Ok(Command::MetaGet(MetaGet {
            touch: given.take(cursor, decode_expiry)?,
            vivify: given.take(cursor, decode_expiry)?,
            recache: given.take(cursor, decode_expiry)?,
            new_cas: given.take(cursor, decode_cas)?,
            base64: given.next(),
            key: decode_key(cursor)?,
        })),
        STORE => Ok(Command::MetaStore(MetaStore {
            cas: given.take(cursor, decode_cas)?,
            new_cas: given.take(cursor, decode_cas)?,
            vivify: given.take(cursor, decode_expiry)?,
            invalidate: given.next(),
            base64: given.next(),
            mode: decode_mode(cursor)?,
            flags: cursor.u32().ok_or(CUT)?,
            expiry: decode_expiry(cursor)?,
            key: decode_key(cursor)?,
            value: decode_value(cursor)?,
        })),
        DELETE => Ok(Command::MetaDelete(MetaDelete {
            cas: given.take(cursor, decode_cas)?,
            new_cas: given.take(cursor, decode_cas)?,
            touch: given.take(cursor, decode_expiry)?,
            mark_stale: given.next(),
            drop_value: given.next(),
            key: decode_key(cursor)?,
        })),
        _ => Ok(Command::MetaArithmetic(MetaArithmetic {
            cas: given.take(cursor, decode_cas)?,
            new_cas: given.take(cursor, decode_cas)?,
            touch: given.take(cursor, decode_expiry)?,
            initial: given.take(cursor, decode_initial)?,
            base64: given.next(),
            direction: decode_direction(cursor)?,
            delta: cursor.u64().ok_or(CUT)?,
            key: decode_key(cursor)?,
        })),
    }
}

/// Writes the fields that are given, and sets their bits in the byte before them.
struct Options<'b> {
    body: &'b mut Vec<u8>,
    at: usize,
    bit: u8,
}

impl<'b> Options<'b> {
    fn begin(tag: u8, body: &'b mut Vec<u8>) -> Self {
        body.extend_from_slice(&[tag, 0]);
        let at = body.len() - 1;
        Self { body, at, bit: 1 }
    }

    fn put<T>(&mut self, field: Option<T>, encode: impl FnOnce(T, &mut Vec<u8>)) {
        self.set(field.is_some());
        if let Some(field) = field {
            encode(field, self.body);
        }
    }

    fn set(&mut self, set: bool) {
        if let Some(options) = self.body.get_mut(self.at).filter(|_| set) {
            *options |= self.bit;
        }
        self.bit <<= 1;
    }
}

/// Which fields are given.
struct Given(u8);

impl Given {
    fn begin(cursor: &mut Cursor<'_>) -> Result<Self, &'static str> {
        let options = cursor.u8().ok_or(CUT)?;
        if options < 1 << OPTION_COUNT { Ok(Self(options)) } else { Err("unknown option") }
    }

    fn next(&mut self) -> bool {
        let set = self.0 & 1 == 1;
        self.0 >>= 1;
        set
    }

    fn take<'a, T>(
        &mut self,
        cursor: &mut Cursor<'a>,
        decode: impl FnOnce(&mut Cursor<'a>) -> Result<T, &'static str>,
    ) -> Result<Option<T>, &'static str> {
        if self.next() { decode(cursor).map(Some) } else { Ok(None) }
    }
}

fn encode_cas(cas: CasUnique, body: &mut Vec<u8>) {
    body.put_u64(cas.0);
}

fn decode_cas(cursor: &mut Cursor<'_>) -> Result<CasUnique, &'static str> {
    cursor.u64().map(CasUnique).ok_or(CUT)
}

pub(super) const FIRST_TAG: u8 = GET;
const GET: u8 = 8;
const STORE: u8 = 9;
const DELETE: u8 = 10;
const ARITHMETIC: u8 = 11;
/// Each of the commands has so many.
const OPTION_COUNT: u32 = 5;
