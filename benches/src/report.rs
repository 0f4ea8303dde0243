//! What the run says: a table for people, the same as JSON, and the bars.

use std::fmt;

use anyhow::Context;
use serde::Serialize;

use crate::options::Options;
use crate::store::{ITEM_COUNT, VALUE_LEN};
use crate::summary::{Ratio, Row, Sample};
use crate::workload::{Case, Operation, Target};

/// All figures of one run. `Display` is the table.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Where and how.
    pub(crate) machine: Machine,
    /// Three per case, memcached first.
    pub(crate) rows: Vec<Row>,
    /// The cluster without load.
    pub(crate) idle: Idle,
    /// CPUs that were busy with other programs, or taken by the hypervisor, on average.
    pub(crate) foreign_cpus: f64,
    /// Elections or moves without a fault; each cost a repetition.
    pub(crate) leader_moves: u32,
}

/// Where and how the figures were taken.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cpu_model: String,
    cpu_count: usize,
    kernel: String,
    rounds: u32,
    seconds_per_round: f64,
    is_pinned: bool,
    is_control: bool,
}

/// Share of one CPU that all nodes together use without load.
#[derive(Debug, Serialize)]
pub(crate) struct Idle {
    /// After the items were stored, before the cases.
    pub(crate) before: f64,
    /// After the cases.
    pub(crate) after: f64,
}

/// Whether the figures are within the bars. `Display` is one line per bar.
#[derive(Debug)]
pub(crate) struct Verdict(Vec<(Bar, f64)>);

/// The most CPU time, in multiples of memcached's, that a case may cost through the leader.
#[derive(Debug, Clone, Copy)]
struct Bar {
    case: Case,
    ratio_max: f64,
}

impl Machine {
    /// Reads what the operating system says about itself.
    ///
    /// # Errors
    ///
    /// If `/proc` is not what proc(5) says.
    pub(crate) fn read(options: &Options) -> anyhow::Result<Self> {
        let cpus = std::fs::read_to_string("/proc/cpuinfo").context("reading /proc/cpuinfo")?;
        let model = cpus.lines().find(|line| line.starts_with("model name"));
        let model = model.and_then(|line| line.split_once(": ")).map(|(_, model)| model);
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease");
        Ok(Self {
            cpu_model: model.unwrap_or("unknown").to_owned(),
            cpu_count: std::thread::available_parallelism().context("counting CPUs")?.get(),
            kernel: kernel.context("reading the kernel's release")?.trim().to_owned(),
            rounds: options.rounds,
            seconds_per_round: options.measured_per_round().as_secs_f64(),
            is_pinned: options.pin,
            is_control: options.control,
        })
    }
}

impl Report {
    /// Compares the figures with the bars.
    pub(crate) fn verdict(&self) -> Verdict {
        let measured = |bar: Bar| {
            let is_row = |row: &&Row| row.case == bar.case && row.target == Target::Leader;
            let row = self.rows.iter().find(is_row);
            row.and_then(|row| self.cpu_ratio(row)).map_or(f64::NAN, |ratio| ratio.median)
        };
        Verdict(BARS.iter().map(|bar| (*bar, measured(*bar))).collect())
    }

    fn cpu_ratio(&self, row: &Row) -> Option<Ratio> {
        self.ratio(row, |sample| sample.cpu_us)
    }

    fn ratio(&self, row: &Row, figure: impl Fn(&Sample) -> f64) -> Option<Ratio> {
        let is_base = |base: &&Row| base.case == row.case && base.target == Target::Memcached;
        self.rows.iter().find(is_base).map(|base| row.ratio(base, figure))
    }
}

impl Verdict {
    /// Whether every bar is met. A figure that is missing meets none.
    pub(crate) fn met(&self) -> bool {
        self.0.iter().all(|(bar, ratio)| bar.is_met_by(*ratio))
    }
}

impl Bar {
    fn is_met_by(self, ratio: f64) -> bool {
        ratio <= self.ratio_max
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} x {}, Linux {}", self.cpu_count, self.cpu_model, self.kernel)?;
        let pinned = if self.is_pinned { "last CPU for the load" } else { "not pinned" };
        writeln!(
            f,
            "{} rounds of {:.2} s per case and target, {pinned}; \
             {ITEM_COUNT} keys, {VALUE_LEN} B values, text protocol",
            self.rounds, self.seconds_per_round
        )?;
        if self.is_control {
            writeln!(f, "CONTROL: \"leader\" and \"follower\" are memcacheds, ratios should be 1")?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine)?;
        writeln!(
            f,
            "{:<4} {:>5} {:>5}  {:<9} {:>9} {:>8} {:>8} {:>7} {:>6} {:>13} {:>7} {:>5}",
            "op",
            "conns",
            "depth",
            "target",
            "ops/s",
            "p50 us",
            "p99 us",
            "CPU us",
            "CPU x",
            "(min-max)",
            "ops/s x",
            "gen %"
        )?;
        for row in &self.rows {
            if row.target == Target::Memcached {
                writeln!(f)?;
            }
            self.write_row(f, row)?;
        }
        writeln!(f)?;
        let Idle { before, after } = self.idle;
        let (before, after) = (before * 100.0, after * 100.0);
        writeln!(f, "idle cluster: {before:.2} % of one CPU before the load, {after:.2} % after")?;
        writeln!(f, "other programs used {:.2} CPUs during the run", self.foreign_cpus)?;
        writeln!(f, "leadership moved {} times under load", self.leader_moves)
    }
}

impl Report {
    fn write_row(&self, f: &mut fmt::Formatter<'_>, row: &Row) -> fmt::Result {
        let Case { operation, connection_count, depth } = row.case;
        write!(
            f,
            "{:<4} {connection_count:>5} {depth:>5}  {:<9} {:>9.0} {:>8.1} {:>8.1} {:>7.2}",
            operation.name(),
            row.target.name(),
            row.median(|sample| sample.operations_per_s),
            row.median(|sample| sample.latency_us_p50),
            row.median(|sample| sample.latency_us_p99),
            row.median(|sample| sample.cpu_us)
        )?;
        let speed = self.ratio(row, |sample| sample.operations_per_s);
        let cpu = self.cpu_ratio(row).zip(speed).filter(|_| row.target != Target::Memcached);
        match cpu {
            None => write!(f, " {:>6} {:>13} {:>7}", "", "", "")?,
            Some((cpu, speed)) => {
                let range = format!("({:.2}-{:.2})", cpu.min, cpu.max);
                write!(f, " {:>6.2} {range:>13} {:>7.2}", cpu.median, speed.median)?;
            }
        }
        writeln!(f, " {:>5.0}", row.median(|sample| sample.generator_cpus) * 100.0)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bar, ratio) in &self.0 {
            let verdict = if bar.is_met_by(*ratio) { "met" } else { "MISSED" };
            let (title, most) = (bar.case.title(), bar.ratio_max);
            writeln!(
                f,
                "bar: {title}, via the leader: {ratio:.2} x memcached's CPU, \
                 at most {most:.1}: {verdict}"
            )?;
        }
        Ok(())
    }
}

const fn bar(operation: Operation, depth: usize, ratio_max: f64) -> Bar {
    Bar { case: Case { operation, connection_count: 50, depth }, ratio_max }
}

const BARS: &[Bar] =
    &[bar(Operation::Get, 1, 1.3), bar(Operation::Set, 1, 4.0), bar(Operation::Set, 16, 4.0)];

#[cfg(test)]
mod tests;
