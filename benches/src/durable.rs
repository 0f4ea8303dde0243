//! Part `durable`: sets that are on the disks of a majority before they are answered, beside etcd.
//!
//! The two clusters run at the same time on the same disk; what is not asked is idle. Each is asked
//! through its leader, by as many connections with one request each on the way.

mod etcd;

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::cluster::{Cluster, Setup};
use crate::cpu;
use crate::load::{self, Load, Phase};
use crate::options::Options;
use crate::store::Store;
use crate::summary::{Row, Sample};
use crate::workload::{Case, Operation, Target};
use etcd::Etcd;

/// The figures of this part. `Display` is the table.
#[derive(Debug, Serialize)]
pub(crate) struct DurableReport {
    rows: Vec<Row>,
    /// Median time of an append of one value's length with its fdatasync, and nothing beside.
    disk_sync_us: f64,
    seconds_per_round: f64,
    rounds: u32,
}

/// Starts both clusters, measures every case in rounds, stops both.
///
/// Without etcd on this machine the rows of raftcached stand alone.
///
/// # Errors
///
/// If a process does not start or ends, or a write is refused or cannot be read back.
pub(crate) fn run(options: &Options) -> anyhow::Result<DurableReport> {
    let directory = options.scratch_directory()?;
    let disk_sync_us = disk_sync_us(directory.path())?;
    let raftcached = options.raftcached_path()?;
    let mut raftcached = Cluster::start_raftcached(&raftcached, directory.path(), Setup::DURABLE)?;
    let mut store = Store::new(VALUE_LEN);
    load::visit(raftcached.client(0)?, &mut store, Operation::Set)?;
    let mut etcd = match Etcd::is_installed(&options.etcd) {
        false => None,
        true => Some(Etcd::start(&options.etcd, directory.path())?),
    };

    let mut rows = Vec::new();
    for connection_count in CONNECTION_COUNTS {
        let case = Case { operation: Operation::Set, connection_count, depth: 1 };
        eprintln!("durable {}", case.title());
        let mut own = Row::new(case, Target::Leader);
        let mut other = Row::new(case, Target::Etcd);
        for round in 0..options.rounds {
            for step in 0..2 {
                // Both go first in turn, so that a drift of the machine favours neither.
                if (round + step) % 2 == 0 {
                    let duration = options.measured_per_round();
                    own.samples.push(sample(&mut raftcached, &mut store, case, duration)?);
                } else if let Some(etcd) = &mut etcd {
                    other.samples.push(etcd_sample(etcd, case, options.measured_per_round())?);
                }
            }
        }
        rows.push(own);
        rows.extend(etcd.is_some().then_some(other));
    }
    let seconds_per_round = options.measured_per_round().as_secs_f64();
    Ok(DurableReport { rows, disk_sync_us, seconds_per_round, rounds: options.rounds })
}

fn sample(
    cluster: &mut Cluster,
    store: &mut Store,
    case: Case,
    duration: Duration,
) -> anyhow::Result<Sample> {
    cluster.wait_until_settled()?;
    let leader = cluster.roles()?.leader;
    let pids = cluster.pids()?;
    let mut load = Load::connect(cluster.client(leader)?, case)?;
    let sample = measure(&pids, duration, |duration| load.run(store, duration))?;
    for address in cluster.holders(leader) {
        load::visit(address, store, Operation::Get).context("reading back durable sets")?;
    }
    Ok(sample)
}

fn etcd_sample(etcd: &mut Etcd, case: Case, duration: Duration) -> anyhow::Result<Sample> {
    let pids = etcd.pids()?;
    let mut load = etcd.connect(case.connection_count)?;
    let sample = measure(&pids, duration, |duration| etcd.put(&mut load, duration))?;
    etcd.check(&load).context("reading back puts")?;
    Ok(sample)
}

/// Warms up, and measures one phase with the CPU clocks around it.
fn measure(
    pids: &[nix::unistd::Pid],
    duration: Duration,
    mut run: impl FnMut(Duration) -> anyhow::Result<Phase>,
) -> anyhow::Result<Sample> {
    run(duration.mul_f64(WARM_UP_SHARE))?;
    let (cpu, own_cpu) = (cpu::cpu_time(pids)?, cpu::own_cpu_time()?);
    let phase = run(duration)?;
    let own_cpu = cpu::own_cpu_time()?.saturating_sub(own_cpu);
    let cpu = cpu::cpu_time(pids)?.saturating_sub(cpu);
    ensure!(0 < phase.reply_count, "no write was answered in {duration:?}");
    Ok(Sample::new(&phase, cpu, own_cpu))
}

/// What this disk takes for one durable write: the floor of any latency here.
fn disk_sync_us(directory: &Path) -> anyhow::Result<f64> {
    use std::io::Write as _;
    let mut file = std::fs::File::create(directory.join("sync")).context("creating a file")?;
    let mut took_us = Vec::new();
    for _ in 0..DISK_SYNC_COUNT {
        let begun = Instant::now();
        file.write_all(&[1; VALUE_LEN]).context("writing")?;
        file.sync_data().context("making it durable")?;
        took_us.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    took_us.sort_by(f64::total_cmp);
    took_us.get(DISK_SYNC_COUNT / 2).copied().context("no sync was timed")
}

impl fmt::Display for DurableReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "durable sets: three nodes with --durability fsync, three members of etcd, one disk; \
             {VALUE_LEN} B values;\n{} rounds of {:.2} s; an append with fdatasync alone takes \
             {:.0} us here\n",
            self.rounds, self.seconds_per_round, self.disk_sync_us
        )?;
        writeln!(
            f,
            "{:>5}  {:<10} {:>9} {:>9} {:>9} {:>8} {:>5} {:>22}",
            "conns",
            "target",
            "sets/s",
            "p50 us",
            "p99 us",
            "CPU us",
            "gen %",
            "etcd's sets/s, CPU x"
        )?;
        let mut base = None;
        for row in &self.rows {
            let own = row.target == Target::Leader;
            write!(
                f,
                "{:>5}  {:<10} {:>9.0} {:>9.0} {:>9.0} {:>8.1} {:>5.0}",
                row.case.connection_count,
                if own { "raftcached" } else { row.target.name() },
                row.median(|sample| sample.operations_per_s),
                row.median(|sample| sample.latency_us_p50),
                row.median(|sample| sample.latency_us_p99),
                row.median(|sample| sample.cpu_us),
                row.median(|sample| sample.generator_cpus) * 100.0,
            )?;
            if own {
                base = Some(row);
            } else if let Some(base) = base {
                let speed = row.ratio(base, |sample| sample.operations_per_s).median;
                let cpu = row.ratio(base, |sample| sample.cpu_us).median;
                write!(f, " {speed:>14.3} {cpu:>7.1}")?;
            }
            writeln!(f)?;
        }
        if self.rows.iter().all(|row| row.target != Target::Etcd) {
            writeln!(f, "etcd is not installed (apt-get install etcd-server): nothing beside")?;
        }
        Ok(())
    }
}

const CONNECTION_COUNTS: [usize; 3] = [1, 64, 512];
/// Bytes of every value of this part.
const VALUE_LEN: usize = 1024;
const WARM_UP_SHARE: f64 = 0.2;
const DISK_SYNC_COUNT: usize = 101;
