//! `memcached_*`: the names, types and labels of prometheus/memcached_exporter, so that dashboards
//! and alerts made for it find what they look for.
//!
//! Numbers of what this server does not have (an LRU crawler, queues to move items between) are 0, as in
//! `stats`. Some types differ: `memcached_uptime_seconds`, `memcached_slab_mem_requested_bytes` and a
//! few that are always 0 are counters there, and the names of ours end in `_total`.
//!
//! # Source
//!
//! `pkg/exporter/exporter.go` of prometheus/memcached_exporter 0.14.4, and one name of 0.15.

use std::fmt;

use frontend::OnlyClass;

use super::Metrics;
use super::families::Families;

/// Writes what the exporter would say of this node.
pub(super) fn encode(metrics: &Metrics, families: &mut Families<'_>) -> fmt::Result {
    let (clients, process) = (&metrics.clients, &metrics.process);
    let accepting = u64::from(metrics.accepting);
    families.gauge("memcached_up", "Whether clients can connect.", accepting)?;
    families.gauges(
        "memcached_version",
        "1, with the memcached version that clients are told.",
        [([("version", clients.version)], 1)],
    )?;
    families.gauge("memcached_uptime_seconds", "Seconds since the start.", clients.uptime_s)?;
    families.gauge("memcached_time_seconds", "This machine's Unix time.", process.unix_s)?;
    families.counter(
        "memcached_process_user_cpu_seconds",
        "Processor time used outside of the kernel.",
        process.user_s,
    )?;
    families.counter(
        "memcached_process_system_cpu_seconds",
        "Processor time used in the kernel.",
        process.system_s,
    )?;
    connections(metrics, families)?;
    commands(metrics, families)?;
    items(metrics, families)?;
    only_class(metrics, families)
}

fn connections(metrics: &Metrics, families: &mut Families<'_>) -> fmt::Result {
    let clients = &metrics.clients;
    families.gauge(
        "memcached_accepting_connections",
        "Whether clients can connect.",
        u64::from(metrics.accepting),
    )?;
    families.gauge(
        "memcached_current_connections",
        "Connections of clients now.",
        clients.connections_open,
    )?;
    families.gauge(
        "memcached_max_connections",
        "Connections that clients may have at the same time.",
        clients.connections_max,
    )?;
    families.counter(
        "memcached_connections",
        "Connections of clients since the start.",
        clients.accepted_count,
    )?;
    families.counter(
        "memcached_connections_rejected",
        "Connections refused because there were too many.",
        clients.rejected_count,
    )?;
    families.counter(
        "memcached_connections_listener_disabled",
        "Times that accepting stopped because there were too many connections.",
        clients.listen_disabled_count,
    )?;
    families.counter(
        "memcached_connections_yielded",
        "Times that a connection with more to do let others run.",
        clients.totals.conn_yields,
    )?;
    families.counter(
        "memcached_read_bytes",
        "Bytes received from clients.",
        clients.totals.bytes_read,
    )?;
    families.counter(
        "memcached_written_bytes",
        "Bytes sent to clients.",
        clients.totals.bytes_written,
    )
}

fn commands(metrics: &Metrics, families: &mut Families<'_>) -> fmt::Result {
    let totals = &metrics.clients.totals;
    let cas = totals.cas_hits + totals.cas_misses + totals.cas_badval;
    let sample = |command, status, value| ([("command", command), ("status", status)], value);
    families.counters(
        "memcached_commands",
        "Commands of clients of this node, and how they ended.",
        [
            sample("get", "hit", totals.get_hits),
            sample("get", "miss", totals.get_misses),
            // Those under way are counted as sets, and as what they are only at their end.
            sample("set", "hit", totals.cmd_set.saturating_sub(cas)),
            sample("cas", "hit", totals.cas_hits),
            sample("cas", "miss", totals.cas_misses),
            sample("cas", "badval", totals.cas_badval),
            sample("delete", "hit", totals.delete_hits),
            sample("delete", "miss", totals.delete_misses),
            sample("incr", "hit", totals.incr_hits),
            sample("incr", "miss", totals.incr_misses),
            sample("decr", "hit", totals.decr_hits),
            sample("decr", "miss", totals.decr_misses),
            sample("touch", "hit", totals.touch_hits),
            sample("touch", "miss", totals.touch_misses),
            sample("flush", "hit", totals.cmd_flush),
        ],
    )?;
    families.counter(
        "memcached_item_too_large",
        "Stores refused for their size.",
        totals.store_too_large,
    )?;
    families.counter(
        "memcached_item_no_memory",
        "Stores refused for want of memory.",
        totals.store_no_memory,
    )
}

fn items(metrics: &Metrics, families: &mut Families<'_>) -> fmt::Result {
    let engine = &metrics.engine;
    families.gauge("memcached_current_bytes", "Bytes of all items.", engine.bytes)?;
    families.gauge("memcached_limit_bytes", "Bytes that items may have.", engine.memory_limit)?;
    families.gauge("memcached_malloced_bytes", "Bytes of all items.", engine.bytes)?;
    families.gauge("memcached_current_items", "Items now.", engine.items)?;
    families.counter("memcached_items", "Items ever stored.", engine.total_items)?;
    families.counter("memcached_items_evicted", "Items removed to make room.", engine.evictions)?;
    families.counter(
        "memcached_items_reclaimed",
        "Expired items whose memory was taken back.",
        engine.reclaimed,
    )?;
    for name in ABSENT {
        families.counter(name, "Always 0: there is no such thing here.", 0_u64)?;
    }
    for (name, value) in &metrics.lru_settings {
        families.gauge(name, "As set, and of no effect.", *value)?;
    }
    Ok(())
}

/// As in `stats items` and `stats slabs`, all items are of one class, which is there when they are.
fn only_class(metrics: &Metrics, families: &mut Families<'_>) -> fmt::Result {
    let engine = &metrics.engine;
    if engine.items == 0 {
        return Ok(());
    }
    let class = |value| [([("slab", ONLY_CLASS)], value)];
    families.gauges("memcached_slab_current_items", "Items now.", class(engine.items))?;
    let OnlyClass { chunk_len, chunks_per_page, page_count } = OnlyClass::of(engine);
    for (name, help, value) in [
        ("memcached_slab_chunks_used", "Items now.", engine.items),
        ("memcached_slab_current_chunks", "Items now.", engine.items),
        ("memcached_slab_chunk_size_bytes", "Bytes of an item on average.", chunk_len),
        ("memcached_slab_chunks_per_page", "So many of them make 1 MiB.", chunks_per_page),
        ("memcached_slab_current_pages", "MiB that items have.", page_count),
        ("memcached_slab_chunks_free", "Always 0: items have what they need.", 0),
        ("memcached_slab_chunks_free_end", "Always 0: items have what they need.", 0),
        ("memcached_slab_cold_items", "Items now.", engine.items),
        ("memcached_slab_items_age_seconds", "Always 0: ages are not kept.", 0),
    ] {
        families.gauges(name, help, class(value))?;
    }
    for name in ABSENT_FROM_CLASS {
        families.gauges(name, NO_QUEUES, class(0))?;
    }
    for name in UNCOUNTED_OF_CLASS {
        families.counters(name, NO_QUEUES, class(0))?;
    }
    families.gauges(
        "memcached_slab_mem_requested_bytes",
        "Bytes of items.",
        class(engine.bytes),
    )?;
    families.counters(
        "memcached_slab_items_evicted",
        "Items removed to make room.",
        class(engine.evictions),
    )?;
    families.counters(
        "memcached_slab_items_evicted_nonzero",
        "Items removed to make room before they had expired.",
        class(engine.evicted_unexpired),
    )?;
    families.counters(
        "memcached_slab_items_outofmemory",
        "Stores refused for want of memory.",
        class(engine.out_of_memory),
    )?;
    families.counters(
        "memcached_slab_items_reclaimed",
        "Expired items whose memory was taken back.",
        class(engine.reclaimed),
    )?;
    families.counters(
        "memcached_slab_lru_hits",
        NO_QUEUES,
        ["hot", "warm", "cold", "temporary"].map(|lru| ([("slab", ONLY_CLASS), ("lru", lru)], 0)),
    )?;
    commands_of_class(metrics, families)
}

fn commands_of_class(metrics: &Metrics, families: &mut Families<'_>) -> fmt::Result {
    let totals = &metrics.clients.totals;
    let stored = totals.cmd_set.saturating_sub(totals.cas_hits + totals.cas_badval);
    let sample = |command, status, value| {
        ([("slab", ONLY_CLASS), ("command", command), ("status", status)], value)
    };
    families.counters(
        "memcached_slab_commands",
        "Commands of clients of this node that found an item, or stored one.",
        [
            sample("get", "hit", totals.get_hits),
            sample("set", "hit", stored),
            sample("cas", "hit", totals.cas_hits),
            sample("cas", "badval", totals.cas_badval),
            sample("delete", "hit", totals.delete_hits),
            sample("incr", "hit", totals.incr_hits),
            sample("decr", "hit", totals.decr_hits),
            sample("touch", "hit", totals.touch_hits),
        ],
    )
}

/// What the exporter would make of settings where they say that there is an LRU crawler.
pub(super) fn lru_settings<'a>(
    setting: impl Fn(&str) -> Option<&'a str>,
) -> Vec<(&'static str, f64)> {
    let number = |name| match setting(name)? {
        "yes" => Some(1.0),
        "no" => Some(0.0),
        other => other.parse().ok(),
    };
    if setting("lru_crawler") != Some("yes") {
        return Vec::new();
    }
    let settings = LRU_SETTINGS.iter();
    settings.filter_map(|(name, series)| Some((*series, number(name)?))).collect()
}

const LRU_SETTINGS: [(&str, &str); 8] = [
    ("hot_lru_pct", "memcached_lru_crawler_hot_percent"),
    ("hot_max_factor", "memcached_lru_crawler_hot_max_factor"),
    ("lru_crawler", "memcached_lru_crawler_enabled"),
    ("lru_crawler_sleep", "memcached_lru_crawler_sleep"),
    ("lru_crawler_tocrawl", "memcached_lru_crawler_to_crawl"),
    ("lru_maintainer_thread", "memcached_lru_crawler_maintainer_thread"),
    ("warm_lru_pct", "memcached_lru_crawler_warm_percent"),
    ("warm_max_factor", "memcached_lru_crawler_warm_max_factor"),
];

const ONLY_CLASS: &str = "1";

const ABSENT: [&str; 7] = [
    "memcached_direct_reclaims",
    "memcached_lru_crawler_items_checked",
    "memcached_lru_crawler_moves_to_cold",
    "memcached_lru_crawler_moves_to_warm",
    "memcached_lru_crawler_moves_within_lru",
    "memcached_lru_crawler_reclaimed",
    "memcached_lru_crawler_starts",
];

const NO_QUEUES: &str = "Always 0: there are no such queues here.";

const ABSENT_FROM_CLASS: [&str; 8] = [
    "memcached_slab_hot_age_seconds",
    "memcached_slab_hot_items",
    "memcached_slab_items_evicted_time_seconds",
    "memcached_slab_items_moves_to_cold",
    "memcached_slab_items_moves_to_warm",
    "memcached_slab_items_moves_within_lru",
    "memcached_slab_warm_age_seconds",
    "memcached_slab_warm_items",
];

const UNCOUNTED_OF_CLASS: [&str; 4] = [
    "memcached_slab_items_crawler_reclaimed",
    "memcached_slab_items_evicted_unfetched",
    "memcached_slab_items_expired_unfetched",
    "memcached_slab_items_tailrepairs",
];
