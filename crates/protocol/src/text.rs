//! The classic text protocol: lines, and a data block behind some of them.
//!
//! The rules are memcached 1.6.18's, including where it is lenient: leading spaces, a bare line
//! feed, numbers as `strtol` reads them, and tokens too many where it does not count them.
//! Deliberately different:
//!
//! - A NUL byte is a byte like any other (as in 1.6.45); it does not end the line, so that a key
//!   is never mistaken for its own beginning.
//! - A `<bytes>` beyond 32 bits is refused; it does not wrap to a length that nobody meant.
//! - `gat` and `gats` lines may be as long as `get` lines.

mod admin;
mod arguments;
pub(crate) mod auth;
mod meta;
mod number;

use memchr::memchr;

use self::arguments::Arguments;
use self::number::{parse_i32, parse_i64, parse_u32, parse_u64};
use crate::parser::Step;
use crate::words::Words;
use crate::{
    Compat, Direction, GET_LINE_LEN_MAX, KEY_LEN_MAX, Keys, LINE_LEN_MAX, Limits, MetaKey,
    ProtocolError, Refusal, ReplyTo, Request, StoreMode, TextReply, item_len,
};

/// Parses one request. The first `scanned` bytes of `input` are known to hold no line end.
pub(crate) fn parse<'a>(input: &'a [u8], scanned: usize, limits: &Limits) -> Step<'a> {
    let fresh = input.get(scanned..).unwrap_or_default();
    let Some(line_end) = memchr(b'\n', fresh).map(|at| scanned + at) else {
        let fits = input.len() <= LINE_LEN_MAX
            || (input.len() <= GET_LINE_LEN_MAX && starts_like_get(input));
        return if fits {
            Step::More { needed: input.len() + 1, scanned: input.len() }
        } else {
            Step::hang_up(input.len())
        };
    };
    if GET_LINE_LEN_MAX < line_end {
        return Step::hang_up(input.len());
    }
    let (line, block) = input.split_at(line_end);
    let block = block.get(1..).unwrap_or_default();
    Command { line: without_cr(line), consumed: line_end + 1, block, limits }.parse()
}

/// A line of CR alone stays as it is in memcached; it is an unknown command either way.
fn without_cr(line: &[u8]) -> &[u8] {
    match line {
        [line @ .., b'\r'] if !line.is_empty() => line,
        _ => line,
    }
}

/// Whether `input` begins like the only lines that may be long.
fn starts_like_get(input: &[u8]) -> bool {
    let spaces = input.iter().take_while(|byte| **byte == b' ').count();
    let command = input.get(spaces..).unwrap_or_default();
    let prefixes: [&[u8]; 4] = [b"get ", b"gets ", b"gat ", b"gats "];
    spaces <= LEADING_SPACES_MAX && prefixes.iter().any(|prefix| command.starts_with(prefix))
}

/// One command line, and what follows it.
struct Command<'a, 'l> {
    line: &'a [u8],
    /// Bytes of the line with its end.
    consumed: usize,
    /// What has arrived behind the line.
    block: &'a [u8],
    limits: &'l Limits,
}

impl<'a> Command<'a, '_> {
    fn parse(&self) -> Step<'a> {
        let mut words = Words::new(self.line);
        let name = words.next().unwrap_or_default();
        // What most of the traffic consists of comes first.
        match name {
            b"get" | b"bget" => return self.get(words, false),
            b"gets" => return self.get(words, true),
            [b'm', letter] => return self.meta(*letter, words),
            _ => {}
        }
        let arguments = Arguments::new(&words);
        match name {
            b"set" => self.store(StoreMode::Set, &arguments),
            b"add" => self.store(StoreMode::Add, &arguments),
            b"append" => self.store(StoreMode::Append, &arguments),
            b"cache_memlimit" => self.cache_memlimit(&arguments),
            b"cas" => self.compare_and_swap(&arguments),
            b"decr" => self.arithmetic(Direction::Decrement, &arguments),
            b"delete" => self.delete(&arguments),
            b"flush_all" => self.flush_all(&arguments),
            b"gat" => self.get_and_touch(words, false),
            b"gats" => self.get_and_touch(words, true),
            b"incr" => self.arithmetic(Direction::Increment, &arguments),
            b"lru" if 2 <= arguments.count() => self.lru(&arguments),
            b"lru_crawler" => self.lru_crawler(&arguments),
            b"prepend" => self.store(StoreMode::Prepend, &arguments),
            // `noreply`, because the answer to a text `quit` is the end of the connection.
            b"quit" => self.done(Request::Quit, NOREPLY),
            b"refresh_certs" => self.done(Request::RefreshCerts, arguments.reply()),
            b"replace" => self.store(StoreMode::Replace, &arguments),
            b"shutdown" => self.shutdown(&arguments),
            b"slabs" => self.slabs(&arguments),
            b"stats" => self.stats(&arguments),
            b"touch" => self.touch(&arguments),
            b"verbosity" => self.verbosity(&arguments),
            b"version" => self.done(Request::Version, REPLY),
            b"watch" => self.watch(words),
            b"" | b"\r" => self.empty_line(),
            _ => self.unknown(name),
        }
    }

    fn get(&self, words: Words<'a>, with_cas: bool) -> Step<'a> {
        let keys = Keys::words(words);
        // One key too long spoils the line: a reply cannot be taken back once it has begun.
        let mut longest = None;
        for key in keys.clone() {
            longest = longest.max(Some(key.len()));
        }
        match longest {
            None => self.refused(ProtocolError::UnknownCommand, REPLY),
            Some(KEY_TOO_LONG..) => self.refused(ProtocolError::BadFormat, REPLY),
            Some(_) => self.done(Request::Get { keys }, TextReply { noreply: false, with_cas }),
        }
    }

    fn get_and_touch(&self, mut words: Words<'a>, with_cas: bool) -> Step<'a> {
        let Some(exptime) = words.next() else {
            return self.refused(ProtocolError::UnknownCommand, REPLY);
        };
        let Some(exptime) = parse_i32(exptime) else {
            return self.refused(ProtocolError::BadExptime, REPLY);
        };
        let keys = Keys::words(words);
        if keys.clone().any(|key| KEY_LEN_MAX < key.len()) {
            return self.refused(ProtocolError::BadFormat, REPLY);
        }
        let request = Request::GetAndTouch { exptime: exptime.into(), keys };
        self.done(request, TextReply { noreply: false, with_cas })
    }

    fn store(&self, mode: StoreMode, arguments: &Arguments<'a>) -> Step<'a> {
        match arguments.count() {
            4 | 5 => self.store_block(mode, false, arguments),
            _ => self.refused(ProtocolError::UnknownCommand, REPLY),
        }
    }

    fn compare_and_swap(&self, arguments: &Arguments<'a>) -> Step<'a> {
        match arguments.count() {
            5 | 6 => self.store_block(StoreMode::Set, true, arguments),
            4 if self.limits.compat == Compat::V1_6_45 => self.store_without_cas(arguments),
            _ => self.refused(ProtocolError::UnknownCommand, REPLY),
        }
    }

    fn store_block(&self, mode: StoreMode, with_cas: bool, arguments: &Arguments<'a>) -> Step<'a> {
        let reply = arguments.reply();
        let key = arguments.get(0);
        let numbers = (
            parse_u32(arguments.get(1)),
            parse_i32(arguments.get(2)),
            parse_i64(arguments.get(3)).and_then(|len| usize::try_from(len).ok()),
            if with_cas { parse_u64(arguments.get(4)).map(Some) } else { Some(None) },
        );
        // Nothing but the line is dropped: where its length is not to be trusted, the block is
        // not either, and its lines are commands. 1.6.18 does so for every one of these errors.
        let (Some(flags), Some(exptime), Some(value_len @ ..=VALUE_LEN_MAX), Some(cas)) = numbers
        else {
            return self.refused(ProtocolError::BadFormat, reply);
        };
        if KEY_LEN_MAX < key.len() {
            return self.refused(ProtocolError::BadFormat, reply);
        }

        let consumed = self.consumed.saturating_add(value_len).saturating_add(2);
        if self.limits.item_len_max < item_len(key.len(), flags, value_len as u64) {
            let delete = (mode == StoreMode::Set && !with_cas).then(|| MetaKey::plain(key));
            let (error, reply_to) = (ProtocolError::TooLarge, ReplyTo::Text(reply));
            return Step::Refused(Refusal { error, reply_to, consumed, close: false, delete });
        }
        let exptime = exptime.into();
        self.with_block(value_len, ReplyTo::Text(reply), |value| Request::Store {
            mode,
            key,
            flags,
            exptime,
            value,
            cas,
        })
    }

    /// A `cas` that lacks its cas unique: its block is dropped, where its length can be believed.
    fn store_without_cas(&self, arguments: &Arguments<'a>) -> Step<'a> {
        let value_len = parse_i64(arguments.get(3)).and_then(|len| usize::try_from(len).ok());
        let block_len = match value_len {
            Some(value_len @ ..=VALUE_LEN_MAX) => value_len + 2,
            _ => 0,
        };
        let consumed = self.consumed.saturating_add(block_len);
        Step::refused(ProtocolError::BadFormat, ReplyTo::Text(REPLY), consumed)
    }

    /// The request around the value that follows the line.
    fn with_block(
        &self,
        value_len: usize,
        reply_to: ReplyTo,
        request: impl FnOnce(&'a [u8]) -> Request<'a>,
    ) -> Step<'a> {
        let consumed = self.consumed.saturating_add(value_len).saturating_add(2);
        // Judged only when all of it is here, as the error drops exactly as much as the success.
        let Some((value, [cr, lf, ..])) = self.block.split_at_checked(value_len) else {
            return Step::More { needed: consumed, scanned: 0 };
        };
        if [*cr, *lf] != *b"\r\n" {
            return Step::refused(ProtocolError::BadDataChunk, reply_to, consumed);
        }
        Step::request(request(value), reply_to, consumed)
    }

    fn arithmetic(&self, direction: Direction, arguments: &Arguments<'a>) -> Step<'a> {
        let (2 | 3) = arguments.count() else {
            return self.refused(ProtocolError::UnknownCommand, REPLY);
        };
        let (key, reply) = (arguments.get(0), arguments.reply());
        if KEY_LEN_MAX < key.len() {
            return self.refused(ProtocolError::BadFormat, reply);
        }
        let Some(delta) = parse_u64(arguments.get(1)) else {
            return self.refused(ProtocolError::BadDelta, reply);
        };
        let request = Request::Arithmetic { direction, key, delta, initial: None, cas: None };
        self.done(request, reply)
    }

    fn touch(&self, arguments: &Arguments<'a>) -> Step<'a> {
        let (2 | 3) = arguments.count() else {
            return self.refused(ProtocolError::UnknownCommand, REPLY);
        };
        let (key, reply) = (arguments.get(0), arguments.reply());
        if KEY_LEN_MAX < key.len() {
            return self.refused(ProtocolError::BadFormat, reply);
        }
        let Some(exptime) = parse_i32(arguments.get(1)) else {
            return self.refused(ProtocolError::BadExptime, reply);
        };
        self.done(Request::Touch { key, exptime: exptime.into() }, reply)
    }

    fn delete(&self, arguments: &Arguments<'a>) -> Step<'a> {
        let key = arguments.get(0);
        // A word behind the key was once a time to hold it; 0 is still taken.
        let hold_is_zero = arguments.get(1) == b"0";
        let noreply = arguments.reply().noreply;
        let reply = match (arguments.count(), hold_is_zero, noreply) {
            // The only word is the key, even if it is "noreply".
            (1, _, _) => REPLY,
            (2, true, _) | (2, _, true) | (3, true, true) => arguments.reply(),
            (2 | 3, _, _) => return self.refused(ProtocolError::BadDelete, arguments.reply()),
            _ => return self.refused(ProtocolError::UnknownCommand, REPLY),
        };
        if KEY_LEN_MAX < key.len() {
            return self.refused(ProtocolError::BadFormat, reply);
        }
        self.done(Request::Delete { key, cas: None }, reply)
    }

    fn flush_all(&self, arguments: &Arguments<'a>) -> Step<'a> {
        let reply = arguments.reply();
        let exptime = match (arguments.count(), reply.noreply) {
            (0, _) | (1, true) => Some(0),
            (1 | 2, _) => parse_i32(arguments.get(0)),
            _ => return self.refused(ProtocolError::UnknownCommand, REPLY),
        };
        match exptime {
            None => self.refused(ProtocolError::BadExptime, reply),
            Some(exptime) => self.done(Request::FlushAll { exptime: exptime.into() }, reply),
        }
    }

    /// A browser, or somebody who makes it talk to us, is hung up on; anybody else is told.
    fn unknown(&self, name: &[u8]) -> Step<'a> {
        let ours = match name {
            [] | [_] => true,
            [b'a' | b'c' | b'd' | b'g' | b'i' | b's' | b't', ..] | [b'm', _] => true,
            [_, ..] => false,
        };
        // memcached looks at the last of the tokens it counts.
        let last = Words::new(self.line).take(TOKENS_MAX).last().unwrap_or_default();
        if !ours && last.starts_with(b"HTTP/") {
            return Step::hang_up(self.consumed);
        }
        self.refused(ProtocolError::UnknownCommand, REPLY)
    }

    fn done(&self, request: Request<'a>, reply: TextReply) -> Step<'a> {
        Step::request(request, ReplyTo::Text(reply), self.consumed)
    }

    fn refused(&self, error: ProtocolError, reply: TextReply) -> Step<'a> {
        Step::refused(error, ReplyTo::Text(reply), self.consumed)
    }
}

const REPLY: TextReply = TextReply { noreply: false, with_cas: false };
const NOREPLY: TextReply = TextReply { noreply: true, with_cas: false };

const KEY_TOO_LONG: usize = KEY_LEN_MAX + 1;
/// The largest length that still fits memcached's int with the block's CRLF.
const VALUE_LEN_MAX: usize = i32::MAX as usize - 2;
const LEADING_SPACES_MAX: usize = 100;
/// Tokens of a line that memcached counts.
const TOKENS_MAX: usize = 23;

#[cfg(test)]
mod tests;
