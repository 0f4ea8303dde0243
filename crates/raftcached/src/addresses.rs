//! Where this node listens, and under which addresses others reach it.

use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs as _, UdpSocket};

use anyhow::Context as _;
use frontend::{Address, ListenError, Listener};

use crate::config::Config;
use crate::failure::Failure;
use crate::values::HostPort;

/// All listeners of a node, taken before anything else starts, so that an address in use is the
/// first and only thing the operator reads.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// Reserved only: clients are refused until the node can answer.
    pub(crate) client: Listener,
    pub(crate) peer: TcpListener,
    pub(crate) admin: TcpListener,
    /// Where they really listen, in case a port was 0.
    pub(crate) client_address: SocketAddr,
    pub(crate) peer_address: SocketAddr,
    pub(crate) admin_address: SocketAddr,
}

impl Listeners {
    /// Takes all three addresses.
    ///
    /// # Errors
    ///
    /// One that cannot be taken, by name.
    pub(crate) fn bind(config: &Config) -> Result<Self, Failure> {
        let (client, client_address) =
            bind_client(&config.client_listen).map_err(Failure::system)?;
        let (peer, peer_address) = bind("peer", &config.peer_listen).map_err(Failure::system)?;
        let (admin, admin_address) =
            bind("admin", &config.admin_listen).map_err(Failure::system)?;
        Ok(Self { client, peer, admin, client_address, peer_address, admin_address })
    }

    /// What to tell others: the operator's word, else the address listened on, else, where that is
    /// a wildcard, this machine's name in `--join` or its host name.
    pub(crate) fn advertised(&self, config: &Config) -> Advertised {
        let own = own_entry(&config.join, &config.name, self.peer_address, |host, port| {
            resolve(&HostPort::new(host, port)).unwrap_or_default()
        });
        let host = |listening: SocketAddr| {
            if !listening.ip().is_unspecified() {
                return listening.ip().to_string();
            }
            own.map_or_else(host_name, |entry| entry.host.clone())
        };
        let reached = |given: &Option<HostPort>, listening: SocketAddr| {
            given.clone().unwrap_or_else(|| HostPort::new(&host(listening), listening.port()))
        };
        let peer = config.advertise_peer.clone().or_else(|| own.cloned());
        Advertised {
            client: reached(&config.advertise_client, self.client_address),
            peer: reached(&peer, self.peer_address),
            admin: reached(&config.advertise_admin, self.admin_address),
        }
    }
}

/// Under which addresses others reach this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Advertised {
    pub(crate) client: HostPort,
    pub(crate) peer: HostPort,
    pub(crate) admin: HostPort,
}

/// Says which of `wanted` cannot be listened on right now, one line each.
pub(crate) fn in_use(wanted: &[(&str, HostPort)]) -> Vec<String> {
    let refusals = wanted.iter().filter_map(|(purpose, address)| bind(purpose, address).err());
    refusals.map(|error| format!("{error:#}")).collect()
}

/// The entry of `join` that is this node: the one that resolves to where it listens for peers, or
/// for a node that listens on all addresses, the one with its name, or the only one that resolves
/// to this machine. The port must be the same each time.
fn own_entry<'a>(
    join: &'a [HostPort],
    name: &str,
    listening: SocketAddr,
    resolve: impl Fn(&str, u16) -> Vec<SocketAddr>,
) -> Option<&'a HostPort> {
    let candidates = || join.iter().filter(|entry| entry.port == listening.port());
    let resolves_to = |entry: &HostPort, here: &dyn Fn(IpAddr) -> bool| {
        resolve(&entry.host, entry.port).iter().any(|address| here(address.ip()))
    };
    if !listening.ip().is_unspecified() {
        return candidates().find(|entry| resolves_to(entry, &|ip| ip == listening.ip()));
    }
    // Under docker-compose and Kubernetes a node's name is its host name.
    let named = candidates().find(|entry| {
        let host = entry.host.as_str();
        host == name || host.split_once('.').is_some_and(|(first, _)| first == name)
    });
    named.or_else(|| {
        let mut here = candidates().filter(|entry| resolves_to(entry, &is_this_machine));
        here.next().filter(|_| here.next().is_none())
    })
}

/// Only an address of this machine can be bound; port 0 disturbs nobody.
fn is_this_machine(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

fn bind_client(address: &HostPort) -> anyhow::Result<(Listener, SocketAddr)> {
    let what = || what("client", address);
    let first = first_address(address).with_context(what)?;
    let listener = Listener::bind(first).map_err(|error| {
        if let ListenError::AddressInUse { .. } = error {
            anyhow::anyhow!("client address {first} is already in use")
        } else {
            anyhow::Error::new(error).context(what())
        }
    })?;
    let bound = match listener.address() {
        Address::Tcp(address) => *address,
        Address::Unix(_) => first,
    };
    Ok((listener, bound))
}

fn bind(purpose: &str, address: &HostPort) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let what = || what(purpose, address);
    let first = first_address(address).with_context(what)?;
    let listener = TcpListener::bind(first).map_err(|error| {
        if error.kind() == std::io::ErrorKind::AddrInUse {
            anyhow::anyhow!("{purpose} address {first} is already in use")
        } else {
            anyhow::Error::new(error).context(what())
        }
    })?;
    // Tokio takes over only what does not block.
    listener.set_nonblocking(true).with_context(what)?;
    let bound = listener.local_addr().with_context(what)?;
    Ok((listener, bound))
}

fn what(purpose: &str, address: &HostPort) -> String {
    format!("cannot listen on {purpose} address {address}")
}

fn first_address(address: &HostPort) -> anyhow::Result<SocketAddr> {
    resolve(address)?.into_iter().next().context("the host has no address")
}

fn resolve(address: &HostPort) -> std::io::Result<Vec<SocketAddr>> {
    Ok((address.host.as_str(), address.port).to_socket_addrs()?.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_finds_itself_in_join() {
        let resolve = |host: &str, port: u16| -> Vec<SocketAddr> {
            let ip = match host {
                "localhost" | "here" => "127.0.0.1",
                // Documentation addresses: never this machine's.
                "n1" | "n2.example" => "192.0.2.1",
                _ => host,
            };
            ip.parse().map(|ip: IpAddr| SocketAddr::new(ip, port)).into_iter().collect()
        };
        let cases: &[(&str, &str, &str, &str, Option<&str>)] = &[
            ("literal", "a", "127.0.0.1:1", "127.0.0.1:1,127.0.0.1:2", Some("127.0.0.1:1")),
            ("by name", "a", "127.0.0.1:2", "localhost:1,localhost:2", Some("localhost:2")),
            ("other port", "a", "127.0.0.1:3", "localhost:1,localhost:2", None),
            ("other host", "n1", "127.0.0.1:1", "n1:1", None),
            ("wildcard, its name", "n1", "0.0.0.0:1", "n1:1,n2.example:1", Some("n1:1")),
            ("wildcard, first label", "n2", "0.0.0.0:1", "n1:1,n2.example:1", Some("n2.example:1")),
            ("wildcard, by address", "x", "0.0.0.0:1", "n1:1,here:1", Some("here:1")),
            ("wildcard, ambiguous", "x", "0.0.0.0:1", "localhost:1,here:1", None),
            ("wildcard, unknown", "x", "0.0.0.0:1", "n1:1,unknown:1", None),
        ];
        for (case, name, listening, join, want) in cases {
            let join: Vec<HostPort> = join.split(',').map(|entry| entry.parse().unwrap()).collect();
            let have = own_entry(&join, name, listening.parse().unwrap(), resolve);
            assert_eq!(have.map(ToString::to_string).as_deref(), *want, "case: {case}");
        }
    }

    #[test]
    fn an_address_in_use_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let wanted = [
            ("peer", HostPort::new("127.0.0.1", address.port())),
            ("admin", HostPort::new("127.0.0.1", 0)),
        ];
        assert_eq!(in_use(&wanted), [format!("peer address {address} is already in use")]);
    }
}
