//! A client's bytes through parser, lowering and state machine, beside the plain model.
//!
//! Input: a byte for how many commands go into one entry, then the bytes of a connection. A
//! `verbosity N` moves the clock, a `version` replaces a replica by its own snapshot.
#![no_main]

use engine::fuzzing::{Entry, Oracle, outcomes};
use engine::{Command, Origin, Outcome, Settings, UnixMillis};
use frontend::fuzzing::{command, get_and_touch, is_existence_probe, meta};
use harness::input::Input;
use protocol::{Compat, KEY_LEN_MAX, Limits, Parser, Request};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let together = input.below(4) + 1;
    let mut stream = input.rest();
    let mut node = Node::new();
    let mut parser = Parser::new();
    let mut batch = Vec::new();
    loop {
        match parser.parse(stream, &LIMITS) {
            Ok(None) => break,
            Ok(Some(parsed)) => {
                node.request(&parsed.request, &mut batch);
                stream = &stream[parsed.consumed..];
            }
            Err(refusal) => {
                if let Some(key) = refusal.delete {
                    node.propose(&mut batch);
                    let mut buffer = [0; KEY_LEN_MAX];
                    let key = key.bytes(&mut buffer);
                    node.propose(&mut vec![Command::Delete { key, cas: None }]);
                }
                if refusal.close || stream.len() < refusal.consumed {
                    break;
                }
                stream = &stream[refusal.consumed..];
            }
        }
        if together <= batch.len() {
            node.propose(&mut batch);
        }
    }
    node.propose(&mut batch);
    node.oracle.check();
});

struct Node {
    oracle: Oracle,
    index: u64,
    clock: u64,
}

impl Node {
    fn new() -> Self {
        let mut node = Self { oracle: Oracle::new(), index: 0, clock: START };
        let settings = Settings { memory_limit: 2500, evict: true, item_len_max: ITEM_LEN_MAX };
        node.propose(&mut vec![Command::Configure(settings)]);
        node
    }

    fn request<'a>(&mut self, request: &Request<'a>, batch: &mut Vec<Command<'a>>) {
        match request {
            Request::Get { keys } => {
                self.propose(batch);
                keys.clone().for_each(|key| drop(self.oracle.get(key, self.clock)));
            }
            Request::GetAndTouch { exptime, keys } => {
                batch.extend(keys.clone().take(8).map(|key| get_and_touch(key, *exptime)));
            }
            Request::MetaArithmetic(_)
            | Request::MetaDelete(_)
            | Request::MetaGet(_)
            | Request::MetaStore(_) => {
                self.propose(batch);
                let mut buffer = [0; KEY_LEN_MAX];
                self.propose(&mut meta(request, &mut buffer).into_iter().collect());
            }
            Request::Verbosity { level } => {
                self.propose(batch);
                self.clock += u64::from(*level % 700_000);
            }
            Request::Version => {
                self.propose(batch);
                self.oracle.restart();
            }
            Request::Store { key, .. } if is_existence_probe(request) => {
                self.propose(batch);
                let there = self.oracle.get(key, self.clock).is_some();
                batch.extend(command(request, UnixMillis(self.clock)));
                let outcome = self.propose(batch);
                // What is answered like a read is what the command would have said.
                let took_place = matches!(outcome[..], [Outcome::Stored(_)]);
                let refused = matches!(outcome[..], [Outcome::NotStored]);
                let fits = took_place != there && refused == there;
                assert!(fits || outcome == [Outcome::TooLarge], "{there} {outcome:?}");
                assert_eq!(self.oracle.get(key, self.clock).is_some(), there);
            }
            other => batch.extend(command(other, UnixMillis(self.clock))),
        }
    }

    fn propose(&mut self, batch: &mut Vec<Command<'_>>) -> Vec<Outcome> {
        if batch.is_empty() {
            return Vec::new();
        }
        self.index += 1;
        let entry = Entry {
            index: self.index,
            stamp: self.clock,
            origin: Origin { node: 1, epoch: 1 },
            seq: self.index,
            acked: self.index - 1,
            commands: batch,
        };
        let mut applied = self.oracle.apply(&entry);
        if let engine::Applied::Gap { .. } = applied {
            // The origin was not heard of for too long: it starts over.
            let origin = Origin { node: 1, epoch: self.index };
            self.index += 1;
            let (index, seq, acked) = (self.index, 1, 0);
            applied = self.oracle.apply(&Entry { index, origin, seq, acked, ..entry });
        }
        batch.clear();
        outcomes(&applied).to_vec()
    }
}

/// 2025, so that absolute exptimes of a few digits more are to come.
const START: u64 = 1_735_700_000_000;
const ITEM_LEN_MAX: u64 = 400;
const LIMITS: Limits = Limits { item_len_max: ITEM_LEN_MAX, compat: Compat::V1_6_18 };
