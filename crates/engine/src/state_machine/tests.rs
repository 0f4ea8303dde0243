use super::*;
use crate::testing::body;
use crate::{
    BATCH_COMMANDS_MAX, Command, Direction, Expiry, ITEM_OVERHEAD, Initial, Item, Origin, Outcome,
    StoreMode,
};

const ORIGIN: Origin = Origin { node: 1, epoch: 1 };

/// A state machine fed one batch per call, by one origin.
struct Machine {
    state: StateMachine,
    index: u64,
    seq: u64,
    now: u64,
}

impl Machine {
    fn new() -> Self {
        Self { state: StateMachine::new(), index: 0, seq: 0, now: START }
    }

    fn limited(memory_limit: u64, evict: bool) -> Self {
        let mut machine = Self::new();
        let item_len_max = 1 << 20;
        machine.run(Command::Configure(Settings { memory_limit, evict, item_len_max }));
        machine
    }

    fn batch(&mut self, commands: &[Command<'_>]) -> Vec<Outcome> {
        (self.index, self.seq) = (self.index + 1, self.seq + 1);
        let body = body(ORIGIN, self.seq, self.seq - 1, commands);
        match self.state.apply(LogIndex(self.index), UnixMillis(self.now), &body) {
            Ok(Applied::Outcomes(outcomes)) => outcomes.as_slice().to_vec(),
            other => panic!("{other:?}"),
        }
    }

    fn run(&mut self, command: Command<'_>) -> Outcome {
        self.batch(&[command]).remove(0)
    }

    fn get(&self, key: &str) -> Option<Item> {
        self.state.reader().get(key.as_bytes(), UnixMillis(0))
    }

    fn value(&self, key: &str) -> Option<String> {
        Some(String::from_utf8(self.get(key)?.value().to_vec()).unwrap())
    }

    /// The version that the next command writes, if it comes alone.
    fn next_cas(&self) -> CasUnique {
        CasUnique((self.index + 1) << 12)
    }
}

const START: u64 = 1_700_000_000_000;

fn store<'a>(mode: StoreMode, key: &'a str, value: &'a str) -> Command<'a> {
    let (key, value) = (key.as_bytes(), value.as_bytes());
    Command::Store { mode, key, flags: 5, expiry: Expiry::Never, value, cas: None }
}

fn set<'a>(key: &'a str, value: &'a str) -> Command<'a> {
    store(StoreMode::Set, key, value)
}

fn set_until<'a>(key: &'a str, value: &'a str, expiry: Expiry) -> Command<'a> {
    let (key, value) = (key.as_bytes(), value.as_bytes());
    Command::Store { mode: StoreMode::Set, key, flags: 5, expiry, value, cas: None }
}

fn count(direction: Direction, key: &str, delta: u64) -> Command<'_> {
    Command::Arithmetic { direction, key: key.as_bytes(), delta, initial: None, cas: None }
}

fn touch(key: &str, expiry: Expiry) -> Command<'_> {
    Command::Touch { key: key.as_bytes(), expiry }
}

/// memcached-protocol.md 5.1 and 5.2: text before, step, answer, text after.
#[test]
fn counters_keep_their_length_and_wrap() {
    use Direction::{Decrement, Increment};
    let wrapped = format!("1{}", " ".repeat(19));
    let cases: &[(&str, Direction, u64, Option<u64>, &str)] = &[
        ("100", Decrement, 1, Some(99), "99 "),
        ("99 ", Increment, 1, Some(100), "100"),
        ("99", Increment, 1, Some(100), "100"),
        ("0007", Increment, 1, Some(8), "8   "),
        ("18446744073709551615", Increment, 2, Some(1), &wrapped),
        ("5", Decrement, 6, Some(0), "0"),
        ("12 ", Increment, 1, Some(13), "13 "),
        (" 12", Increment, 1, Some(13), "13 "),
        ("0", Decrement, u64::MAX, Some(0), "0"),
        ("12abc", Increment, 1, None, "12abc"),
        ("", Increment, 1, None, ""),
        ("-1", Increment, 1, None, "-1"),
        ("184467440737095516150", Increment, 1, None, "184467440737095516150"),
    ];
    for (before, direction, delta, answer, after) in cases {
        let mut machine = Machine::new();
        machine.run(set_until("n", before, Expiry::AfterMillis(1000)));
        let held = machine.get("n").unwrap();
        let cas = machine.next_cas();
        let outcome = machine.run(count(*direction, "n", *delta));
        let want = answer.map_or(Outcome::NonNumeric, |value| Outcome::Number { value, cas });
        assert_eq!(outcome, want, "case: {before:?}");
        assert_eq!(machine.value("n").unwrap(), *after, "case: {before:?}");
        let item = machine.get("n").unwrap();
        assert_eq!((item.flags(), item.deadline()), (5, Some(UnixMillis(START + 1000))));
        // Invariant 10: whoever was reading keeps the old bytes.
        assert_eq!(held.value(), before.as_bytes());
    }
}

#[test]
fn a_missing_counter_starts_where_the_client_says() {
    let mut machine = Machine::new();
    assert_eq!(machine.run(count(Direction::Increment, "n", 1)), Outcome::NotFound);
    let from = |expiry, cas| Command::Arithmetic {
        direction: Direction::Increment,
        key: b"n",
        delta: 1,
        initial: Some(Initial { value: 98, expiry }),
        cas,
    };
    assert_eq!(machine.run(from(Expiry::Never, Some(CasUnique(4096)))), Outcome::NotFound);
    let cas = machine.next_cas();
    assert_eq!(machine.run(from(Expiry::Now, None)), Outcome::Number { value: 98, cas });
    assert_eq!(machine.get("n"), None);
    machine.run(from(Expiry::AfterMillis(9), None));
    assert_eq!(machine.get("n").unwrap().deadline(), Some(UnixMillis(START + 9)));
    let cas = machine.next_cas();
    assert_eq!(machine.run(from(Expiry::Never, None)), Outcome::Number { value: 99, cas });
}

/// memcached-protocol.md 5.7: what is already gone is stored, touched or read, and gone.
#[test]
fn an_exptime_in_the_past_is_gone_at_once() {
    for expiry in [Expiry::Now, Expiry::At(UnixMillis(START)), Expiry::AfterMillis(0)] {
        let mut machine = Machine::new();
        machine.run(set("a", "old"));
        let cas = machine.next_cas();
        assert_eq!(machine.run(set_until("a", "new", expiry)), Outcome::Stored(cas));
        assert_eq!((machine.get("a"), machine.state.stats().items), (None, 0));
        let cas = machine.next_cas();
        assert_eq!(machine.run(store(StoreMode::Add, "a", "1")), Outcome::Stored(cas));
        assert_eq!(machine.run(touch("a", expiry)), Outcome::Touched { flags: 5, cas });
        assert_eq!(machine.run(touch("a", expiry)), Outcome::NotFound);
        machine.run(set("a", "2"));
        let outcome = machine.run(Command::GetAndTouch { key: b"a", expiry });
        let Outcome::Value(item) = outcome else { panic!("{outcome:?}") };
        assert_eq!((item.value(), machine.get("a")), (&b"2"[..], None));
    }
}

/// Invariant 3, and the life of a deadline: up to it, not at it, and never back.
#[test]
fn cluster_time_expires_and_never_goes_back() {
    let mut machine = Machine::new();
    machine.run(set_until("a", "1", Expiry::AfterMillis(100)));
    let reader = machine.state.reader();
    assert!(reader.get(b"a", UnixMillis(START + 99)).is_some());
    assert!(reader.get(b"a", UnixMillis(START + 100)).is_none(), "the reader's own time counts");
    machine.now = START + 100;
    machine.run(Command::Tick);
    assert!(reader.get(b"a", UnixMillis(0)).is_none());
    machine.now = START;
    assert_eq!(machine.run(store(StoreMode::Replace, "a", "2")), Outcome::NotStored);
    assert_eq!(reader.now(), UnixMillis(START + 100));
    machine.run(set_until("b", "1", Expiry::AfterMillis(1)));
    assert_eq!(machine.get("b").unwrap().deadline(), Some(UnixMillis(START + 101)));
}

#[test]
fn numbers_at_the_end_of_time_do_not_overflow() {
    let mut machine = Machine::new();
    for expiry in [Expiry::AfterMillis(u64::MAX), Expiry::At(UnixMillis(u64::MAX))] {
        machine.run(set_until("a", "1", expiry));
        assert_eq!(machine.get("a").unwrap().deadline(), Some(UnixMillis(u64::MAX - 1)));
    }
    machine.run(Command::FlushAll { after_ms: u64::MAX });
    machine.now = u64::MAX;
    machine.run(set("b", "1"));
    assert_eq!(
        machine.run(set_until("b", "1", Expiry::AfterMillis(1))),
        Outcome::Stored(CasUnique(5 << 12))
    );
    assert_eq!(machine.get("b"), None);
}

/// memcached-protocol.md 5.8, 5.9, 5.11 and 5.22; invariant 4.
#[test]
fn versions() {
    let with_cas = |mode, cas| Command::Store {
        mode,
        key: b"a",
        flags: 9,
        expiry: Expiry::Now,
        value: b"2",
        cas: Some(cas),
    };
    let mut machine = Machine::new();
    assert_eq!(machine.run(with_cas(StoreMode::Set, CasUnique(0))), Outcome::NotFound);
    assert_eq!(machine.run(with_cas(StoreMode::Append, CasUnique(0))), Outcome::NotStored);
    let cas = machine.next_cas();
    machine.batch(&[set("a", "1"), set("b", "1")]);
    assert_eq!(machine.get("a").unwrap().cas_unique(), cas);
    assert_eq!(machine.get("b").unwrap().cas_unique(), CasUnique(cas.0 + 1));
    assert_eq!(machine.run(with_cas(StoreMode::Set, CasUnique(0))), Outcome::Exists);
    assert_eq!(machine.run(with_cas(StoreMode::Append, CasUnique(0))), Outcome::Exists);
    machine.run(touch("a", Expiry::Never));
    let appended = machine.next_cas();
    assert_eq!(machine.run(with_cas(StoreMode::Append, cas)), Outcome::Stored(appended));
    let item = machine.get("a").unwrap();
    assert_eq!((item.value(), item.flags(), item.deadline()), (&b"12"[..], 5, None));
    let prepended = machine.next_cas();
    machine.run(store(StoreMode::Prepend, "a", "0"));
    assert_eq!(machine.value("a").unwrap(), "012");
    let delete = |cas| Command::Delete { key: b"a", cas };
    assert_eq!(machine.run(delete(Some(appended))), Outcome::Exists);
    assert_eq!(machine.run(delete(Some(prepended))), Outcome::Deleted);
    assert_eq!(machine.run(delete(None)), Outcome::NotFound);
    assert_eq!(machine.run(delete(Some(prepended))), Outcome::NotFound);
}

/// memcached-protocol.md 5.3: only a plain `set` that is refused takes the old item along.
#[test]
fn too_large_or_no_memory() {
    let large = "v".repeat(4097 - 59);
    let limits = |memory_limit, item_len_max| {
        Command::Configure(Settings { memory_limit, evict: false, item_len_max })
    };
    for (limits, refusal) in [
        (limits(1 << 20, 4096), Outcome::TooLarge),
        (limits(2 * ITEM_OVERHEAD + 100, 1 << 20), Outcome::OutOfMemory),
    ] {
        for mode in [StoreMode::Add, StoreMode::Replace, StoreMode::Set] {
            let mut machine = Machine::new();
            machine.batch(&[limits, set("a", "1")]);
            let want = if mode == StoreMode::Add && refusal == Outcome::OutOfMemory {
                Outcome::NotStored
            } else {
                refusal.clone()
            };
            assert_eq!(machine.run(store(mode, "a", &large)), want, "{mode:?}");
            assert_eq!(machine.get("a").is_none(), mode == StoreMode::Set, "{mode:?} {refusal:?}");
        }
        let mut machine = Machine::new();
        let cas = machine.next_cas();
        machine.batch(&[set("a", "1"), limits]);
        let (key, value) = (b"a", large.as_bytes());
        let (flags, expiry, cas) = (0, Expiry::Never, Some(cas));
        let mode = StoreMode::Set;
        let swap = Command::Store { mode, key, flags, expiry, value, cas };
        assert_eq!(machine.run(swap), refusal);
        assert_eq!(machine.value("a").unwrap(), "1", "cas keeps the old item");
    }
    let mut machine = Machine::new();
    machine.batch(&[limits(1 << 20, 4096), set("a", &large[..3000])]);
    let more = store(StoreMode::Append, "a", &large[..2000]);
    assert_eq!(machine.run(more), Outcome::NotStored);
    assert_eq!(machine.get("a").unwrap().value().len(), 3000);
    // 48 + 8 + key + 1 + value + 2, and 4 for flags: exactly 4096.
    machine.run(set("fits", &large[..4096 - 59 - 8]));
    assert!(machine.get("fits").is_some());
    assert_eq!(machine.run(set("fits", &large[..4096 - 59 - 7])), Outcome::TooLarge);
}

/// Invariant 5: the oldest goes first, a write or touch makes an item young, and a new version is
/// not stored at its own old one's expense.
#[test]
fn eviction_takes_what_was_written_or_touched_longest_ago() {
    let mut machine = Machine::limited(3 * (ITEM_OVERHEAD + 2), true);
    machine.batch(&[set("a", "1"), set("b", "1"), set("c", "1"), touch("a", Expiry::Never)]);
    machine.run(store(StoreMode::Add, "b", "1"));
    machine.run(set("d", "1"));
    let keys = |machine: &Machine| {
        ["a", "b", "c", "d", "e"]
            .into_iter()
            .filter(|key| machine.get(key).is_some())
            .collect::<String>()
    };
    assert_eq!(keys(&machine), "abd");
    machine.run(set("a", &"1".repeat(100)));
    assert_eq!(keys(&machine), "ad");
    let limit = machine.state.settings().memory_limit;
    let huge = "1".repeat(usize::try_from(limit).unwrap());
    assert_eq!(machine.run(set("e", &huge)), Outcome::OutOfMemory);
    assert_eq!(keys(&machine), "ad", "what can never fit evicts nothing");
    assert_eq!(machine.state.stats().evicted_unexpired, 2);
    let shrunk = Settings { memory_limit: ITEM_OVERHEAD + 101, ..machine.state.settings() };
    machine.run(Command::Configure(shrunk));
    assert_eq!(keys(&machine), "a");
}

/// Invariant 5: the expired and the flushed make room before the living.
#[test]
fn the_dead_go_before_the_living() {
    let count = 300;
    let mut machine = Machine::limited(count * (ITEM_OVERHEAD + 5), true);
    let keys = (0..count).map(|key| format!("k{key:02}")).collect::<Vec<_>>();
    machine.run(set("k0", "y"));
    for key in &keys[1..] {
        machine.run(set_until(key, "x", Expiry::AfterMillis(1000)));
    }
    machine.now += 1000;
    // One entry takes back 66 of the 299 dead ones; the others make room for this.
    machine.run(set("big", &"x".repeat(50_000)));
    assert!(machine.get("k0").is_some(), "the living stay");
    assert_eq!(machine.state.stats().evictions, 0);
    machine.run(Command::FlushAll { after_ms: 0 });
    machine.run(set("big", &"x".repeat(60_000)));
    let stats = machine.state.stats();
    assert_eq!((stats.evictions, stats.flushed, stats.reclaimed, stats.items), (0, 2, 299, 1));
}

/// Invariant 6.
#[test]
fn an_entry_takes_back_a_bounded_number() {
    let mut machine = Machine::new();
    let keys = (0..200).map(|key| key.to_string()).collect::<Vec<_>>();
    let sets = |expiry| keys.iter().map(|key| set_until(key, "1", expiry)).collect::<Vec<_>>();
    machine.batch(&sets(Expiry::AfterMillis(10)));
    machine.now += 10;
    let items = |machine: &Machine| machine.state.stats().items;
    machine.batch(&[]);
    assert_eq!(items(&machine), 136);
    machine.run(Command::Tick);
    assert_eq!(items(&machine), 70);
    machine.batch(&sets(Expiry::Never));
    machine.run(Command::FlushAll { after_ms: 0 });
    assert_eq!((items(&machine), machine.get("7")), (200, None));
    machine.batch(&[set("7", "2"), set("8", "2")]);
    assert_eq!(items(&machine), 200 - 68 + 2, "two of the 68 were the old 7 and 8");
    assert!(machine.get("7").is_some());
}

/// memcached-protocol.md 5.12.
#[test]
fn flush_all() {
    let mut machine = Machine::new();
    let flush = |after_ms| Command::FlushAll { after_ms };
    machine.batch(&[set("a", "1"), flush(0), set("b", "1")]);
    assert_eq!((machine.get("a"), machine.value("b").unwrap().as_str()), (None, "1"));

    machine.batch(&[flush(3000), flush(100_000)]);
    machine.now += 5000;
    machine.run(set("c", "1"));
    assert!(machine.get("b").is_some(), "the later flush replaced the earlier one");

    machine.run(flush(1000));
    machine.run(set("d", "1"));
    let reader = machine.state.reader();
    let at = |millis| UnixMillis(machine.now + millis);
    assert!(reader.get(b"d", at(999)).is_some());
    assert!(reader.get(b"d", at(1000)).is_none(), "a reader at the deadline sees nothing");
    machine.now += 1000;
    let outcomes = machine.batch(&[store(StoreMode::Add, "d", "2"), set("e", "2")]);
    assert!(matches!(outcomes[0], Outcome::Stored(_)), "set after the command, flushed with it");
    machine.now += 200_000;
    machine.run(Command::Tick);
    assert!(reader.get(b"e", UnixMillis(0)).is_some(), "nothing is pending any more");
    machine.batch(&[flush(10), flush(0), set("f", "1")]);
    machine.now += 10;
    machine.run(Command::Tick);
    assert!(machine.get("f").is_some(), "a flush now replaces a pending one as well");
}

/// Invariant 7.
#[test]
fn a_batch_counts_once() {
    let mut state = StateMachine::new();
    let incr = |seq, acked| body(ORIGIN, seq, acked, &[count(Direction::Increment, "n", 1)]);
    let mut index = 0;
    let mut apply = |body: &[u8]| {
        index += 1;
        state.apply(LogIndex(index), UnixMillis(START), body).unwrap()
    };
    assert_eq!(apply(&incr(2, 0)), Applied::Gap { next_seq: 1 });
    apply(&body(ORIGIN, 1, 0, &[set("n", "0")]));
    let first = apply(&incr(2, 0));
    assert_eq!(apply(&incr(2, 0)), first);
    assert_eq!(apply(&incr(4, 0)), Applied::Gap { next_seq: 3 });
    let third = apply(&incr(3, 2));
    assert_eq!(apply(&incr(2, 0)), Applied::Forgotten);
    assert_eq!(apply(&incr(3, 2)), third);
    assert_eq!(state.reader().get(b"n", UnixMillis(0)).unwrap().value(), b"2");
}

/// Invariant 7: an origin that acknowledges nothing is not refused, it loses its oldest answers.
#[test]
fn the_window_of_an_origin_is_bounded() {
    let mut machine = Machine::new();
    let tick = |seq| body(ORIGIN, seq, 0, &[Command::Tick]);
    let mut apply =
        |index, seq| machine.state.apply(LogIndex(index), UnixMillis(START), &tick(seq)).unwrap();
    for seq in 1..=300 {
        assert!(matches!(apply(seq, seq), Applied::Outcomes(_)));
    }
    assert_eq!(apply(301, 44), Applied::Forgotten);
    assert!(matches!(apply(302, 45), Applied::Outcomes(outcomes) if outcomes.seq() == 45));
    // Values count by their bytes.
    let mut machine = Machine::new();
    let gat = Command::GetAndTouch { key: b"v", expiry: Expiry::Never };
    machine.run(set("v", &"v".repeat(1_000_000)));
    for seq in 2..=20 {
        let body = body(ORIGIN, seq, 0, &[gat]);
        machine.state.apply(LogIndex(seq), UnixMillis(START), &body).unwrap();
    }
    let mut again = |index, seq| {
        let body = body(ORIGIN, seq, 0, &[gat]);
        machine.state.apply(LogIndex(index), UnixMillis(START), &body).unwrap()
    };
    assert_eq!(again(21, 4), Applied::Forgotten);
    assert!(matches!(again(22, 5), Applied::Outcomes(_)));
}

#[test]
fn an_origin_that_is_silent_for_ten_minutes_has_gone() {
    let other = Origin { node: 2, epoch: 9 };
    let mut machine = Machine::new();
    machine.run(Command::Tick);
    machine.state.apply(LogIndex(2), UnixMillis(START), &body(other, 1, 0, &[])).unwrap();
    machine.index = 2;
    machine.now += 599_000;
    machine.run(Command::Tick);
    assert_eq!(machine.state.stats().origins, 2);
    machine.now += 61_000;
    machine.run(Command::Tick);
    assert_eq!(machine.state.stats().origins, 1);
    let late = body(other, 2, 0, &[]);
    let applied = machine.state.apply(LogIndex(9), UnixMillis(0), &late).unwrap();
    assert_eq!(applied, Applied::Gap { next_seq: 1 });
}

/// Invariant 8: nothing at all has changed, not even the time.
#[test]
fn a_corrupt_body_changes_nothing() {
    let mut machine = Machine::new();
    machine.run(set("a", "1"));
    let before = machine.state.digest();
    let mut corrupt = body(ORIGIN, 2, 0, &[set("a", "2"), Command::FlushAll { after_ms: 0 }]);
    corrupt.pop();
    let result = machine.state.apply(LogIndex(5), UnixMillis(START * 2), &corrupt);
    assert!(result.is_err());
    assert_eq!((machine.state.digest(), machine.state.applied()), (before, LogIndex(1)));
    machine.index = 4;
    assert!(matches!(machine.run(set("a", "2")), Outcome::Stored(_)));
}

/// Invariant 2.
#[test]
#[should_panic(expected = "applied LogIndex(7), then LogIndex(7)")]
fn an_index_is_used_once() {
    let mut state = StateMachine::new();
    state.skip(LogIndex(7));
    state.skip(LogIndex(7));
}

/// The largest batch there is: positions do not run into the next index.
#[test]
fn a_full_batch_has_its_own_versions() {
    let mut machine = Machine::new();
    let outcomes = machine.batch(&vec![set("a", "1"); BATCH_COMMANDS_MAX]);
    assert_eq!(outcomes.last(), Some(&Outcome::Stored(CasUnique((2 << 12) - 1))));
    assert_eq!(machine.run(set("a", "1")), Outcome::Stored(CasUnique(2 << 12)));
}

/// Invariant 10, with the writer at work: a key that is always there is never missed, and what a
/// reader sees of it never goes back.
#[test]
fn readers_never_miss_what_is_always_there() {
    let mut machine = Machine::limited(1 << 30, true);
    machine.run(set_until("a", "0", Expiry::AfterMillis(10)));
    let reader = machine.state.reader();
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || {
            for step in 0..3_000 {
                // Just before it ends, it is extended: an old slot under the new time would be
                // gone.
                machine.now += 9;
                machine.run(touch("a", Expiry::AfterMillis(10)));
                if step % 7 == 0 {
                    machine.run(set_until("a", "1", Expiry::AfterMillis(10)));
                }
                if step % 100 == 0 {
                    let mut restorer = crate::Restorer::new();
                    machine
                        .state
                        .freeze()
                        .encode()
                        .for_each(|chunk| restorer.push(&chunk).unwrap());
                    machine.state.install(restorer.finish().unwrap());
                }
            }
        });
        let mut last = CasUnique(0);
        while !writing.is_finished() {
            let item = reader.get(b"a", UnixMillis(0)).expect("always there");
            assert!(last <= item.cas_unique());
            last = item.cas_unique();
        }
        writing.join().unwrap();
    });
}

/// jemalloc's size classes: 16 bytes apart up to 128, then four between powers of two.
#[test]
fn accounting_follows_the_allocators_size_classes() {
    let cases = [(2, 0), (112, 0), (113, 160 - 129), (1008, 0), (1009, 1280 - 1025), (1264, 0)];
    for (data_len, rounding) in cases {
        let bytes = crate::store::item_bytes(data_len);
        assert_eq!(bytes, data_len + ITEM_OVERHEAD + rounding, "case: {data_len}");
    }
}
