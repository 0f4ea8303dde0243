//! One client: asks, waits, notes what it was told, and goes elsewhere when its node fails it.

use std::collections::BTreeMap;

use engine::{CasUnique, Command, Direction, Expiry, Outcome, StoreMode};
use oracle::{Input, Operation, Output, Ttl};
use replication::ClientError;
use tokio::task::JoinHandle;

use crate::host::Host;
use crate::network::HostId;
use crate::process::poll_task;
use crate::rng::Draw;

/// A client with one request at a time.
pub struct Client {
    id: u32,
    draw: Draw,
    at: HostId,
    waiting: Option<Waiting>,
    idle_until_us: u64,
    /// Makes values that nobody else writes.
    written: u64,
    /// The token that this client saw last under a key.
    tokens: BTreeMap<String, u64>,
    load: Load,
}

/// Reads a list of keys through one node, and nothing else.
pub struct Reader {
    at: HostId,
    keys: Vec<String>,
    waiting: Option<Waiting>,
}

/// What clients ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Everything, on a few keys.
    Mixed,
    /// Large values under ever new keys, more than there is memory for.
    Flood,
}

struct Waiting {
    operation: Operation,
    task: JoinHandle<Reply>,
}

/// What became of a request.
enum Reply {
    Answered(Output),
    /// It may have been done.
    Unknown,
    /// It was not done, and never will be.
    NotDone,
}

impl Client {
    /// A client that begins at some node.
    pub fn new(id: u32, seed: u64, load: Load) -> Self {
        Self {
            id,
            draw: Draw::new(seed, 0x00c1_1e00 + u64::from(id)),
            at: 0,
            waiting: None,
            idle_until_us: 0,
            written: 0,
            tokens: BTreeMap::new(),
            load,
        }
    }

    /// A client that reads `keys` through the node on `at`.
    pub fn reader(at: HostId, keys: &[String]) -> Reader {
        Reader { at, keys: keys.to_vec(), waiting: None }
    }

    /// Whether it waits for a reply.
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Takes what has been answered, and asks the next thing if `asking`. Finished operations go
    /// to `history`.
    pub fn run(
        &mut self,
        hosts: &[Host],
        now_us: u64,
        tick_us: u64,
        asking: bool,
        history: &mut Vec<Operation>,
    ) {
        if let Some(mut waiting) = self.waiting.take() {
            let reply = match poll_task(&mut waiting.task) {
                Some(reply) => reply.unwrap_or(Reply::Unknown),
                None if waiting.operation.call_us + PATIENCE_US <= now_us => Reply::Unknown,
                None => {
                    self.waiting = Some(waiting);
                    return;
                }
            };
            // It came at some moment of the tick that has just ended.
            self.take(waiting.operation, reply, now_us + tick_us - 1, history);
        }
        if asking && self.idle_until_us <= now_us {
            self.ask(hosts, now_us + tick_us);
        }
    }

    fn take(
        &mut self,
        mut operation: Operation,
        reply: Reply,
        now_us: u64,
        history: &mut Vec<Operation>,
    ) {
        self.idle_until_us = now_us + self.draw.between(0, IDLE_MAX_US);
        if let Reply::Answered(output) = reply {
            if let Output::Value { cas: Some(cas), .. } = &output {
                self.tokens.insert(operation.key.clone(), *cas);
            }
            operation.output = output;
            operation.return_us = Some(now_us);
            history.push(operation);
            if self.draw.once_in(20) {
                self.at = usize::MAX;
            }
            return;
        }
        // Another node may do better.
        self.at = usize::MAX;
        if matches!(reply, Reply::Unknown) {
            history.push(operation);
        }
    }

    fn ask(&mut self, hosts: &[Host], call_us: u64) {
        let serving: Vec<_> = hosts
            .iter()
            .filter(|host| !host.paused && host.is_serving())
            .map(|host| host.id)
            .collect();
        if !serving.contains(&self.at) {
            let Some(at) = self.draw.pick(&serving) else { return };
            self.at = at;
        }
        let host = hosts.get(self.at);
        let Some((process, node)) = host.and_then(|host| Some((host.process()?, host.node()?)))
        else {
            return;
        };
        let (key, input) = self.next_request();
        let work = perform(node.client(), key.clone(), input.clone());
        let Some(task) = process.spawn(work) else { return };
        let operation = Operation {
            client: self.id,
            key,
            call_us,
            return_us: None,
            input,
            output: Output::Unknown,
        };
        self.waiting = Some(Waiting { operation, task });
    }

    fn next_request(&mut self) -> (String, Input) {
        self.written += 1;
        let value = format!("v{}-{}", self.id, self.written);
        if self.load == Load::Flood {
            let key = format!("flood-{}-{}", self.id, self.written);
            let value = format!("{value}-{}", "x".repeat(4000));
            return (key, Input::Set { value, ttl: Ttl::Never });
        }
        match self.draw.between(0, 9) {
            0..2 => {
                let key = format!("counter{}", self.draw.between(0, 1));
                (key, self.count())
            }
            2 => {
                let key = format!("text{}", self.draw.between(0, 1));
                (key, self.write_text(value))
            }
            _ => {
                let key = format!("key{}", self.draw.between(0, 5));
                let input = self.use_key(&key, value);
                (key, input)
            }
        }
    }

    fn count(&mut self) -> Input {
        match self.draw.between(0, 9) {
            0 => Input::Add { value: "1".to_owned(), ttl: Ttl::Never },
            1 => Input::Decr { by: 1 },
            2..5 => Input::Get,
            _ => Input::Incr { by: 1 },
        }
    }

    fn write_text(&mut self, value: String) -> Input {
        match self.draw.between(0, 9) {
            0 => Input::Set { value, ttl: Ttl::Never },
            1..6 => Input::Append { value: format!("{value};") },
            6 => Input::Prepend { value: format!("{value};") },
            _ => Input::Get,
        }
    }

    fn use_key(&mut self, key: &str, value: String) -> Input {
        let ttl = match self.draw.between(0, 9) {
            0..5 => Ttl::Never,
            5 => Ttl::Past,
            _ => Ttl::Millis(self.draw.between(300, 4000)),
        };
        match self.draw.between(0, 19) {
            0..5 => Input::Get,
            5..9 => Input::Gets,
            9..13 => Input::Set { value, ttl },
            13 => Input::Add { value, ttl },
            14 => Input::Replace { value, ttl },
            15 => Input::Delete,
            16 => Input::Touch { ttl },
            17 => Input::Gat { ttl },
            _ => match self.tokens.get(key) {
                Some(token) => Input::Cas { value, ttl, token: *token },
                None => Input::Gets,
            },
        }
    }
}

impl Reader {
    /// Whether all keys have been read.
    pub fn is_done(&self) -> bool {
        self.keys.is_empty() && self.waiting.is_none()
    }

    /// As [`Client::run`].
    pub fn run(&mut self, hosts: &[Host], now_us: u64, tick_us: u64, history: &mut Vec<Operation>) {
        if let Some(waiting) = &mut self.waiting {
            let Some(reply) = poll_task(&mut waiting.task) else { return };
            let Some(mut waiting) = self.waiting.take() else { return };
            if let Some(Reply::Answered(output)) = reply {
                waiting.operation.output = output;
                waiting.operation.return_us = Some(now_us + tick_us - 1);
                history.push(waiting.operation);
            } else {
                self.keys.push(waiting.operation.key);
            }
        }
        let Some(key) = self.keys.pop() else { return };
        let host = hosts.get(self.at);
        let node = host.and_then(|host| Some((host.process()?, host.node()?)));
        let work = |(process, node): (&crate::process::Process, replication::Node)| {
            process.spawn(perform(node.client(), key.clone(), Input::Get))
        };
        let Some(task) = node.and_then(work) else { return };
        let operation = Operation {
            client: u32::MAX,
            key,
            call_us: now_us + tick_us,
            return_us: None,
            input: Input::Get,
            output: Output::Unknown,
        };
        self.waiting = Some(Waiting { operation, task });
    }
}

/// As a connection does: reads under a lease or behind a barrier, writes through the log.
async fn perform(client: replication::Client, key: String, input: Input) -> Reply {
    if !matches!(input, Input::Get | Input::Gets) {
        return write(&client, &key, &input).await;
    }
    let at = match client.read_now() {
        Some(at) => at,
        None => match client.read_barrier().await {
            Ok(at) => at,
            Err(error) => return failed(error),
        },
    };
    let shown = matches!(input, Input::Gets);
    Reply::Answered(match client.get(key.as_bytes(), at) {
        Ok(item) => value(&item, shown),
        Err(_) => Output::Miss,
    })
}

async fn write(client: &replication::Client, key: &str, input: &Input) -> Reply {
    let Some(command) = command(key.as_bytes(), input) else { return Reply::NotDone };
    let proposal = loop {
        match client.propose(&command) {
            Ok(proposal) => break proposal,
            Err(replication::Full) => {
                if let Err(error) = client.ready().await {
                    return failed(error);
                }
            }
        }
    };
    match proposal.await {
        Ok(outcome) => answered(input, &outcome),
        Err(error) => failed(error),
    }
}

fn failed(error: ClientError) -> Reply {
    match error {
        ClientError::Draining | ClientError::NoQuorum | ClientError::NoSpace => Reply::NotDone,
        // Whatever else may go wrong one day: nobody may believe that nothing was done.
        ClientError::OutcomeUnknown | _ => Reply::Unknown,
    }
}

fn answered(input: &Input, outcome: &Outcome) -> Reply {
    let reads = matches!(input, Input::Gat { .. });
    Reply::Answered(match outcome {
        Outcome::Stored(_) => Output::Stored,
        Outcome::NotStored => Output::NotStored,
        Outcome::Exists => Output::Exists,
        Outcome::NotFound if reads => Output::Miss,
        // What a text connection says to an append that finds nothing.
        Outcome::NotFound if matches!(input, Input::Append { .. } | Input::Prepend { .. }) => {
            Output::NotStored
        }
        Outcome::NotFound => Output::NotFound,
        Outcome::Deleted => Output::Deleted,
        Outcome::Touched { .. } => Output::Touched,
        Outcome::Value(item) => value(item, false),
        Outcome::Number { value, .. } => Output::Number(*value),
        Outcome::NonNumeric => Output::NotANumber,
        // No room: nothing was done.
        Outcome::TooLarge | Outcome::OutOfMemory | Outcome::Done | _ => return Reply::NotDone,
    })
}

fn value(item: &engine::Item, shown: bool) -> Output {
    let value = String::from_utf8_lossy(item.value()).into_owned();
    Output::Value { value, cas: shown.then(|| item.cas_unique().0) }
}

fn command<'a>(key: &'a [u8], input: &'a Input) -> Option<Command<'a>> {
    let store = |mode, value: &'a String, ttl: Ttl, cas| Command::Store {
        mode,
        key,
        flags: 0,
        expiry: expiry(ttl),
        value: value.as_bytes(),
        cas,
    };
    let arithmetic =
        |direction, delta| Command::Arithmetic { direction, key, delta, initial: None, cas: None };
    Some(match input {
        Input::Get | Input::Gets => return None,
        Input::Gat { ttl } => Command::GetAndTouch { key, expiry: expiry(*ttl) },
        Input::Set { value, ttl } => store(StoreMode::Set, value, *ttl, None),
        Input::Add { value, ttl } => store(StoreMode::Add, value, *ttl, None),
        Input::Replace { value, ttl } => store(StoreMode::Replace, value, *ttl, None),
        Input::Append { value } => store(StoreMode::Append, value, Ttl::Never, None),
        Input::Prepend { value } => store(StoreMode::Prepend, value, Ttl::Never, None),
        Input::Cas { value, ttl, token } => {
            store(StoreMode::Set, value, *ttl, Some(CasUnique(*token)))
        }
        Input::Delete => Command::Delete { key, cas: None },
        Input::Touch { ttl } => Command::Touch { key, expiry: expiry(*ttl) },
        Input::Incr { by } => arithmetic(Direction::Increment, *by),
        Input::Decr { by } => arithmetic(Direction::Decrement, *by),
    })
}

fn expiry(ttl: Ttl) -> Expiry {
    match ttl {
        Ttl::Never => Expiry::Never,
        Ttl::Past => Expiry::Now,
        Ttl::Millis(ms) => Expiry::AfterMillis(ms),
    }
}

/// Longer than any budget of a node that runs.
const PATIENCE_US: u64 = 5_000_000;
/// Between a reply and the next request.
const IDLE_MAX_US: u64 = 60_000;
