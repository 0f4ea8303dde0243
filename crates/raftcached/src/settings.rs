//! What `stats settings` says of the command line, beyond what the client side knows itself.

use std::net::SocketAddr;

use frontend::Address;

use crate::addresses::Listeners;
use crate::config::{AuthFile, Config};
use crate::extended::Tuning;

/// Lines of `stats settings`, by memcached's names.
pub(crate) fn settings(
    config: &Config,
    listeners: &Listeners,
    tuning: Tuning,
) -> Vec<(String, String)> {
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let port = |addresses: &[SocketAddr]| addresses.first().map_or(0, SocketAddr::port).to_string();
    let (tcp, udp) = (listeners.client_addresses(), listeners.udp_addresses());
    let hosts: Vec<_> = tcp.iter().map(|address| address.ip().to_string()).collect();
    let path = listeners.clients.iter().find_map(|client| match client.listener.address() {
        Address::Unix(path) => Some(path.display().to_string()),
        Address::Tcp(_) => None,
    });
    let auth_file = match &config.clients.auth {
        AuthFile::Ascii(path) => path.display().to_string(),
        AuthFile::None | AuthFile::Sasl(_) => "no".to_owned(),
    };
    let none = || "NULL".to_owned();
    let said = [
        ("tcpport", port(&tcp)),
        ("udpport", port(&udp)),
        ("inter", if hosts.is_empty() { none() } else { hosts.join(",") }),
        ("verbosity", config.verbosity.to_string()),
        ("domain_socket", path.unwrap_or_else(none)),
        ("umask", format!("{:o}", config.listen.unix_mode)),
        ("auth_enabled_ascii", auth_file),
        ("maxconns_fast", yes(config.clients.refused_at_once)),
        ("track_sizes", yes(config.clients.track_sizes)),
        ("ssl_enabled", yes(config.clients.tls.is_some())),
    ];
    let said = said.into_iter().map(|(name, value)| (name.to_owned(), value));
    said.chain(tuning.into_iter().map(|(name, value)| (name.to_owned(), value))).collect()
}
