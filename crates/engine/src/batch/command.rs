//! One command within a batch; the table is in the parent's doc.

use super::{VERSION_2, meta};
use crate::codec::{Cursor, Put};
use crate::item::KEY_LEN_MAX;
use crate::{CasUnique, Command, Direction, Expiry, Initial, Settings, StoreMode, UnixMillis};

/// Whether version 1 cannot say it.
pub(super) fn is_of_version_2(command: &Command<'_>) -> bool {
    matches!(
        command,
        Command::LimitMemory { .. }
            | Command::MetaArithmetic(_)
            | Command::MetaDelete(_)
            | Command::MetaGet(_)
            | Command::MetaStore(_)
    )
}

pub(super) fn encode(command: &Command<'_>, body: &mut Vec<u8>) {
    match *command {
        Command::MetaArithmetic(ref arithmetic) => meta::encode_arithmetic(arithmetic, body),
        Command::MetaDelete(ref delete) => meta::encode_delete(delete, body),
        Command::MetaGet(ref get) => meta::encode_get(get, body),
        Command::MetaStore(ref store) => meta::encode_store(store, body),
        Command::Tick => body.push(TICK),
        Command::Store { mode, key, flags, expiry, value, cas } => {
            body.extend_from_slice(&[STORE, mode_byte(mode)]);
            body.put_u32(flags);
            encode_expiry(expiry, body);
            encode_cas(cas, body);
            encode_key(key, body);
            encode_value(value, body);
        }
        Command::Delete { key, cas } => {
            body.push(DELETE);
            encode_cas(cas, body);
            encode_key(key, body);
        }
        Command::Arithmetic { direction, key, delta, initial, cas } => {
            body.extend_from_slice(&[ARITHMETIC, direction_byte(direction)]);
            body.put_u64(delta);
            match initial {
                None => body.push(0),
                Some(initial) => {
                    body.push(1);
                    encode_initial(initial, body);
                }
            }
            encode_cas(cas, body);
            encode_key(key, body);
        }
        Command::Touch { key, expiry } => {
            body.push(TOUCH);
            encode_expiry(expiry, body);
            encode_key(key, body);
        }
        Command::GetAndTouch { key, expiry } => {
            body.push(GET_AND_TOUCH);
            encode_expiry(expiry, body);
            encode_key(key, body);
        }
        Command::FlushAll { after_ms } => {
            body.push(FLUSH_ALL);
            body.put_u64(after_ms);
        }
        Command::Configure(Settings { memory_limit, evict, item_len_max }) => {
            body.push(CONFIGURE);
            body.put_u64(memory_limit);
            body.push(u8::from(evict));
            body.put_u64(item_len_max);
        }
        Command::LimitMemory { memory_limit } => {
            body.push(LIMIT_MEMORY);
            body.put_u64(memory_limit);
        }
    }
}

pub(super) fn decode<'a>(
    cursor: &mut Cursor<'a>,
    version: u8,
) -> Result<Command<'a>, &'static str> {
    match cursor.u8().ok_or(CUT)? {
        LIMIT_MEMORY if VERSION_2 <= version => {
            Ok(Command::LimitMemory { memory_limit: cursor.u64().ok_or(CUT)? })
        }
        tag if VERSION_2 <= version && meta::FIRST_TAG <= tag => meta::decode(tag, cursor),
        TICK => Ok(Command::Tick),
        STORE => decode_store(cursor),
        DELETE => Ok(Command::Delete { cas: decode_cas(cursor)?, key: decode_key(cursor)? }),
        ARITHMETIC => decode_arithmetic(cursor),
        TOUCH => Ok(Command::Touch { expiry: decode_expiry(cursor)?, key: decode_key(cursor)? }),
        GET_AND_TOUCH => {
            Ok(Command::GetAndTouch { expiry: decode_expiry(cursor)?, key: decode_key(cursor)? })
        }
        FLUSH_ALL => Ok(Command::FlushAll { after_ms: cursor.u64().ok_or(CUT)? }),
        CONFIGURE => Ok(Command::Configure(Settings {
            memory_limit: cursor.u64().ok_or(CUT)?,
            evict: decode_bool(cursor)?,
            item_len_max: cursor.u64().ok_or(CUT)?,
        })),
        _ => Err("unknown command"),
    }
}

fn decode_store<'a>(cursor: &mut Cursor<'a>) -> Result<Command<'a>, &'static str> {
    let mode = decode_mode(cursor)?;
    let flags = cursor.u32().ok_or(CUT)?;
    let expiry = decode_expiry(cursor)?;
    let cas = decode_cas(cursor)?;
    let key = decode_key(cursor)?;
    Ok(Command::Store { mode, key, flags, expiry, value: decode_value(cursor)?, cas })
}

fn decode_arithmetic<'a>(cursor: &mut Cursor<'a>) -> Result<Command<'a>, &'static str> {
    let direction = decode_direction(cursor)?;
    let delta = cursor.u64().ok_or(CUT)?;
    let initial = if decode_bool(cursor)? { Some(decode_initial(cursor)?) } else { None };
    let cas = decode_cas(cursor)?;
    Ok(Command::Arithmetic { direction, key: decode_key(cursor)?, delta, initial, cas })
}

pub(super) fn encode_initial(initial: Initial, body: &mut Vec<u8>) {
    body.put_u64(initial.value);
    encode_expiry(initial.expiry, body);
}

pub(super) fn decode_initial(cursor: &mut Cursor<'_>) -> Result<Initial, &'static str> {
    Ok(Initial { value: cursor.u64().ok_or(CUT)?, expiry: decode_expiry(cursor)? })
}

pub(super) fn encode_value(value: &[u8], body: &mut Vec<u8>) {
    let value_len = u32::try_from(value.len());
    assert!(value_len.is_ok(), "a value of {} bytes", value.len());
    body.put_u32(value_len.unwrap_or(u32::MAX));
    body.extend_from_slice(value);
}

pub(super) fn decode_value<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], &'static str> {
    let value_len = cursor.u32().ok_or(CUT)?;
    cursor.bytes(value_len as usize).ok_or(CUT)
}

pub(super) fn decode_mode(cursor: &mut Cursor<'_>) -> Result<StoreMode, &'static str> {
    Ok(match cursor.u8().ok_or(CUT)? {
        0 => StoreMode::Set,
        1 => StoreMode::Add,
        2 => StoreMode::Replace,
        3 => StoreMode::Append,
        4 => StoreMode::Prepend,
        _ => return Err("unknown store mode"),
    })
}

pub(super) fn decode_direction(cursor: &mut Cursor<'_>) -> Result<Direction, &'static str> {
    match cursor.u8().ok_or(CUT)? {
        0 => Ok(Direction::Increment),
        1 => Ok(Direction::Decrement),
        _ => Err("unknown direction"),
    }
}

pub(super) fn mode_byte(mode: StoreMode) -> u8 {
    match mode {
        StoreMode::Set => 0,
        StoreMode::Add => 1,
        StoreMode::Replace => 2,
        StoreMode::Append => 3,
        StoreMode::Prepend => 4,
    }
}

pub(super) fn direction_byte(direction: Direction) -> u8 {
    match direction {
        Direction::Increment => 0,
        Direction::Decrement => 1,
    }
}

pub(super) fn encode_expiry(expiry: Expiry, body: &mut Vec<u8>) {
    let (tag, number) = match expiry {
        Expiry::Never => return body.push(0),
        Expiry::Now => return body.push(1),
        Expiry::AfterMillis(after) => (2, after),
        Expiry::At(UnixMillis(at)) => (3, at),
    };
    body.push(tag);
    body.put_u64(number);
}

pub(super) fn decode_expiry(cursor: &mut Cursor<'_>) -> Result<Expiry, &'static str> {
    match cursor.u8().ok_or(CUT)? {
        0 => Ok(Expiry::Never),
        1 => Ok(Expiry::Now),
        2 => Ok(Expiry::AfterMillis(cursor.u64().ok_or(CUT)?)),
        3 => Ok(Expiry::At(UnixMillis(cursor.u64().ok_or(CUT)?))),
        _ => Err("unknown expiry"),
    }
}

fn encode_cas(cas: Option<CasUnique>, body: &mut Vec<u8>) {
    body.push(u8::from(cas.is_some()));
    if let Some(CasUnique(cas)) = cas {
        body.put_u64(cas);
    }
}

fn decode_cas(cursor: &mut Cursor<'_>) -> Result<Option<CasUnique>, &'static str> {
    if decode_bool(cursor)? { Ok(Some(CasUnique(cursor.u64().ok_or(CUT)?))) } else { Ok(None) }
}

pub(super) fn encode_key(key: &[u8], body: &mut Vec<u8>) {
    assert!((1..=KEY_LEN_MAX).contains(&key.len()), "a key of {} bytes", key.len());
    body.push(u8::try_from(key.len()).unwrap_or(u8::MAX));
    body.extend_from_slice(key);
}

pub(super) fn decode_key<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], &'static str> {
    let key_len = usize::from(cursor.u8().ok_or(CUT)?);
    if !(1..=KEY_LEN_MAX).contains(&key_len) {
        return Err("length of key out of range");
    }
    cursor.bytes(key_len).ok_or(CUT)
}

fn decode_bool(cursor: &mut Cursor<'_>) -> Result<bool, &'static str> {
    match cursor.u8().ok_or(CUT)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err("neither 0 nor 1"),
    }
}

pub(super) const CUT: &str = "command cut short";

const TICK: u8 = 0;
const STORE: u8 = 1;
const DELETE: u8 = 2;
const ARITHMETIC: u8 = 3;
const TOUCH: u8 = 4;
const GET_AND_TOUCH: u8 = 5;
const FLUSH_ALL: u8 = 6;
const CONFIGURE: u8 = 7;
const LIMIT_MEMORY: u8 = 12;
