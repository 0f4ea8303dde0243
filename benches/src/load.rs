//! The load generator: one thread, one epoll set, every reply compared byte by byte.
//!
//! It keeps no queue and parses nothing: a connection knows the exact bytes that must come back,
//! so a reply costs one comparison. That keeps the generator cheaper than what it measures.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use hdrhistogram::Histogram;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::interrupt;
use crate::store::{ITEM_COUNT, Random, Store};
use crate::workload::{Case, Operation};

/// The open connections of one case to one endpoint.
#[derive(Debug)]
pub(crate) struct Load {
    epoll: Epoll,
    connections: Vec<Connection>,
    case: Case,
}

/// What one [`Load::run`] saw.
#[derive(Debug)]
pub(crate) struct Phase {
    /// Replies, all of them right.
    pub(crate) reply_count: u64,
    /// From the first request to the last reply.
    pub(crate) elapsed: Duration,
    /// Nanoseconds from the write that carried a request to the read that completed its reply.
    pub(crate) latency_ns: Histogram<u64>,
}

impl Load {
    /// Opens the connections of `case`.
    ///
    /// # Errors
    ///
    /// If `address` does not accept them.
    pub(crate) fn connect(address: SocketAddr, case: Case) -> anyhow::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("creating an epoll set")?;
        let mut connections = Vec::new();
        for index in 0..case.connection_count {
            let connection = Connection::open(address, index)?;
            let event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
            epoll.add(&connection.stream, event).context("watching a connection")?;
            connections.push(connection);
        }
        Ok(Self { epoll, connections, case })
    }

    /// Keeps every connection busy for `duration`, then waits for the last replies.
    ///
    /// Nothing is on the way when it returns, so CPU clocks read around it cover whole requests.
    ///
    /// # Errors
    ///
    /// On a wrong reply, a closed connection, or no reply for [`STALL`].
    pub(crate) fn run(&mut self, store: &mut Store, duration: Duration) -> anyhow::Result<Phase> {
        let latency_ns = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).context("histogram")?;
        let start = Instant::now();
        let mut phase = Phase { reply_count: 0, elapsed: Duration::ZERO, latency_ns };
        for connection in &mut self.connections {
            connection.send_random(store, self.case)?;
        }
        let mut busy_count = self.connections.len();
        let mut events = [EpollEvent::empty(); EVENT_COUNT_MAX];
        let mut buffer = vec![0; READ_LEN_MAX];
        let mut last_reply_at = start;
        while 0 < busy_count {
            let ready_count = self.wait(&mut events, last_reply_at)?;
            for event in events.iter().take(ready_count) {
                let connection = usize::try_from(event.data()).ok();
                let connection = connection.and_then(|index| self.connections.get_mut(index));
                let connection = connection.context("epoll named an unknown connection")?;
                let reply_count = connection.receive(&mut buffer)?;
                last_reply_at = Instant::now();
                let latency = last_reply_at.duration_since(connection.sent_at).as_nanos();
                let latency = u64::try_from(latency).unwrap_or(u64::MAX);
                phase.latency_ns.saturating_record_n(latency, reply_count);
                phase.reply_count += reply_count;
                if !connection.is_idle() {
                    continue;
                }
                if last_reply_at.duration_since(start) < duration {
                    connection.send_random(store, self.case)?;
                } else {
                    busy_count -= 1;
                }
            }
        }
        phase.elapsed = start.elapsed();
        Ok(phase)
    }

    /// Returns how many of `events` are ready.
    fn wait(&self, events: &mut [EpollEvent], last_reply_at: Instant) -> anyhow::Result<usize> {
        loop {
            match self.epoll.wait(events, EpollTimeout::from(WAIT_MS)) {
                Ok(0) | Err(Errno::EINTR) => {
                    interrupt::check()?;
                    ensure!(last_reply_at.elapsed() < STALL, "no reply for {STALL:?}");
                }
                Ok(ready_count) => return Ok(ready_count),
                Err(error) => return Err(error).context("waiting for replies"),
            }
        }
    }
}

/// Sends `operation` for every item of `store` in order, and checks every reply.
///
/// Fills an endpoint (`set`), or proves that it holds what it acknowledged (`get`).
///
/// # Errors
///
/// As [`Load::run`].
pub(crate) fn visit(
    address: SocketAddr,
    store: &mut Store,
    operation: Operation,
) -> anyhow::Result<()> {
    let mut connection = Connection::open(address, 0)?;
    let mut buffer = vec![0; READ_LEN_MAX];
    let indices: Vec<usize> = (0..ITEM_COUNT).collect();
    for batch in indices.chunks(VISIT_DEPTH) {
        interrupt::check()?;
        connection.send(store, operation, batch.iter().copied())?;
        while !connection.is_idle() {
            connection.receive(&mut buffer)?;
        }
    }
    Ok(())
}

/// One connection, and the bytes it is waiting for.
#[derive(Debug)]
struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    /// Keys of a `set` are `index`, `index + connection_count`, ...: no two connections share one.
    index: usize,
    random: Random,
    request: Vec<u8>,
    reply: Vec<u8>,
    /// Where each reply ends in `reply`, ascending.
    reply_ends: Vec<usize>,
    /// `0 <= received_len <= reply.len()`.
    received_len: usize,
    received_count: usize,
    sent_at: Instant,
}

impl Connection {
    fn open(address: SocketAddr, index: usize) -> anyhow::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, STALL)
            .with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true).context("setting TCP_NODELAY")?;
        stream.set_read_timeout(Some(STALL)).context("setting a read timeout")?;
        stream.set_write_timeout(Some(STALL)).context("setting a write timeout")?;
        Ok(Self {
            address,
            stream,
            index,
            // The same keys in the same order for every endpoint.
            random: Random(index as u64),
            request: Vec::new(),
            reply: Vec::new(),
            reply_ends: Vec::new(),
            received_len: 0,
            received_count: 0,
            sent_at: Instant::now(),
        })
    }

    /// Sends `case.depth` requests for random keys in one write.
    fn send_random(&mut self, store: &mut Store, case: Case) -> anyhow::Result<()> {
        let (first, stride) = (self.index, case.connection_count);
        let own_count = ITEM_COUNT.saturating_sub(first).div_ceil(stride);
        let mut random = self.random;
        let pick = |_| match case.operation {
            Operation::Get => random.below(ITEM_COUNT),
            Operation::Set => first + stride * random.below(own_count),
        };
        self.send(store, case.operation, (0..case.depth).map(pick))?;
        self.random = random;
        Ok(())
    }

    fn send(
        &mut self,
        store: &mut Store,
        operation: Operation,
        indices: impl Iterator<Item = usize>,
    ) -> anyhow::Result<()> {
        self.request.clear();
        self.reply.clear();
        self.reply_ends.clear();
        (self.received_len, self.received_count) = (0, 0);
        for index in indices {
            store.append_request(operation, index, &mut self.request, &mut self.reply)?;
            self.reply_ends.push(self.reply.len());
        }
        self.sent_at = Instant::now();
        self.stream.write_all(&self.request).with_context(|| format!("sending to {}", self.address))
    }

    /// Reads once, and returns how many replies that completed.
    fn receive(&mut self, buffer: &mut [u8]) -> anyhow::Result<u64> {
        let len = match self.stream.read(buffer) {
            Ok(0) => bail!("{} closed the connection", self.address),
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(0),
            Err(error) => {
                return Err(error).with_context(|| format!("reading from {}", self.address));
            }
        };
        let have = buffer.get(..len).unwrap_or_default();
        let missing = self.reply.get(self.received_len..).unwrap_or_default();
        ensure!(missing.starts_with(have), self.wrong_reply(missing, have));
        self.received_len += len;
        let before = self.received_count;
        let ends = self.reply_ends.get(before..).unwrap_or_default();
        self.received_count += ends.iter().take_while(|end| **end <= self.received_len).count();
        Ok((self.received_count - before) as u64)
    }

    fn is_idle(&self) -> bool {
        self.received_len == self.reply.len()
    }

    fn wrong_reply(&self, want: &[u8], have: &[u8]) -> String {
        let right_len = want.iter().zip(have).take_while(|(want, have)| want == have).count();
        let excerpt = |bytes: &[u8]| {
            let from = right_len.saturating_sub(EXCERPT_LEN);
            let excerpt = bytes.get(from..).unwrap_or_default();
            excerpt.get(..2 * EXCERPT_LEN).unwrap_or(excerpt).escape_ascii().to_string()
        };
        format!(
            "wrong reply from {} at byte {} of {}: want \"{}\", have \"{}\"",
            self.address,
            self.received_len + right_len,
            self.reply.len(),
            excerpt(want),
            excerpt(have)
        )
    }
}

/// No reply for this long ends the run; the operation budget of a node is 2 s.
const STALL: Duration = Duration::from_secs(10);
/// How often a silent wait looks whether the run was interrupted.
const WAIT_MS: u16 = 100;
const EVENT_COUNT_MAX: usize = 64;
const READ_LEN_MAX: usize = 64 * 1024;
/// Requests per write when every item is visited; their replies fit in any socket buffer.
const VISIT_DEPTH: usize = 100;
const LATENCY_NS_MAX: u64 = 60_000_000_000;
const EXCERPT_LEN: usize = 60;

#[cfg(test)]
mod tests;
