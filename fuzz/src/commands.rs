//! Commands and expiries out of an input.

use engine::{
    CasUnique, Command, Direction, Expiry, Initial, MetaArithmetic, MetaDelete, MetaGet, MetaStore,
    Settings, StoreMode, UnixMillis,
};

use crate::input::Input;

/// So few that they meet.
pub const KEYS: [&[u8]; 7] = [b"a", b"b", b"c", b"d", b"e", b"f", &[b'k'; 250]];

/// Any command; `index` is that of the entry it will be in.
pub fn command<'a>(input: &mut Input<'a>, index: u64) -> Command<'a> {
    let key = input.pick(&KEYS);
    match input.below(26) {
        0..=7 => Command::Store {
            mode: input.pick(&MODES),
            key,
            flags: input.pick(&[0, 7, u32::MAX]),
            expiry: expiry(input),
            value: value(input),
            cas: cas(input, index),
        },
        8 | 9 => Command::Delete { key, cas: cas(input, index) },
        10..=12 => Command::Arithmetic {
            direction: input.pick(&[Direction::Increment, Direction::Decrement]),
            key,
            delta: input.pick(&[0, 1, 9, 100, u64::MAX]),
            initial: initial(input),
            cas: cas(input, index),
        },
        13 | 14 => Command::Touch { key, expiry: expiry(input) },
        15 | 16 => Command::GetAndTouch { key, expiry: expiry(input) },
        17 => Command::FlushAll { after_ms: u64::from(input.byte() % 4) * 70 },
        18 if input.flag() => Command::LimitMemory { memory_limit: u64::from(input.u16() % 4096) },
        18 => Command::Configure(Settings {
            memory_limit: u64::from(input.u16() % 4096),
            evict: input.flag(),
            item_len_max: input.pick(&[100, 370, 1 << 20]),
        }),
        19 | 20 => Command::MetaStore(MetaStore {
            mode: input.pick(&MODES),
            key,
            base64: input.flag(),
            flags: input.pick(&[0, 7, u32::MAX]),
            expiry: expiry(input),
            value: value(input),
            cas: cas(input, index),
            new_cas: cas(input, index),
            invalidate: input.flag(),
            vivify: maybe_expiry(input),
        }),
        21 | 22 => Command::MetaGet(MetaGet {
            key,
            base64: input.flag(),
            touch: maybe_expiry(input),
            vivify: maybe_expiry(input),
            recache: maybe_expiry(input),
            new_cas: cas(input, index),
        }),
        23 => Command::MetaDelete(MetaDelete {
            key,
            cas: cas(input, index),
            new_cas: cas(input, index),
            mark_stale: input.flag(),
            touch: maybe_expiry(input),
            drop_value: input.flag(),
        }),
        24 => Command::MetaArithmetic(MetaArithmetic {
            direction: input.pick(&[Direction::Increment, Direction::Decrement]),
            key,
            base64: input.flag(),
            delta: input.pick(&[0, 1, 9, 100, u64::MAX]),
            initial: initial(input),
            touch: maybe_expiry(input),
            cas: cas(input, index),
            new_cas: cas(input, index),
        }),
        _ => Command::Tick,
    }
}

fn initial(input: &mut Input<'_>) -> Option<Initial> {
    input.flag().then(|| Initial { value: input.pick(&[0, 98, u64::MAX]), expiry: expiry(input) })
}

fn maybe_expiry(input: &mut Input<'_>) -> Option<Expiry> {
    input.flag().then(|| expiry(input))
}

const MODES: [StoreMode; 5] =
    [StoreMode::Set, StoreMode::Add, StoreMode::Replace, StoreMode::Append, StoreMode::Prepend];

fn expiry(input: &mut Input<'_>) -> Expiry {
    match input.below(8) {
        0 => Expiry::Now,
        1 => Expiry::At(UnixMillis(1_000_000 + u64::from(input.u16()))),
        2..=4 => Expiry::AfterMillis(u64::from(input.byte()) * 2),
        _ => Expiry::Never,
    }
}

fn value<'a>(input: &mut Input<'a>) -> &'a [u8] {
    match input.below(8) {
        0 => b"99",
        1 => b"18446744073709551615",
        2 => b" 7 ",
        3 => &[b'w'; 300],
        len => input.bytes(len * len),
    }
}

fn cas(input: &mut Input<'_>, index: u64) -> Option<CasUnique> {
    match input.below(6) {
        0 => Some(CasUnique(index.saturating_sub(u64::from(input.byte() % 9)) << 12)),
        _ => None,
    }
}
