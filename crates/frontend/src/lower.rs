//! Requests to commands: the one place where the number on the wire becomes an expiry.
//!
//! No clock decides here. A relative exptime stays relative until the leader stamps the entry, and
//! an absolute one is compared with that stamp when the entry is applied, so replicas never
//! disagree about it.
//!
//! # Source
//!
//! `realtime` in memcached's `memcached.c`; `doc/protocol.txt`, "Expiration times".

use engine::{CasUnique, Command, Expiry, Item, UnixMillis};
use protocol::Request;

/// The command that a classic write proposes; `None` for requests that are no write, for
/// [`Request::GetAndTouch`], which proposes one [`get_and_touch`] for each key, and for meta
/// commands, whose keys may have to be decoded first.
///
/// `now` is asked only for a `flush_all` at an absolute time, which becomes a delay.
pub(crate) fn command<'a>(
    request: &Request<'a>,
    now: impl FnOnce() -> UnixMillis,
) -> Option<Command<'a>> {
    let command = match *request {
        Request::Arithmetic { direction, key, delta, initial, cas } => Command::Arithmetic {
            direction: direction_of(direction),
            key,
            delta,
            initial: initial.map(initial_of),
            cas: cas.map(CasUnique),
        },
        Request::Delete { key, cas } => Command::Delete { key, cas: cas.map(CasUnique) },
        Request::FlushAll { exptime } => Command::FlushAll { after_ms: delay(exptime, now) },
        Request::Store { mode, key, flags, exptime, value, cas } => Command::Store {
            mode: mode_of(mode),
            key,
            flags,
            expiry: expiry(exptime),
            value,
            cas: cas.map(CasUnique),
        },
        Request::Touch { key, exptime } => Command::Touch { key, expiry: expiry(exptime) },
        Request::Accepted
        | Request::Authenticate { .. }
        | Request::CacheMemlimit { .. }
        | Request::Dump { .. }
        | Request::Get { .. }
        | Request::GetAndTouch { .. }
        | Request::MetaArithmetic(_)
        | Request::MetaDebug { .. }
        | Request::MetaDelete(_)
        | Request::MetaGet(_)
        | Request::MetaNoop
        | Request::MetaStore(_)
        | Request::Noop
        | Request::Quit
        | Request::RefreshCerts
        | Request::SaslAuth { .. }
        | Request::SaslList
        | Request::SaslStep { .. }
        | Request::Shutdown { .. }
        | Request::Stats { .. }
        | Request::Verbosity { .. }
        | Request::Version
        | Request::Watch { .. }
        | _ => return None,
    };
    Some(command)
}

/// The command as memcached carries it out under `-C`: with no cas unique on any item, all of them
/// are equal, and only whether there is an item decides.
///
/// Also whether it was a compare-and-swap, which is a `replace` now.
pub(crate) fn without_cas(mut command: Command<'_>) -> (Command<'_>, bool) {
    let mut swaps = false;
    if let Command::Store { mode, cas, .. } = &mut command
        && cas.take().is_some()
        && *mode == engine::StoreMode::Set
    {
        *mode = engine::StoreMode::Replace;
        swaps = true;
    }
    (command, swaps)
}

/// The command that `gat` proposes for one of its keys.
pub(crate) fn get_and_touch(key: &[u8], exptime: i64) -> Command<'_> {
    Command::GetAndTouch { key, expiry: expiry(exptime) }
}

/// An `mg`, which is a command where it changes something.
pub(crate) fn meta_get<'a>(get: &protocol::MetaGet<'_>, key: &'a [u8]) -> engine::MetaGet<'a> {
    engine::MetaGet {
        key,
        base64: get.key.is_base64(),
        touch: get.touch.map(expiry),
        vivify: get.vivify.map(expiry),
        recache: get.recache.map(expiry),
        new_cas: get.new_cas.map(CasUnique),
    }
}

/// The command of an `ms`.
pub(crate) fn meta_store<'a>(store: &protocol::MetaStore<'a>, key: &'a [u8]) -> Command<'a> {
    Command::MetaStore(engine::MetaStore {
        mode: mode_of(store.mode),
        key,
        base64: store.key.is_base64(),
        flags: store.flags,
        expiry: expiry(store.exptime),
        value: store.value,
        cas: store.cas.map(CasUnique),
        new_cas: store.new_cas.map(CasUnique),
        invalidate: store.invalidate,
        vivify: store.vivify.map(expiry),
    })
}

/// The command of an `md`.
pub(crate) fn meta_delete<'a>(delete: &protocol::MetaDelete<'_>, key: &'a [u8]) -> Command<'a> {
    Command::MetaDelete(engine::MetaDelete {
        key,
        cas: delete.cas.map(CasUnique),
        new_cas: delete.new_cas.map(CasUnique),
        mark_stale: delete.mark_stale,
        touch: delete.touch.map(expiry),
        drop_value: delete.drop_value,
    })
}

/// The command of an `ma`.
pub(crate) fn meta_arithmetic<'a>(
    arithmetic: &protocol::MetaArithmetic<'_>,
    key: &'a [u8],
) -> Command<'a> {
    Command::MetaArithmetic(engine::MetaArithmetic {
        direction: direction_of(arithmetic.direction),
        key,
        base64: arithmetic.key.is_base64(),
        delta: arithmetic.delta,
        initial: arithmetic.initial.map(initial_of),
        touch: arithmetic.touch.map(expiry),
        cas: arithmetic.cas.map(CasUnique),
        new_cas: arithmetic.new_cas.map(CasUnique),
    })
}

/// Bytes of an item as memcached counts them.
pub(crate) fn total_len(item: &Item) -> u64 {
    protocol::item_len(item.key().len(), item.flags(), item.value().len() as u64)
}

fn direction_of(direction: protocol::Direction) -> engine::Direction {
    match direction {
        protocol::Direction::Decrement => engine::Direction::Decrement,
        protocol::Direction::Increment => engine::Direction::Increment,
    }
}

fn initial_of(initial: protocol::Initial) -> engine::Initial {
    engine::Initial { value: initial.value, expiry: expiry(initial.exptime) }
}

fn mode_of(mode: protocol::StoreMode) -> engine::StoreMode {
    match mode {
        protocol::StoreMode::Add => engine::StoreMode::Add,
        protocol::StoreMode::Append => engine::StoreMode::Append,
        protocol::StoreMode::Prepend => engine::StoreMode::Prepend,
        protocol::StoreMode::Replace => engine::StoreMode::Replace,
        protocol::StoreMode::Set => engine::StoreMode::Set,
    }
}

/// Whether the request asks only if a key is free: an `add` of what is already gone.
///
/// libmemcached asks that way (`add k 0 2678400 0`, 31 days and so an absolute time in 1970), PHP
/// for each new session. Answered like a read, it costs no log entry and leaves nothing behind.
/// An absolute time is taken for gone only where no clock is needed to know it.
pub(crate) fn is_existence_probe(request: &Request<'_>) -> bool {
    let Request::Store { mode: protocol::StoreMode::Add, exptime, cas: None, .. } = *request else {
        return false;
    };
    match expiry(exptime) {
        Expiry::Now => true,
        Expiry::At(deadline) => deadline < LONG_GONE,
        Expiry::AfterMillis(_) | Expiry::Never => false,
    }
}

/// 0 never, negative now, up to 30 days relative, above absolute. Text alone has negative ones: a
/// binary 0xffffffff is a time in 2106, as it is for memcached.
fn expiry(exptime: i64) -> Expiry {
    match u64::try_from(exptime) {
        Err(_negative) => Expiry::Now,
        Ok(0) => Expiry::Never,
        Ok(seconds @ 1..=RELATIVE_SECONDS_MAX) => Expiry::AfterMillis(seconds * 1000),
        Ok(seconds) => Expiry::At(UnixMillis(seconds * 1000)),
    }
}

/// Milliseconds from now until a flush; one that is due already is due now.
fn delay(exptime: i64, now: impl FnOnce() -> UnixMillis) -> u64 {
    match expiry(exptime) {
        Expiry::Never | Expiry::Now => 0,
        Expiry::AfterMillis(after_ms) => after_ms,
        Expiry::At(at) => at.0.saturating_sub(now().0),
    }
}

/// The longest relative exptime, 30 days; larger numbers are seconds since 1970.
const RELATIVE_SECONDS_MAX: u64 = 60 * 60 * 24 * 30;
/// 2025-01-01: no cluster's clock reads earlier than that, as there was no such cluster.
const LONG_GONE: UnixMillis = UnixMillis(1_735_689_600_000);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exptimes() {
        let cases = [
            ("never", 0, Expiry::Never),
            ("one second", 1, Expiry::AfterMillis(1_000)),
            ("30 days are relative", 2_592_000, Expiry::AfterMillis(2_592_000_000)),
            ("a second more is absolute", 2_592_001, Expiry::At(UnixMillis(2_592_001_000))),
            ("largest", 2_147_483_647, Expiry::At(UnixMillis(2_147_483_647_000))),
            ("negative", -1, Expiry::Now),
            ("most negative", i64::from(i32::MIN), Expiry::Now),
            ("binary -1", 0xffff_ffff, Expiry::At(UnixMillis(4_294_967_295_000))),
        ];
        for (name, exptime, want) in cases {
            assert_eq!(expiry(exptime), want, "case: {name}");
        }
    }

    #[test]
    fn flush_delays() {
        let now = || UnixMillis(2_000_000_000_000);
        let cases = [
            ("now", 0, 0),
            ("negative", -5, 0),
            ("relative", 10, 10_000),
            ("absolute", 2_000_000_060, 60_000),
            ("absolute and past", 1_900_000_000, 0),
        ];
        for (name, exptime, after_ms) in cases {
            let command = command(&Request::FlushAll { exptime }, now);
            assert_eq!(command, Some(Command::FlushAll { after_ms }), "case: {name}");
        }
    }

    #[test]
    fn existence_probes() {
        use protocol::StoreMode::{Add, Set};
        let cases = [
            ("PHP's", Add, 2_678_400, None, true),
            ("negative", Add, -1, None, true),
            ("a lock", Add, 5, None, false),
            ("no exptime", Add, 0, None, false),
            ("absolute, to come", Add, 2_000_000_000, None, false),
            ("set", Set, -1, None, false),
            ("with a cas unique", Add, -1, Some(1), false),
        ];
        for (name, mode, exptime, cas, want) in cases {
            let request = Request::Store { mode, key: b"k", flags: 0, exptime, value: b"", cas };
            assert_eq!(is_existence_probe(&request), want, "case: {name}");
        }
    }

    #[test]
    fn reads_propose_nothing() {
        for request in [Request::Noop, Request::Quit, Request::Version] {
            assert_eq!(command(&request, || UnixMillis(0)), None);
        }
    }
}
