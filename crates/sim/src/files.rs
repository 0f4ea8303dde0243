//! The directories of one host, each on a disk in memory that loses power by the sector.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use replication::world::Files;
use wal::testing::SimDisk;
use wal::{Disk, Error, Steps, Work};

/// All directories of a host. A clone is the same.
#[derive(Clone)]
pub struct HostFiles {
    state: Arc<Mutex<State>>,
}

struct State {
    seed: u64,
    dirs: BTreeMap<PathBuf, SimDisk>,
    boots: u64,
    steps: Steps,
    capacity: Option<u64>,
}

impl HostFiles {
    /// A host without files.
    pub fn new(seed: u64) -> Self {
        let (dirs, steps) = (BTreeMap::new(), Steps::default());
        Self { state: Arc::new(Mutex::new(State { seed, dirs, boots: 0, steps, capacity: None })) }
    }

    /// A process begins: it gets steps of its own for its log.
    pub fn begin(&self) -> Steps {
        let mut state = self.state.lock();
        state.steps = Steps::default();
        state.steps.clone()
    }

    /// The power is lost: what was not synced may be gone, and the system starts anew.
    pub fn lose_power(&self) {
        let mut state = self.state.lock();
        state.boots += 1;
        state.dirs.values().for_each(SimDisk::crash);
    }

    /// The power is lost at the `changes`-th change of each directory from now on.
    pub fn lose_power_after(&self, changes: u64) {
        self.state.lock().dirs.values().for_each(|disk| disk.crash_after(changes));
    }

    /// Everything is gone.
    pub fn wipe(&self) {
        self.state.lock().dirs.clear();
    }

    /// Limits each directory's bytes, or no longer.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        let mut state = self.state.lock();
        state.capacity = bytes;
        state.dirs.values().for_each(|disk| disk.set_capacity(bytes));
    }

    /// Bytes of the largest directory.
    pub fn largest_dir_len(&self) -> u64 {
        let state = self.state.lock();
        let len = |disk: &SimDisk| disk.files().values().map(|file| file.len() as u64).sum();
        state.dirs.values().map(len).max().unwrap_or(0)
    }

    /// The next sync of a log fails.
    pub fn fail_sync(&self) {
        self.state.lock().dirs.values().for_each(|disk| disk.fail_sync(0));
    }

    /// Flips one bit of one file that is not empty, durably; `pick` decides which. Returns its name.
    pub fn flip_bit(&self, pick: u64) -> Option<String> {
        let state = self.state.lock();
        let mut files = Vec::new();
        for (dir, disk) in &state.dirs {
            for (name, bytes) in disk.files() {
                // What was written: a new segment is all zeros behind.
                let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1);
                // The very end of a log looks like a torn write when it is damaged.
                let used = if name.starts_with("wal-") { used * 3 / 4 } else { used };
                if 0 < used && name != "lock" {
                    files.push((dir.clone(), disk.clone(), name, used));
                }
            }
        }
        let index = usize::try_from(pick % files.len().max(1) as u64).unwrap_or(0);
        let (dir, disk, name, used) = files.get(index)?;
        disk.flip_bit(name, (pick >> 16) % (used * 8));
        Some(dir.join(name).display().to_string())
    }

    fn disk(state: &mut State, path: &Path) -> SimDisk {
        let seed = state.seed.wrapping_add(state.dirs.len() as u64 + state.boots * 7919);
        let capacity = state.capacity;
        let disk = state.dirs.entry(path.to_owned()).or_insert_with(|| {
            let disk = SimDisk::new(seed);
            disk.set_capacity(capacity);
            disk
        });
        disk.clone()
    }
}

impl Files for HostFiles {
    fn open(&self, path: &Path) -> Result<Arc<dyn Disk>, Error> {
        Ok(Arc::new(Self::disk(&mut self.state.lock(), path)))
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.state.lock().dirs.contains_key(path)
    }

    fn names(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        let mut names = match state.dirs.get(path) {
            Some(disk) => disk.list()?,
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        let inner = state.dirs.keys().filter_map(|dir| dir.strip_prefix(path).ok());
        names.extend(
            inner.filter_map(|dir| dir.to_str()).filter(|dir| !dir.is_empty()).map(String::from),
        );
        Ok(names)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.state.lock().dirs.retain(|dir, _| !dir.starts_with(path));
        Ok(())
    }

    fn boot_id(&self) -> io::Result<String> {
        Ok(format!("boot-{}", self.state.lock().boots))
    }

    fn log_work(&self) -> Work {
        Work::Steps(self.state.lock().steps.clone())
    }
}
