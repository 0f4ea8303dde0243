use proptest::prelude::*;

use super::*;
use crate::{
    CasUnique, Direction, Expiry, Initial, MetaArithmetic, MetaDelete, MetaGet, MetaStore,
    Settings, StoreMode, UnixMillis,
};

/// Every command, with every form of its fields.
fn commands() -> Vec<Command<'static>> {
    let store = |mode, expiry, cas| Command::Store {
        mode,
        key: b"key",
        flags: 0xdead_beef,
        expiry,
        value: b"some\r\nvalue\0",
        cas,
    };
    let cas = Some(CasUnique(0x0102_0304_0506_0708));
    vec![
        Command::Tick,
        store(StoreMode::Set, Expiry::Never, None),
        store(StoreMode::Add, Expiry::Now, cas),
        store(StoreMode::Replace, Expiry::AfterMillis(60_000), None),
        store(StoreMode::Append, Expiry::At(UnixMillis(1_700_000_000_000)), cas),
        store(StoreMode::Prepend, Expiry::Never, None),
        Command::Delete { key: &[b'k'; KEY], cas: None },
        Command::Delete { key: b"k", cas },
        Command::Arithmetic {
            direction: Direction::Increment,
            key: b"n",
            delta: u64::MAX,
            initial: None,
            cas: None,
        },
        Command::Arithmetic {
            direction: Direction::Decrement,
            key: b"n",
            delta: 1,
            initial: Some(Initial { value: 7, expiry: Expiry::AfterMillis(1) }),
            cas,
        },
        Command::Touch { key: b"t", expiry: Expiry::Now },
        Command::GetAndTouch { key: b"t", expiry: Expiry::Never },
        Command::FlushAll { after_ms: 1_000 },
        Command::Configure(Settings { memory_limit: 1 << 30, evict: false, item_len_max: 4096 }),
    ]
}

/// Every meta command, with all of its options and with none.
fn meta_commands() -> Vec<Command<'static>> {
    let (cas, new_cas) = (Some(CasUnique(0x0102)), Some(CasUnique(0x0304)));
    let ends = Expiry::AfterMillis(60_000);
    let initial = Some(Initial { value: 7, expiry: Expiry::Never });
    let get = |options: bool| MetaGet {
        key: b"key",
        base64: options,
        touch: options.then_some(Expiry::Now),
        vivify: options.then_some(ends),
        recache: options.then_some(Expiry::At(UnixMillis(1_700_000_000_000))),
        new_cas: new_cas.filter(|_| options),
    };
    let store = |options: bool| MetaStore {
        mode: if options { StoreMode::Append } else { StoreMode::Set },
        key: b"key",
        base64: options,
        flags: 0xdead_beef,
        expiry: ends,
        value: b"some\r\nvalue\0",
        cas: cas.filter(|_| options),
        new_cas: new_cas.filter(|_| options),
        invalidate: options,
        vivify: options.then_some(ends),
    };
    let delete = |options: bool| MetaDelete {
        key: b"key",
        cas: cas.filter(|_| options),
        new_cas: new_cas.filter(|_| options),
        mark_stale: options,
        touch: options.then_some(ends),
        drop_value: options,
    };
    let arithmetic = |options: bool| MetaArithmetic {
        direction: if options { Direction::Decrement } else { Direction::Increment },
        key: b"key",
        base64: options,
        delta: u64::MAX,
        initial: initial.filter(|_| options),
        touch: options.then_some(ends),
        cas: cas.filter(|_| options),
        new_cas: new_cas.filter(|_| options),
    };
    [true, false]
        .into_iter()
        .flat_map(|options| {
            [
                Command::MetaGet(get(options)),
                Command::MetaStore(store(options)),
                Command::MetaDelete(delete(options)),
                Command::MetaArithmetic(arithmetic(options)),
            ]
        })
        .chain([Command::LimitMemory { memory_limit: 1 << 40 }, Command::Tick])
        .collect()
}

const KEY: usize = crate::KEY_LEN_MAX;
const ORIGIN: Origin = Origin { node: 3, epoch: 0x1122_3344_5566_7788 };

fn body() -> Vec<u8> {
    body_of(&commands())
}

fn body_of(commands: &[Command<'_>]) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for (position, command) in commands.iter().enumerate() {
        assert_eq!(builder.push(command), position);
    }
    assert_eq!(builder.command_count(), commands.len());
    let body_len = builder.body_len();
    let body = builder.finish(ORIGIN, 9, 4);
    assert_eq!(body.len(), body_len);
    body
}

#[test]
fn every_command_survives_the_round_trip() {
    let body = body();
    let want = BatchHeader { origin: ORIGIN, seq: 9, acked: 4, command_count: 14 };
    assert_eq!(BatchHeader::decode(&body), Ok(want));
    let batch = Batch::decode(&body).unwrap();
    assert_eq!(batch.header, want);
    assert_eq!(batch.commands().collect::<Vec<_>>(), commands());
}

/// Invariant 9: version 1 stays readable. The fixture was written by the first release of the
/// format; a change of these bytes is a new version, never a new fixture.
#[test]
fn version_1_is_what_the_fixture_says() {
    let fixture = include_bytes!("../../fixtures/batch-v1.bin");
    assert_eq!(body(), fixture);
}

/// Invariant 9: as version 1, with the meta commands.
#[test]
fn version_2_is_what_the_fixture_says() {
    let body = body_of(&meta_commands());
    assert_eq!(body, include_bytes!("../../fixtures/batch-v2.bin"));
    assert_eq!(Batch::decode(&body).unwrap().commands().collect::<Vec<_>>(), meta_commands());
    let version_1 = [&[1], &body[1..]].concat();
    assert_eq!(Batch::decode(&version_1).unwrap_err().reason, "unknown command");
}

/// Invariant 8: whatever is cut off is missed.
#[test]
fn every_strict_prefix_is_corrupt() {
    for body in [body(), body_of(&meta_commands())] {
        for cut in 0..body.len() {
            assert!(Batch::decode(&body[..cut]).is_err(), "cut at {cut}");
        }
    }
}

#[test]
fn what_no_builder_writes_is_refused() {
    let with = |at: usize, byte: u8| {
        let mut body = body();
        body[at] = byte;
        body
    };
    let meta = |at: usize, byte: u8| {
        let mut body = body_of(&meta_commands());
        body[at] = byte;
        body
    };
    let mut trailing = body();
    trailing.push(0);
    let cases: &[(&str, Vec<u8>, &str)] = &[
        ("version", with(0, 3), "unknown version"),
        ("acked", with(25, 9), "acknowledges itself"),
        ("count", with(34, 0x10 + 1), "too many commands"),
        ("one command more than there is", with(33, 15), "command cut short"),
        ("one command less", with(33, 13), "trailing bytes"),
        ("tag", with(37, 8), "unknown command"),
        ("mode", with(39, 5), "unknown store mode"),
        ("expiry", with(44, 4), "unknown expiry"),
        ("cas", with(45, 2), "neither 0 nor 1"),
        ("empty key", with(46, 0), "length of key out of range"),
        ("long key", with(46, 251), "length of key out of range"),
        ("trailing", trailing, "trailing bytes"),
        ("meta option", meta(38, 0b10_0000), "unknown option"),
        ("meta tag", meta(37, 13), "unknown command"),
    ];
    for (name, body, want) in cases {
        let error = Batch::decode(body).expect_err(name);
        assert_eq!(error.reason, *want, "case: {name}");
        assert_eq!(BatchHeader::check(body), Err(error), "case: {name}");
    }
}

proptest! {
    /// Invariant 8: bytes from elsewhere give an error, never a panic.
    #[test]
    fn garbage_is_refused_or_read(
        changes in prop::collection::vec((0usize..600, any::<u8>()), 1..8),
        meta: bool,
    ) {
        let mut body = if meta { body_of(&meta_commands()) } else { body() };
        for (at, byte) in changes {
            let at = at % body.len();
            body[at] = byte;
        }
        if let Ok(batch) = Batch::decode(&body) {
            prop_assert_eq!(batch.commands().count(), batch.header.command_count as usize);
        }
    }
}
