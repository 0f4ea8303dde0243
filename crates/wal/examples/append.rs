//! What the log costs beside the bare system calls, on a real disk.
//!
//! ```text
//! cargo run -p wal --release --example append [DIR]
//! ```
//!
//! DIR (default: `target`) must not be in memory. Records are 1 KiB; each figure is the median of
//! five runs of a second, taken in turns. *bare* is one thread that writes a batch and calls
//! fdatasync, into blocks that are only reserved and into blocks written before; *log* is one
//! thread that appends as many records in one call and waits for them.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use rustix::fs::{FallocateFlags, fallocate};
use wal::{Config, Disk, Durability, File, OsDisk, SEGMENT_LEN_DEFAULT, Wal, Work};

fn main() -> Result<()> {
    let parent = std::env::args().nth(1).unwrap_or_else(|| "target".to_owned());
    std::fs::create_dir_all(&parent)?;
    let dir = tempfile::tempdir_in(&parent)?;

    println!("batch  bare reserved/s  bare written/s     log/s  log/reserved  log/written");
    for batch in [1, 8, 64] {
        let mut runs = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..5 {
            let [reserved, written, logged] = &mut runs;
            reserved.push(bare(dir.path(), batch, false)?);
            written.push(bare(dir.path(), batch, true)?);
            logged.push(log(dir.path(), 1, batch)?.per_second);
        }
        let [reserved, written, log] = runs.map(median);
        println!(
            "{batch:>5}  {reserved:>15.0}  {written:>14.0}  {log:>8.0}  {:>12.2}  {:>11.2}",
            log / reserved,
            log / written
        );
    }
    let Log { per_second, syncs, cpu_us } = log(dir.path(), 64, 1)?;
    println!(
        "64 writers, one record each at a time: {per_second:.0} records/s, {syncs:.3} syncs and \
         {cpu_us:.1} us CPU per record"
    );
    Ok(())
}

/// Records per second of the bare system calls.
fn bare(dir: &Path, batch: usize, written: bool) -> Result<f64> {
    let path = dir.join("bare");
    let file = std::fs::File::create(&path)?;
    fallocate(&file, FallocateFlags::empty(), 0, SEGMENT_LEN_DEFAULT)?;
    if written {
        let zeros = vec![0; 1 << 20];
        for at in (0..SEGMENT_LEN_DEFAULT).step_by(1 << 20) {
            file.write_all_at(&zeros, at)?;
        }
    }
    file.sync_all()?;
    let bytes = vec![7; batch * RECORD_LEN];
    let (mut at, mut count) = (0, 0_u32);
    let start = Instant::now();
    let mut busy = Duration::ZERO;
    while busy < RUN {
        if SEGMENT_LEN_DEFAULT < at + bytes.len() as u64 {
            // Over blocks written before, the measurement goes on from the start.
            if !written {
                break;
            }
            at = 0;
        }
        file.write_all_at(&bytes, at)?;
        file.sync_data()?;
        at += bytes.len() as u64;
        count += u32::try_from(batch)?;
        busy = start.elapsed();
    }
    std::fs::remove_file(path)?;
    Ok(f64::from(count) / busy.as_secs_f64())
}

struct Log {
    per_second: f64,
    syncs: f64,
    cpu_us: f64,
}

/// The log with `writers` threads, each of which appends `batch` records and waits for them.
fn log(dir: &Path, writers: u16, batch: usize) -> Result<Log> {
    let dir = tempfile::tempdir_in(dir)?;
    let disk = Arc::new(Counting { disk: OsDisk::open(dir.path())?, syncs: Arc::default() });
    let segment_len = SEGMENT_LEN_DEFAULT;
    let (durability, work) = (Durability::Fsync, Work::Threads);
    let config = Config { owner: 1, segment_len, durability, work };
    let wal = Wal::create(disk.clone(), config)?;
    while wal.disk_bytes() < 2 * SEGMENT_LEN_DEFAULT {
        std::thread::yield_now();
    }
    let (cpu, syncs, start) = (cpu_us()?, disk.syncs.load(Ordering::Relaxed), Instant::now());
    let counts = std::thread::scope(|scope| {
        let wal = &wal;
        let threads: Vec<_> = (0..writers)
            .map(|shard| scope.spawn(move || write(wal, shard, batch, start)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a writer panicked"))?)
            .collect::<Result<Vec<_>>>()
    })?;
    let records = f64::from(counts.into_iter().sum::<u32>());
    let seconds = start.elapsed().as_secs_f64();
    let syncs = u32::try_from(disk.syncs.load(Ordering::Relaxed) - syncs)?;
    let cpu_us = (cpu_us()? - cpu) / records;
    wal.close()?;
    Ok(Log { per_second: records / seconds, syncs: f64::from(syncs) / records, cpu_us })
}

fn write(wal: &Wal, shard: u16, batch: usize, start: Instant) -> Result<u32> {
    let body = [7; RECORD_LEN - 32];
    let (done, fates) = mpsc::channel();
    let (mut index, mut purged) = (0, 0);
    while start.elapsed() < RUN {
        let done = done.clone();
        let next = index + batch as u64;
        wal.append(
            shard,
            |records| (index..next).for_each(|index| records.entry(index, &[&body])),
            move |fate| drop(done.send(fate)),
        );
        fates.recv().context("an append was forgotten")??;
        index = next;
        // As raft does, so that old segments go.
        if purged + 10_000 < index {
            purged = index - 1;
            wal.append(shard, |records| records.purge(purged, b""), |_| {});
        }
    }
    Ok(u32::try_from(index)?)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// User and system time of the process.
fn cpu_us() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let us = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 * 1e6 + time.tv_usec() as f64;
    Ok(us(usage.user_time()) + us(usage.system_time()))
}

/// A disk that counts syncs of files.
struct Counting {
    disk: OsDisk,
    syncs: Arc<AtomicU64>,
}

struct CountingFile {
    file: Box<dyn File>,
    syncs: Arc<AtomicU64>,
}

impl Counting {
    fn counted(&self, file: Box<dyn File>) -> Box<dyn File> {
        Box::new(CountingFile { file, syncs: self.syncs.clone() })
    }
}

impl Disk for Counting {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Box<dyn File>> {
        Ok(self.counted(self.disk.create(name, len)?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        Ok(self.counted(self.disk.open(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }
}

impl File for CountingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(buf, at)
    }

    fn write_all_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(buf, at)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.file.sync_data()
    }
}

/// A record with its header.
const RECORD_LEN: usize = 1024;
const RUN: Duration = Duration::from_secs(1);
