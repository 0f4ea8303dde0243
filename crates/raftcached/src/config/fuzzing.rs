//! A file, as far as it gets without a disk, for the fuzz targets.

use super::{ClientAddress, Clients, Config, HostAddress, PeerSecurity, is_node_name};
use crate::options::Options;

/// Reads a file's bytes as `--config` does.
///
/// # Panics
///
/// If what is taken breaks a promise of [`Config`], or a refusal gives no reason.
pub fn check(text: &[u8]) {
    let options = match Options::from_text(text) {
        Ok(options) => options,
        Err(error) => return assert!(!format!("{error:#}").is_empty()),
    };
    let config = match Config::try_from(options) {
        Ok(config) => config,
        Err(refusal) => {
            let text = refusal.to_string();
            // One line, for a log.
            assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
            return;
        }
    };
    assert!(is_node_name(&config.name));
    let (min, max) = config.election_timeout_ms;
    assert!(0 < config.heartbeat_ms && config.heartbeat_ms < min && min < max);
    assert!(max < config.operation_budget_ms && config.operation_budget_ms <= 60_000);
    assert!((1 << 10..=1 << 30).contains(&config.item_len_max));
    assert!(config.item_len_max <= config.memory_limit / 2 && config.memory_limit <= 1 << 44);
    let Clients { threads, connections_max, backlog, requests_per_turn, .. } = &config.clients;
    assert!(1 <= *threads && 1 <= *connections_max && 1 <= *backlog);
    assert!(requests_per_turn.is_none_or(|requests| 1 <= requests));
    let (peer, admin) = (config.listen.peer.address.port, config.listen.admin.address.port);
    for client in &config.listen.clients {
        let ClientAddress::Tcp(HostAddress { port, .. }, _) = client else { continue };
        assert!(*port == 0 || (*port != peer && *port != admin));
    }
    assert!(peer == 0 || peer != admin);
    let nodes = config.join.len().max(1);
    let expect = config.bootstrap_expect;
    assert!(expect == 0 || (nodes / 2 < expect && expect <= nodes));
    for address in config.join.iter().chain(&config.advertise_peer) {
        assert_ne!(address.port, 0);
        assert_eq!(address.to_string().parse().as_ref(), Ok(address));
    }
    if let PeerSecurity::Tls(files) = &config.peer_security {
        let files = [&files.ca, &files.certificate, &files.key];
        assert!(files.iter().all(|file| !file.as_os_str().is_empty()));
    }
    assert!(!config.exit_on_stdin_eof && config.begin_from.is_none(), "not from a file");
}
