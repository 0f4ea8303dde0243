//! Who is connected, for `stats conns`.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::coarse_ms;
use crate::listener::Address;

/// All open connections and listeners. Locked when one comes or goes, and to look at them.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// By descriptor; a number beside it, because a descriptor may have a new owner before the old
    /// one has been taken out.
    entries: Mutex<BTreeMap<(RawFd, u64), Arc<Entry>>>,
    added_count: AtomicU64,
}

/// One socket as others see it. Its owner writes, with plain stores; anybody reads.
#[derive(Debug)]
pub(crate) struct Entry {
    fd: RawFd,
    address: Endpoint,
    /// Where it was accepted; `None` for a listener.
    listener: Option<Arc<Self>>,
    state: AtomicU8,
    /// The client asked for what nobody can, and was closed.
    refused: AtomicBool,
    /// When its last request was taken up, by [`coarse_ms`].
    asked_at_ms: AtomicU64,
}

/// One end of a socket. `Display` is memcached's way to write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    Unix(Box<Path>),
    /// A client of a Unix domain socket has no name.
    UnixClient,
}

/// What a socket is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing but waiting for clients.
    Listening,
    /// Waiting for a request, or for the rest of its line.
    Idle,
    /// Waiting for the rest of a value.
    ReceivingValue,
    /// Executing requests, or waiting for the cluster.
    Executing,
    /// Waiting for the client to take its replies.
    Replying,
}

/// One open socket at one moment, in memcached's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Its descriptor, which is its name in `stats conns`.
    pub fd: RawFd,
    /// Whether it is a UDP socket, which all its clients share.
    pub udp: bool,
    /// The client's end, as `tcp:127.0.0.1:5`; of a listener and of UDP, the own one.
    pub address: String,
    /// The listener's address; `None` for listeners and UDP.
    pub listen_address: Option<String>,
    /// What it is doing, as `conn_read`.
    pub state: &'static str,
    /// Seconds since its last request, or since it was opened.
    pub idle_s: u64,
}

impl Registry {
    /// Takes in a socket. It stays until [`Registered`] is dropped.
    pub(crate) fn add(
        self: &Arc<Self>,
        fd: RawFd,
        address: Endpoint,
        listener: Option<Arc<Entry>>,
    ) -> Registered {
        let entry = Arc::new(Entry::new(fd, address, listener));
        let key = (fd, self.added_count.fetch_add(1, Ordering::Relaxed));
        self.entries().insert(key, Arc::clone(&entry));
        Registered { registry: Arc::clone(self), key, entry }
    }

    /// Shows `visit` every open socket, in the order of descriptors.
    pub(crate) fn for_each(&self, visit: &mut dyn FnMut(ConnectionInfo)) {
        let entries: Vec<_> = self.entries().values().cloned().collect();
        let now_ms = coarse_ms();
        entries.iter().for_each(|entry| visit(entry.info(now_ms)));
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<(RawFd, u64), Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    pub(crate) fn new(fd: RawFd, address: Endpoint, listener: Option<Arc<Self>>) -> Self {
        let state = if listener.is_some() || matches!(address, Endpoint::Udp(_)) {
            State::Idle
        } else {
            State::Listening
        };
        Self {
            fd,
            address,
            listener,
            state: AtomicU8::new(state as u8),
            refused: AtomicBool::new(false),
            asked_at_ms: AtomicU64::new(coarse_ms()),
        }
    }

    /// Its descriptor.
    pub(crate) fn fd(&self) -> RawFd {
        self.fd
    }

    /// Says what the owner is doing from now on.
    pub(crate) fn enter(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// The connection ends because of what its client has sent.
    pub(crate) fn refuse(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    /// Why the connection ended, in memcached's words.
    pub(crate) fn end_reason(&self) -> &'static str {
        if self.refused.load(Ordering::Relaxed) { "error" } else { "normal" }
    }

    /// The client's end, as events name it.
    pub(crate) fn peer(&self) -> String {
        let (address, transport) = match self.address {
            Endpoint::Tcp(address) => (address, "tcp"),
            Endpoint::Udp(address) => (address, "udp"),
            Endpoint::Unix(_) | Endpoint::UnixClient => {
                return "rip=unix rport=0 transport=local".to_owned();
            }
        };
        format!("rip={} rport={} transport={transport}", address.ip(), address.port())
    }

    /// A request has been taken up.
    pub(crate) fn asked(&self) {
        self.asked_at_ms.store(coarse_ms(), Ordering::Relaxed);
    }

    /// When that was, by [`coarse_ms`].
    pub(crate) fn asked_at_ms(&self) -> u64 {
        self.asked_at_ms.load(Ordering::Relaxed)
    }

    fn info(&self, now_ms: u64) -> ConnectionInfo {
        ConnectionInfo {
            fd: self.fd,
            udp: matches!(self.address, Endpoint::Udp(_)),
            address: self.address.to_string(),
            listen_address: self.listener.as_ref().map(|listener| listener.address.to_string()),
            state: State::from_byte(self.state.load(Ordering::Relaxed)).word(),
            idle_s: now_ms.saturating_sub(self.asked_at_ms()) / 1000,
        }
    }
}

/// Keeps an [`Entry`] in the [`Registry`] for as long as it lives.
#[derive(Debug)]
pub(crate) struct Registered {
    registry: Arc<Registry>,
    key: (RawFd, u64),
    entry: Arc<Entry>,
}

impl Registered {
    pub(crate) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry.entries().remove(&self.key);
    }
}

impl State {
    const ALL: [Self; 5] =
        [Self::Listening, Self::Idle, Self::ReceivingValue, Self::Executing, Self::Replying];

    fn from_byte(byte: u8) -> Self {
        Self::ALL.into_iter().find(|state| *state as u8 == byte).unwrap_or(Self::Idle)
    }
    fn word(self) -> &'static str {
        match self {
            Self::Listening => "conn_listening",
            Self::Idle => "conn_read",
            Self::ReceivingValue => "conn_nread",
            Self::Executing => "conn_parse_cmd",
            Self::Replying => "conn_mwrite",
        }
    }
}

impl From<&Address> for Endpoint {
    fn from(address: &Address) -> Self {
        match address {
            Address::Tcp(address) => Self::Tcp(*address),
            Address::Udp(address) => Self::Udp(*address),
            Address::Unix(path) => Self::Unix(path.as_path().into()),
        }
    }
}

impl Display for Endpoint {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (protocol, address) = match self {
            Self::Tcp(address) => ("tcp", address),
            Self::Udp(address) => ("udp", address),
            Self::Unix(path) => return write!(f, "unix:{}", path.display()),
            // AF_UNIX is 1 everywhere.
            Self::UnixClient => return f.write_str("unix:<AF 1>"),
        };
        let version = if address.is_ipv6() { "6" } else { "" };
        write!(f, "{protocol}{version}:{address}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(registry: &Registry) -> Vec<String> {
        let mut lines = Vec::new();
        registry.for_each(&mut |info| {
            let from = info.listen_address.unwrap_or_default();
            lines.push(format!("{} {} {from} {}", info.fd, info.address, info.state));
        });
        lines
    }

    #[test]
    fn sockets_are_shown_in_order_of_descriptors_for_as_long_as_they_are_open() {
        let registry = Arc::new(Registry::default());
        let tcp = |address: &str| Endpoint::Tcp(address.parse().unwrap());
        let listener = registry.add(9, tcp("[::1]:11211"), None);
        let client = registry.add(4, tcp("127.0.0.1:5"), Some(Arc::clone(listener.entry())));
        let udp = registry.add(7, Endpoint::Udp("0.0.0.0:11211".parse().unwrap()), None);
        client.entry().enter(State::ReceivingValue);
        let want = [
            "4 tcp:127.0.0.1:5 tcp6:[::1]:11211 conn_nread",
            "7 udp:0.0.0.0:11211  conn_read",
            "9 tcp6:[::1]:11211  conn_listening",
        ];
        assert_eq!(shown(&registry), want);

        // The kernel gives the descriptor away before the old owner is taken out.
        let unix = registry.add(4, Endpoint::UnixClient, Some(Arc::clone(listener.entry())));
        drop((client, udp, listener));
        assert_eq!(shown(&registry), ["4 unix:<AF 1> tcp6:[::1]:11211 conn_read"]);
        drop(unix);
        assert!(shown(&registry).is_empty());
    }

    #[test]
    fn states_survive_their_byte() {
        for state in State::ALL {
            assert_eq!(State::from_byte(state as u8), state);
        }
    }
}
