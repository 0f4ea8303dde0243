//! One seed: a cluster under faults, then healed, and what must be true of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use canary::Canary;
use oracle::{Input, Limits, Operation, Verdict};
use replication::{Durability, View};

use crate::client::{Client, Load};
use crate::cluster::{Cluster, TICK_US};
use crate::faults::{CALM, Faults};
use crate::host::HostConfig;
use crate::invariants::Invariants;
use crate::panics;
use crate::rng::Draw;

/// What became of a seed.
#[derive(Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What was drawn, in one line.
    pub summary: String,
    /// Operations in the history.
    pub operations: usize,
    /// Equal for two runs of one seed.
    pub digest: u64,
    /// What was done to the cluster, with the time in microseconds.
    pub faults: Vec<(u64, String)>,
    /// All operations.
    pub history: Vec<Operation>,
    /// Whether the history is one for the oracle: nothing was evicted.
    pub is_judged: bool,
    /// What is not so, if anything is.
    pub violation: Option<String>,
}

/// What a seed decides before anything happens.
#[derive(Debug, Clone)]
struct Setup {
    nodes: usize,
    durability: Option<Durability>,
    load: Load,
    clients: u32,
    faults_us: u64,
    drift_ppm: i64,
}

impl Setup {
    fn draw(seed: u64) -> Self {
        let mut draw = Draw::new(seed, 0x7365);
        let nodes = if draw.once_in(4) { 5 } else { 3 };
        let durability = match draw.between(0, 5) {
            0 | 1 => None,
            2 => Some(Durability::Os),
            _ => Some(Durability::Fsync),
        };
        let load = if draw.once_in(10) { Load::Flood } else { Load::Mixed };
        let clients = u32::try_from(draw.between(3, 8)).unwrap_or(3);
        let faults_us = draw.between(4, 8) * 1_000_000;
        let drift_ppm = if draw.once_in(3) { 10_000 } else { 0 };
        Self { nodes, durability, load, clients, faults_us, drift_ppm }
    }
}

struct Run {
    cluster: Cluster,
    faults: Faults,
    clients: Vec<Client>,
    invariants: Invariants,
    history: Vec<Operation>,
    setup: Setup,
    /// By host: how often its process had been started, to notice the next time.
    starts: Vec<u64>,
    roles: String,
}

/// Runs one seed from beginning to end, with a bug on purpose if there is one to be found.
///
/// # Errors
///
/// If the simulation itself cannot go on.
pub fn run(seed: u64, canary: Option<Canary>) -> anyhow::Result<Report> {
    canary::plant(canary);
    match std::panic::catch_unwind(|| run_whole(seed)) {
        Ok(report) => report,
        Err(_) => anyhow::bail!("panic: {}", panics::seen().unwrap_or_default()),
    }
}

fn run_whole(seed: u64) -> anyhow::Result<Report> {
    replication::seed_thread(seed ^ 0x7261_6674);
    panics::forget();
    let setup = Setup::draw(seed);
    let memory_limit = match setup.load {
        Load::Mixed => 64 * 1024 * 1024,
        Load::Flood => 200_000,
    };
    let config = HostConfig { durability: setup.durability, founders: setup.nodes, memory_limit };
    let mut cluster = Cluster::start(seed, config)?;
    cluster.network.set_weather(CALM);
    let mut draw = Draw::new(seed, 0x6472);
    for host in &mut cluster.hosts {
        if setup.drift_ppm != 0 {
            let drift = i64::try_from(draw.between(0, 20_000)).unwrap_or(0);
            host.drift_ppm = drift - setup.drift_ppm;
        }
    }
    let clients = (0..setup.clients).map(|id| Client::new(id, seed, setup.load)).collect();
    let mut run = Run {
        faults: Faults::new(seed, setup.durability.is_some()),
        starts: vec![1; cluster.hosts.len()],
        cluster,
        clients,
        invariants: Invariants::default(),
        history: Vec::new(),
        setup,
        roles: String::new(),
    };
    let lived = run.live()?;
    let panicked = panics::seen().map(|what| format!("panic: {what}"));
    let violation = panicked.or(lived.err());
    let violation = violation.or_else(|| run.judge());
    let digest = run.digest();
    let summary = format!("{:?}, faults {:?}", run.setup, run.faults.kinds());
    let is_judged = run.setup.load == Load::Mixed;
    let mut history = run.history;
    history.sort_by_key(|operation| operation.call_us);
    Ok(Report {
        seed,
        summary,
        operations: history.len(),
        digest,
        faults: run.faults.log,
        history,
        is_judged,
        violation,
    })
}

impl Run {
    /// Both phases; the inner error is a violation.
    fn live(&mut self) -> anyhow::Result<Result<(), String>> {
        while self.cluster.now_us < self.setup.faults_us {
            self.faults.run(&mut self.cluster)?;
            if let Err(why) = self.step(true) {
                return Ok(Err(why));
            }
        }
        self.faults.heal(&mut self.cluster)?;
        let give_up = self.cluster.now_us + HEAL_US;
        while let Some(missing) = self.what_is_missing() {
            self.faults.end_due(&mut self.cluster)?;
            if give_up < self.cluster.now_us {
                let nodes = self.describe();
                let seconds = HEAL_US / 1_000_000;
                return Ok(Err(format!("not healed after {seconds} s: {missing}\n{nodes}")));
            }
            if let Err(why) = self.step(true) {
                return Ok(Err(why));
            }
        }
        // What is under way comes to an end.
        let give_up = self.cluster.now_us + HEAL_US;
        while self.clients.iter().any(Client::is_waiting) {
            self.faults.end_due(&mut self.cluster)?;
            if give_up < self.cluster.now_us {
                return Ok(Err("a request is never answered".to_owned()));
            }
            if let Err(why) = self.step(false) {
                return Ok(Err(why));
            }
        }
        Ok(self.read_all())
    }

    fn step(&mut self, asking: bool) -> Result<(), String> {
        let began_us = self.cluster.now_us;
        self.cluster.tick();
        for client in &mut self.clients {
            client.run(&self.cluster.hosts, began_us, TICK_US, asking, &mut self.history);
        }
        self.watch_processes()?;
        if self.cluster.now_us.is_multiple_of(CHECK_US) {
            let views = self.cluster.views();
            self.invariants.check(&views)?;
            self.note_roles(&views);
            self.cluster.remember();
        }
        Ok(())
    }

    /// A node that ends by itself has a reason, or it is a violation.
    fn watch_processes(&mut self) -> Result<(), String> {
        for id in 0..self.cluster.hosts.len() {
            let Some(host) = self.cluster.hosts.get_mut(id) else { continue };
            if let Some(why) = host.take_end() {
                self.faults.log.push((self.cluster.now_us, format!("n{} {why}", id + 1)));
                let was_removed = why == "removed" && self.cluster.take_removed(id);
                if !was_removed && !self.cluster.is_excused(id) {
                    return Err(format!("n{} ended by itself: {why}", id + 1));
                }
                let is_damaged = why.starts_with("did not start") && self.cluster.is_forgotten(id);
                if was_removed || is_damaged {
                    // As the messages say: remove the data directory, come back as a new replica.
                    if let Some(host) = self.cluster.hosts.get(id) {
                        host.files.wipe();
                    }
                    self.cluster.lose(id);
                }
                self.faults.restart_soon(&self.cluster, id);
            }
            let starts = self.cluster.hosts.get(id).map_or(0, |host| host.starts);
            if let Some(known) = self.starts.get_mut(id).filter(|known| **known != starts) {
                *known = starts;
                self.invariants.started(id);
            }
        }
        for host in self.cluster.take_lost() {
            self.invariants.lost(host);
        }
        Ok(())
    }

    fn note_roles(&mut self, views: &[(usize, View)]) {
        for (host, view) in views {
            let _ = write!(self.roles, "{host}:{}:{}:{} ", view.term, view.leads, view.applied);
        }
        // Folded, or it would grow without end.
        if self.roles.len() > 64 * 1024 {
            let digest = fold(0, self.roles.as_bytes());
            self.roles = format!("{digest:016x} ");
        }
    }

    /// What keeps the cluster from being whole.
    fn what_is_missing(&self) -> Option<String> {
        let views = self.cluster.views();
        if views.len() < self.cluster.hosts.len() {
            return Some(format!("{} nodes are up", views.len()));
        }
        let replicas = views.iter().map(|(_, view)| view.replica).collect();
        for (host, view) in &views {
            let name = host + 1;
            if !view.serving {
                return Some(format!("n{name} does not serve: {view:?}"));
            }
            if !view.settled || view.voters != replicas {
                return Some(format!("n{name} sees the voters {:?} of {replicas:?}", view.voters));
            }
        }
        None
    }

    /// One line for each node.
    fn describe(&self) -> String {
        let views = self.cluster.views().into_iter();
        let lines = views.map(|(host, view)| {
            let View { replica, term, leads, leader, last_index, applied, serving, .. } = view;
            let name = host + 1;
            format!(
                "n{name}: replica {replica}, term {term}, leads {leads}, leader {leader:?}, last \
                 {last_index}, applied {applied}, serving {serving}"
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Reads every key through every node, when nobody else asks anything.
    fn read_all(&mut self) -> Result<(), String> {
        let mut keys: Vec<_> = self.history.iter().map(|operation| operation.key.clone()).collect();
        keys.sort_unstable();
        keys.dedup();
        if self.setup.load == Load::Flood {
            // What was evicted is not the oracle's business, and all that counts is in the digests.
            keys.clear();
        }
        for host in 0..self.cluster.hosts.len() {
            let mut reader = Client::reader(host, &keys);
            let give_up = self.cluster.now_us + HEAL_US;
            while !reader.is_done() {
                if give_up < self.cluster.now_us {
                    return Err(format!("n{} does not answer reads", host + 1));
                }
                let began_us = self.cluster.now_us;
                self.step(false)?;
                reader.run(&self.cluster.hosts, began_us, TICK_US, &mut self.history);
            }
        }
        self.check_equal()
    }

    fn check_equal(&mut self) -> Result<(), String> {
        let give_up = self.cluster.now_us + HEAL_US;
        loop {
            let views = self.cluster.views();
            let last = views.iter().map(|(_, view)| (view.applied, view.digests.last().copied()));
            let mut last: Vec<_> = last.collect();
            last.dedup();
            if last.len() == 1 {
                return Ok(());
            }
            if give_up < self.cluster.now_us {
                return Err(format!("the replicas do not become equal: {last:?}"));
            }
            self.step(false)?;
        }
    }

    /// Whether there is an order that explains what clients were told.
    fn judge(&self) -> Option<String> {
        if self.setup.load == Load::Flood {
            return None;
        }
        let limits = Limits { clock_slack_us: CLOCK_SLACK_US, ..Limits::default() };
        match oracle::check(&self.history, limits) {
            Verdict::Linearizable => None,
            Verdict::Violation(violation) => Some(violation.to_string()),
            Verdict::Undecided(why) => Some(format!("undecided: {why}")),
        }
    }

    fn digest(&self) -> u64 {
        let mut digest = fold(self.cluster.network.digest(), self.roles.as_bytes());
        for operation in &self.history {
            digest = fold(digest, format!("{operation:?}").as_bytes());
        }
        for (at, what) in &self.faults.log {
            digest = fold(digest ^ at, what.as_bytes());
        }
        digest
    }
}

/// How a history came out, for summaries.
pub fn count_answers(history: &[Operation]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for operation in history {
        let kind = if operation.is_unknown() {
            "unknown"
        } else if matches!(operation.input, Input::Get | Input::Gets) {
            "read"
        } else {
            "write"
        };
        *counts.entry(kind).or_default() += 1;
    }
    counts
}

fn fold(digest: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(digest ^ 0xcbf2_9ce4_8422_2325, |digest, byte| {
        (digest ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// How long a healed cluster may take to be whole.
const HEAL_US: u64 = 20_000_000;
const CHECK_US: u64 = 10_000;
/// Cluster time goes with the leader's clock, which may be wrong by two percent, and stands still
/// for as long as there is no leader.
pub const CLOCK_SLACK_US: u64 = 400_000;
