//! The cluster that faults happen to.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cluster_tests::{FileSystem, Fleet, LoopDisk, Partitions, Rng, wait_for};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::ballast;

/// Nodes, and what they stand on.
#[derive(Debug)]
pub(crate) struct Ground<'a> {
    pub(crate) fleet: Fleet,
    pub(crate) partitions: &'a Partitions,
    pub(crate) shape: Shape,
    /// Whether the nodes' wall clocks can be set.
    pub(crate) clocks: bool,
    /// Whether some faults last long.
    pub(crate) patient: bool,
    /// Held by the fault that a node's process suffers from.
    claims: Vec<Mutex<()>>,
    /// Held while a node has lost what it had: not more than one may.
    losing: Mutex<()>,
    /// Held while wall clocks are wrong, and while all nodes are down: the first to come back
    /// believes its own.
    timing: Mutex<()>,
    disks: Vec<LoopDisk>,
    /// Last: files go after those who use them.
    dir: TempDir,
}

/// What a cluster is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Three nodes, each with a disk of its own, which can lose power.
    Disks,
    /// Three nodes in memory.
    Memory,
    /// Five nodes with directories, acknowledged when the operating system has it.
    Five,
}

/// Whom a fault is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    Leader,
    Follower,
    Anyone,
}

/// The right to do something to a node's process.
pub(crate) struct Claim<'a> {
    pub(crate) node: usize,
    _guard: MutexGuard<'a, ()>,
}

impl<'a> Ground<'a> {
    /// Starts a cluster and waits until it is whole.
    pub(crate) fn form(
        shape: Shape,
        clocks: bool,
        patient: bool,
        partitions: &'a Partitions,
    ) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("chaos-").tempdir()?;
        let disk = |number| {
            LoopDisk::create(dir.path(), &format!("disk{number}"), FileSystem::Ext4, DISK_LEN)
        };
        let disks = match shape {
            Shape::Disks => (0..shape.nodes()).map(disk).collect::<Result<_>>()?,
            Shape::Memory | Shape::Five => Vec::new(),
        };
        let mut fleet = Fleet::apart(shape.nodes())?;
        let free = || (0..shape.nodes()).map(|_| Mutex::new(())).collect();
        for node in (0..shape.nodes()).filter(|_| clocks) {
            let file = dir.path().join(format!("clock{node}"));
            fleet.wrap(
                node,
                &format!("env {} FAKETIME_TIMESTAMP_FILE={}", faketime(), file.display()),
            );
        }
        let (losing, timing) = Default::default();
        let claims = free();
        let ground =
            Self { fleet, partitions, shape, clocks, patient, claims, losing, timing, disks, dir };
        for node in ground.nodes() {
            ground.set_clock(node, Duration::ZERO, false)?;
            let expected = shape.nodes();
            let options = ground.options(node);
            ground.fleet.start(node, &format!("--bootstrap-expect {expected} {options}"))?;
        }
        ground.wait_whole()?;
        if shape == Shape::Memory {
            // From here on the log does not go back to the beginning: whoever comes back with
            // nothing needs a snapshot.
            ballast::write(ground.fleet.client_port(0), MEMORY_LOG_LEN)?;
        }
        Ok(ground)
    }

    /// All nodes.
    pub(crate) fn nodes(&self) -> std::ops::Range<usize> {
        0..self.shape.nodes()
    }

    /// The client ports of all nodes.
    pub(crate) fn ports(&self) -> Vec<u16> {
        self.nodes().map(|node| self.fleet.client_port(node)).collect()
    }

    /// Starts a node that is down.
    pub(crate) fn start(&self, node: usize) -> Result<()> {
        self.fleet.start(node, &format!("--bootstrap-expect 0 {}", self.options(node)))
    }

    /// Waits until every node is a member that votes and serves, in the eyes of all.
    pub(crate) fn wait_whole(&self) -> Result<()> {
        self.fleet.wait_members(&self.nodes().collect::<Vec<_>>(), WHOLE_WITHIN)
    }

    /// Waits, with no load, until all replicas are equal.
    pub(crate) fn wait_equal(&self) -> Result<()> {
        self.fleet.wait_equal(&self.nodes().collect::<Vec<_>>(), WHOLE_WITHIN)
    }

    /// Whoever leads, as far as anybody says so now.
    pub(crate) fn leader(&self) -> Option<usize> {
        let free = self.nodes().filter(|node| self.try_claim(*node).is_some());
        let mut views = free.filter_map(|node| self.fleet.status(node).ok());
        views.find_map(|view| {
            let leader = view.leader()?;
            self.nodes().find(|node| self.fleet.name(*node) == leader)
        })
    }

    /// A node of that kind that nothing else is done to; none if there is none.
    pub(crate) fn claim(&self, whom: Whom, rng: &mut Rng) -> Option<Claim<'_>> {
        let leader = self.leader();
        let fits = |node: usize| match whom {
            Whom::Leader => leader.is_none_or(|leader| leader == node),
            Whom::Follower => leader != Some(node),
            Whom::Anyone => true,
        };
        let first = rng.index(self.shape.nodes());
        let mut nodes = self.nodes().map(|node| (node + first) % self.shape.nodes());
        nodes.find_map(|node| self.try_claim(node).filter(|_| fits(node)))
    }

    /// All nodes, or none if something else goes on for long.
    pub(crate) fn claim_all(&self) -> Result<Vec<Claim<'_>>> {
        self.nodes().map(|node| self.claim_one(node)).collect()
    }

    /// One certain node, when nothing else is done to it any more.
    pub(crate) fn claim_one(&self, node: usize) -> Result<Claim<'_>> {
        wait_for("a node that is left alone", WHOLE_WITHIN, || {
            self.try_claim(node).with_context(|| self.fleet.name(node).to_owned())
        })
    }

    /// The right to have one node lose what it has.
    pub(crate) fn may_lose(&self) -> MutexGuard<'_, ()> {
        self.losing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to set clocks, or to have them believed.
    pub(crate) fn may_time(&self) -> MutexGuard<'_, ()> {
        self.timing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk of a node.
    pub(crate) fn disk(&self, node: usize) -> Result<&LoopDisk> {
        self.disks.get(node).context("it has no disk of its own")
    }

    /// The data directory of a node.
    pub(crate) fn data_dir(&self, node: usize) -> PathBuf {
        let own = || self.dir.path().join(format!("data{node}"));
        self.disks.get(node).map_or_else(own, |disk| disk.path().join("data"))
    }

    /// A directory for files of the test.
    pub(crate) fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Sets the wall clock of a node so far ahead or back; it sees that at once.
    pub(crate) fn set_clock(&self, node: usize, by: Duration, back: bool) -> Result<()> {
        if !self.clocks {
            return Ok(());
        }
        let (file, new) =
            (self.dir.path().join(format!("clock{node}")), self.dir.path().join("new"));
        let sign = if back { '-' } else { '+' };
        fs::write(&new, format!("{sign}{}.{:03}\n", by.as_secs(), by.subsec_millis()))?;
        // At once: half a file would be read as another time.
        Ok(fs::rename(new, file)?)
    }

    /// Ends whatever may still go on, when all faults have ended.
    pub(crate) fn heal(&self) -> Result<()> {
        self.partitions.heal()?;
        for node in self.nodes() {
            self.set_clock(node, Duration::ZERO, false)?;
            self.fleet.signal(node, Signal::SIGCONT)?;
        }
        Ok(())
    }

    /// Ends a cluster that did well.
    pub(crate) fn finish(self) -> Result<()> {
        for node in self.nodes() {
            ensure!(self.fleet.is_up(node), "{} has ended", self.fleet.name(node));
        }
        self.fleet.finish()
    }

    fn try_claim(&self, node: usize) -> Option<Claim<'_>> {
        match self.claims.get(node)?.try_lock() {
            Ok(guard) => Some(Claim { node, _guard: guard }),
            Err(TryLockError::Poisoned(guard)) => Some(Claim { node, _guard: guard.into_inner() }),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn options(&self, node: usize) -> String {
        let (join, dir) = (self.fleet.join(self.shape.nodes()), self.data_dir(node));
        match self.shape {
            Shape::Memory => format!("{join} --disable-evictions"),
            Shape::Disks => format!("{join} --data-dir {} --durability fsync", dir.display()),
            Shape::Five => format!("{join} --data-dir {} --durability os", dir.display()),
        }
    }
}

impl Shape {
    /// In the order in which they are played.
    pub(crate) const ALL: [Self; 3] = [Self::Disks, Self::Memory, Self::Five];

    /// How many nodes.
    pub(crate) fn nodes(self) -> usize {
        match self {
            Self::Disks | Self::Memory => 3,
            Self::Five => 5,
        }
    }
}

/// The library that lies about the time, of Debian's package libfaketime; none if it is missing.
pub(crate) fn clock_library() -> Option<PathBuf> {
    let directories = fs::read_dir("/usr/lib").ok()?;
    let mut libraries = directories.flatten().map(|entry| entry.path().join(CLOCK_LIBRARY));
    libraries.find(|library| library.exists())
}

/// The wall clock alone: elections and budgets go by the other one. Read anew with each look.
fn faketime() -> String {
    let library = clock_library().unwrap_or_default();
    let library = library.display();
    format!("LD_PRELOAD={library} FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_NO_CACHE=1")
}

const CLOCK_LIBRARY: &str = "faketime/libfaketime.so.1";
/// Far more than it needs: the machine may be busy, and correctness is what is judged.
const WHOLE_WITHIN: Duration = Duration::from_secs(60);
/// More than a log in memory may be.
const MEMORY_LOG_LEN: usize = 16 * 1024 * 1024;
const DISK_LEN: u64 = 512 * 1024 * 1024;
