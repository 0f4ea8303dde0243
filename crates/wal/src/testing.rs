//! A disk in memory that loses power and damages bytes, from a seed.
//!
//! Equal seeds and equal sequences of calls give equal disks. What a power loss keeps of what was
//! not synced is drawn for each sector and each change of a name on its own, which is more than
//! most real disks do to a log.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{Disk, File};

/// A disk in memory. A clone is the same disk.
#[derive(Clone)]
pub struct SimDisk {
    sim: Arc<Mutex<Sim>>,
}

struct Sim {
    rng: u64,
    /// Files by a number that no other file ever has.
    files: BTreeMap<u64, Content>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    /// Changes of names since the last `sync_dir`.
    unsynced_names: Vec<NameChange>,
    next_file: u64,
    /// Counts power losses: a file opened before the last one is dead.
    boot: u64,
    capacity: Option<u64>,
    faults: Faults,
    sync_count: u64,
    on_sync: Option<Arc<dyn Fn() + Send + Sync>>,
}

#[derive(Default)]
struct Content {
    current: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

enum Change {
    Write { at: usize, bytes: Vec<u8> },
    SetLen(usize),
}

enum NameChange {
    Add(String, u64),
    Move { from: String, to: String, file: u64 },
    Remove(String),
}

#[derive(Default)]
struct Faults {
    /// Writes until one fails.
    write: Option<u64>,
    /// Syncs until one fails.
    sync: Option<u64>,
    /// Changes of any kind until the power is lost.
    power: Option<u64>,
}

struct SimFile {
    sim: Arc<Mutex<Sim>>,
    file: u64,
    boot: u64,
}

impl SimDisk {
    /// An empty disk.
    pub fn new(seed: u64) -> Self {
        Self::with_files(seed, BTreeMap::new())
    }

    /// A disk with these files, all durable.
    pub fn with_files(seed: u64, files: BTreeMap<String, Vec<u8>>) -> Self {
        let mut sim = Sim {
            rng: seed,
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            next_file: 0,
            boot: 0,
            capacity: None,
            faults: Faults::default(),
            sync_count: 0,
            on_sync: None,
        };
        for (name, bytes) in files {
            let content = Content { durable: bytes.clone(), current: bytes, unsynced: Vec::new() };
            let file = sim.add(content);
            sim.names.insert(name, file);
        }
        sim.durable_names = sim.names.clone();
        Self { sim: Arc::new(Mutex::new(sim)) }
    }

    /// All files as a process sees them now, synced or not.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let sim = self.sim.lock();
        let content = |file| sim.files.get(file).map(|file| file.current.clone());
        sim.names
            .iter()
            .map(|(name, file)| (name.clone(), content(file).unwrap_or_default()))
            .collect()
    }

    /// Loses the power: keeps what was synced, and of the rest any subset, by sectors of 512
    /// bytes and by names. Files opened before are dead; the disk goes on, without its faults.
    pub fn crash(&self) {
        self.sim.lock().crash();
    }

    /// The process dies, and the system lives: what was written stays, synced or not. Files opened
    /// before are dead; the disk goes on, without its faults.
    pub fn kill(&self) {
        let mut sim = self.sim.lock();
        sim.boot += 1;
        sim.faults = Faults::default();
    }

    /// Loses the power at the `changes`-th change (write, sync, creation, ...) from now, counted
    /// from 0. Every call fails from there on until [`SimDisk::crash`].
    pub fn crash_after(&self, changes: u64) {
        self.sim.lock().faults.power = Some(changes);
    }

    /// Flips bit `bit` (counted from the first of byte 0) of a file, durably. No effect beyond its
    /// end.
    pub fn flip_bit(&self, name: &str, bit: u64) {
        let mut sim = self.sim.lock();
        let Some(file) = sim.names.get(name).copied() else { return };
        let Some(content) = sim.files.get_mut(&file) else { return };
        let at = usize::try_from(bit / 8).unwrap_or(usize::MAX);
        for bytes in [&mut content.current, &mut content.durable] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// Limits the bytes of all files together; `None`: no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.sim.lock().capacity = bytes;
    }

    /// Fails the `after`-th write from now, counted from 0.
    pub fn fail_write(&self, after: u64) {
        self.sim.lock().faults.write = Some(after);
    }

    /// Fails the `after`-th sync of a file from now, counted from 0. What it should have made
    /// durable is then lost with the next power loss, also if a later sync succeeds.
    pub fn fail_sync(&self, after: u64) {
        self.sim.lock().faults.sync = Some(after);
    }

    /// Calls `hook` at the beginning of each sync of a file, on the thread that syncs.
    pub fn on_sync(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.sim.lock().on_sync = Some(Arc::new(hook));
    }

    /// Syncs of files so far.
    pub fn sync_count(&self) -> u64 {
        self.sim.lock().sync_count
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk").finish_non_exhaustive()
    }
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let sim = self.sim.lock();
        sim.powered()?;
        Ok(sim.names.keys().cloned().collect())
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Box<dyn File>> {
        let mut sim = self.sim.lock();
        sim.change()?;
        if sim.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        sim.reserve(0, len)?;
        let zeros = vec![0; clamp(len)];
        let content = Content { current: zeros.clone(), durable: zeros, unsynced: Vec::new() };
        let file = sim.add(content);
        sim.names.insert(name.to_owned(), file);
        sim.unsynced_names.push(NameChange::Add(name.to_owned(), file));
        Ok(Box::new(SimFile { sim: self.sim.clone(), file, boot: sim.boot }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let sim = self.sim.lock();
        sim.powered()?;
        let file = *sim.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(SimFile { sim: self.sim.clone(), file, boot: sim.boot }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut sim = self.sim.lock();
        sim.change()?;
        let file = sim.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        sim.names.insert(to.to_owned(), file);
        let (from, to) = (from.to_owned(), to.to_owned());
        sim.unsynced_names.push(NameChange::Move { from, to, file });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut sim = self.sim.lock();
        sim.change()?;
        sim.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        sim.unsynced_names.push(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut sim = self.sim.lock();
        sim.change()?;
        sim.durable_names = sim.names.clone();
        sim.unsynced_names.clear();
        Ok(())
    }
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.with(|_, content| Ok(content.current.len() as u64))
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.with(|_, content| {
            let rest = content.current.get(clamp(at)..).unwrap_or_default();
            let len = buf.len().min(rest.len());
            if let (Some(to), Some(from)) = (buf.get_mut(..len), rest.get(..len)) {
                to.copy_from_slice(from);
            }
            Ok(len)
        })
    }

    fn write_all_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        self.changing(|sim, content| {
            if fires(&mut sim.faults.write) {
                return Err(io::Error::other("injected write error"));
            }
            let grown = (at + buf.len() as u64).saturating_sub(content.current.len() as u64);
            sim.reserve(content.current.len(), grown)?;
            let (at, bytes) = (clamp(at), buf.to_vec());
            write(&mut content.current, at, buf);
            content.unsynced.push(Change::Write { at, bytes });
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.changing(|sim, content| {
            let grown = len.saturating_sub(content.current.len() as u64);
            sim.reserve(content.current.len(), grown)?;
            content.current.resize(clamp(len), 0);
            content.unsynced.push(Change::SetLen(clamp(len)));
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        let hook = self.sim.lock().on_sync.clone();
        if let Some(hook) = hook {
            hook();
        }
        self.changing(|sim, content| {
            sim.sync_count += 1;
            if fires(&mut sim.faults.sync) {
                // The kernel marks the pages clean all the same.
                content.unsynced.clear();
                return Err(io::Error::other("injected sync error"));
            }
            for change in content.unsynced.drain(..) {
                change.apply(&mut content.durable);
            }
            Ok(())
        })
    }
}

impl SimFile {
    fn with<T>(&self, f: impl FnOnce(&mut Sim, &mut Content) -> io::Result<T>) -> io::Result<T> {
        let mut sim = self.sim.lock();
        sim.powered()?;
        if self.boot != sim.boot {
            return Err(power_lost());
        }
        // Taken out, so that both can be changed.
        let mut content = sim.files.remove(&self.file).ok_or(io::ErrorKind::NotFound)?;
        let result = f(&mut sim, &mut content);
        sim.files.insert(self.file, content);
        result
    }

    fn changing<T>(
        &self,
        f: impl FnOnce(&mut Sim, &mut Content) -> io::Result<T>,
    ) -> io::Result<T> {
        self.with(|sim, content| {
            sim.change()?;
            f(sim, content)
        })
    }
}

impl Sim {
    fn add(&mut self, content: Content) -> u64 {
        let file = self.next_file;
        self.next_file += 1;
        self.files.insert(file, content);
        file
    }

    fn powered(&self) -> io::Result<()> {
        if self.faults.power == Some(0) { Err(power_lost()) } else { Ok(()) }
    }

    /// Counts a change.
    fn change(&mut self) -> io::Result<()> {
        self.powered()?;
        if let Some(left) = &mut self.faults.power {
            *left -= 1;
        }
        Ok(())
    }

    /// Finds space for a file that is `len` bytes and shall have `grown` more.
    fn reserve(&self, len: usize, grown: u64) -> io::Result<()> {
        let others = self.names.values().filter_map(|file| self.files.get(file));
        let used = others.map(|file| file.current.len()).sum::<usize>() + len;
        match self.capacity {
            Some(capacity) if 0 < grown && capacity < used as u64 + grown => {
                Err(io::ErrorKind::StorageFull.into())
            }
            Some(_) | None => Ok(()),
        }
    }

    fn crash(&mut self) {
        self.boot += 1;
        self.faults = Faults::default();
        for change in std::mem::take(&mut self.unsynced_names) {
            if self.flip() {
                change.apply(&mut self.durable_names);
            }
        }
        self.names = self.durable_names.clone();
        let mut files = std::mem::take(&mut self.files);
        for content in files.values_mut() {
            for change in std::mem::take(&mut content.unsynced) {
                self.keep_some(change, &mut content.durable);
            }
            content.current = content.durable.clone();
        }
        files.retain(|file, _| self.names.values().any(|named| named == file));
        self.files = files;
    }

    /// Applies a change as a power loss does: each sector or not, on its own.
    fn keep_some(&mut self, change: Change, durable: &mut Vec<u8>) {
        let Change::Write { mut at, bytes } = change else {
            if self.flip() {
                change.apply(durable);
            }
            return;
        };
        let mut left = &*bytes;
        while !left.is_empty() {
            let len = left.len().min(SECTOR_LEN - at % SECTOR_LEN);
            let (sector, rest) = left.split_at(len);
            if self.flip() {
                write(durable, at, sector);
            }
            at += len;
            left = rest;
        }
    }

    /// SplitMix64, one bit.
    fn flip(&mut self) -> bool {
        self.rng = self.rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.rng;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) & 1 == 1
    }
}

impl Change {
    fn apply(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes: written } => write(bytes, at, &written),
            Self::SetLen(len) => bytes.resize(len, 0),
        }
    }
}

impl NameChange {
    fn apply(self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Add(name, file) => {
                names.insert(name, file);
            }
            Self::Move { from, to, file } => {
                names.remove(&from);
                names.insert(to, file);
            }
            Self::Remove(name) => {
                names.remove(&name);
            }
        }
    }
}

fn write(to: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if to.len() < end {
        to.resize(end, 0);
    }
    if let Some(place) = to.get_mut(at..end) {
        place.copy_from_slice(bytes);
    }
}

/// Counts down to a fault; true when it is due.
fn fires(fault: &mut Option<u64>) -> bool {
    match fault {
        None => false,
        Some(0) => {
            *fault = None;
            true
        }
        Some(left) => {
            *left -= 1;
            false
        }
    }
}

fn clamp(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

fn power_lost() -> io::Error {
    io::Error::other("the power is lost")
}

const SECTOR_LEN: usize = 512;
