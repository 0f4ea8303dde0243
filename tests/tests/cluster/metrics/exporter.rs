//! prometheus/memcached_exporter itself, which asks a server's client port and tells Prometheus.
//!
//! Built by the `go` in PATH from `tests/exporter`, which says of what.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cluster_tests::{Process, free_port, http, target_dir, wait_for};
use tempfile::TempDir;

use super::scrape::{Scrape, family};

/// One that runs, and the server it asks.
pub(crate) struct Exporter {
    port: u16,
    process: Process,
    _log: TempDir,
}

impl Exporter {
    /// Builds the program, if that has not been done yet.
    pub(crate) fn build() -> Result<PathBuf> {
        let program = target_dir().canonicalize()?.join("exporter/memcached_exporter");
        let built = Command::new("go")
            .args(["build", "-o"])
            .arg(&program)
            .arg("github.com/prometheus/memcached_exporter/cmd/memcached_exporter")
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("exporter"))
            .output()
            .context("the exporter needs Go 1.21 or newer")?;
        let said = String::from_utf8_lossy(&built.stderr);
        ensure!(built.status.success(), "the exporter cannot be built: {said}");
        Ok(program)
    }

    /// Starts it for the server at a client port.
    pub(crate) fn start(program: &Path, server: u16) -> Result<Self> {
        let (port, log) = (free_port()?, tempfile::tempdir()?);
        let args = [
            format!("--memcached.address=127.0.0.1:{server}"),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ];
        let process = Process::spawn(program, &args.map(Into::into), &log.path().join("log"))?;
        let exporter = Self { port, process, _log: log };
        wait_for("the exporter to answer", Duration::from_secs(10), || {
            http::get(port, "/").map(drop)
        })?;
        Ok(exporter)
    }

    /// What it tells of the server; that it found nothing wrong is checked.
    pub(crate) fn scrape(&self) -> Result<Scrape> {
        let reply = http::get(self.port, "/metrics")?;
        ensure!(reply.code == 200, "{} {}", reply.code, reply.body);
        let of_server = |line: &&str| {
            let name = line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ");
            name.starts_with("memcached_") && !name.starts_with("memcached_exporter_")
        };
        let text: Vec<_> = reply.body.lines().filter(of_server).collect();
        let scrape = Scrape::parse(text.join("\n"))?;
        let complaints = || self.process.output().unwrap_or_default();
        scrape.expect(&[("memcached_up", 1)]).with_context(complaints)?;
        Ok(scrape)
    }
}

/// Checks that a node says of itself what the exporter says of it, and nothing else under its names.
pub(crate) fn expect_same(exporter: &Scrape, own: &Scrape) -> Result<()> {
    for series in exporter.series() {
        let (theirs, value) = (exporter.value(series)?, own.value(series)?);
        #[expect(clippy::float_cmp, reason = "whole numbers")]
        let equal = theirs == value || MOVING.contains(&series);
        ensure!(equal, "{series}: {value}, for the exporter {theirs}");
        let (theirs, kind) = (exporter.kind(series), own.kind(series));
        let differs = DIFFERENT_TYPES.contains(&family(series));
        ensure!(differs != (theirs == kind), "{series}: {kind:?}, for the exporter {theirs:?}");
    }
    let mut known = own.series().filter(|series| series.starts_with("memcached_"));
    let invented = known.find(|series| !NEWER.contains(series) && exporter.value(series).is_err());
    ensure!(invented.is_none(), "the exporter does not have {invented:?}");
    Ok(())
}

/// Of 0.15, which this is not.
const NEWER: [&str; 1] = ["memcached_direct_reclaims_total"];

/// Go on between two looks, or by looking: it connects each time.
const MOVING: [&str; 7] = [
    "memcached_current_connections",
    "memcached_uptime_seconds",
    "memcached_time_seconds",
    "memcached_process_user_cpu_seconds_total",
    "memcached_process_system_cpu_seconds_total",
    "memcached_read_bytes_total",
    "memcached_written_bytes_total",
];

/// Counters of the exporter without `_total`, which are gauges here.
const DIFFERENT_TYPES: [&str; 6] = [
    "memcached_uptime_seconds",
    "memcached_slab_items_evicted_time_seconds",
    "memcached_slab_items_moves_to_cold",
    "memcached_slab_items_moves_to_warm",
    "memcached_slab_items_moves_within_lru",
    "memcached_slab_mem_requested_bytes",
];
