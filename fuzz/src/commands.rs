//! Commands and expiries out of an input.

use engine::{CasUnique, Command, Direction, Expiry, Initial, Settings, StoreMode, UnixMillis};

use crate::input::Input;

/// So few that they meet.
pub const KEYS: [&[u8]; 7] = [b"a", b"b", b"c", b"d", b"e", b"f", &[b'k'; 250]];

/// Any command; `index` is that of the entry it will be in.
pub fn command<'a>(input: &mut Input<'a>, index: u64) -> Command<'a> {
    let key = input.pick(&KEYS);
    match input.below(20) {
        0..=7 => Command::Store {
            mode: input.pick(&[
                StoreMode::Set,
                StoreMode::Add,
                StoreMode::Replace,
                StoreMode::Append,
                StoreMode::Prepend,
            ]),
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
            initial: input
                .flag()
                .then(|| Initial { value: input.pick(&[0, 98, u64::MAX]), expiry: expiry(input) }),
            cas: cas(input, index),
        },
        13 | 14 => Command::Touch { key, expiry: expiry(input) },
        15 | 16 => Command::GetAndTouch { key, expiry: expiry(input) },
        17 => Command::FlushAll { after_ms: u64::from(input.byte() % 4) * 70 },
        18 => Command::Configure(Settings {
            memory_limit: u64::from(input.u16() % 4096),
            evict: input.flag(),
            item_len_max: input.pick(&[100, 370, 1 << 20]),
        }),
        _ => Command::Tick,
    }
}

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
