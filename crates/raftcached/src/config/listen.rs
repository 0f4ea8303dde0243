//! Where a node listens: for clients, for its peers, for the operator.

use std::fmt;
use std::path::PathBuf;

use super::{Refusal, refuse};
use crate::listen_address::{ListenAddress, ListenTls, Place};
use crate::options::Options;
use crate::values::{HostPort, Port};

/// All addresses of a node; no TCP port is in here twice, but for hosts of clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listen {
    /// Empty only if the operator wants no clients (`-p 0`).
    pub(crate) clients: Vec<ClientAddress>,
    pub(crate) udp: Vec<HostAddress>,
    /// Access bits of Unix sockets.
    pub(crate) unix_mode: u32,
    pub(crate) peer: NodeAddress,
    pub(crate) admin: NodeAddress,
}

/// Where clients connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ClientAddress {
    Tcp(HostAddress, ListenTls),
    Unix(PathBuf),
}

/// A port of one host or of all addresses of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostAddress {
    /// `None`: all.
    pub(crate) host: Option<String>,
    /// 0: any free one.
    pub(crate) port: u16,
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) => HostPort::new(host, self.port).fmt(f),
            None => write!(f, "*:{}", self.port),
        }
    }
}

/// Where peers or the operator connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeAddress {
    pub(crate) address: HostPort,
    /// Nobody was told this address, so that any free port will do if it is taken.
    pub(crate) or_any_port: bool,
}

impl Listen {
    pub(super) fn new(options: &Options) -> Result<Self, Refusal> {
        let (clients, udp) = clients(options)?;
        let port = clients.iter().find_map(|address| match address {
            ClientAddress::Tcp(address, _) => Some(address.port),
            ClientAddress::Unix(_) => None,
        });
        // Nobody waits for a node of no cluster at the usual place.
        let alone =
            options.join.is_none() && options.bootstrap_expect.is_none_or(|count| count == 1);
        let beside = |given: &Option<HostPort>, offset: u16| match given {
            Some(address) => NodeAddress { address: address.clone(), or_any_port: false },
            None => {
                // A client port so high that the offset does not fit still works.
                let port = match port.unwrap_or(PORT_DEFAULT) {
                    0 => 0,
                    port => port.checked_add(offset).unwrap_or(0),
                };
                NodeAddress { address: HostPort::new(LOOPBACK, port), or_any_port: alone }
            }
        };
        let listen = Self {
            peer: beside(&options.peer_listen, PEER_PORT_OFFSET),
            admin: beside(&options.admin_listen, ADMIN_PORT_OFFSET),
            clients,
            udp,
            unix_mode: options.unix_mask.map_or(UNIX_MODE_DEFAULT, |mask| mask.0),
        };
        listen.check()?;
        Ok(listen)
    }

    fn check(&self) -> Result<(), Refusal> {
        let (peer, admin) = (&self.peer.address, &self.admin.address);
        for (option, address) in [("--peer-listen", peer), ("--admin-listen", admin)] {
            let clashes = |client: &&ClientAddress| match client {
                ClientAddress::Tcp(client, _) => client.port != 0 && client.port == address.port,
                ClientAddress::Unix(_) => false,
            };
            if self.clients.iter().any(|client| clashes(&client)) {
                return refuse(option, address, "the same port as -p");
            }
        }
        if peer.port != 0 && peer.port == admin.port {
            return refuse("--admin-listen", admin, "the same port as --peer-listen");
        }
        Ok(())
    }
}

/// TCP, Unix and UDP, as memcached decides between them.
fn clients(options: &Options) -> Result<(Vec<ClientAddress>, Vec<HostAddress>), Refusal> {
    if let Some(path) = &options.unix_socket {
        if path.as_os_str().is_empty() {
            return Err(Refusal("-s (--unix-socket) is empty: a file is expected".to_owned()));
        }
        return Ok((vec![ClientAddress::Unix(path.clone())], Vec::new()));
    }
    let udp_port = options.udp_port.unwrap_or(Port::Off).to_bind();
    let tcp_port = match (options.port, udp_port) {
        (Some(port), _) => port.to_bind(),
        (None, Some(port)) => Some(port),
        (None, None) => Some(PORT_DEFAULT),
    };
    let loopback = [ListenAddress::host(LOOPBACK)];
    let mut clients = Vec::new();
    let mut udp = Vec::new();
    for address in options.listen.as_deref().unwrap_or(&loopback) {
        if address.tls != ListenTls::AsEverywhere && options.enable_ssl != Some(true) {
            return Err(Refusal(
                "-l (--listen): notls:, btls: and mtls: are of use only with -Z".to_owned(),
            ));
        }
        match &address.place {
            Place::Unix(path) => clients.push(ClientAddress::Unix(path.clone())),
            Place::Host { host, port } => {
                let at =
                    |common: u16| HostAddress { host: host.clone(), port: port.unwrap_or(common) };
                clients.extend(tcp_port.map(|port| ClientAddress::Tcp(at(port), address.tls)));
                udp.extend(udp_port.map(at));
            }
        }
    }
    // The same word twice, or from a file that is read twice.
    let mut seen = Vec::new();
    clients.retain(|address| {
        let is_new = !seen.contains(address);
        seen.push(address.clone());
        is_new
    });
    udp.dedup();
    Ok((clients, udp))
}

/// From a node's client port to its peer port.
pub(crate) const PEER_PORT_OFFSET: u16 = 10_000;
/// From a node's client port to its admin port.
pub(crate) const ADMIN_PORT_OFFSET: u16 = 20_000;
pub(crate) const LOOPBACK: &str = "127.0.0.1";
const PORT_DEFAULT: u16 = 11211;
const UNIX_MODE_DEFAULT: u32 = 0o700;
