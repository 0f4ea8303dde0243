//! What clients ask: everything, on few keys, so that requests meet.

use std::collections::BTreeMap;
use std::time::Duration;

use cluster_tests::{Protocol, Rng};
use oracle::{Input, Output, Ttl};

/// Draws the requests of one client.
#[derive(Debug)]
pub(crate) struct Requests {
    client: u32,
    /// Begins the names of all keys.
    prefix: String,
    rng: Rng,
    /// Binary has no exptime in the past.
    protocol: Protocol,
    /// Makes values that nobody else writes.
    written: u64,
    /// The token that this client saw last under a key.
    tokens: BTreeMap<String, u64>,
}

impl Requests {
    /// For one client, which draws from `rng`; `prefix` is that of all keys of a history.
    pub(crate) fn new(client: u32, prefix: &str, rng: Rng, protocol: Protocol) -> Self {
        Self {
            client,
            prefix: prefix.to_owned(),
            rng,
            protocol,
            written: 0,
            tokens: BTreeMap::new(),
        }
    }

    /// The next one, at a time since the load began.
    ///
    /// The keys are others every few seconds, and the ones before for some of the requests: short
    /// histories are judged fast, and what one fault leaves unknown is soon left behind.
    pub(crate) fn draw(&mut self, at: Duration) -> (String, Input) {
        self.written += 1;
        let value = format!("v{}-{}", self.client, self.written);
        let late = u64::from(self.rng.below(8) == 0);
        let era = (at.as_secs() / ERA_S).saturating_sub(late);
        let prefix = format!("{}-{era}", self.prefix);
        match self.rng.below(10) {
            0..2 => (format!("{prefix}-counter{}", self.rng.below(2)), self.count()),
            2 => (format!("{prefix}-text{}", self.rng.below(2)), self.write_text(value)),
            _ => {
                let key = format!("{prefix}-key{}", self.rng.below(6));
                let input = self.use_key(&key, value);
                (key, input)
            }
        }
    }

    /// Below `bound`, from the same source.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.rng.below(bound)
    }

    /// Remembers a token for a later cas.
    pub(crate) fn take_in(&mut self, key: &str, output: &Output) {
        if let Output::Value { cas: Some(cas), .. } = output {
            self.tokens.insert(key.to_owned(), *cas);
        }
    }

    fn count(&mut self) -> Input {
        match self.rng.below(10) {
            0 => Input::Add { value: "1".to_owned(), ttl: Ttl::Never },
            1 => Input::Decr { by: 1 },
            2..5 => Input::Get,
            _ => Input::Incr { by: 1 },
        }
    }

    fn write_text(&mut self, value: String) -> Input {
        match self.rng.below(10) {
            0 => Input::Set { value, ttl: Ttl::Never },
            1..6 => Input::Append { value: format!("{value};") },
            6 => Input::Prepend { value: format!("{value};") },
            _ => Input::Get,
        }
    }

    fn use_key(&mut self, key: &str, value: String) -> Input {
        let ttl = match self.rng.below(10) {
            0..5 => Ttl::Never,
            5 if self.protocol == Protocol::Text => Ttl::Past,
            _ => Ttl::Millis(1000 * (1 + self.rng.below(4))),
        };
        match self.rng.below(20) {
            0..5 => Input::Get,
            5..9 => Input::Gets,
            9..13 => Input::Set { value, ttl },
            13 => Input::Add { value, ttl },
            14 => Input::Replace { value, ttl },
            15 => Input::Delete,
            16 => Input::Touch { ttl },
            17 => Input::Gat { ttl },
            18 if self.rng.below(4) == 0 => Input::Incr { by: 7 },
            _ => match self.tokens.get(key) {
                Some(token) => Input::Cas { value, ttl, token: *token },
                None => Input::Gets,
            },
        }
    }
}

const ERA_S: u64 = 3;
