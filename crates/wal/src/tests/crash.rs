//! Invariants 1 and 2, against a model: power losses at any moment.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::RecoveredShard;

#[derive(Debug, Clone)]
enum Op {
    Entries { count: u64, len: usize },
    Truncate { back: u64 },
    Purge { back: u64 },
    Slot { slot: u8 },
}

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

    fn found(wal: &Wal, shard: &RecoveredShard) -> Result<Self, Error> {
        let entries = wal.read(1, 0, u64::MAX, usize::MAX)?;
        let entries: BTreeMap<_, _> =
            entries.into_iter().map(|(index, body)| (index, body.to_vec())).collect();
        let first_last = entries.first_key_value().zip(entries.last_key_value());
        assert_eq!(first_last.map(|((first, _), (last, _))| *first..=*last), shard.entries);
        Ok(Self {
            slots: shard.slots.iter().map(|(slot, value)| (*slot, value.to_vec())).collect(),
            purged: shard.purged.as_ref().map(|(index, value)| (*index, value.to_vec())),
            entries,
        })
    }
}

/// A log under test, with every state it went through since the last one known for sure.
struct Run {
    wal: Wal,
    /// The states after each record sent, the oldest one certain.
    states: Vec<Model>,
    fates: Vec<mpsc::Receiver<Result<(), Error>>>,
    step: u64,
}

impl Run {
    fn send(&mut self, op: &Op) {
        match *op {
            Op::Entries { count, len } => {
                for _ in 0..count {
                    let mut body = self.step.to_le_bytes().to_vec();
                    body.resize(8 + len, 0xee);
                    let mut model = self.last();
                    let index = model.next();
                    model.entries.insert(index, body.clone());
                    self.record(model, |records| records.entry(index, &[&body]));
                }
            }
            Op::Truncate { back } => {
                let mut model = self.last();
                let after = (model.next() - 1).saturating_sub(back);
                model.entries.split_off(&(after + 1));
                self.record(model, |records| records.truncate(Some(after)));
            }
            Op::Purge { back } => {
                let mut model = self.last();
                let through = (model.next() - 1).saturating_sub(back);
                let through = through.max(model.purged.as_ref().map_or(0, |(index, _)| *index));
                let value = self.step.to_le_bytes().to_vec();
                model.entries = model.entries.split_off(&(through + 1));
                model.purged = Some((through, value.clone()));
                self.record(model, |records| records.purge(through, &value));
            }
            Op::Slot { slot } => {
                let mut model = self.last();
                let value = self.step.to_le_bytes().to_vec();
                model.slots.insert(slot, value.clone());
                self.record(model, |records| records.slot(slot, &value));
            }
        }
    }

    fn last(&self) -> Model {
        self.states.last().unwrap().clone()
    }

    fn record(&mut self, model: Model, fill: impl FnOnce(&mut Appender<'_>)) {
        self.step += 1;
        self.states.push(model);
        self.fates.push(send(&self.wal, 1, fill));
    }

    /// How many records were acknowledged; they are the first ones.
    fn acknowledged(&mut self) -> usize {
        let fates: Vec<_> = self
            .fates
            .drain(..)
            .map(|fate| fate.recv_timeout(DEADLINE).expect("every append is answered").is_ok())
            .collect();
        let count = fates.iter().take_while(|ok| **ok).count();
        assert!(fates[count..].iter().all(|ok| !ok), "acknowledged behind a failure");
        count
    }
}

/// Opens or creates, however often the power is lost on the way.
fn start(disk: &SimDisk, certain_to_exist: bool) -> (Wal, Model) {
    loop {
        let opened = open(disk).and_then(|(wal, recovered)| {
            let shard = recovered.shards.get(&1).cloned();
            let empty = RecoveredShard { slots: BTreeMap::new(), purged: None, entries: None };
            let model = Model::found(&wal, &shard.unwrap_or(empty))?;
            Ok((wal, model))
        });
        match opened {
            Ok(started) => return started,
            Err(Error::NoLog) => {
                assert!(!certain_to_exist);
                if let Ok(wal) = Wal::create(Arc::new(disk.clone()), CONFIG) {
                    return (wal, Model::default());
                }
                disk.crash();
            }
            Err(Error::Io { .. }) => disk.crash(),
            Err(error) => panic!("refused after a mere power loss: {error}"),
        }
    }
}

fn check(seed: u64, rounds: &[(u64, bool, Vec<Op>)]) {
    let disk = SimDisk::new(seed);
    let mut certain = false;
    let mut states = vec![Model::default()];
    let mut step = 0;
    for (changes, together, ops) in rounds {
        disk.crash_after(*changes);
        let (wal, model) = start(&disk, certain);
        assert!(states.contains(&model), "{model:?} is not one of {states:?}");
        let mut run = Run { wal, states: vec![model], fates: Vec::new(), step };
        let mut acknowledged = 0;
        for op in ops {
            run.send(op);
            if !together {
                acknowledged += run.acknowledged();
            }
            if run.wal.failed().is_some() {
                break;
            }
        }
        acknowledged += run.acknowledged();
        certain |= 0 < acknowledged;
        step = run.step;
        // A power loss by itself, if the count has not come to one. The log's threads end before the
        // power is back, or they would change names on a disk that is not theirs any more.
        disk.crash_after(0);
        drop(run.wal);
        disk.crash();
        states = run.states.split_off(acknowledged);
    }
    let (wal, model) = start(&disk, certain);
    assert!(states.contains(&model), "{model:?} is not one of {states:?}");
    wal.close().unwrap();
    assert_eq!(start(&disk, true).1, model);
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (1_u64..6, 0_usize..400).prop_map(|(count, len)| Op::Entries { count, len }),
        1 => Just(Op::Entries { count: 1, len: 3000 }),
        2 => (0_u64..8).prop_map(|back| Op::Truncate { back }),
        3 => (0_u64..8).prop_map(|back| Op::Purge { back }),
        2 => (0_u8..3).prop_map(|slot| Op::Slot { slot }),
    ];
    prop::collection::vec(op, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever the moment of the power losses, and whatever sectors and names they spare: what
    /// was acknowledged is there, in order, and what is there is a state the log went through.
    #[test]
    fn nothing_acknowledged_is_lost(
        seed in any::<u64>(),
        rounds in prop::collection::vec((0_u64..90, any::<bool>(), ops()), 1..6),
    ) {
        check(seed, &rounds);
    }
}
