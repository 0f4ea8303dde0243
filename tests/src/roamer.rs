//! A client as applications are: one connection, and another node when it is closed.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::{Journal, Violations, pause};

/// Sets and gets on one connection, one each `period`, without waiting for replies. Two of three
/// requests are sets, as a [`PacedWriter`](crate::PacedWriter) makes them; the third reads the
/// write that was acknowledged last, whoever made it: where staleness shows first.
///
/// Times run from the moment a request was due, so that a stall, or the way to another node, shows
/// in all requests that had to wait for it.
#[derive(Debug, Clone, Copy)]
pub struct Roamer<'a> {
    /// Begins the names of its keys; no two roamers of a journal share it.
    pub name: &'a str,
    /// The node it prefers whenever it connects; an index of `ports`.
    pub home: usize,
    /// The client ports of all nodes.
    pub ports: &'a [u16],
    /// Time between two requests.
    pub period: Duration,
    /// Whether a node may fail its clients now: an error or a close then leaves outcomes unknown.
    /// Else a connection may only be closed in good order, and everything else is a violation.
    pub forgiving: &'a AtomicBool,
    /// Where writes are noted, and the longest time of a request.
    pub journal: &'a Journal,
    /// How connections ended.
    pub partings: &'a Partings,
    /// Where broken promises are noted. A wrong or missing value always is one.
    pub violations: &'a Violations,
}

/// How the connections of roamers ended.
#[derive(Debug, Default)]
pub struct Partings {
    closed: AtomicU64,
    crossed: AtomicU64,
    failed: AtomicU64,
}

/// A request, until it is answered.
#[derive(Debug, Clone)]
struct Asked {
    key: String,
    due: Instant,
    sent_at: Instant,
    question: Question,
}

#[derive(Debug, Clone, Copy)]
enum Question {
    /// A set of this version.
    Set(u64),
    /// A get: no version below the first may be found, and the second has been found so far.
    Get(u64, Option<u64>),
}

/// A client at work.
struct Roaming<'a> {
    roamer: Roamer<'a>,
    /// Not yet answered, oldest first.
    pending: VecDeque<Asked>,
    due: Instant,
    sequence: u64,
    /// Grows when outcomes are left unknown: a set that is applied late must not look like a lost
    /// one, so that other keys are written from then on.
    incarnation: u64,
}

/// One connection.
struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    /// When it was last seen to be open.
    open_at: Instant,
}

/// A value that must not have been returned, or no reply at all: no fault excuses it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct WrongAnswer(String);

impl Roamer<'_> {
    /// Asks until `stop`; then waits for the replies still due.
    pub fn run(self, stop: &AtomicBool) {
        let mut roaming = Roaming {
            roamer: self,
            pending: VecDeque::new(),
            due: Instant::now(),
            sequence: 0,
            incarnation: 0,
        };
        while let Err(why) = roaming.connect_and_drive(stop) {
            if !self.forgiving.load(Ordering::SeqCst) || why.is::<WrongAnswer>() {
                self.violations.record(format!("{}: {why:#}", self.name));
                return;
            }
            self.partings.failed.fetch_add(1, Ordering::SeqCst);
            roaming.give_up();
            pause();
        }
    }
}

impl Partings {
    /// Connections closed by a node in good order: between a reply and the next request.
    pub fn closed(&self) -> u64 {
        self.closed.load(Ordering::SeqCst)
    }

    /// Those of them whose close crossed a request on its way.
    ///
    /// Nobody can help that: the protocol has no word for "I am about to close". The request is
    /// made again elsewhere.
    pub fn crossed(&self) -> u64 {
        self.crossed.load(Ordering::SeqCst)
    }

    /// Connections that ended in any other way.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::SeqCst)
    }
}

impl Roaming<'_> {
    /// `Ok` when stopped with every reply read; `Err` with a reason that is not good order.
    fn connect_and_drive(&mut self, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Ordering::SeqCst) || !self.pending.is_empty() {
            let Some((node, mut connection)) = self.connect()? else {
                pause();
                continue;
            };
            let driven = self.drive(&mut connection, stop);
            if driven.with_context(|| format!("through node {node}"))? {
                return Ok(());
            }
            self.roamer.partings.closed.fetch_add(1, Ordering::SeqCst);
            if !self.pending.is_empty() {
                self.roamer.partings.crossed.fetch_add(1, Ordering::SeqCst);
            }
        }
        Ok(())
    }

    /// Home, or the next node that accepts; `None` if nobody does.
    fn connect(&self) -> Result<Option<(usize, Connection)>> {
        let Roamer { home, ports, .. } = self.roamer;
        for step in 0..ports.len() {
            let node = (home + step) % ports.len();
            let port = *ports.get(node).context("more nodes than ports")?;
            match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_write_timeout(Some(SILENCE_MAX))?;
                    let open_at = Instant::now();
                    return Ok(Some((node, Connection { stream, input: Vec::new(), open_at })));
                }
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error).with_context(|| format!("to node {node}")),
            }
        }
        Ok(None)
    }

    /// True when stopped with every reply read, false when the node has closed in good order.
    fn drive(&mut self, connection: &mut Connection, stop: &AtomicBool) -> Result<bool> {
        for asked in &mut self.pending {
            asked.send(connection)?;
        }
        loop {
            let stopped = stop.load(Ordering::SeqCst);
            if stopped && self.pending.is_empty() {
                return Ok(true);
            }
            let now = Instant::now();
            if self.due <= now && !stopped {
                let mut asked = self.next_request();
                // Noted even if it cannot be sent: it may have arrived all the same.
                let sent = asked.send(connection);
                self.pending.push_back(asked);
                self.due += self.roamer.period;
                sent?;
            }
            if let Some(oldest) = self.pending.front() {
                let silence = oldest.sent_at.elapsed();
                let silent = || WrongAnswer(format!("no reply for {silence:?}"));
                ensure!(silence < SILENCE_MAX, silent());
            }
            let until = self.due.saturating_duration_since(now).max(Duration::from_millis(1));
            connection.stream.set_read_timeout(Some(until))?;
            if !connection.receive()? {
                return self.check_order(connection).map(|()| false);
            }
            while let Some(line) = connection.take_line() {
                self.answered(&line)?;
            }
        }
    }

    fn next_request(&mut self) -> Asked {
        let Roamer { name, journal, .. } = self.roamer;
        self.sequence += 1;
        let (due, sent_at) = (self.due, Instant::now());
        if self.sequence.is_multiple_of(3)
            && let Some((key, floor)) = journal.freshest()
        {
            return Asked { key, due, sent_at, question: Question::Get(floor, None) };
        }
        let prefix = format!("{name}-{}", self.incarnation);
        let key = match self.sequence % 2 {
            0 => format!("{prefix}-{}", self.sequence),
            _ => format!("{prefix}-hot{}", self.sequence % 16),
        };
        journal.issue(&key, self.sequence);
        Asked { key, due, sent_at, question: Question::Set(self.sequence) }
    }

    fn answered(&mut self, line: &str) -> Result<()> {
        let Some(mut asked) = self.pending.pop_front() else { bail!("{line:?} to nothing") };
        let journal = self.roamer.journal;
        match (asked.question, line.split(' ').collect::<Vec<_>>().as_slice()) {
            (Question::Set(version), ["STORED"]) => {
                journal.acknowledge(asked.key, version, asked.due);
            }
            (Question::Get(..), ["VALUE", key, "0", "20"]) if *key == asked.key => {
                self.pending.push_front(asked);
            }
            (Question::Get(floor, None), [digits]) if digits.len() == 20 => {
                asked.question = Question::Get(floor, Some(digits.parse()?));
                self.pending.push_front(asked);
            }
            (Question::Get(floor, found), ["END"]) => {
                let checked = journal.check(&asked.key, floor, found);
                checked.map_err(|why| WrongAnswer(why.to_string()))?;
                journal.answered(asked.due);
            }
            _ => {
                self.pending.push_front(asked);
                bail!("answered {line:?}");
            }
        }
        Ok(())
    }

    /// At the end of a connection: nothing that the node had time to take may be unanswered.
    fn check_order(&self, connection: &Connection) -> Result<()> {
        let torn =
            matches!(self.pending.front(), Some(Asked { question: Question::Get(_, Some(_)), .. }));
        ensure!(connection.input.is_empty() && !torn, "closed in the middle of a reply");
        let oldest = self.pending.front();
        let had = oldest.map(|oldest| connection.open_at.saturating_duration_since(oldest.sent_at));
        let had = had.unwrap_or_default();
        ensure!(had < CROSSING_MAX, "closed, a request unanswered that it had had for {had:?}");
        Ok(())
    }

    /// Leaves everything pending unknown.
    fn give_up(&mut self) {
        let sets = self.pending.iter().filter(|asked| matches!(asked.question, Question::Set(_)));
        self.roamer.journal.leave_unknown(sets.count());
        self.pending.clear();
        self.incarnation += 1;
        self.due = self.due.max(Instant::now());
    }
}

impl Asked {
    fn send(&mut self, connection: &mut Connection) -> Result<()> {
        let key = &self.key;
        let request = match self.question {
            Question::Set(version) => format!("set {key} 0 0 20\r\n{version:020}\r\n"),
            Question::Get(..) => format!("get {key}\r\n"),
        };
        self.sent_at = Instant::now();
        match connection.stream.write_all(request.as_bytes()) {
            // Whether the node has closed in good order is for the reader to see.
            Err(error) if is_closed(&error) => Ok(()),
            other => Ok(other?),
        }
    }
}

impl Connection {
    /// False at the end of the stream.
    fn receive(&mut self) -> Result<bool> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => return Ok(false),
            Ok(len) => self.input.extend(chunk.iter().take(len)),
            Err(error) if is_nothing(&error) => {}
            Err(error) => return Err(error.into()),
        }
        self.open_at = Instant::now();
        Ok(true)
    }

    fn take_line(&mut self) -> Option<String> {
        let end = self.input.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.input.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).trim_end_matches("\r\n").to_owned())
    }
}

fn is_nothing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn is_closed(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

/// A reply must have come by then: every operation budget in use is shorter.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// A request that was sent this long before the connection was last seen open has not crossed the
/// close: the node had time to take it and to answer.
const CROSSING_MAX: Duration = Duration::from_millis(50);
