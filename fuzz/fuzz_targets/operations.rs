//! Sequences of entries: three replicas agree with the model, and the books are exact.
//!
//! Input: operations. An entry names its origin, how its number relates to the last one's, how
//! far index and clock go on, and its commands.
#![no_main]

use engine::fuzzing::{Entry, Oracle};
use engine::{Applied, Command, Origin};
use harness::commands::{KEYS, command};
use harness::input::Input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let mut run = Run {
        oracle: Oracle::new(),
        senders: [1, 2, 3].map(|node| Sender::new(node, 1)),
        index: 0,
        clock: 1_000_000,
    };
    let mut held = None;
    while !input.is_empty() {
        match input.below(16) {
            0 => run.oracle.restart(),
            1 => run.oracle.check(),
            2 => held = Some(run.oracle.hold()),
            3 => held.take().into_iter().for_each(engine::fuzzing::Held::check),
            4 => {
                let len = input.below(64);
                run.oracle.refuse(run.index + 1, input.bytes(len));
            }
            _ => run.entry(&mut input),
        }
    }
    held.into_iter().for_each(engine::fuzzing::Held::check);
    run.oracle.check();
});

struct Run<'a> {
    oracle: Oracle,
    senders: [Sender<'a>; 3],
    index: u64,
    clock: u64,
}

/// Who sends batches.
struct Sender<'a> {
    origin: Origin,
    /// Of the last batch, from 1; 0: none yet.
    seq: u64,
    acked: u64,
    /// The last batch, to be sent again.
    last: Vec<Command<'a>>,
}

impl Sender<'_> {
    fn new(node: u64, epoch: u64) -> Self {
        Self { origin: Origin { node, epoch }, seq: 0, acked: 0, last: Vec::new() }
    }
}

impl<'a> Run<'a> {
    fn entry(&mut self, input: &mut Input<'a>) {
        self.index += 1 + u64::from(input.byte() % 2);
        self.clock += input.pick(&[0, 0, 1, 7, 40, 300, 61_000, 660_000]);
        // A new leader's clock may be behind the old one's.
        let stamp = self.clock - u64::from(input.byte() % 60);
        let who = input.below(self.senders.len());
        let index = self.index;
        let sender = &mut self.senders[who];
        let seq = match input.below(8) {
            0 if 0 < sender.seq => sender.seq,
            1 => sender.seq + 2,
            _ => {
                let count = input.below(6);
                sender.last = (0..count).map(|_| command(input, index)).collect();
                sender.seq += 1;
                sender.seq
            }
        };
        // Far fewer than are kept are ever open.
        let acked = if input.below(3) == 0 || sender.acked + 100 < sender.seq {
            seq.min(sender.seq).saturating_sub(1)
        } else {
            sender.acked.min(seq - 1)
        };
        sender.acked = sender.acked.max(acked);
        let (origin, commands) = (sender.origin, sender.last.as_slice());
        let entry = Entry { index, stamp, origin, seq, acked, commands };
        if let Applied::Gap { next_seq } = self.oracle.apply(&entry)
            && next_seq != sender.seq + 1
        {
            *sender = Sender::new(origin.node, origin.epoch + 1);
        }
        for key in KEYS {
            let at = self.oracle.now() + u64::from(input.byte()) * 2;
            self.oracle.get(key, at);
        }
    }
}
