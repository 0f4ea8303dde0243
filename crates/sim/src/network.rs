//! The network between hosts: connections as TCP makes them, over links that can be cut, slow or
//! lossy.
//!
//! ```text
//!   connect ──Syn──▶ listener? ──▶ accept        one queue for each direction of a connection:
//!           ◀─Ack──  or Reset                    what is sent arrives once, whole and in order, or
//!   write ──Data──▶  buffer ──▶ read             is tried again until the way is free
//! ```
//!
//! A cut link loses nothing that TCP would not repeat: it arrives when the cut is healed and the
//! sender tries again, later the longer it lasted. Loss of packets is delay. So reordering and
//! duplicates are what the nodes themselves make of it: several connections between two hosts,
//! and requests sent again on a new one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A host by its number, from 0.
pub type HostId = usize;

/// All links and connections. A clone is the same network.
#[derive(Clone)]
pub struct Network {
    pub(crate) state: Arc<Mutex<State>>,
}

pub(crate) struct State {
    rng: StdRng,
    now_us: u64,
    hosts: Vec<Host>,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    cuts: BTreeSet<(HostId, HostId)>,
    weather: Weather,
    /// Folds everything that arrives: equal for equal runs.
    digest: u64,
}

/// How good the links are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// Microseconds from host to host, at least and at most.
    pub latency_us: (u64, u64),
    /// Of a thousand packets, how many are lost and sent again.
    pub loss_per_mille: u32,
}

#[derive(Default)]
struct Host {
    powered: bool,
    /// Connections to accept; none: nobody listens.
    backlog: Option<VecDeque<u64>>,
    acceptor: Option<Waker>,
}

struct Connection {
    /// The one that connected, and the one that accepts.
    ends: [End; 2],
    /// What is on its way to the end of that number.
    ways: [Way; 2],
    opened: Opened,
    connector: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opened {
    Pending,
    Refused,
    Open,
}

struct End {
    host: HostId,
    /// Somebody has it.
    held: bool,
    received: BytesMut,
    finished: bool,
    reset: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Default)]
struct Way {
    packets: VecDeque<(u64, Packet)>,
    /// Bytes in `packets`.
    len: usize,
    /// How often the first packet has been tried in vain.
    tries: u32,
}

enum Packet {
    Syn,
    Ack,
    Data(Bytes),
    Fin,
    Reset,
}

/// One of the two ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EndId {
    connection: u64,
    /// 0: the one that connected.
    side: usize,
}

impl Network {
    /// `hosts` hosts without power, on perfect links.
    pub fn new(seed: u64, hosts: usize) -> Self {
        let state = State {
            rng: StdRng::seed_from_u64(seed),
            now_us: 0,
            hosts: (0..hosts).map(|_| Host::default()).collect(),
            connections: BTreeMap::new(),
            next_connection: 0,
            cuts: BTreeSet::new(),
            weather: Weather { latency_us: (1000, 1000), loss_per_mille: 0 },
            digest: 0,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Changes all links.
    pub fn set_weather(&self, weather: Weather) {
        self.state.lock().weather = weather;
    }

    /// Cuts the way from one host to another; not the way back.
    pub fn cut(&self, from: HostId, to: HostId) {
        self.state.lock().cuts.insert((from, to));
    }

    /// Ends all cuts.
    pub fn heal(&self) {
        self.state.lock().cuts.clear();
    }

    /// The host's kernel runs: it answers, with a reset if nothing else.
    pub fn power_on(&self, host: HostId) {
        self.state.lock().host(host).powered = true;
    }

    /// The host's processes have died; with `power`, its kernel has too and says nothing to anybody.
    pub fn crash(&self, host: HostId, power: bool) {
        let mut state = self.state.lock();
        state.host(host).powered = !power;
        state.host(host).backlog = None;
        state.host(host).acceptor = None;
        let ids: Vec<_> = state.connections.keys().copied().collect();
        for id in ids {
            for side in [0, 1] {
                let end = EndId { connection: id, side };
                if state.end(end).is_some_and(|end| end.host == host && end.held) {
                    state.let_go(end, if power { None } else { Some(Packet::Reset) });
                }
            }
        }
    }

    /// Delivers what has arrived by `now_us`.
    pub fn advance(&self, now_us: u64) {
        let mut state = self.state.lock();
        state.now_us = now_us;
        let ids: Vec<_> = state.connections.keys().copied().collect();
        let mut wakers = Vec::new();
        for id in ids {
            for side in [0, 1] {
                while state.deliver_next(EndId { connection: id, side }, &mut wakers) {}
            }
        }
        state.connections.retain(|_, connection| !connection.is_over());
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// A digest of all that has arrived so far.
    pub fn digest(&self) -> u64 {
        self.state.lock().digest
    }
}

impl Connection {
    fn is_over(&self) -> bool {
        self.ends.iter().all(|end| !end.held) && self.ways.iter().all(|way| way.packets.is_empty())
    }
}

impl State {
    #[expect(clippy::indexing_slicing, reason = "a wrong number is a bug of the simulation: panic")]
    fn host(&mut self, host: HostId) -> &mut Host {
        &mut self.hosts[host]
    }

    fn end(&mut self, id: EndId) -> Option<&mut End> {
        self.connections.get_mut(&id.connection)?.ends.get_mut(id.side)
    }

    /// The way that leads to the end.
    fn way(&mut self, id: EndId) -> Option<&mut Way> {
        self.connections.get_mut(&id.connection)?.ways.get_mut(id.side)
    }

    fn note(&mut self, what: u64) {
        let mixed = (self.digest ^ what).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.digest = mixed ^ (mixed >> 29);
    }

    /// Puts a packet on its way to the end.
    fn send(&mut self, to: EndId, packet: Packet) {
        let Weather { latency_us: (least, most), loss_per_mille } = self.weather;
        let mut at = self.now_us + self.rng.random_range(least..=most.max(least));
        let mut lost = 0;
        while lost < LOSSES_MAX && self.rng.random_range(0..1000) < loss_per_mille {
            at += RETRY_US << lost;
            lost += 1;
        }
        let Some(way) = self.way(to) else { return };
        let behind = way.packets.back().map_or(0, |(at, _)| *at);
        if let Packet::Data(bytes) = &packet {
            way.len += bytes.len();
        }
        way.packets.push_back((at.max(behind), packet));
    }

    /// Delivers the packet that is next to arrive at an end, if it is there.
    fn deliver_next(&mut self, to: EndId, wakers: &mut Vec<Waker>) -> bool {
        let now = self.now_us;
        let due =
            self.way(to).and_then(|way| way.packets.front()).is_some_and(|(at, _)| *at <= now);
        if !due {
            return false;
        }
        let other = to.other();
        let from = self.end(other).map_or(0, |end| end.host);
        let at = self.end(to).map_or(0, |end| end.host);
        if self.cuts.contains(&(from, at)) || !self.host(at).powered {
            let jitter = self.rng.random_range(0..RETRY_US / 4);
            if let Some(way) = self.way(to) {
                let pause = (RETRY_US << way.tries.min(TRIES_COUNTED)) + jitter;
                way.tries += 1;
                if let Some((at, _)) = way.packets.front_mut() {
                    *at = now + pause;
                }
            }
            return false;
        }
        let Some(way) = self.way(to) else { return false };
        way.tries = 0;
        let Some((_, packet)) = way.packets.pop_front() else { return false };
        if let Packet::Data(bytes) = &packet {
            way.len -= bytes.len();
            // Not its length: HTTP has the date of the real clock in it, packed as it comes.
            self.note(now ^ (to.connection << 32) ^ ((to.side as u64) << 63));
            wakers.extend(self.end(other).and_then(|end| end.writer.take()));
        }
        self.arrive(to, packet, wakers);
        true
    }

    fn arrive(&mut self, to: EndId, packet: Packet, wakers: &mut Vec<Waker>) {
        match packet {
            Packet::Syn => self.arrive_syn(to, wakers),
            Packet::Ack => {
                self.set_opened(to, Opened::Open, wakers);
                // Whoever connected may have given up meanwhile.
                if self.end(to).is_some_and(|end| !end.held) {
                    self.send(to.other(), Packet::Reset);
                }
            }
            Packet::Data(bytes) => match self.end(to) {
                Some(end) if end.held => {
                    end.received.extend_from_slice(&bytes);
                    wakers.extend(end.reader.take());
                }
                Some(_) | None => self.send(to.other(), Packet::Reset),
            },
            Packet::Fin => {
                if let Some(end) = self.end(to) {
                    end.finished = true;
                    wakers.extend(end.reader.take());
                }
            }
            Packet::Reset => {
                self.set_opened(to, Opened::Refused, wakers);
                if let Some(end) = self.end(to) {
                    end.reset = true;
                    wakers.extend(end.reader.take());
                    wakers.extend(end.writer.take());
                }
            }
        }
    }

    fn arrive_syn(&mut self, to: EndId, wakers: &mut Vec<Waker>) {
        let host = self.end(to).map_or(0, |end| end.host);
        let host = self.host(host);
        let Some(backlog) = &mut host.backlog else {
            return self.send(to.other(), Packet::Reset);
        };
        backlog.push_back(to.connection);
        wakers.extend(host.acceptor.take());
        if let Some(end) = self.end(to) {
            end.held = true;
        }
        self.send(to.other(), Packet::Ack);
    }

    fn set_opened(&mut self, to: EndId, opened: Opened, wakers: &mut Vec<Waker>) {
        if let Some(connection) = self.connections.get_mut(&to.connection)
            && to.side == 0
            && connection.opened == Opened::Pending
        {
            connection.opened = opened;
            wakers.extend(connection.connector.take());
        }
    }

    /// Begins to connect.
    pub(crate) fn connect(&mut self, from: HostId, to: HostId) -> EndId {
        let id = self.next_connection;
        self.next_connection += 1;
        let end = |host, held| End {
            host,
            held,
            received: BytesMut::new(),
            finished: false,
            reset: false,
            reader: None,
            writer: None,
        };
        let connection = Connection {
            ends: [end(from, true), end(to, false)],
            ways: Default::default(),
            opened: Opened::Pending,
            connector: None,
        };
        self.connections.insert(id, connection);
        self.send(EndId { connection: id, side: 1 }, Packet::Syn);
        EndId { connection: id, side: 0 }
    }

    pub(crate) fn poll_opened(&mut self, id: EndId, cx: &Context<'_>) -> Poll<io::Result<()>> {
        match self.connections.get_mut(&id.connection) {
            Some(connection) => match connection.opened {
                Opened::Open => Poll::Ready(Ok(())),
                Opened::Refused => Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into())),
                Opened::Pending => {
                    connection.connector = Some(cx.waker().clone());
                    Poll::Pending
                }
            },
            None => Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into())),
        }
    }

    pub(crate) fn listen(&mut self, host: HostId) {
        self.host(host).backlog = Some(VecDeque::new());
    }

    pub(crate) fn poll_accept(&mut self, host: HostId, cx: &Context<'_>) -> Poll<EndId> {
        let host = self.host(host);
        match host.backlog.as_mut().and_then(VecDeque::pop_front) {
            Some(connection) => Poll::Ready(EndId { connection, side: 1 }),
            None => {
                host.acceptor = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Moves bytes that have arrived into `buffer`; 0 at the end.
    pub(crate) fn poll_read(
        &mut self,
        id: EndId,
        cx: &Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(end) = self.end(id) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        if !end.received.is_empty() {
            let len = end.received.len().min(buffer.remaining());
            buffer.put_slice(end.received.get(..len).unwrap_or_default());
            end.received.advance(len);
            return Poll::Ready(Ok(()));
        }
        if end.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if end.finished {
            return Poll::Ready(Ok(()));
        }
        end.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(crate) fn poll_write(
        &mut self,
        id: EndId,
        cx: &Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let under_way = self.way(id.other()).map_or(0, |way| way.len);
        let Some(end) = self.end(id) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        if end.reset {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if WINDOW_LEN <= under_way {
            end.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let len = bytes.len().min(WINDOW_LEN - under_way);
        let sent = Bytes::copy_from_slice(bytes.get(..len).unwrap_or_default());
        self.send(id.other(), Packet::Data(sent));
        Poll::Ready(Ok(len))
    }

    /// Nothing more will be written.
    pub(crate) fn finish(&mut self, id: EndId) {
        self.send(id.other(), Packet::Fin);
    }

    /// Nobody has the end any more.
    pub(crate) fn drop_end(&mut self, id: EndId) {
        let Some(end) = self.end(id) else { return };
        if end.held {
            // As a kernel does when there is something that nobody will read.
            let rude = !end.received.is_empty();
            self.let_go(id, Some(if rude { Packet::Reset } else { Packet::Fin }));
        }
    }

    fn let_go(&mut self, id: EndId, last: Option<Packet>) {
        if let Some(end) = self.end(id) {
            end.held = false;
            end.reader = None;
            end.writer = None;
            end.received.clear();
        }
        if let Some(last) = last {
            if matches!(last, Packet::Reset)
                && let Some(way) = self.way(id.other())
            {
                way.packets.clear();
                way.len = 0;
            }
            self.send(id.other(), last);
        }
    }
}

impl EndId {
    fn other(self) -> Self {
        Self { connection: self.connection, side: 1 - self.side }
    }
}

/// What Linux waits before it sends again, for the first time.
const RETRY_US: u64 = 200_000;
/// How often that is doubled.
const TRIES_COUNTED: u32 = 2;
const LOSSES_MAX: u32 = 4;
/// Bytes under way in one direction.
const WINDOW_LEN: usize = 256 * 1024;
