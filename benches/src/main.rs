//! Measures raftcached beside stock memcached and etcd, on the same cores, in one run.
//!
//! ```text
//!   cache: bench      durable: the same beside etcd      snapshot: pause
//!
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
//! Not here: failover times (they are tests).
//!
//! Source: `README.md` beside this package says what each number is for.

mod bench;
mod cluster;
mod cpu;
mod durable;
mod interrupt;
mod load;
mod node_process;
mod options;
mod pause;
mod report;
mod status;
mod store;
mod summary;
mod workload;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use serde::Serialize;

use crate::durable::DurableReport;
use crate::options::{Options, Part};
use crate::pause::PauseReport;
use crate::report::Report;

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
    let mut figures = Figures::default();
    let mut met = true;
    if options.has(Part::Cache) {
        let report = bench::run(options)?;
        print!("{report}");
        if !options.control {
            let verdict = report.verdict();
            print!("{verdict}");
            met = verdict.met();
        }
        figures.cache = Some(report);
    }
    if options.has(Part::Durable) {
        let report = durable::run(options)?;
        print!("\n{report}");
        figures.durable = Some(report);
    }
    if options.has(Part::Snapshot) {
        let report = pause::run(options)?;
        print!("\n{report}");
        figures.snapshot = Some(report);
    }
    if let Some(path) = &options.json {
        let json = serde_json::to_string_pretty(&figures).context("encoding the report")?;
        std::fs::write(path, json + "\n").with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(!options.assert || met)
}

/// What `--json` writes: the parts that were asked for.
#[derive(Debug, Default, Serialize)]
struct Figures {
    #[serde(flatten)]
    cache: Option<Report>,
    durable: Option<DurableReport>,
    snapshot: Option<PauseReport>,
}
