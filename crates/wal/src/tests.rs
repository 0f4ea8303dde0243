//! The log as its callers see it, on a disk in memory.

mod crash;
mod damage;
mod failure;
mod fixture;
mod keep;
mod refuse;
mod rotation;

use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::testing::SimDisk;
use crate::{Appender, Config, Durability, Error, Recovered, SEGMENT_LEN_MIN, Shard, Wal, Work};

const OWNER: u64 = 0x0a0b_0c0d;
const CONFIG: Config = Config {
    owner: OWNER,
    segment_len: SEGMENT_LEN_MIN,
    durability: Durability::Fsync,
    work: Work::Threads,
};
const DEADLINE: Duration = Duration::from_secs(30);

fn create(disk: &SimDisk) -> Wal {
    Wal::create(Arc::new(disk.clone()), CONFIG).unwrap()
}

fn open(disk: &SimDisk) -> Result<(Wal, Recovered), Error> {
    Wal::open(Arc::new(disk.clone()), CONFIG)
}

/// Appends and returns where the fate will be told.
fn send(
    wal: &Wal,
    shard: Shard,
    fill: impl FnOnce(&mut Appender<'_>),
) -> mpsc::Receiver<Result<(), Error>> {
    let (done, fate) = mpsc::channel();
    wal.append(shard, fill, move |result| drop(done.send(result)));
    fate
}

/// Appends and waits.
fn append(wal: &Wal, shard: Shard, fill: impl FnOnce(&mut Appender<'_>)) -> Result<(), Error> {
    send(wal, shard, fill).recv_timeout(DEADLINE).expect("every append is answered")
}

fn append_entry(wal: &Wal, shard: Shard, index: u64, body: &[u8]) -> Result<(), Error> {
    append(wal, shard, |records| records.entry(index, &[body]))
}

fn read_all(wal: &Wal, shard: Shard) -> Vec<(u64, Bytes)> {
    wal.read(shard, 0, u64::MAX, usize::MAX).unwrap()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "{what}");
        std::thread::yield_now();
    }
}
