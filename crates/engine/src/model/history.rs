//! Random histories through the engine and the model.

use super::{Model, ModelApplied};
use crate::testing::{Rng, body};
use crate::{
    Applied, CasUnique, Command, Direction, Expiry, Initial, LogIndex, MetaArithmetic, MetaDelete,
    MetaGet, MetaStore, Origin, Restorer, Settings, StateMachine, StoreMode, UnixMillis,
};

/// Invariants 1, 3, 4, 5, 7 and 10.
///
/// Method: derive a whole history from one seed: few keys, small limits, short deadlines, clocks
/// that go back, batches sent twice or too early. Run it through the model, through a replica that
/// never stops, and through one that is replaced by its own snapshot at random moments; compare
/// outcomes, reads, memory and digests after every entry, and the snapshots' bytes at the end.
///
/// Replay a failure with `SEED=<n> cargo test -p engine engine_and_model_agree`.
#[test]
fn engine_and_model_agree() {
    match std::env::var("SEED") {
        Ok(seed) => run(seed.parse().expect("SEED is a number")),
        Err(_) => (0..SEEDS).for_each(run),
    }
}

/// Enough for every mutation tried so far to be found; the budget is a few seconds.
const SEEDS: u64 = 40;

const KEYS: [&[u8]; 7] = [b"a", b"b", b"c", b"d", b"e", b"f", b"a longer key than the others"];
const VALUES: [&[u8]; 8] =
    [b"", b"1", b"99", b"18446744073709551615", b" 7 ", b"text", &[b'v'; 60], &[b'w'; 300]];

/// A set most often.
const MODES: [StoreMode; 6] = [
    StoreMode::Set,
    StoreMode::Set,
    StoreMode::Add,
    StoreMode::Replace,
    StoreMode::Append,
    StoreMode::Prepend,
];

struct Sender {
    origin: Origin,
    /// All batches formed, sent or not.
    batches: Vec<Vec<Command<'static>>>,
    /// The next one to be sent for the first time, from 1.
    next_seq: u64,
    acked: u64,
}

fn run(seed: u64) {
    let mut rng = Rng(seed);
    let mut model = Model::default();
    let mut steady = StateMachine::new();
    let mut restarted = StateMachine::new();
    let reader = steady.reader();
    let mut senders = (0..3).map(|node| sender(node, 1)).collect::<Vec<_>>();
    let (mut clock, mut index, mut lowered) = (1_000_000, 0, false);
    for step in 0..400 {
        index += 1 + rng.below(2);
        clock += rng.pick(&[0, 1, 7, 40, 300]);
        if rng.below(100) == 0 {
            clock += 11 * 60 * 1000;
        }
        let stamp = clock - rng.below(60);
        let who = rng.index(3);
        let (seq, acked, commands) = batch(&mut rng, &mut senders[who], index);
        let header = (senders[who].origin, seq, acked);
        let context = format_args!("seed={seed} step={step} {header:?} {commands:?}");

        let want = model.apply(index, stamp, header, &commands);
        let entry = body(header.0, seq, acked, &commands);
        let have = steady.apply(LogIndex(index), UnixMillis(stamp), &entry).unwrap();
        let again = restarted.apply(LogIndex(index), UnixMillis(stamp), &entry).unwrap();
        assert_eq!(have, again, "{context}");
        let have = match have {
            Applied::Outcomes(outcomes) => ModelApplied::Outcomes(outcomes.as_slice().to_vec()),
            Applied::Gap { next_seq } => ModelApplied::Gap(next_seq),
            Applied::Forgotten => ModelApplied::Forgotten,
        };
        assert_eq!(have, want, "{context}");
        if let ModelApplied::Gap(next_seq) = have {
            // As a real sender: where its batches are not known any more, it starts over.
            let forgotten = next_seq <= senders[who].acked;
            let epoch = header.0.epoch + 1;
            if forgotten {
                senders[who] = sender(header.0.node, epoch);
            }
        }
        assert_eq!(steady.digest(), restarted.digest(), "{context}");
        let at = model.now + rng.below(400);
        for key in KEYS {
            assert_eq!(reader.get(key, UnixMillis(at)), model.get(key, at), "{context} {key:?}");
        }
        let stats = reader.stats();
        assert_eq!(stats.evictions, model.evicted, "{context}");
        assert!(model.bytes() <= stats.bytes, "{context}");
        lowered = !model.settings.evict && (lowered || stats.memory_limit < stats.bytes);
        assert!(lowered || stats.bytes <= stats.memory_limit, "{context} {stats:?}");
        if rng.below(25) == 0 {
            steady.cache.store.check();
            restarted = restart(&restarted);
            assert_eq!(steady.digest(), restarted.digest(), "after a restart: {context}");
        }
    }
    assert_eq!(snapshot(&steady), snapshot(&restarted), "seed={seed}");
}

fn sender(node: u64, epoch: u64) -> Sender {
    Sender { origin: Origin { node, epoch }, batches: Vec::new(), next_seq: 1, acked: 0 }
}

/// Mostly the next batch; sometimes one again, sometimes one too early.
fn batch(rng: &mut Rng, sender: &mut Sender, index: u64) -> (u64, u64, Vec<Command<'static>>) {
    let seq = match rng.below(10) {
        0 if 1 < sender.next_seq => 1 + rng.below(sender.next_seq - 1),
        1 => sender.next_seq + 1 + rng.below(2),
        _ => sender.next_seq,
    };
    while (sender.batches.len() as u64) < seq {
        let commands = (0..rng.below(6)).map(|_| command(rng, index)).collect();
        sender.batches.push(commands);
    }
    if seq == sender.next_seq {
        sender.next_seq += 1;
        if rng.below(3) == 0 {
            sender.acked = sender.next_seq - 1 - rng.below(sender.next_seq - sender.acked);
        }
    }
    (seq, sender.acked.min(seq - 1), sender.batches[usize::try_from(seq - 1).unwrap()].clone())
}

fn command(rng: &mut Rng, index: u64) -> Command<'static> {
    let key = rng.pick(&KEYS);
    let cas = (rng.below(6) == 0).then(|| CasUnique((index - rng.below(index.min(9))) << 12));
    match rng.below(50) {
        0..=17 => Command::Store {
            mode: rng.pick(&MODES),
            key,
            flags: rng.pick(&[0, 7]),
            expiry: expiry(rng),
            value: rng.pick(&VALUES),
            cas,
        },
        18..=21 => Command::Delete { key, cas },
        22..=29 => Command::Arithmetic {
            direction: rng.pick(&[Direction::Increment, Direction::Decrement]),
            key,
            delta: rng.pick(&[1, 9, 100, u64::MAX]),
            initial: (rng.below(2) == 0).then(|| Initial { value: 98, expiry: expiry(rng) }),
            cas,
        },
        30..=32 => Command::Touch { key, expiry: expiry(rng) },
        33..=35 => Command::GetAndTouch { key, expiry: expiry(rng) },
        36 => Command::FlushAll { after_ms: rng.below(3) * 70 },
        37 if rng.below(3) == 0 => Command::Configure(Settings {
            memory_limit: 200 + rng.below(1500),
            evict: rng.below(3) != 0,
            item_len_max: rng.pick(&[100, 370, 1 << 20]),
        }),
        38 if rng.below(3) == 0 => Command::LimitMemory { memory_limit: 200 + rng.below(1500) },
        40..=49 => meta(rng, index, key, cas),
        _ => Command::Tick,
    }
}

fn meta(rng: &mut Rng, index: u64, key: &'static [u8], cas: Option<CasUnique>) -> Command<'static> {
    let base64 = rng.below(4) == 0;
    let new_cas = (rng.below(5) == 0).then(|| CasUnique((index + rng.below(5)) << 12));
    let maybe = |rng: &mut Rng| (rng.below(3) == 0).then(|| expiry(rng));
    match rng.below(10) {
        0..=3 => Command::MetaGet(MetaGet {
            key,
            base64,
            touch: maybe(rng),
            vivify: maybe(rng),
            recache: maybe(rng),
            new_cas,
        }),
        4..=6 => Command::MetaStore(MetaStore {
            mode: rng.pick(&MODES),
            key,
            base64,
            flags: rng.pick(&[0, 7]),
            expiry: expiry(rng),
            value: rng.pick(&VALUES),
            cas,
            new_cas,
            invalidate: rng.below(2) == 0,
            vivify: maybe(rng),
        }),
        7..=8 => Command::MetaDelete(MetaDelete {
            key,
            cas,
            new_cas,
            mark_stale: rng.below(2) == 0,
            touch: maybe(rng),
            drop_value: rng.below(3) == 0,
        }),
        _ => Command::MetaArithmetic(MetaArithmetic {
            direction: rng.pick(&[Direction::Increment, Direction::Decrement]),
            key,
            base64,
            delta: rng.pick(&[1, 9, 100, u64::MAX]),
            initial: (rng.below(2) == 0).then(|| Initial { value: 98, expiry: expiry(rng) }),
            touch: maybe(rng),
            cas,
            new_cas,
        }),
    }
}

fn expiry(rng: &mut Rng) -> Expiry {
    match rng.below(8) {
        0 => Expiry::Now,
        1 => Expiry::At(UnixMillis(1_000_000 + rng.below(60_000))),
        2..=4 => Expiry::AfterMillis(rng.below(500)),
        _ => Expiry::Never,
    }
}

fn snapshot(state: &StateMachine) -> Vec<Vec<u8>> {
    state.freeze().encode().collect()
}

fn restart(state: &StateMachine) -> StateMachine {
    let mut restorer = Restorer::new();
    for chunk in snapshot(state) {
        restorer.push(&chunk).unwrap();
    }
    let mut fresh = StateMachine::new();
    fresh.install(restorer.finish().unwrap());
    fresh
}
