//! A client that records what it asked and what it was told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cluster_tests::{Protocol, Rng, Violations, pause, wait_for};
use oracle::{Input, Operation, Output};

use super::requests::Requests;
use super::wire::{Fate, Wire};

/// What all clients of a round told, and what no node may say.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// Begins the names of all keys: a cluster may have those of an earlier history.
    prefix: String,
    began: Instant,
    operations: Mutex<Vec<Operation>>,
    violations: Violations,
}

/// Clients of every node, each with one request at a time.
///
/// One whose connection has failed, or who was told nothing for as long as it has patience, goes to
/// another node; some go there for no reason. They ask in turns in text and in binary.
pub(crate) fn load(ports: &[u16], rng: &mut Rng, recorder: &Recorder, stop: &AtomicBool) {
    thread::scope(|scope| {
        for id in 0..CLIENTS {
            let protocol = if id % 2 == 0 { Protocol::Text } else { Protocol::Binary };
            let patience = PATIENCE.get(id as usize / 2).copied().unwrap_or(PATIENCE_LAST);
            let mut requests = Requests::new(id, &recorder.prefix, Rng::new(rng.bits()), protocol);
            scope.spawn(move || {
                let mut wire = None;
                while !stop.load(Ordering::SeqCst) {
                    let port = *ports
                        .get(usize::try_from(requests.below(97)).unwrap_or(0) % ports.len())
                        .unwrap_or(&0);
                    if wire.is_none() {
                        wire = Wire::connect(protocol, port, patience).ok();
                    }
                    let Some(connected) = wire.as_mut() else {
                        pause();
                        continue;
                    };
                    let good = recorder.ask(id, connected, &mut requests);
                    if !good || requests.below(40) == 0 {
                        wire = None;
                    }
                    // A pace, not a wait.
                    thread::sleep(Duration::from_micros(requests.below(PACE_US)));
                }
            });
        }
    });
}

impl Recorder {
    /// Nothing yet; the clock of the history starts.
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            began: Instant::now(),
            operations: Mutex::default(),
            violations: Violations::default(),
        }
    }

    /// What was recorded.
    ///
    /// # Errors
    ///
    /// When a reply was none that a node may give.
    pub(crate) fn take(self) -> Result<Vec<Operation>> {
        self.violations.check()?;
        Ok(self.operations.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many requests have been answered.
    pub(crate) fn answered(&self) -> usize {
        let operations = self.operations.lock().unwrap_or_else(PoisonError::into_inner);
        operations.iter().filter(|operation| !operation.is_unknown()).count()
    }

    /// Time since the history began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Reads every key through the node at each of `ports`, when nobody else asks anything.
    ///
    /// # Errors
    ///
    /// When a node does not answer `within` that time.
    pub(crate) fn read_all(&self, ports: &[u16], within: Duration) -> Result<()> {
        let mut keys: Vec<_> = {
            let operations = self.operations.lock().unwrap_or_else(PoisonError::into_inner);
            operations.iter().map(|operation| operation.key.clone()).collect()
        };
        keys.sort_unstable();
        keys.dedup();
        for port in ports {
            let mut wire = None;
            for key in &keys {
                wait_for("the last reads", within, || {
                    let mut connected = match wire.take() {
                        Some(connected) => connected,
                        None => Wire::connect(Protocol::Text, *port, PATIENCE_LAST)?,
                    };
                    let (call_us, input) = (self.now_us(), Input::Get);
                    let output = connected.ask(key, &input).with_context(|| key.clone())?;
                    self.note(oracle::FINAL_CLIENT, key.clone(), call_us, input, Some(output));
                    wire = Some(connected);
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// Asks for one thing; false if the connection is of no more use.
    fn ask(&self, client: u32, wire: &mut Wire, requests: &mut Requests) -> bool {
        let (key, input) = requests.draw(self.elapsed());
        let call_us = self.now_us();
        match wire.ask(&key, &input) {
            Ok(output) => {
                requests.take_in(&key, &output);
                self.note(client, key, call_us, input, Some(output));
                true
            }
            Err(error) => {
                match Fate::of(&error) {
                    Fate::NotDone => {}
                    Fate::Unknown => self.note(client, key, call_us, input, None),
                    Fate::Broken(why) => {
                        self.violations
                            .record(format!("client {client}: {input:?} of {key}: {why}"));
                    }
                }
                false
            }
        }
    }

    fn note(&self, client: u32, key: String, call_us: u64, input: Input, output: Option<Output>) {
        let return_us = output.is_some().then(|| self.now_us());
        let output = output.unwrap_or(Output::Unknown);
        let operation = Operation { client, key, call_us, return_us, input, output };
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).push(operation);
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// As many in text as in binary.
const CLIENTS: u32 = 8;
/// Of the first pairs of clients: less and more than the two seconds that a node may take.
const PATIENCE: [Duration; 3] =
    [Duration::from_millis(300), Duration::from_millis(600), Duration::from_millis(1200)];
const PATIENCE_LAST: Duration = Duration::from_millis(2500);
/// Between a reply and the next request, at most.
const PACE_US: u64 = 12_000;
