//! One client that asks at a steady pace, whatever the answers take.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::cpu;
use crate::workload::Operation;

use super::items::Items;
use super::watch::Seen;

/// A thread that sends one request in every period until it is stopped.
#[derive(Debug)]
pub(super) struct Probe {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Vec<Answer>>>,
}

/// One answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    /// When the request was due.
    pub(super) due: Instant,
    /// From then until the answer was there. That this program was late itself is not in it.
    pub(super) took: Duration,
    /// Whether the host took CPU time away meanwhile.
    pub(super) is_disturbed: bool,
}

impl Probe {
    /// Connects to `node`, and begins to ask for one item after the other.
    ///
    /// # Errors
    ///
    /// If it does not accept a connection.
    pub(super) fn start(
        node: SocketAddr,
        operation: Operation,
        items: Items,
        seen: Arc<Seen>,
    ) -> anyhow::Result<Self> {
        let stream = TcpStream::connect_timeout(&node, STALL).context("connecting")?;
        stream.set_nodelay(true).context("setting TCP_NODELAY")?;
        stream.set_read_timeout(Some(STALL)).context("setting a read timeout")?;
        let ends = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ends);
        let thread = std::thread::Builder::new().name(operation.name().to_owned());
        let thread = thread.spawn(move || ask(stream, operation, &items, &seen, &told));
        Ok(Self { ends, thread: thread.context("a thread")? })
    }

    /// Ends it, and returns every answer in order.
    ///
    /// # Errors
    ///
    /// If an answer was wrong, or none came for [`STALL`].
    pub(super) fn stop(self) -> anyhow::Result<Vec<Answer>> {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("a probe panicked"))?
    }
}

fn ask(
    mut stream: TcpStream,
    operation: Operation,
    items: &Items,
    seen: &Seen,
    ends: &AtomicBool,
) -> anyhow::Result<Vec<Answer>> {
    let period = if operation == Operation::Get { GET_PERIOD } else { SET_PERIOD };
    let mut answers = Vec::new();
    let (mut request, mut reply) = (Vec::new(), Vec::new());
    let mut next = Instant::now();
    for number in 0.. {
        if ends.load(Ordering::Relaxed) {
            break;
        }
        // A stride that is prime to any count of items: far apart, and each once.
        let index = number * 7_919 % items.count();
        request.clear();
        match operation {
            Operation::Get => items.append_get(index, &mut request),
            Operation::Set => items.append_set(index, &mut request),
        }
        let idle = next.saturating_duration_since(Instant::now());
        std::thread::sleep(idle);
        // Late after a sleep is this program's fault, late without one is the node's.
        let due = if idle.is_zero() { next } else { Instant::now() };
        let stolen = seen.stolen();
        stream.write_all(&request).context("sending")?;
        reply.resize(items.reply_len(operation, index), 0);
        stream.read_exact(&mut reply).with_context(|| format!("no {}", operation.name()))?;
        let took = due.elapsed();
        ensure!(
            reply.starts_with(if operation == Operation::Set { b"STORED" } else { b"VALUE " }),
            "answered \"{}\"",
            reply.escape_ascii()
        );
        let is_disturbed = NOTABLE < took && stolen < cpu::stolen_time()?;
        answers.push(Answer { due, took, is_disturbed });
        next += period;
    }
    Ok(answers)
}

const GET_PERIOD: Duration = Duration::from_millis(2);
/// A slow disk needs several milliseconds for a set, and a queue must not build up.
const SET_PERIOD: Duration = Duration::from_millis(10);
/// Only for answers that took longer is it worth to ask whether somebody else was to blame.
const NOTABLE: Duration = Duration::from_millis(1);
const STALL: Duration = Duration::from_secs(10);
