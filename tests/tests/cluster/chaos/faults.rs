//! What goes wrong: the rows of the fault matrix that real processes can be made to suffer.

mod clocks;
mod disks;
mod network;
mod processes;

use std::env;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use cluster_tests::Rng;

use super::ground::{Ground, Shape};

/// One kind of fault.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    /// Of the row of the matrix, if it has one.
    row: &'static str,
    pub(crate) name: &'static str,
    needs: Needs,
    inflict: fn(&mut Site<'_>) -> Result<()>,
}

/// What a cluster must have for a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// Data directories.
    Directories,
    /// Disks of the nodes' own.
    Disks,
    /// Clocks that can be set.
    Clocks,
    /// More than three nodes.
    Five,
}

/// One fault on its way.
pub(crate) struct Site<'a> {
    pub(crate) ground: &'a Ground<'a>,
    pub(crate) rng: Rng,
    /// How long it lasts.
    lasts: Duration,
    fault: Fault,
    diary: &'a Diary<'a>,
}

/// What happened when, for people.
pub(crate) struct Diary<'a> {
    lines: Mutex<Vec<String>>,
    elapsed: &'a (dyn Fn() -> Duration + Sync),
}

impl Fault {
    /// All that can happen to a cluster; of those, if `FAULT` is set, the ones with it in the name.
    pub(crate) fn all_of(ground: &Ground<'_>) -> Vec<Self> {
        let fits = |fault: &&Self| match fault.needs {
            Needs::Nothing => true,
            Needs::Directories => ground.shape != Shape::Memory,
            Needs::Disks => ground.shape == Shape::Disks,
            Needs::Clocks => ground.clocks,
            Needs::Five => ground.shape == Shape::Five,
        };
        let told = env::var("FAULT").unwrap_or_default();
        FAULTS.iter().filter(fits).filter(|fault| fault.name.contains(&told)).copied().collect()
    }

    /// Lets it happen from its beginning to its end.
    pub(crate) fn happen(self, ground: &Ground<'_>, mut rng: Rng, diary: &Diary<'_>) -> Result<()> {
        let begins = Duration::from_millis(rng.below(BEGINS_MAX_MS));
        let long = if ground.patient && rng.below(10) == 0 { LONG_FACTOR } else { 1 };
        let lasts = Duration::from_millis(LASTS_MIN_MS + rng.below(LASTS_MORE_MS * long));
        // Not a wait: when it begins is what was drawn.
        thread::sleep(begins);
        let mut site = Site { ground, rng, lasts, fault: self, diary };
        (self.inflict)(&mut site)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>3} {}", self.row, self.name)
    }
}

impl Site<'_> {
    /// Lets the fault last.
    fn last(&self) {
        thread::sleep(self.lasts);
    }

    /// Says what has just been done, and to whom.
    fn note(&self, node: Option<usize>, what: &str) {
        let name = node.map_or("", |node| self.ground.fleet.name(node));
        self.diary.note(&format!("{}: {name} {what}", self.fault));
    }

    /// Says that the fault found nobody.
    fn nobody(&self) -> Result<()> {
        self.note(None, "nobody is left for it");
        Ok(())
    }
}

impl<'a> Diary<'a> {
    /// An empty one, with a clock.
    pub(crate) fn new(elapsed: &'a (dyn Fn() -> Duration + Sync)) -> Self {
        Self { lines: Mutex::default(), elapsed }
    }

    /// Writes down something.
    pub(crate) fn note(&self, what: &str) {
        let line = format!("{:8.3} s {what}", (self.elapsed)().as_secs_f64());
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// All of it.
    pub(crate) fn text(&self) -> String {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }
}

const fn fault(
    row: &'static str,
    name: &'static str,
    needs: Needs,
    inflict: fn(&mut Site<'_>) -> Result<()>,
) -> Fault {
    Fault { row, name, needs, inflict }
}

/// The numbers are those of the rows of the fault matrix.
const FAULTS: &[Fault] = &[
    fault("1", "kill the leader", Needs::Nothing, processes::kill_leader),
    fault("2", "kill a follower", Needs::Nothing, processes::kill_follower),
    fault("3", "kill all at once", Needs::Directories, processes::kill_all),
    fault("4", "power loss of one", Needs::Disks, disks::power_loss_of_one),
    fault("5", "power loss of all", Needs::Disks, disks::power_loss_of_all),
    fault("5", "power loss in slow syncs", Needs::Disks, disks::power_loss_in_slow_syncs),
    fault("6", "rolling restart", Needs::Nothing, processes::rolling_restart),
    fault("6", "leader moved", Needs::Nothing, processes::move_leader),
    fault("7", "pause the leader", Needs::Nothing, processes::pause_leader),
    fault("7", "pause all followers", Needs::Nothing, processes::pause_followers),
    fault("8", "leader in a minority", Needs::Nothing, network::leader_in_minority),
    fault("9", "leader in a majority", Needs::Nothing, network::leader_in_majority),
    fault("10", "leader not heard", Needs::Nothing, network::mute_leader),
    fault("10", "leader deaf", Needs::Nothing, network::deafen_leader),
    fault("11", "bridge", Needs::Nothing, network::bridge),
    fault("11", "bridge of two halves", Needs::Five, network::bridge_of_halves),
    fault("12", "5 % loss", Needs::Nothing, network::some_loss),
    fault("12", "20 % loss", Needs::Nothing, network::much_loss),
    fault("13", "slow network", Needs::Nothing, network::slow),
    fault("14", "resets, flapping", Needs::Nothing, network::resets),
    fault("14", "clients reset", Needs::Nothing, network::reset_clients),
    fault("15", "clients cut off", Needs::Nothing, network::cut_clients),
    fault("16", "clock an hour off", Needs::Clocks, clocks::step),
    fault("16", "clock strobe", Needs::Clocks, clocks::strobe),
    fault("18", "disk of one full", Needs::Disks, disks::one_full),
    fault("18", "all disks full", Needs::Disks, disks::all_full),
    fault("19", "sync fails", Needs::Directories, disks::sync_fails),
    fault("20", "sync slow", Needs::Directories, disks::sync_slow),
    fault("23", "directory wiped", Needs::Directories, disks::wipe),
    fault("29", "starved of processor", Needs::Nothing, processes::starve),
    fault("30", "no descriptors", Needs::Nothing, processes::no_descriptors),
];

const BEGINS_MAX_MS: u64 = 3000;
const LASTS_MIN_MS: u64 = 300;
const LASTS_MORE_MS: u64 = 3700;
/// How much longer some faults last in a long run.
const LONG_FACTOR: u64 = 8;
