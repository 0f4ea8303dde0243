//! What prometheus/memcached_exporter makes of the answers on a client port.
//!
//! Its rules, not its code: which answers it reads, under which names it passes them on, and what
//! it takes for a server that is down. The program itself would prove more; there is no package of
//! it that `tests/run` could install.
//!
//! # Source
//!
//! `pkg/exporter/exporter.go` of prometheus/memcached_exporter 0.15, and its client library's
//! `memcache/memcache.go` for what is a line.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use cluster_tests::TextClient;

use super::scrape::{Scrape, family};

/// What it would say after one look.
#[derive(Debug, Default)]
pub(crate) struct Exporter {
    /// Values and types.
    series: BTreeMap<String, (f64, &'static str)>,
    /// Why `memcached_up` would be 0, or the scrape fail.
    complaints: Vec<String>,
}

type Stats = BTreeMap<String, String>;

impl Exporter {
    /// Asks for what it asks for, over a connection that is there.
    pub(crate) fn ask(client: &mut TextClient) -> Result<Self> {
        let mut stats = Stats::new();
        for topic in ["stats", "stats slabs", "stats items"] {
            stats.extend(ask(client, topic)?);
        }
        let settings = ask(client, "stats settings")?;
        let mut said = Self::default();
        said.general(&stats);
        let names: Vec<_> = stats.keys().map(|name| name.split(':').collect::<Vec<_>>()).collect();
        if names.iter().any(|name| matches!(name.as_slice(), ["items", "1", _])) {
            said.items(&stats);
        }
        if names.iter().any(|name| matches!(name.as_slice(), ["1", _])) {
            said.slabs(&stats);
        }
        said.put(&settings, "maxconns", "memcached_max_connections", GAUGE);
        Ok(said)
    }

    fn general(&mut self, stats: &Stats) {
        for (stat, series, kind) in GENERAL {
            self.put(stats, stat, &format!("memcached_{series}"), kind);
        }
        let version = stats.get("version").map_or("", String::as_str);
        self.add(format!("memcached_version{{version=\"{version}\"}}"), 1.0, GAUGE);
        for command in COMMANDS {
            for (stat, status) in [("hits", "hit"), ("misses", "miss")] {
                let series = commands(command, status);
                self.put(stats, &format!("{command}_{stat}"), &series, COUNTER);
            }
        }
        self.put(stats, "cas_badval", &commands("cas", "badval"), COUNTER);
        self.put(stats, "cmd_flush", &commands("flush", "hit"), COUNTER);
        let parts = ["cas_misses", "cas_hits", "cas_badval"];
        self.sets(stats, "cmd_set", &parts, commands("set", "hit"));
    }

    fn items(&mut self, stats: &Stats) {
        for (stat, series, kind) in ITEMS {
            let series = format!("memcached_slab_{series}{{slab=\"1\"}}");
            self.put(stats, &format!("items:1:{stat}"), &series, kind);
        }
    }

    fn slabs(&mut self, stats: &Stats) {
        let commands = |command: &str, status: &str| {
            let labels = format!("command=\"{command}\",slab=\"1\",status=\"{status}\"");
            format!("memcached_slab_commands_total{{{labels}}}")
        };
        for command in COMMANDS {
            self.put(stats, &format!("1:{command}_hits"), &commands(command, "hit"), COUNTER);
        }
        self.put(stats, "1:cas_badval", &commands("cas", "badval"), COUNTER);
        let parts = ["1:cas_hits", "1:cas_badval"];
        self.sets(stats, "1:cmd_set", &parts, commands("set", "hit"));
        for (stat, series) in SLABS {
            let series = format!("memcached_slab_{series}{{slab=\"1\"}}");
            self.put(stats, &format!("1:{stat}"), &series, GAUGE);
        }
    }

    /// What is counted as a set and is none is taken away; here alone nothing may be missing.
    fn sets(&mut self, stats: &Stats, all: &str, others: &[&str], series: String) {
        let number = |name: &str| stats.get(name).and_then(|value| value.parse::<f64>().ok());
        let others = others.iter().map(|name| number(name)).sum::<Option<f64>>();
        match (number(all), others) {
            (Some(all), Some(others)) => self.add(series, all - others, COUNTER),
            _ => self.complaints.push(format!("{all}, or what is to be taken from it, is missing")),
        }
    }

    /// A stat that is missing is no series, and no complaint.
    fn put(&mut self, stats: &Stats, stat: &str, series: &str, kind: &'static str) {
        let Some(value) = stats.get(stat) else { return };
        match value.parse() {
            Ok(value) => self.add(series.to_owned(), value, kind),
            Err(_) => self.complaints.push(format!("{stat} is {value:?}")),
        }
    }

    fn add(&mut self, series: String, value: f64, kind: &'static str) {
        if self.series.insert(series.clone(), (value, kind)).is_some() {
            self.complaints.push(format!("{series} is there twice, the scrape fails"));
        }
    }

    /// Checks that `memcached_up` would be 1.
    pub(crate) fn expect_up(&self) -> Result<()> {
        ensure!(self.complaints.is_empty(), "the exporter complains: {:?}", self.complaints);
        Ok(())
    }

    /// Every series it has.
    pub(crate) fn series(&self) -> impl Iterator<Item = &str> {
        self.series.keys().map(String::as_str)
    }

    /// Whether it has a series of that family.
    pub(crate) fn has_family(&self, series: &str) -> bool {
        self.series().any(|own| family(own) == family(series))
    }

    /// Checks that a node says of itself what this says of it, and nothing else under these names.
    pub(crate) fn expect_same(&self, scrape: &Scrape) -> Result<()> {
        for (series, (value, kind)) in &self.series {
            let own = scrape.value(series)?;
            #[expect(clippy::float_cmp, reason = "whole numbers")]
            let equal = own == *value || MOVING.contains(&series.as_str());
            ensure!(equal, "{series}: {own}, for the exporter {value}");
            let own = scrape.kind(series).context("no type")?;
            let differs = DIFFERENT_TYPES.contains(&family(series));
            ensure!(differs != (own == *kind), "{series}: {own}, for the exporter {kind}");
        }
        let mut known = scrape.series().filter(|series| series.starts_with("memcached_"));
        let invented = known.find(|own| *own != "memcached_up" && !self.series.contains_key(*own));
        ensure!(invented.is_none(), "the exporter does not have {invented:?}");
        Ok(())
    }
}

fn ask(client: &mut TextClient, topic: &str) -> Result<Stats> {
    client.send(format!("{topic}\r\n").as_bytes())?;
    let mut stats = Stats::new();
    loop {
        let line = client.line()?;
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["END"] => return Ok(stats),
            ["STAT", name, value] => stats.insert((*name).to_owned(), (*value).to_owned()),
            _ => anyhow::bail!("{topic}: {line:?}"),
        };
    }
}

fn commands(command: &str, status: &str) -> String {
    format!("memcached_commands_total{{command=\"{command}\",status=\"{status}\"}}")
}

const COUNTER: &str = "counter";
const GAUGE: &str = "gauge";

const COMMANDS: [&str; 6] = ["get", "delete", "incr", "decr", "cas", "touch"];

/// `stats`, and what is of no class in the others.
const GENERAL: [(&str, &str, &str); 28] = [
    ("uptime", "uptime_seconds", COUNTER),
    ("time", "time_seconds", GAUGE),
    ("rusage_user", "process_user_cpu_seconds_total", COUNTER),
    ("rusage_system", "process_system_cpu_seconds_total", COUNTER),
    ("bytes", "current_bytes", GAUGE),
    ("limit_maxbytes", "limit_bytes", GAUGE),
    ("curr_items", "current_items", GAUGE),
    ("total_items", "items_total", COUNTER),
    ("bytes_read", "read_bytes_total", COUNTER),
    ("bytes_written", "written_bytes_total", COUNTER),
    ("curr_connections", "current_connections", GAUGE),
    ("total_connections", "connections_total", COUNTER),
    ("rejected_connections", "connections_rejected_total", COUNTER),
    ("conn_yields", "connections_yielded_total", COUNTER),
    ("listen_disabled_num", "connections_listener_disabled_total", COUNTER),
    ("evictions", "items_evicted_total", COUNTER),
    ("reclaimed", "items_reclaimed_total", COUNTER),
    ("store_too_large", "item_too_large_total", COUNTER),
    ("store_no_memory", "item_no_memory_total", COUNTER),
    ("lru_crawler_starts", "lru_crawler_starts_total", COUNTER),
    ("direct_reclaims", "direct_reclaims_total", COUNTER),
    ("crawler_items_checked", "lru_crawler_items_checked_total", COUNTER),
    ("crawler_reclaimed", "lru_crawler_reclaimed_total", COUNTER),
    ("moves_to_cold", "lru_crawler_moves_to_cold_total", COUNTER),
    ("moves_to_warm", "lru_crawler_moves_to_warm_total", COUNTER),
    ("moves_within_lru", "lru_crawler_moves_within_lru_total", COUNTER),
    ("total_malloced", "malloced_bytes", GAUGE),
    ("accepting_conns", "accepting_connections", GAUGE),
];

/// Of a class in `stats items`. Those about LRU segments are left out: a stock memcached has them,
/// this server has none.
const ITEMS: [(&str, &str, &str); 7] = [
    ("number", "current_items", GAUGE),
    ("age", "items_age_seconds", GAUGE),
    ("evicted", "items_evicted_total", COUNTER),
    ("evicted_nonzero", "items_evicted_nonzero_total", COUNTER),
    ("outofmemory", "items_outofmemory_total", COUNTER),
    ("reclaimed", "items_reclaimed_total", COUNTER),
    ("mem_requested", "mem_requested_bytes", COUNTER),
];

/// Of a class in `stats slabs`.
const SLABS: [(&str, &str); 8] = [
    ("chunk_size", "chunk_size_bytes"),
    ("chunks_per_page", "chunks_per_page"),
    ("total_pages", "current_pages"),
    ("total_chunks", "current_chunks"),
    ("used_chunks", "chunks_used"),
    ("free_chunks", "chunks_free"),
    ("free_chunks_end", "chunks_free_end"),
    ("mem_requested", "mem_requested_bytes"),
];

/// Go on between two looks, or by looking.
const MOVING: [&str; 6] = [
    "memcached_uptime_seconds",
    "memcached_time_seconds",
    "memcached_process_user_cpu_seconds_total",
    "memcached_process_system_cpu_seconds_total",
    "memcached_read_bytes_total",
    "memcached_written_bytes_total",
];

/// Counters of the exporter without `_total`, which are gauges here.
const DIFFERENT_TYPES: [&str; 2] =
    ["memcached_uptime_seconds", "memcached_slab_mem_requested_bytes"];
