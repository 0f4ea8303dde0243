//! Writes at a fixed rate, whatever the cluster does, and the memory of what was acknowledged.

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::{Liveness, TextClient, Violations, pause};

/// Sets sent through one node on one connection, one each `period`, without waiting for replies:
/// a stall shows as late acknowledgements, never as fewer writes.
///
/// Every second write is to a key of its own, so that no loss can hide under a later write; the
/// others overwrite a few keys, so that a reordering shows.
#[derive(Debug, Clone, Copy)]
pub struct PacedWriter<'a> {
    /// Begins the names of its keys; no two writers of a journal share prefix and node.
    pub prefix: &'a str,
    /// Number of the node.
    pub node: usize,
    /// Its port.
    pub port: u16,
    /// Time between two writes.
    pub period: Duration,
    /// Where writes are noted.
    pub journal: &'a Journal,
    /// When the connection may close.
    pub liveness: &'a Liveness,
    /// Where anything else is noted.
    pub violations: &'a Violations,
}

/// What was written, by any number of writers.
#[derive(Debug, Default)]
pub struct Journal(Mutex<Notes>);

#[derive(Debug, Default)]
struct Notes {
    keys: HashMap<String, Written>,
    acknowledged: u64,
    unknown: u64,
    longest: Duration,
    /// The key written by the last acknowledged write.
    freshest: Option<String>,
    watched: Option<Watched>,
}

/// The versions of one key; each writer counts upwards.
#[derive(Debug, Default, Clone, Copy)]
struct Written {
    issued: u64,
    acknowledged: u64,
}

/// The first acknowledged write that was issued after an instant.
#[derive(Debug, Clone, Copy)]
struct Watched {
    issued_after: Instant,
    /// When it was acknowledged.
    acknowledged_at: Option<Instant>,
}

/// One connection of a writer.
struct Connection {
    stream: TcpStream,
    epoch: u64,
    /// Issued and not yet answered, oldest first.
    pending: VecDeque<(String, u64, Instant)>,
    input: Vec<u8>,
}

impl PacedWriter<'_> {
    /// Writes until `stop`, connecting again only after a legal close; then waits for the replies
    /// still due.
    pub fn run(&self, stop: &AtomicBool) {
        let mut sequence = 0;
        let mut incarnation = 0;
        while !stop.load(Ordering::SeqCst) {
            let Some(mut connection) = self.connect() else {
                pause();
                continue;
            };
            // Keys of their own for each connection: a write left unknown by a kill may still be
            // applied later, and must not look like a lost one.
            incarnation += 1;
            let prefix = format!("{}{}-{incarnation}", self.prefix, self.node);
            let ended = self.drive(&mut connection, &prefix, &mut sequence, stop);
            self.journal.leave_unknown(connection.pending.len());
            let Err(why) = ended else { return };
            if !self.liveness.may_fail(self.node, connection.epoch) {
                self.violations.record(format!("writer at node {}: {why:#}", self.node));
                return;
            }
        }
    }

    fn connect(&self) -> Option<Connection> {
        let epoch = self.liveness.epoch(self.node);
        if epoch % 2 == 1 {
            return None;
        }
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream));
        match stream {
            Ok(stream) => {
                let (pending, input) = Default::default();
                Some(Connection { stream, epoch, pending, input })
            }
            Err(error) => {
                if !self.liveness.may_fail(self.node, epoch) {
                    self.violations.record(format!("connecting to node {}: {error}", self.node));
                }
                None
            }
        }
    }

    /// `Ok` when stopped with every reply read; `Err` with the reason the connection is useless.
    fn drive(
        &self,
        connection: &mut Connection,
        prefix: &str,
        sequence: &mut u64,
        stop: &AtomicBool,
    ) -> Result<()> {
        let mut due = Instant::now();
        loop {
            let stopped = stop.load(Ordering::SeqCst);
            if stopped && connection.pending.is_empty() {
                return Ok(());
            }
            let now = Instant::now();
            if due <= now && !stopped {
                self.issue(connection, prefix, *sequence)?;
                *sequence += 1;
                due += self.period;
            }
            let oldest = connection.pending.front().map_or(Duration::ZERO, |(.., at)| at.elapsed());
            ensure!(oldest < SILENCE_MAX, "no reply for {oldest:?}");
            let until = due.saturating_duration_since(now).max(Duration::from_millis(1));
            connection.stream.set_read_timeout(Some(until))?;
            self.receive(connection)?;
        }
    }

    fn issue(&self, connection: &mut Connection, prefix: &str, sequence: u64) -> Result<()> {
        // Versions start at 1: 0 is "never acknowledged".
        let version = sequence + 1;
        let key = match sequence % 2 {
            0 => format!("{prefix}-{sequence}"),
            _ => format!("{prefix}-hot{}", sequence % 16),
        };
        let at = Instant::now();
        self.journal.issue(&key, version);
        connection.pending.push_back((key.clone(), version, at));
        let request = format!("set {key} 0 0 20\r\n{version:020}\r\n");
        Ok(connection.stream.write_all(request.as_bytes())?)
    }

    fn receive(&self, connection: &mut Connection) -> Result<()> {
        let mut chunk = [0; 4096];
        match connection.stream.read(&mut chunk) {
            Ok(0) => anyhow::bail!("closed with {} writes in flight", connection.pending.len()),
            Ok(len) => connection.input.extend(chunk.iter().take(len)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
        while let Some(end) = connection.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = connection.input.drain(..=end).collect();
            ensure!(line == b"STORED\r\n", "answered {:?}", String::from_utf8_lossy(&line));
            let Some((key, version, issued_at)) = connection.pending.pop_front() else {
                anyhow::bail!("a reply to nothing");
            };
            self.journal.acknowledge(key, version, issued_at);
        }
        Ok(())
    }
}

impl Journal {
    /// Begins to watch for a write issued from now on, through any node that answers.
    pub fn watch(&self) {
        let watched = Watched { issued_after: Instant::now(), acknowledged_at: None };
        self.notes().watched = Some(watched);
    }

    /// When the first write issued since [`Self::watch`] was acknowledged.
    pub fn watched(&self) -> Option<Instant> {
        self.notes().watched.and_then(|watched| watched.acknowledged_at)
    }

    /// Acknowledged writes so far.
    pub fn acknowledged(&self) -> u64 {
        self.notes().acknowledged
    }

    /// Writes whose connection was closed before the reply.
    pub fn unknown(&self) -> u64 {
        self.notes().unknown
    }

    /// The longest time that a request took since the last call.
    pub fn take_longest(&self) -> Duration {
        std::mem::take(&mut self.notes().longest)
    }

    /// Reads every key through `client`: the last acknowledged version or a later one that was
    /// issued must be there. Returns the number of keys read.
    ///
    /// # Errors
    ///
    /// The first twenty lost writes, or why they could not be read.
    pub fn verify(&self, client: &mut TextClient) -> Result<usize> {
        let keys: Vec<_> =
            self.notes().keys.iter().map(|(key, written)| (key.clone(), *written)).collect();
        let mut lost = Vec::new();
        for chunk in keys.chunks(100) {
            let names: Vec<_> = chunk.iter().map(|(key, _)| key.as_str()).collect();
            let mut found = client.get_many(&names)?;
            for (key, Written { issued, acknowledged }) in chunk {
                let item = found.remove(key);
                let text = item.map(|item| String::from_utf8_lossy(&item.value).into_owned());
                let have = text.as_deref().map_or(Ok(0), str::parse::<u64>);
                if !have.as_ref().is_ok_and(|have| (*acknowledged..=*issued).contains(have)) {
                    lost.push(format!("{key}: {text:?}, acknowledged {acknowledged}"));
                }
            }
        }
        let some: Vec<_> = lost.iter().take(20).map(String::as_str).collect();
        ensure!(lost.is_empty(), "{} acknowledged writes lost:\n{}", lost.len(), some.join("\n"));
        Ok(keys.len())
    }

    /// The key of the last acknowledged write, and its version.
    pub(crate) fn freshest(&self) -> Option<(String, u64)> {
        let notes = self.notes();
        let key = notes.freshest.clone()?;
        let version = notes.keys.get(&key)?.acknowledged;
        Some((key, version))
    }

    /// Checks what a get of `key` has found; `floor` was acknowledged before it was sent.
    pub(crate) fn check(&self, key: &str, floor: u64, found: Option<u64>) -> Result<()> {
        let have = found.unwrap_or(0);
        let issued = self.notes().keys.get(key).copied().unwrap_or_default().issued;
        let fits = (floor..=issued).contains(&have);
        ensure!(fits, "{key}: {found:?}, acknowledged {floor}, issued {issued}");
        Ok(())
    }

    /// Notes a write before it is sent.
    pub(crate) fn issue(&self, key: &str, version: u64) {
        self.notes().keys.entry(key.to_owned()).or_default().issued = version;
    }

    /// Notes writes that will not be answered.
    pub(crate) fn leave_unknown(&self, writes: usize) {
        self.notes().unknown += writes as u64;
    }

    /// Notes the time that a read took.
    pub(crate) fn answered(&self, since: Instant) {
        let mut notes = self.notes();
        notes.longest = notes.longest.max(since.elapsed());
    }

    /// Notes a write that was answered.
    pub(crate) fn acknowledge(&self, key: String, version: u64, issued_at: Instant) {
        let mut notes = self.notes();
        let now = Instant::now();
        notes.acknowledged += 1;
        notes.longest = notes.longest.max(now - issued_at);
        notes.freshest = Some(key.clone());
        if let Some(watched) = &mut notes.watched
            && watched.issued_after <= issued_at
        {
            watched.acknowledged_at.get_or_insert(now);
        }
        notes.keys.entry(key).or_default().acknowledged = version;
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reply must have come by then: the server's own budget is two seconds.
const SILENCE_MAX: Duration = Duration::from_secs(5);
