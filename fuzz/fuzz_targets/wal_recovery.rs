//! Writes, a power loss or flipped bits, recovery: what was acknowledged is there.
//!
//! Input: rounds of appends. Each ends with a power loss at any moment; at the end bits flip.
#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc;

use harness::input::Input;
use wal::fuzzing::recovered;
use wal::testing::SimDisk;
use wal::{Appender, Config, Durability, Error, RecoveredShard, SEGMENT_LEN_MIN, Wal, Work};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let disk = SimDisk::new(input.u64());
    let mut states = vec![Model::default()];
    let mut certain = false;
    let flips = input.below(4);
    for _ in 0..=input.below(3) {
        disk.crash_after(u64::from(input.byte()));
        let wal = start(&disk, certain, &mut states);
        let mut run = Run { wal, states, fates: Vec::new(), step: u64::from(input.byte()) };
        let together = input.flag();
        for _ in 0..input.below(16) {
            run.send(&mut input);
            if !together {
                certain |= run.settle();
            }
        }
        certain |= run.settle();
        // A power loss by itself, if the count has not come to one. The log's threads end before the
        // power is back, or they would change names on a disk that is not theirs any more.
        disk.crash_after(0);
        let Run { wal, states: possible, .. } = run;
        drop(wal);
        disk.crash();
        states = possible;
    }
    let wal = start(&disk, certain, &mut states);
    wal.close().expect("a disk without faults");
    if 0 < flips {
        flip(&disk, flips, &mut input, &states);
    }
});

/// One shard's log, done plainly.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    slots: BTreeMap<u8, Vec<u8>>,
    purged: Option<(u64, Vec<u8>)>,
    entries: BTreeMap<u64, Vec<u8>>,
}

impl Model {
    fn next(&self) -> u64 {
        let last = self.entries.last_key_value().map(|(index, _)| *index);
        let purged = self.purged.as_ref().map(|(index, _)| *index);
        last.max(purged).map_or(1, |index| index + 1)
    }

    fn found(shard: Option<&RecoveredShard>, entries: Vec<(u64, impl AsRef<[u8]>)>) -> Self {
        let slots = shard.iter().flat_map(|shard| &shard.slots);
        let purged = shard.and_then(|shard| shard.purged.as_ref());
        let entries = entries.iter().map(|(index, body)| (*index, body.as_ref().to_vec()));
        Self {
            slots: slots.map(|(slot, value)| (*slot, value.to_vec())).collect(),
            purged: purged.map(|(index, value)| (*index, value.to_vec())),
            entries: entries.collect(),
        }
    }
}

/// A log under test, with every state it went through since the last one known for sure.
struct Run {
    wal: Wal,
    states: Vec<Model>,
    fates: Vec<mpsc::Receiver<Result<(), Error>>>,
    step: u64,
}

impl Run {
    fn send(&mut self, input: &mut Input<'_>) {
        self.step += 1;
        let value = self.step.to_le_bytes().to_vec();
        let mut model = self.states.last().expect("never empty").clone();
        let last = model.next() - 1;
        match input.below(8) {
            0 => {
                let after = last.saturating_sub(u64::from(input.byte() % 8));
                model.entries.split_off(&(after + 1));
                self.record(model, |records| records.truncate(Some(after)));
            }
            1 => {
                let through = last.saturating_sub(u64::from(input.byte() % 8));
                let through = through.max(model.purged.as_ref().map_or(0, |(index, _)| *index));
                model.entries = model.entries.split_off(&(through + 1));
                model.purged = Some((through, value.clone()));
                self.record(model, |records| records.purge(through, &value));
            }
            2 => {
                let slot = input.byte() % 3;
                model.slots.insert(slot, value.clone());
                self.record(model, |records| records.slot(slot, &value));
            }
            _ => {
                let mut body = value;
                // Most share a segment, some need one of their own.
                body.resize(8 + usize::from(input.byte()) * input.pick(&[0, 1, 2, 12]), 0xee);
                model.entries.insert(last + 1, body.clone());
                self.record(model, |records| records.entry(last + 1, &[&body]));
            }
        }
    }

    fn record(&mut self, model: Model, fill: impl FnOnce(&mut Appender<'_>)) {
        let (done, fate) = mpsc::channel();
        self.wal.append(SHARD, fill, move |result| drop(done.send(result)));
        self.states.push(model);
        self.fates.push(fate);
    }

    /// Waits for every fate and forgets the states before the last acknowledged one. Whether there
    /// was one.
    fn settle(&mut self) -> bool {
        let fates: Vec<_> =
            self.fates.drain(..).map(|fate| fate.recv().expect("a fate").is_ok()).collect();
        let count = fates.iter().take_while(|ok| **ok).count();
        assert!(fates[count..].iter().all(|ok| !ok), "acknowledged behind a failure");
        let certain = self.states.len() - 1 - fates.len() + count;
        if 0 < count {
            self.states.drain(..certain);
        }
        0 < count
    }
}

/// Opens or creates, however often the power is lost on the way. What is found is one of the states
/// that are possible, and the only one from then on.
fn start(disk: &SimDisk, certain: bool, states: &mut Vec<Model>) -> Wal {
    loop {
        let opened = Wal::open(Arc::new(disk.clone()), CONFIG).and_then(|(wal, recovered)| {
            let entries = wal.read(SHARD, 0, u64::MAX, usize::MAX)?;
            Ok((wal, Model::found(recovered.shards.get(&SHARD), entries)))
        });
        let created = match opened {
            Ok((wal, model)) => {
                assert!(states.contains(&model), "{model:?} is not one of {states:?}");
                *states = vec![model];
                return wal;
            }
            Err(Error::NoLog) => {
                assert!(!certain, "all of it is gone");
                Wal::create(Arc::new(disk.clone()), CONFIG)
            }
            Err(error @ Error::Io { .. }) => Err(error),
            Err(error) => panic!("refused after a mere power loss: {error}"),
        };
        match created {
            Ok(wal) => {
                *states = vec![Model::default()];
                return wal;
            }
            Err(_) => disk.crash(),
        }
    }
}

/// Flips bits of a closed log. One: refused, or all of it is there. Several may hit a record and
/// the mark that vouches for it, so that it looks torn; what is found is still a log that was.
fn flip(disk: &SimDisk, flips: usize, input: &mut Input<'_>, states: &[Model]) {
    let names: Vec<_> = disk.files().into_iter().collect();
    for _ in 0..flips {
        let (name, bytes) = &names[input.below(names.len())];
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last as u64 + 1);
        disk.flip_bit(name, u64::from(input.u32()) % (used * 8));
    }
    match recovered(disk, OWNER) {
        Err(error) => assert!(error.to_string().contains("wal-"), "{error}"),
        Ok((mut found, _)) => {
            let (shard, entries) = found.remove(&SHARD).unzip();
            let model = Model::found(shard.as_ref(), entries.unwrap_or_default());
            let whole = states.last().expect("never empty");
            let prefix = model
                .entries
                .iter()
                .all(|(index, body)| whole.entries.get(index).is_none_or(|whole| whole == body));
            assert!(&model == whole || (1 < flips && prefix), "{model:?} instead of {whole:?}");
        }
    }
}

const SHARD: wal::Shard = 1;
const OWNER: u64 = 7;
const CONFIG: Config = Config {
    owner: OWNER,
    segment_len: SEGMENT_LEN_MIN,
    durability: Durability::Fsync,
    work: Work::Threads,
};
