//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use tempfile::TempDir;

/// What is measured; each part starts and stops its own processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Get and set beside a stock memcached, without a disk
    Cache,
    /// Sets that are on disk before they are answered, beside etcd
    Durable,
    /// What clients notice of a snapshot that is written beside their requests
    Snapshot,
}

/// Side-by-side figures of raftcached, stock memcached and etcd.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Options {
    /// Measure this part; may be repeated [default: every part]
    #[arg(long = "part", value_enum, value_name = "PART", conflicts_with = "control")]
    parts: Vec<Part>,

    /// Measured seconds per case and endpoint, shared by all rounds
    #[arg(long, value_name = "N", default_value_t = 3.0, value_parser = seconds)]
    pub(crate) seconds: f64,

    /// One second per case and endpoint: shows that everything runs, and roughly how fast
    #[arg(long, conflicts_with = "seconds")]
    pub(crate) quick: bool,

    /// Interleaved repetitions; the median is reported
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) rounds: u32,

    /// Keep the load generator on the last CPU and all measured processes on the others
    #[arg(long)]
    pub(crate) pin: bool,

    /// Write all figures, every round included, to FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Exit 1 unless every bar is met
    #[arg(long)]
    pub(crate) assert: bool,

    /// Three unrelated memcacheds in the cluster's place: every ratio should be 1, and how far
    /// it is from 1 is the error of the method on this machine
    #[arg(long, conflicts_with = "assert")]
    pub(crate) control: bool,

    /// The raftcached binary [default: target/release/raftcached beside this program]
    #[arg(long, value_name = "FILE", env = "RAFTCACHED_BIN")]
    pub(crate) raftcached: Option<PathBuf>,

    /// The memcached binary
    #[arg(long, value_name = "FILE", env = "MEMCACHED_BIN", default_value = "memcached")]
    pub(crate) memcached: PathBuf,

    /// The etcd binary; where there is none, raftcached's durable sets are measured alone
    #[arg(long, value_name = "FILE", env = "ETCD_BIN", default_value = "etcd")]
    pub(crate) etcd: PathBuf,

    /// Where the disk is that durable sets and snapshots are measured on [default: the directory
    /// for temporary files]
    #[arg(long, value_name = "DIR")]
    pub(crate) disk: Option<PathBuf>,

    /// Values in the snapshot's node, keys included [default: 1024, and 128 with --quick]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(16..=65536))]
    pub(crate) snapshot_mib: Option<u64>,
}

impl Options {
    /// Whether `part` was asked for; a control has only the first.
    pub(crate) fn has(&self, part: Part) -> bool {
        if self.control {
            return part == Part::Cache;
        }
        self.parts.is_empty() || self.parts.contains(&part)
    }

    /// A directory on the disk to measure, removed when it is dropped.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub(crate) fn scratch_directory(&self) -> anyhow::Result<TempDir> {
        let made = match &self.disk {
            None => tempfile::tempdir(),
            Some(disk) => tempfile::tempdir_in(disk),
        };
        made.context("creating a directory on the disk to measure")
    }

    /// How much the node holds whose snapshot is watched.
    pub(crate) fn snapshot_bytes(&self) -> u64 {
        let usual = if self.quick { QUICK_SNAPSHOT_MIB } else { SNAPSHOT_MIB };
        self.snapshot_mib.unwrap_or(usual) * 1024 * 1024
    }

    /// How long one endpoint is loaded in one round of one case.
    pub(crate) fn measured_per_round(&self) -> Duration {
        let seconds = if self.quick { QUICK_SECONDS } else { self.seconds };
        Duration::from_secs_f64(seconds / f64::from(self.rounds))
    }

    /// How long the idle cluster is watched.
    pub(crate) fn measured_idle(&self) -> Duration {
        let seconds = if self.quick { QUICK_SECONDS } else { self.seconds };
        Duration::from_secs_f64(seconds)
    }

    /// The raftcached binary to measure: a release build, unless the caller named another.
    ///
    /// # Errors
    ///
    /// If there is no such file.
    pub(crate) fn raftcached_path(&self) -> anyhow::Result<PathBuf> {
        let path = match &self.raftcached {
            Some(path) => path.clone(),
            None => {
                let this = std::env::current_exe().context("finding this program's own path")?;
                // target/<profile>/cluster-benches, so two steps up is the target directory.
                let target = this.parent().and_then(|profile| profile.parent());
                target.context("this program lies in no target directory")?.join(RELEASE_PATH)
            }
        };
        anyhow::ensure!(
            path.is_file(),
            "no raftcached at {}: build it with `cargo build --release -p raftcached`, \
             or set RAFTCACHED_BIN",
            path.display()
        );
        Ok(path)
    }
}

/// Accepts what `Duration` can hold and a person would wait for.
fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (SECONDS_MIN..=SECONDS_MAX).contains(&seconds) {
        Ok(seconds)
    } else {
        Err(format!("not between {SECONDS_MIN} and {SECONDS_MAX}"))
    }
}

const QUICK_SECONDS: f64 = 1.0;
const SECONDS_MIN: f64 = 0.01;
const SECONDS_MAX: f64 = 3600.0;
const SNAPSHOT_MIB: u64 = 1024;
const QUICK_SNAPSHOT_MIB: u64 = 128;
const RELEASE_PATH: &str = "release/raftcached";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines() {
        let cases: &[(&str, &[&str], bool)] = &[
            ("nothing", &[], true),
            ("all", &["--seconds", "0.5", "--rounds", "5", "--pin", "--assert"], true),
            ("quick or seconds", &["--quick", "--seconds", "2"], false),
            ("two parts", &["--part", "durable", "--part", "snapshot"], true),
            ("no such part", &["--part", "disk"], false),
            ("a control has one part", &["--control", "--part", "durable"], false),
            ("no bars for a control", &["--control", "--assert"], false),
            ("no rounds", &["--rounds", "0"], false),
            ("no time", &["--seconds", "0"], false),
            ("time runs back", &["--seconds=-1"], false),
            ("not a time", &["--seconds", "NaN"], false),
        ];
        for (name, arguments, want) in cases {
            let line = std::iter::once(&"cluster-benches").chain(*arguments);
            assert_eq!(Options::try_parse_from(line).is_ok(), *want, "case: {name}");
        }
    }

    #[test]
    fn rounds_share_the_seconds() {
        let options = Options::parse_from(["cluster-benches", "--seconds", "6", "--rounds", "4"]);
        assert_eq!(options.measured_per_round(), Duration::from_millis(1500));
    }
}
