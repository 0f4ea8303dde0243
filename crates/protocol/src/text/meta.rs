//! The meta commands.
//!
//! The rules are memcached 1.6.45's, whose replies 1.6.18's clients understand too. Unlike
//! 1.6.18's: `md` and `ms` name their errors as `mg` does; the argument of `M` is its first byte;
//! an `F` beyond 32 bits is refused; a line without a key is a bad one and not an unknown one;
//! and `ms` drops the block of a line with a key too long.
//!
//! Where `ms` goes on after a refusal: behind the block, whatever is wrong with the line, if its
//! length could be read; else behind the line.
//!
//! Deliberately different from both: an opaque too long is refused before anything is done (`mg`
//! and `ma` notice while they write the reply), and `me` takes a `b` as 1.6.18 does (1.6.45
//! does so only if another word follows it).
//!
//! Source: memcached 1.6.18, `proto_text.c`, and its successor `proto_parser.c`.

mod flags;

use self::flags::Flags;
use super::number::parse_i64;
use super::{Command, REPLY, VALUE_LEN_MAX};
use crate::parser::Step;
use crate::reply::MetaCommand;
use crate::words::Words;
use crate::{
    Direction, Initial, KEY_LEN_MAX, MetaArithmetic, MetaDelete, MetaGet, MetaKey, MetaReply,
    MetaStore, ProtocolError, Refusal, ReplyTo, Request, StoreMode, item_len,
};

impl<'a> Command<'a, '_> {
    /// Parses `m<letter>`.
    pub(super) fn meta(&self, letter: u8, words: Words<'a>) -> Step<'a> {
        let answered = match letter {
            b'a' => arithmetic(words),
            b'd' => delete(words),
            b'e' => debug(words),
            b'g' => get(words),
            b'n' => Ok((Request::MetaNoop, MetaReply::new(MetaCommand::Noop))),
            b's' => return self.meta_store(words),
            _ => return self.unknown(&[b'm', letter]),
        };
        match answered {
            Err(error) => self.refused(error, REPLY),
            Ok((request, reply)) => Step::request(request, ReplyTo::Meta(reply), self.consumed),
        }
    }

    fn meta_store(&self, mut words: Words<'a>) -> Step<'a> {
        let (key, value_len) = (words.next(), words.next());
        let value_len = value_len.and_then(parse_i64).and_then(|len| usize::try_from(len).ok());
        let (Some(key), Some(value_len @ ..=VALUE_LEN_MAX)) = (key, value_len) else {
            return self.refused(ProtocolError::BadFormat, REPLY);
        };
        let consumed = self.consumed.saturating_add(value_len).saturating_add(2);
        let (store, reply) = match store(key, value_len, words) {
            Err(error) => return Step::refused(error, ReplyTo::Text(REPLY), consumed),
            Ok(line) => line,
        };
        let key_len = store.key.bytes(&mut [0; KEY_LEN_MAX]).len();
        if self.limits.item_len_max < item_len(key_len, store.flags, value_len as u64) {
            // In every mode, where the classic commands do so for `set` alone.
            let delete = Some(store.key);
            let (error, reply_to) = (ProtocolError::TooLarge, ReplyTo::Meta(reply));
            return Step::Refused(Refusal { error, reply_to, consumed, close: false, delete });
        }
        self.with_block(value_len, ReplyTo::Meta(reply), |value| {
            Request::MetaStore(MetaStore { value, ..store })
        })
    }
}

/// A request and how to answer it, from what stands behind the command's name.
type Answered<'a> = Result<(Request<'a>, MetaReply), ProtocolError>;

fn get<'a>(words: Words<'a>) -> Answered<'a> {
    let flags = key_and_flags(words)?;
    let request = MetaGet {
        key: flags.key,
        touch: flags.touch,
        vivify: flags.vivify,
        recache: flags.recache,
        new_cas: flags.new_cas,
        unless_cas: flags.cas,
        no_bump: flags.no_bump,
    };
    Ok((Request::MetaGet(request), reply(MetaCommand::Get, &flags)?))
}

fn delete<'a>(words: Words<'a>) -> Answered<'a> {
    let flags = key_and_flags(words)?;
    let stays = flags.invalidate || flags.drop_value;
    let request = MetaDelete {
        key: flags.key,
        cas: flags.cas,
        new_cas: flags.new_cas,
        mark_stale: flags.invalidate,
        touch: flags.touch.filter(|_| stays),
        drop_value: flags.drop_value,
    };
    Ok((Request::MetaDelete(request), reply(MetaCommand::Delete, &flags)?))
}

fn arithmetic<'a>(mut words: Words<'a>) -> Answered<'a> {
    let key = words.next().ok_or(ProtocolError::BadFormat)?;
    check(key, &words, TOKENS_MAX - 2)?;
    // One text for all that can be wrong with its flags.
    let flags = Flags::parse(key, words).map_err(|_| ProtocolError::BadMetaArithmeticFlag)?;
    let direction = match flags.mode {
        None | Some(Some(b'I' | b'+')) => Direction::Increment,
        Some(Some(b'D' | b'-')) => Direction::Decrement,
        Some(_) => return Err(ProtocolError::BadMetaArithmeticMode),
    };
    let value = flags.initial.unwrap_or(0);
    let request = MetaArithmetic {
        direction,
        key: flags.key,
        delta: flags.delta.unwrap_or(1),
        initial: flags.vivify.map(|exptime| Initial { value, exptime }),
        touch: flags.touch,
        cas: flags.cas.filter(|cas| *cas != 0),
        new_cas: flags.new_cas,
    };
    Ok((Request::MetaArithmetic(request), reply(MetaCommand::Arithmetic, &flags)?))
}

/// `me` knows no flags but a `b` right behind the key, and minds no other words.
fn debug<'a>(mut words: Words<'a>) -> Answered<'a> {
    let token = words.next().filter(|key| key.len() <= KEY_LEN_MAX);
    let token = token.ok_or(ProtocolError::BadFormat)?;
    let key = MetaKey::plain(token);
    let key = match words.next() {
        Some(b"b") => MetaKey::from_base64(key).ok_or(ProtocolError::BadFormat)?,
        _ => key,
    };
    Ok((Request::MetaDebug { key }, MetaReply::new(MetaCommand::Debug)))
}

/// An `ms` whose value is still to come.
fn store<'a>(
    key: &'a [u8],
    value_len: usize,
    words: Words<'a>,
) -> Result<(MetaStore<'a>, MetaReply), ProtocolError> {
    check(key, &words, TOKENS_MAX - 3)?;
    let flags = Flags::parse(key, words)?;
    let (mode, cas) = match (flags.mode, flags.cas) {
        (None | Some(Some(b'S')), cas) => (StoreMode::Set, cas),
        (Some(Some(b'A')), cas) => (StoreMode::Append, cas.filter(|cas| *cas != 0)),
        (Some(Some(b'E')), _) => (StoreMode::Add, None),
        (Some(Some(b'P')), cas) => (StoreMode::Prepend, cas.filter(|cas| *cas != 0)),
        (Some(Some(b'R')), None) => (StoreMode::Replace, None),
        (Some(Some(b'R')), Some(cas)) => (StoreMode::Set, Some(cas)),
        (Some(_), _) => return Err(ProtocolError::BadMetaStoreMode),
    };
    let extends = matches!(mode, StoreMode::Append | StoreMode::Prepend);
    let request = MetaStore {
        mode,
        key: flags.key,
        flags: flags.client_flags.unwrap_or(0),
        exptime: flags.touch.unwrap_or(0),
        value: &[],
        cas,
        new_cas: flags.new_cas,
        invalidate: flags.invalidate && mode == StoreMode::Set && cas.is_some(),
        vivify: flags.vivify.filter(|_| extends),
    };
    Ok((request, reply(MetaCommand::Store, &flags)?.with_value_len(value_len)))
}

/// The key of any command but `ms`, and its flags.
fn key_and_flags<'a>(mut words: Words<'a>) -> Result<Flags<'a>, ProtocolError> {
    let key = words.next().ok_or(ProtocolError::BadFormat)?;
    check(key, &words, TOKENS_MAX - 2)?;
    Flags::parse(key, words)
}

/// What memcached looks at before the flags: the key's length, and how many they are.
fn check(key: &[u8], flags: &Words<'_>, count_max: usize) -> Result<(), ProtocolError> {
    if KEY_LEN_MAX < key.len() {
        return Err(ProtocolError::BadFormat);
    }
    if count_max < flags.clone().count() {
        return Err(ProtocolError::TooManyMetaFlags);
    }
    Ok(())
}

fn reply(command: MetaCommand, flags: &Flags<'_>) -> Result<MetaReply, ProtocolError> {
    MetaReply::new(command)
        .with_flags(flags.returns, flags.quiet, flags.value, flags.ttl_before)
        .with_base64_key(flags.key.is_base64())
        .with_opaque(flags.opaque)
        .ok_or(ProtocolError::OpaqueTooLong)
}

/// Words of a line that memcached counts before it looks at the flags.
const TOKENS_MAX: usize = 20;

#[cfg(test)]
mod tests;
