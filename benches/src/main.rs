//! Measures raftcached beside stock memcached, on the same cores, in one run.
//!
//! ```text
//!   options ──▶ bench ──▶ endpoints (one memcached, three nodes)   started, pinned, stopped here
//!                 │
//!                 ├─▶ load ──▶ store    requests out, every reply byte compared with the store
//!                 ├─▶ cpu               CPU clocks of all measured processes together
//!                 └─▶ summary ──▶ report    medians, ratios, bars; table and JSON
//! ```
//!
//! # Invariants
//!
//! 1. A figure is only reported for replies that were right to the last byte.
//! 2. CPU time is that of *all* processes of an endpoint, including threads that have ended.
//! 3. Every ratio is between two runs of one round, seconds apart, under one configuration.
//!
//! Not here: failover times (they are tests), peers other than memcached.
//!
//! Source: `README.md` beside this package says what each number is for.

mod bench;
mod cluster;
mod cpu;
mod interrupt;
mod load;
mod node_process;
mod options;
mod report;
mod status;
mod store;
mod summary;
mod workload;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use crate::options::Options;

/// Runs the benchmark. Exit status: 0 done, 1 a bar was missed or the run failed, 2 usage.
fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether every bar was met, or nobody asked.
fn run(options: &Options) -> anyhow::Result<bool> {
    interrupt::watch()?;
    let report = bench::run(options)?;
    print!("{report}");
    if let Some(path) = &options.json {
        let json = serde_json::to_string_pretty(&report).context("encoding the report")?;
        std::fs::write(path, json + "\n").with_context(|| format!("writing {}", path.display()))?;
    }
    if options.control {
        return Ok(true);
    }
    let verdict = report.verdict();
    print!("{verdict}");
    Ok(!options.assert || verdict.met())
}
