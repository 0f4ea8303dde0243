//! The run: who is asked what, when, and which clocks are read around it.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::cluster::{Cluster, NODE_COUNT, Roles, Setup};
use crate::cpu::{self, Pinning};
use crate::interrupt;
use crate::load::{self, Load};
use crate::options::Options;
use crate::report::{Idle, Machine, Report};
use crate::store::{Store, VALUE_LEN};
use crate::summary::{Row, Sample};
use crate::workload::{self, Case, Operation, Target};

/// Starts everything, measures every case, stops everything.
///
/// # Errors
///
/// If a process does not start or ends, a reply is wrong, or leadership does not rest.
pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let directory = tempfile::tempdir().context("creating a directory for logs")?;
    let pinning = if options.pin { Some(Pinning::split()?) } else { None };
    let machine = Machine::read(options)?;
    if let Some(pinning) = &pinning {
        pinning.enter_measured()?;
    }
    let directory = directory.path();
    let memcached = Cluster::start_memcached(&options.memcached, "memcached", 1, directory)?;
    let cluster = if options.control {
        Cluster::start_memcached(&options.memcached, "control", NODE_COUNT, directory)?
    } else {
        Cluster::start_raftcached(&options.raftcached_path()?, directory, Setup::CACHE)?
    };
    if let Some(pinning) = &pinning {
        pinning.enter_generator()?;
    }

    let mut bench = Bench::fill(memcached, cluster)?;
    let start = bench.clocks()?;
    eprintln!("idle");
    let idle_before = bench.idle_cpu(options.measured_idle())?;
    let mut rows = Vec::new();
    for case in workload::cases() {
        eprintln!("{}", case.title());
        rows.extend(bench.rows(case, options)?);
    }
    let idle_after = bench.idle_cpu(options.measured_idle())?;
    let foreign_cpus = bench.clocks()?.foreign_cpus_since(&start);
    let idle = Idle { before: idle_before, after: idle_after };
    Ok(Report { machine, rows, idle, foreign_cpus, leader_moves: bench.leader_moves })
}

/// The endpoints under load, and what they must be holding.
#[derive(Debug)]
struct Bench {
    memcached: Cluster,
    memcached_store: Store,
    cluster: Cluster,
    cluster_stores: Vec<Store>,
    leader_moves: u32,
}

impl Bench {
    /// Takes over endpoints that are empty, and stores all items in them.
    fn fill(memcached: Cluster, cluster: Cluster) -> anyhow::Result<Self> {
        let mut memcached_store = Store::new(VALUE_LEN);
        load::visit(memcached.client(0)?, &mut memcached_store, Operation::Set)?;
        let mut cluster_stores = Vec::new();
        for index in 0..cluster.store_count() {
            let mut store = Store::new(VALUE_LEN);
            load::visit(cluster.client(index)?, &mut store, Operation::Set)?;
            cluster_stores.push(store);
        }
        Ok(Self { memcached, memcached_store, cluster, cluster_stores, leader_moves: 0 })
    }

    /// Measures one case on every target, in rounds.
    fn rows(&mut self, case: Case, options: &Options) -> anyhow::Result<Vec<Row>> {
        let mut rows: Vec<Row> = Target::ALL.iter().map(|target| Row::new(case, *target)).collect();
        for round in 0..options.rounds {
            // Everybody goes first in turn, so that a drift of the machine favours nobody.
            let first = usize::try_from(round).unwrap_or_default() % Target::ALL.len();
            for step in 0..rows.len() {
                let index = (first + step) % rows.len();
                let row = rows.get_mut(index).context("a row for every target")?;
                row.samples.push(self.sample(case, row.target, options.measured_per_round())?);
            }
        }
        Ok(rows)
    }

    /// Measures one case on one target, again if leadership moved meanwhile.
    fn sample(&mut self, case: Case, target: Target, duration: Duration) -> anyhow::Result<Sample> {
        if target == Target::Memcached {
            return self.sample_on(case, target, 0, duration);
        }
        for _ in 0..LEADER_MOVES_MAX {
            let roles = self.settled_roles()?;
            let node = if target == Target::Leader { roles.leader } else { roles.follower };
            let sample = self.sample_on(case, target, node, duration)?;
            if self.settled_roles()? == roles {
                return Ok(sample);
            }
            self.leader_moves += 1;
            eprintln!("leadership moved under load: {} is measured again", case.title());
        }
        bail!("leadership moved {LEADER_MOVES_MAX} times during one measurement")
    }

    fn settled_roles(&mut self) -> anyhow::Result<Roles> {
        self.cluster.wait_until_settled()?;
        self.cluster.roles()
    }

    fn sample_on(
        &mut self,
        case: Case,
        target: Target,
        node: usize,
        duration: Duration,
    ) -> anyhow::Result<Sample> {
        let (endpoint, store) = if target == Target::Memcached {
            (&self.memcached, &mut self.memcached_store)
        } else {
            let store = self.cluster_stores.get_mut(self.cluster.store_index(node));
            (&self.cluster, store.context("a store for every node")?)
        };
        let what = || format!("{} on {}", case.title(), target.name());
        let pids = endpoint.pids()?;
        let mut load = Load::connect(endpoint.client(node)?, case).with_context(what)?;
        load.run(store, duration.mul_f64(WARM_UP_SHARE)).with_context(what)?;
        let (cpu, own_cpu) = (cpu::cpu_time(&pids)?, cpu::own_cpu_time()?);
        let phase = load.run(store, duration).with_context(what)?;
        let own_cpu = cpu::own_cpu_time()?.saturating_sub(own_cpu);
        let cpu = cpu::cpu_time(&pids)?.saturating_sub(cpu);
        drop(load);
        // Otherwise a wrapper that starts the node as its child would look free of cost.
        ensure!(!cpu.is_zero(), "{}: replies without CPU time, is the binary a wrapper?", what());
        if case.operation == Operation::Set {
            for address in endpoint.holders(node) {
                load::visit(address, store, Operation::Get)
                    .with_context(|| format!("reading back {}", what()))?;
            }
        }
        Ok(Sample::new(&phase, cpu, own_cpu))
    }

    /// Returns the share of one CPU that the cluster uses while nobody asks it anything.
    fn idle_cpu(&self, duration: Duration) -> anyhow::Result<f64> {
        let pids = self.cluster.pids()?;
        let (start, before) = (Instant::now(), cpu::cpu_time(&pids)?);
        while start.elapsed() < duration {
            interrupt::check()?;
            std::thread::sleep(IDLE_STEP.min(duration.saturating_sub(start.elapsed())));
        }
        let used = cpu::cpu_time(&pids)?.saturating_sub(before);
        Ok(used.as_secs_f64() / start.elapsed().as_secs_f64())
    }

    fn clocks(&self) -> anyhow::Result<Clocks> {
        let mut pids = self.cluster.pids()?;
        pids.extend(self.memcached.pids()?);
        let ours = cpu::cpu_time(&pids)? + cpu::own_cpu_time()?;
        Ok(Clocks { at: Instant::now(), machine: cpu::machine_busy_time()?, ours })
    }
}

/// CPU time of everybody, and of this benchmark with all it started.
#[derive(Debug)]
struct Clocks {
    at: Instant,
    machine: Duration,
    ours: Duration,
}

impl Clocks {
    /// How many CPUs were busy with something else since `start`, on average.
    fn foreign_cpus_since(&self, start: &Self) -> f64 {
        let machine = self.machine.saturating_sub(start.machine);
        let ours = self.ours.saturating_sub(start.ours);
        machine.saturating_sub(ours).as_secs_f64() / (self.at - start.at).as_secs_f64()
    }
}

/// Load before the clocks are read, as a share of the measured time.
const WARM_UP_SHARE: f64 = 0.2;
/// An election without a fault is a defect; this many in a row cannot be measured around.
const LEADER_MOVES_MAX: u32 = 3;
/// How often an idle watch looks whether the run was interrupted.
const IDLE_STEP: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Method: three memcacheds pose as a cluster. The node that is asked is right at every time,
    /// so only the items of the others can give them away.
    #[test]
    fn a_cluster_that_does_not_replicate_gives_no_figure() {
        let directory = tempfile::tempdir().unwrap();
        let start = |name, count| {
            Cluster::start_memcached(Path::new("memcached"), name, count, directory.path()).unwrap()
        };
        let mut cluster = start("poser", 3);
        cluster.pretend_replicated();
        let mut bench = Bench::fill(start("memcached", 1), cluster).unwrap();

        let mut sample = |operation, target| {
            let case = Case { operation, connection_count: 2, depth: 2 };
            bench.sample(case, target, Duration::from_millis(10))
        };
        assert!(0.0 < sample(Operation::Set, Target::Memcached).unwrap().cpu_us);
        assert!(0.0 < sample(Operation::Get, Target::Leader).unwrap().cpu_us);
        let error = format!("{:#}", sample(Operation::Set, Target::Leader).unwrap_err());
        assert!(error.contains("reading back set, 2 connections, 2 deep on leader"), "{error}");
        assert!(error.contains("wrong reply") && error.contains("have \"END"), "{error}");
    }
}
