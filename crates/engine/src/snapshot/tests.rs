use proptest::prelude::*;

use super::*;
use crate::testing::{Rng, body};
use crate::{
    Command, Expiry, LogIndex, Marks, MetaDelete, MetaGet, Origin, Restored, Settings,
    StateMachine, StoreMode, UnixMillis,
};

const START: UnixMillis = UnixMillis(1_700_000_000_000);

/// Items with and without deadline, a dead one, a pending flush, two origins with outcomes.
fn state() -> StateMachine {
    let store = |key, value, expiry| Command::Store {
        mode: StoreMode::Set,
        key,
        flags: 7,
        expiry,
        value,
        cas: None,
    };
    let mut state = StateMachine::new();
    let settings = Settings { memory_limit: 1 << 20, evict: false, item_len_max: 1 << 16 };
    let first = [
        Command::Configure(settings),
        store(b"flushed", b"1", Expiry::Never),
        Command::FlushAll { after_ms: 0 },
        store(b"a", b"value of a", Expiry::Never),
        store(b"b", b"", Expiry::AfterMillis(60_000)),
        store(b"expired", b"1", Expiry::AfterMillis(1)),
        Command::FlushAll { after_ms: 3_600_000 },
    ];
    let second = [
        Command::GetAndTouch { key: b"a", expiry: Expiry::AfterMillis(120_000) },
        Command::Delete { key: b"missing", cas: None },
    ];
    let one = Origin { node: 1, epoch: 11 };
    let two = Origin { node: 2, epoch: 5 };
    state.apply(LogIndex(3), START, &body(one, 1, 0, &first)).unwrap();
    state.apply(LogIndex(4), START, &body(two, 1, 0, &second)).unwrap();
    state.apply(LogIndex(5), START, &body(two, 2, 0, &[])).unwrap();
    state.apply(LogIndex(6), START, &body(one, 2, 1, &[Command::Tick])).unwrap();
    state.skip(LogIndex(8));
    state
}

fn chunks(state: &StateMachine) -> Vec<Vec<u8>> {
    state.freeze().encode().collect()
}

fn restore(chunks: &[impl AsRef<[u8]>]) -> Result<Restored, CorruptSnapshot> {
    let mut restorer = Restorer::new();
    chunks.iter().try_for_each(|chunk| restorer.push(chunk.as_ref()))?;
    restorer.finish()
}

/// Invariant 1: a restored state is the same, and goes on the same.
#[test]
fn a_snapshot_carries_everything() {
    let mut original = state();
    let restored = restore(&chunks(&original)).unwrap();
    assert_eq!((restored.applied(), restored.digest()), (LogIndex(8), original.digest()));
    let mut copy = StateMachine::new();
    let reader = copy.reader();
    copy.install(restored);
    assert_eq!(copy.stats(), original.stats());
    assert_eq!(reader.stats(), original.reader().stats());
    assert_eq!(reader.settings(), original.settings());
    assert_eq!(reader.now(), START);
    assert_eq!(reader.get(b"a", START), original.reader().get(b"a", START));
    assert!(reader.get(b"a", START).is_some());
    assert_eq!(reader.get(b"a", UnixMillis(START.0 + 120_000)), None);
    assert_eq!(reader.get(b"flushed", START), None);
    let again = body(Origin { node: 2, epoch: 5 }, 1, 0, &[Command::Tick]);
    let want = original.apply(LogIndex(9), UnixMillis(START.0 + 5), &again).unwrap();
    assert_eq!(copy.apply(LogIndex(9), UnixMillis(START.0 + 5), &again).unwrap(), want);
    assert_eq!(copy.digest(), original.digest());
    assert_eq!(chunks(&copy), chunks(&original));
}

/// Invariant 9: version 1 stays readable, and equal states stay equal bytes. The fixture was
/// written by the first release of the format; other bytes are another version.
#[test]
fn version_1_is_what_the_fixture_says() {
    let fixture = include_bytes!("../../fixtures/snapshot-v1.bin");
    assert_eq!(chunks(&state()).concat(), fixture);
    let restored = restore(&[fixture]).unwrap();
    assert_eq!((restored.applied(), restored.digest()), (LogIndex(8), state().digest()));
}

/// Items with marks, outcomes of meta commands, and another limit than the configured one.
fn state_with_marks() -> StateMachine {
    let mut state = state();
    let get = |key, base64| {
        let (touch, recache, new_cas) = (None, None, None);
        let vivify = Some(Expiry::AfterMillis(60_000));
        Command::MetaGet(MetaGet { key, base64, touch, vivify, recache, new_cas })
    };
    let delete = MetaDelete {
        key: b"a",
        cas: None,
        new_cas: None,
        mark_stale: true,
        touch: None,
        drop_value: false,
    };
    let limit = Command::LimitMemory { memory_limit: 1 << 19 };
    let commands = [Command::MetaDelete(delete), get(b"a", false), get(b"new", true), limit];
    let origin = Origin { node: 3, epoch: 1 };
    state.apply(LogIndex(9), START, &body(origin, 1, 0, &commands)).unwrap();
    state
}

/// Invariant 9: as version 1, with what meta commands leave.
#[test]
fn version_2_is_what_the_fixture_says() {
    let fixture = include_bytes!("../../fixtures/snapshot-v2.bin");
    let state = state_with_marks();
    assert_eq!(chunks(&state).concat(), fixture);
    let restored = restore(&[fixture]).unwrap();
    assert_eq!((restored.applied(), restored.digest()), (LogIndex(9), state.digest()));
    let marks = |key: &[u8]| state.reader().get(key, START).unwrap().marks();
    assert!(marks(b"a").has(Marks::STALE) && marks(b"a").has(Marks::TOKEN_SENT));
    assert!(marks(b"new").has(Marks::BASE64) && !marks(b"new").has(Marks::STALE));
    let mut fresh = StateMachine::new();
    fresh.install(restored);
    assert_eq!(fresh.reader().get(b"a", START), state.reader().get(b"a", START));
}

/// The view is of one moment, whatever is written afterwards and while it is encoded.
#[test]
fn a_frozen_view_stands_still() {
    let mut state = state();
    let want = chunks(&state);
    let frozen = state.freeze();
    assert_eq!(frozen.applied(), LogIndex(8));
    let flush = [Command::FlushAll { after_ms: 0 }, Command::Tick];
    let origin = Origin { node: 1, epoch: 11 };
    let touch = [Command::Touch { key: b"a", expiry: Expiry::Never }];
    state.apply(LogIndex(9), START, &body(origin, 3, 2, &touch)).unwrap();
    state.apply(LogIndex(10), START, &body(origin, 4, 3, &flush)).unwrap();
    state.apply(LogIndex(11), START, &body(origin, 5, 4, &[])).unwrap();
    assert_eq!(state.stats().items, 0);
    assert_eq!(frozen.encode().collect::<Vec<_>>(), want);
}

#[test]
fn chunks_are_bounded() {
    let mut state = StateMachine::new();
    let mut rng = Rng(7);
    let large = vec![b'v'; 900_000];
    let origin = Origin { node: 1, epoch: 1 };
    for seq in 1..=1_000 {
        let key = format!("key {seq}").into_bytes();
        let value_len = if seq == 500 { large.len() } else { rng.index(1_800) };
        let value = &large[..value_len];
        let (mode, expiry) = (StoreMode::Set, Expiry::Never);
        let set = Command::Store { mode, key: &key, flags: 0, expiry, value, cas: None };
        state.apply(LogIndex(seq), START, &body(origin, seq, seq - 1, &[set])).unwrap();
    }
    let chunks = chunks(&state);
    let longest = chunks.iter().map(Vec::len).max().unwrap();
    assert!(900_000 < longest && longest < 900_000 + PAYLOAD_LEN + 2_000, "{longest}");
    assert_eq!(chunks.iter().filter(|chunk| PAYLOAD_LEN + 2_000 < chunk.len()).count(), 1);
    assert!(3 < chunks.len());
    assert_eq!(restore(&chunks).unwrap().digest(), state.digest());

    let missing = restore(&chunks[..chunks.len() - 1]).unwrap_err();
    assert_eq!(missing.reason(), "the last chunk is missing");
    let skipped = restore(&[&chunks[0], &chunks[2]]).unwrap_err();
    assert_eq!(skipped.reason(), "not the next chunk");
    let twice = restore(&[&chunks[0], &chunks[0]]).unwrap_err();
    assert_eq!(twice.reason(), "not the next chunk");
    let mut more = chunks.clone();
    more.push(chunks[1].clone());
    assert!(restore(&more).is_err());
    assert_eq!(restore(&[[0; 0]; 0]).unwrap_err().reason(), "the last chunk is missing");
}

/// Invariant 8: no bit can change unseen, and nothing can be cut off.
#[test]
fn every_flipped_bit_is_seen() {
    let chunk = chunks(&state()).concat();
    for at in 0..chunk.len() {
        let mut flipped = chunk.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(restore(&[&flipped]).is_err(), "byte {at}");
        assert!(restore(&[&chunk[..at]]).is_err(), "cut at {at}");
    }
}

/// A state whose chunks are sound but which is not the one that was frozen.
#[test]
fn the_digest_has_the_last_word() {
    let mut chunk = chunks(&state()).concat();
    let at = chunk.windows(10).position(|bytes| bytes == b"value of a").unwrap();
    chunk[at] = b'V';
    reseal(&mut chunk);
    assert_eq!(restore(&[&chunk]).unwrap_err().reason(), "the digest differs");
}

fn reseal(chunk: &mut [u8]) {
    let (head, payload) = chunk.split_at_mut(HEADER_LEN + CHECKSUM_LEN);
    let sum = freeze::checksum(&head[..HEADER_LEN], payload);
    head[HEADER_LEN..].copy_from_slice(&sum.to_le_bytes());
}

proptest! {
    /// Invariant 8: garbage behind a correct checksum is refused, without a panic.
    #[test]
    fn sealed_garbage_is_refused(
        changes in prop::collection::vec((0usize..2000, any::<u8>()), 1..6),
    ) {
        let original = chunks(&state()).concat();
        let mut chunk = original.clone();
        for (at, byte) in changes {
            let at = 22 + at % (chunk.len() - 22);
            chunk[at] = byte;
        }
        reseal(&mut chunk);
        prop_assert!(chunk == original || restore(&[&chunk]).is_err());
    }
}
