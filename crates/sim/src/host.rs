//! One machine: its power, its clocks, its disks, and the process of the node on it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use replication::world::{Labour, World};
use replication::{Addresses, DataDir, Durability, LogLimits, Node, NodeConfig};
use wal::Steps;

use crate::files::HostFiles;
use crate::network::{HostId, Network};
use crate::process::Process;
use crate::wire::{HostNet, address};

/// What a node is told at each start.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// None: in memory.
    pub durability: Option<Durability>,
    /// Peers that form the cluster.
    pub founders: usize,
    /// Bytes of items.
    pub memory_limit: u64,
}

/// A machine and the node on it.
pub struct Host {
    /// Its number.
    pub id: HostId,
    /// Its files.
    pub files: HostFiles,
    /// Whether it is stopped, with SIGSTOP for example.
    pub paused: bool,
    /// How its disk is.
    pub disk: DiskPace,
    /// How fast its clock goes, in parts of a million more than it should.
    pub drift_ppm: i64,
    network: Network,
    rng: StdRng,
    wall_ms: Arc<AtomicU64>,
    process: Option<Process>,
    /// How often a process has been started.
    pub starts: u64,
    steps: Steps,
    /// When the process was started, in microseconds of the simulation.
    started_us: u64,
    log: Due,
    prepare_at_us: u64,
}

/// How long syncs take, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskPace {
    /// At least.
    pub least_us: u64,
    /// At most.
    pub most_us: u64,
}

impl Default for DiskPace {
    /// Of a disk that is well.
    fn default() -> Self {
        Self { least_us: 200, most_us: 2000 }
    }
}

/// Where the log's writer is.
#[derive(Debug, Clone, Copy)]
enum Due {
    Idle,
    SyncAt(u64),
}

impl Host {
    /// A machine that is off.
    pub fn new(id: HostId, seed: u64, network: &Network) -> Self {
        let files = HostFiles::new(seed);
        Self {
            id,
            steps: files.begin(),
            files,
            paused: false,
            disk: DiskPace::default(),
            drift_ppm: 0,
            network: network.clone(),
            rng: StdRng::seed_from_u64(seed),
            wall_ms: Arc::new(AtomicU64::new(WALL_BEGINS_MS)),
            process: None,
            starts: 0,
            started_us: 0,
            log: Due::Idle,
            prepare_at_us: 0,
        }
    }

    /// The name of its node.
    pub fn name(&self) -> String {
        format!("n{}", self.id + 1)
    }

    /// Starts the node, as a new process.
    ///
    /// # Errors
    ///
    /// If there is no runtime.
    pub fn start(&mut self, config: &HostConfig, now_us: u64, wait: bool) -> std::io::Result<()> {
        self.network.power_on(self.id);
        self.steps = self.files.begin();
        self.starts += 1;
        self.started_us = now_us;
        self.log = Due::Idle;
        let net = HostNet { network: self.network.clone(), host: self.id };
        let wall = Arc::clone(&self.wall_ms);
        let peer_listener = net.listen();
        let node_address = address(self.id);
        let data_dir = config.durability.map(|durability| DataDir {
            path: PathBuf::from("data"),
            durability,
            segment_len: SEGMENT_LEN,
        });
        let config = NodeConfig {
            name: self.name(),
            peer_listener,
            peer_tls: None,
            advertise: Addresses {
                client: format!("{}:11211", self.name()),
                peer: node_address,
                admin: format!("{}:31211", self.name()),
            },
            join: (0..config.founders).map(address).collect(),
            bootstrap_expect: if wait { 0 } else { config.founders },
            heartbeat_ms: 20,
            election_timeout_ms: (50, 75),
            operation_budget_ms: 2000,
            isolation_close_ms: 3000,
            settings: engine::Settings {
                memory_limit: config.memory_limit,
                ..engine::Settings::default()
            },
            version: "sim".to_owned(),
            data_dir,
            begin_from: None,
            log_limits: LogLimits { memory_len_max: 16 * 1024, snapshot_every: 24 * 1024 },
            world: World {
                net: Arc::new(net),
                wall: Arc::new(move || wall.load(Ordering::Relaxed)),
                files: Arc::new(self.files.clone()),
                labour: Labour::Inline,
            },
        };
        self.process = Some(Process::start(self.rng.random(), config)?);
        Ok(())
    }

    /// The process dies; with `power`, the machine with it.
    pub fn crash(&mut self, power: bool) {
        self.network.crash(self.id, power);
        self.steps.abandon();
        self.process = None;
        self.paused = false;
        if power {
            self.files.lose_power();
        }
    }

    /// Moves the wall clock.
    pub fn jump_wall(&self, by_ms: i64) {
        let now = self.wall_ms.load(Ordering::Relaxed);
        self.wall_ms.store(now.saturating_add_signed(by_ms), Ordering::Relaxed);
    }

    /// Whether a process runs.
    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// The process.
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// The node, once it has started.
    pub fn node(&self) -> Option<Node> {
        self.process.as_ref()?.node()
    }

    /// Whether the node answers clients.
    pub fn is_serving(&self) -> bool {
        self.node().is_some_and(|node| node.view().serving)
    }

    /// Why the process has ended by itself, if it has; it is gone then.
    pub fn take_end(&mut self) -> Option<String> {
        let why = self.process.as_ref()?.ended()?;
        self.crash(false);
        Some(why)
    }

    /// One step of the simulation, up to `now_us`.
    pub fn run(&mut self, now_us: u64, tick_us: u64) {
        let wall = self.wall_ms.load(Ordering::Relaxed);
        // The wall clock has the same quartz.
        self.wall_ms.store(wall + tick_us / 1000, Ordering::Relaxed);
        if self.paused {
            return;
        }
        self.run_disk(now_us);
        let until_ms = self.local_ms(now_us);
        if let Some(process) = &mut self.process {
            process.run(until_ms);
        }
    }

    /// Goes on after a pause.
    pub fn resume(&mut self, now_us: u64) {
        self.paused = false;
        let until_ms = self.local_ms(now_us);
        if let Some(process) = &mut self.process {
            process.skip(until_ms);
        }
    }

    /// What the process's clock shows, in milliseconds since its start.
    fn local_ms(&self, now_us: u64) -> u64 {
        let elapsed = i128::from(now_us - self.started_us);
        let drifted = elapsed + elapsed * i128::from(self.drift_ppm) / 1_000_000;
        u64::try_from(drifted / 1000).unwrap_or(0)
    }

    fn run_disk(&mut self, now_us: u64) {
        self.steps.set_time(Duration::from_micros(now_us));
        match self.log {
            Due::SyncAt(at) if at <= now_us => {
                self.steps.sync();
                self.log = Due::Idle;
            }
            Due::SyncAt(_) | Due::Idle => {}
        }
        if matches!(self.log, Due::Idle) && self.steps.write() {
            self.log = Due::SyncAt(now_us + self.disk_time());
        }
        if self.prepare_at_us <= now_us && self.steps.prepare() {
            self.prepare_at_us = now_us + self.disk_time();
        }
    }

    fn disk_time(&mut self) -> u64 {
        self.rng.random_range(self.disk.least_us..=self.disk.most_us)
    }
}

/// 2026, roughly.
const WALL_BEGINS_MS: u64 = 1_780_000_000_000;
/// Short, so that segments end often.
const SEGMENT_LEN: u64 = 16 * 1024;
