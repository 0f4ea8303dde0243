//! Histories made from a seed, by a store that is right or has one planted bug.
//!
//! Equal seeds and equal shapes give equal histories, on every machine.

mod disturb;
mod episodes;
mod rng;
mod store;

use std::collections::BTreeMap;

pub use disturb::disturb;
pub use episodes::{Episode, plant};
pub use rng::Rng;
pub use store::Bug;

use crate::history::{Input, Operation, Output, Ttl};
use store::Store;

/// What a generated history is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Clients, each with one operation at a time.
    pub clients: u32,
    /// Keys, all equally likely.
    pub keys: u64,
    /// Operations in all.
    pub operations: usize,
    /// Of a thousand operations, how many have an unknown outcome.
    pub unknown_per_mille: u64,
    /// How long an operation takes at most, in microseconds; at least 1.
    pub latency_us_max: u64,
    /// The longest ttl in milliseconds; at least 1. Half of the stores have none.
    pub ttl_ms_max: u64,
    /// How far the store's clock strays, in microseconds, from the earliest to the latest.
    pub clock_slack_us: u64,
    /// Of a thousand operations on a key, how many are increments or decrements.
    pub count_per_mille: u64,
    /// What the store does wrong, if anything.
    pub bug: Option<Bug>,
}

impl Default for Shape {
    /// Six clients, thirty keys, and everything the model knows.
    fn default() -> Self {
        Self {
            clients: 6,
            keys: 30,
            operations: 3000,
            unknown_per_mille: 10,
            latency_us_max: 4000,
            ttl_ms_max: 200,
            clock_slack_us: 10_000,
            count_per_mille: 150,
            bug: None,
        }
    }
}

/// Runs clients against the store in virtual time and returns what they recorded, by call time.
pub fn generate(seed: u64, shape: &Shape) -> Vec<Operation> {
    let mut world = World::new(seed, *shape);
    for client in 0..shape.clients {
        let at = world.rng.below(shape.latency_us_max);
        world.after(at, Event::Call { client });
    }
    while let Some(((at, _), event)) = world.events.pop_first() {
        world.now = at;
        match event {
            Event::Call { client } => world.call(client),
            Event::Effect { index, known } => world.effect(index, known),
            Event::Return { index, known } => world.finish(index, known),
        }
    }
    world.history
}

enum Event {
    Call { client: u32 },
    Effect { index: usize, known: bool },
    Return { index: usize, known: bool },
}

struct World {
    rng: Rng,
    shape: Shape,
    now: u64,
    /// By time, and then in the order they were asked for.
    events: BTreeMap<(u64, u64), Event>,
    event_count: u64,
    store: Store,
    history: Vec<Operation>,
    /// The last token that each client saw of each key.
    tokens: BTreeMap<(u32, String), u64>,
    value_count: u64,
}

impl World {
    fn new(seed: u64, shape: Shape) -> Self {
        Self {
            rng: Rng::new(seed),
            shape,
            now: 0,
            events: BTreeMap::new(),
            event_count: 0,
            store: Store::new(shape.clock_slack_us, shape.bug),
            history: Vec::new(),
            tokens: BTreeMap::new(),
            value_count: 0,
        }
    }

    fn after(&mut self, delay: u64, event: Event) {
        self.event_count += 1;
        self.events.insert((self.now + delay, self.event_count), event);
    }

    fn call(&mut self, client: u32) {
        if self.history.len() == self.shape.operations {
            return;
        }
        let key = format!("key-{}", self.rng.below(self.shape.keys));
        let input = self.input(client, &key);
        let index = self.history.len();
        let (call_us, output) = (self.now, Output::Unknown);
        self.history.push(Operation { client, key, call_us, return_us: None, input, output });

        // Now and then an operation takes long, so that many others pass it by.
        let slow = if self.rng.below(40) == 0 { 8 } else { 1 };
        let latency = 1 + self.rng.below(self.shape.latency_us_max * slow);
        let known = self.shape.unknown_per_mille <= self.rng.below(1000);
        let effect = match known || self.rng.below(3) == 0 {
            true => Some(self.rng.below(latency + 1)),
            // Later than its client waits for it, or never.
            false if self.rng.below(2) == 0 => Some(self.rng.below(self.shape.latency_us_max * 50)),
            false => None,
        };
        if let Some(delay) = effect {
            self.after(delay, Event::Effect { index, known });
        }
        self.after(latency, Event::Return { index, known });
    }

    fn effect(&mut self, index: usize, known: bool) {
        let Some(operation) = self.history.get_mut(index) else { return };
        let (key, input) = (&operation.key, &operation.input);
        let output = self.store.apply(self.now, key, input, &mut self.rng);
        if known {
            operation.output = output;
        }
    }

    fn finish(&mut self, index: usize, known: bool) {
        let Some(operation) = self.history.get_mut(index) else { return };
        let client = operation.client;
        if known {
            operation.return_us = Some(self.now);
            if let Output::Value { cas: Some(token), .. } = operation.output {
                self.tokens.insert((client, operation.key.clone()), token);
            }
        }
        let think = self.rng.below(self.shape.latency_us_max / 2 + 1);
        self.after(think, Event::Call { client });
    }

    fn input(&mut self, client: u32, key: &str) -> Input {
        let by = 1 + self.rng.below(9);
        if self.rng.below(1000) < self.shape.count_per_mille {
            return match self.rng.below(3) {
                0 => Input::Decr { by },
                _ => Input::Incr { by },
            };
        }
        let (value, ttl) = (self.value(client), self.ttl());
        match self.rng.below(100) {
            0..=24 => Input::Get,
            25..=37 => Input::Gets,
            38..=41 => Input::Gat { ttl },
            42..=58 => Input::Set { value, ttl },
            59..=64 => Input::Add { value, ttl },
            65..=68 => Input::Replace { value, ttl },
            69..=74 => Input::Append { value },
            75..=77 => Input::Prepend { value },
            78..=90 => {
                let seen = self.tokens.get(&(client, key.to_owned())).copied();
                Input::Cas { value, ttl, token: seen.unwrap_or(u64::MAX) }
            }
            91..=95 => Input::Delete,
            _ => Input::Touch { ttl },
        }
    }

    /// Mostly a text that no other operation writes, otherwise a number.
    fn value(&mut self, client: u32) -> String {
        self.value_count += 1;
        if self.rng.below(1000) < self.shape.count_per_mille * 2 {
            return self.rng.pick(&["0", "7", "95", "1000", "18446744073709551610"]).to_owned();
        }
        format!("c{client}n{};", self.value_count)
    }

    fn ttl(&mut self) -> Ttl {
        match self.rng.below(20) {
            0..=9 => Ttl::Never,
            10 => Ttl::Past,
            _ => Ttl::Millis(1 + self.rng.below(self.shape.ttl_ms_max)),
        }
    }
}

impl Operation {
    /// An operation of a key, for tests that write histories down.
    pub fn at(key: &str, call_us: u64, return_us: u64, input: Input, output: Output) -> Self {
        let return_us = (output != Output::Unknown).then_some(return_us);
        Self { client: 0, key: key.to_owned(), call_us, return_us, input, output }
    }
}
