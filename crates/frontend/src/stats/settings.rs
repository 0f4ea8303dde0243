//! `stats settings`: memcached's names, with what this node was told.

use std::fmt::Write as _;
use std::path::Path;

use super::Stats;
use crate::backend::Backend;
use crate::options::{Auth, Options};
use crate::server::Shared;
use crate::tls::TlsOptions;

impl Stats<'_> {
    pub(super) fn settings<B: Backend>(&mut self, backend: &B, shared: &Shared) {
        let options = &shared.options;
        let told = |name: &str| told(options, name);
        let yes_no = |yes: bool| if yes { "yes" } else { "no" };
        let tls = options.tls.as_ref().map(|tls| tls.options());
        let mut value = String::new();
        for (name, fallback) in MEMCACHEDS_SETTINGS {
            value.clear();
            let known: &dyn std::fmt::Display = match *name {
                "maxbytes" => &backend.engine_stats().memory_limit,
                "maxconns" => &options.connections_max,
                "num_threads" => &shared.open.len(),
                "tcp_backlog" => &options.backlog,
                "item_size_max" => &options.item_len_max,
                "reqs_per_event" => &options.requests_per_turn,
                "stat_key_prefix" => &char::from(options.prefix_delimiter),
                "detail_enabled" => &yes_no(shared.prefixes.is_on()),
                "cas_enabled" => &yes_no(!options.cas_disabled),
                "flush_enabled" => &yes_no(!options.flush_all_refused),
                "dump_enabled" => &yes_no(!options.dump_refused),
                "shutdown_command" => &yes_no(options.shutdown.is_some()),
                "track_sizes" => &yes_no(options.sizes_tracked),
                "idle_timeout" => &options.idle_timeout.map_or(0, |timeout| timeout.as_secs()),
                "auth_enabled_sasl" => &yes_no(matches!(options.auth, Auth::Sasl(_))),
                "auth_enabled_ascii" => {
                    if let Auth::Ascii(credentials) = &options.auth {
                        &credentials.path().display().to_string()
                    } else {
                        fallback
                    }
                }
                "binding_protocol" => match (&options.auth, options.protocol) {
                    (Auth::Sasl(_), _) | (_, Some(protocol::Protocol::Binary)) => &"binary",
                    (Auth::Ascii(_), _) | (_, Some(protocol::Protocol::Text)) => &"ascii",
                    (Auth::None, None) => fallback,
                },
                "ssl_enabled" => &yes_no(tls.is_some()),
                // Of no effect, and shown as it was told.
                "ssl_wbuf_size" => &told("ssl_wbuf_size").unwrap_or(fallback).to_owned(),
                name if name.starts_with("ssl_") && tls.is_some() => {
                    &tls.map(|tls| ssl(name, tls)).unwrap_or_default()
                }
                name => match told(name) {
                    Some(told) => &told.to_owned(),
                    None => fallback,
                },
            };
            // Writing to a string does not fail.
            let _ = write!(value, "{known}");
            self.put(name, &value);
        }
        for (name, value) in &options.settings {
            if !MEMCACHEDS_SETTINGS.iter().any(|(known, _)| known == name) {
                self.put(name, value);
            }
        }
    }
}

/// A setting that has no effect here, as it is shown: as it was told, else as memcached has it.
pub(crate) fn idle_setting<'a>(options: &'a Options, name: &str) -> Option<&'a str> {
    let fallback = || MEMCACHEDS_SETTINGS.iter().find(|(known, _)| *known == name);
    told(options, name).or_else(|| fallback().map(|(_, value)| *value))
}

fn told<'a>(options: &'a Options, name: &str) -> Option<&'a str> {
    let told = options.settings.iter().find(|(known, _)| known == name);
    told.map(|(_, value)| value.as_str())
}

/// One of the lines about TLS, where it is spoken.
fn ssl(name: &str, tls: &TlsOptions) -> String {
    let file = |path: &Path| path.display().to_string();
    let or_null = |text: Option<String>| text.unwrap_or_else(|| "NULL".to_owned());
    match name {
        "ssl_chain_cert" => file(&tls.chain_cert),
        "ssl_key" => file(&tls.key),
        "ssl_verify_mode" => (tls.verify as u8).to_string(),
        "ssl_ciphers" => or_null(tls.ciphers.clone()),
        "ssl_ca_cert" => or_null(tls.ca.as_deref().map(file)),
        "ssl_session_cache" => if tls.session_cache { "yes" } else { "no" }.to_owned(),
        "ssl_min_version" => if tls.min_version == 3 { "tlsv1.3" } else { "tlsv1.2" }.to_owned(),
        "ssl_kernel_tls" => "no".to_owned(),
        // The format is PEM, which OpenSSL calls 1.
        "ssl_keyformat" => "1".to_owned(),
        _ => String::new(),
    }
}

/// The names of memcached 1.6.18's `stats settings` in its order, each with what it says where nothing
/// was told; empty where this always knows better.
pub const MEMCACHEDS_SETTINGS: &[(&str, &str)] = &[
    ("maxbytes", ""),
    ("maxconns", ""),
    ("tcpport", "11211"),
    ("udpport", "0"),
    ("inter", "NULL"),
    ("verbosity", "0"),
    ("oldest", "0"),
    ("evictions", "on"),
    ("domain_socket", "NULL"),
    ("umask", "700"),
    ("shutdown_command", ""),
    ("growth_factor", "1.25"),
    ("chunk_size", "48"),
    ("num_threads", ""),
    ("num_threads_per_udp", "1"),
    ("stat_key_prefix", ""),
    ("detail_enabled", ""),
    ("reqs_per_event", ""),
    ("cas_enabled", ""),
    ("tcp_backlog", ""),
    ("binding_protocol", "auto-negotiate"),
    ("auth_enabled_sasl", ""),
    ("auth_enabled_ascii", "no"),
    ("item_size_max", ""),
    ("maxconns_fast", "yes"),
    ("hashpower_init", "0"),
    ("slab_reassign", "yes"),
    ("slab_automove", "1"),
    ("slab_automove_ratio", "0.80"),
    ("slab_automove_window", "30"),
    ("slab_chunk_max", "524288"),
    ("lru_crawler", "yes"),
    ("lru_crawler_sleep", "100"),
    ("lru_crawler_tocrawl", "0"),
    ("tail_repair_time", "0"),
    ("flush_enabled", ""),
    ("dump_enabled", ""),
    ("hash_algorithm", "murmur3"),
    ("lru_maintainer_thread", "yes"),
    ("lru_segmented", "yes"),
    ("hot_lru_pct", "20"),
    ("warm_lru_pct", "40"),
    ("hot_max_factor", "0.20"),
    ("warm_max_factor", "2.00"),
    ("temp_lru", "no"),
    ("temporary_ttl", "61"),
    ("idle_timeout", ""),
    ("watcher_logbuf_size", "262144"),
    ("worker_logbuf_size", "65536"),
    ("read_buf_mem_limit", "0"),
    ("track_sizes", ""),
    ("inline_ascii_response", "no"),
    ("ssl_enabled", "no"),
    ("ssl_chain_cert", "(null)"),
    ("ssl_key", "(null)"),
    ("ssl_verify_mode", "0"),
    ("ssl_keyformat", "1"),
    ("ssl_ciphers", "NULL"),
    ("ssl_ca_cert", "NULL"),
    ("ssl_wbuf_size", "16384"),
    ("ssl_session_cache", "no"),
    ("ssl_kernel_tls", "no"),
    ("ssl_min_version", "tlsv1.2"),
    ("num_napi_ids", "(null)"),
    ("memory_file", "(null)"),
    ("client_flags_size", "4"),
];
