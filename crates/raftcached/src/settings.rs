//! What `stats settings` says of the command line, beyond what the client side knows itself.

use std::net::SocketAddr;

use frontend::Address;

use crate::addresses::Listeners;
use crate::config::Config;
use crate::extended::Tuning;

/// Lines of `stats settings`, by memcached's names.
pub(crate) fn settings(
    config: &Config,
    listeners: &Listeners,
    mut tuning: Tuning,
) -> Vec<(String, String)> {
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let port = |addresses: &[SocketAddr]| addresses.first().map_or(0, SocketAddr::port).to_string();
    let (tcp, udp) = (listeners.client_addresses(), listeners.udp_addresses());
    let hosts: Vec<_> = tcp.iter().map(|address| address.ip().to_string()).collect();
    let path = listeners.clients.iter().find_map(|client| match client.listener.address() {
        Address::Unix(path) => Some(path.display().to_string()),
        Address::Tcp(_) | Address::Udp(_) => None,
    });
    let none = || "NULL".to_owned();
    tuning.extend([
        ("tcpport", port(&tcp)),
        ("udpport", port(&udp)),
        ("inter", if hosts.is_empty() { none() } else { hosts.join(",") }),
        ("evictions", if config.evict { "on" } else { "off" }.to_owned()),
        ("verbosity", config.verbosity.to_string()),
        ("domain_socket", path.unwrap_or_else(none)),
        ("umask", format!("{:o}", config.listen.unix_mode)),
        ("maxconns_fast", yes(config.clients.refused_at_once)),
    ]);
    tuning.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
