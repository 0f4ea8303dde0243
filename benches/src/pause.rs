//! Part `snapshot`: what clients notice of a snapshot that is written beside their requests.
//!
//! ```text
//!   fill ──▶ rewrite, almost as much as makes the node write a snapshot ──▶ rewrite slowly
//!                                                                            │
//!            set, 100/s ─┐ answers, each with the time it was due ◀──────────┤
//!            get, 500/s ─┘                                                   ▼
//!   quiet │ building: the unfinished file is there, and a little around it │ quiet
//! ```
//!
//! One node, so that it is alone with its disk and its CPUs as it would be on a machine of its own.

mod items;
mod probe;
mod watch;

use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::cluster::{Cluster, Setup};
use crate::interrupt;
use crate::options::Options;
use crate::workload::Operation;
use items::{Items, STORED};
use probe::{Answer, Probe};
use watch::{Build, Watch, snapshot_bytes};

/// The figures of this part. `Display` is the table.
#[derive(Debug, Serialize)]
pub(crate) struct PauseReport {
    runs: Vec<Run>,
}

/// One length of values.
#[derive(Debug, Serialize)]
struct Run {
    value_len: usize,
    item_count: usize,
    snapshot_mib: u64,
    build_s: f64,
    windows: Vec<Window>,
}

/// What one kind of request took, while a snapshot was written or while none was.
#[derive(Debug, Serialize)]
struct Window {
    is_building: bool,
    operation: Operation,
    answer_count: u64,
    latency_ms_p50: f64,
    latency_ms_p999: f64,
    /// The longest of all.
    latency_ms_max: f64,
    /// The longest of those during which the host left the CPUs alone.
    latency_ms_max_undisturbed: f64,
}

/// Measures every length of values on a node of its own.
///
/// # Errors
///
/// If a node does not start, an answer is wrong, or no snapshot is written in time.
pub(crate) fn run(options: &Options) -> anyhow::Result<PauseReport> {
    let mut runs = Vec::new();
    for value_len in VALUE_LENS {
        runs.push(run_one(options, value_len)?);
    }
    Ok(PauseReport { runs })
}

fn run_one(options: &Options, value_len: usize) -> anyhow::Result<Run> {
    let directory = options.scratch_directory()?;
    let items = Items::new(options.snapshot_bytes(), value_len);
    eprintln!("snapshot of {} items with values of {value_len} B", items.count());
    let memory_mib = options.snapshot_bytes() / (1024 * 1024) * MEMORY_FACTOR;
    let setup = Setup { node_count: 1, memory_mib, is_durable: true };
    let node = Cluster::start_raftcached(&options.raftcached_path()?, directory.path(), setup)?;
    let data_dir = directory.path().join("n1");
    let watch = Watch::start(&data_dir)?;

    let client = node.client(0)?;
    let mut writer = Writer::connect(client, items.clone(), &watch)?;
    while writer.sent_count < items.count() {
        writer.write(BURST_LEN)?;
    }
    writer.come_close(&data_dir)?;

    let probes = [Operation::Set, Operation::Get].map(|operation| {
        let probe = Probe::start(client, operation, items.clone(), watch.seen());
        probe.map(|probe| (operation, probe))
    });
    let build = writer.write_until_built();
    let mut answers = Vec::new();
    for probe in probes {
        let (operation, probe) = probe?;
        answers.push((operation, probe.stop()?));
    }
    let build = build?;
    let build_s = build.ended.unwrap_or(build.begun).duration_since(build.begun).as_secs_f64();
    let mut windows = Vec::new();
    for is_building in [false, true] {
        for (operation, answers) in &answers {
            let inside = answers.iter().filter(|answer| overlaps(answer, &build) == is_building);
            windows.push(Window::new(is_building, *operation, inside)?);
        }
    }
    let snapshot_mib = snapshot_bytes(&data_dir)? / (1024 * 1024);
    Ok(Run { value_len, item_count: items.count(), snapshot_mib, build_s, windows })
}

/// Whether a request was on its way while a snapshot was written, or near to it: the view is
/// frozen before there is a file, and dropped after it has its name.
fn overlaps(answer: &Answer, build: &Build) -> bool {
    let ended = build.ended.unwrap_or(build.begun);
    let after = ended + AROUND < answer.due;
    let before = answer.due + answer.took + AROUND < build.begun;
    !after && !before
}

impl Window {
    fn new<'a>(
        is_building: bool,
        operation: Operation,
        answers: impl Iterator<Item = &'a Answer>,
    ) -> anyhow::Result<Self> {
        let mut took_ns = Histogram::<u64>::new(3).context("histogram")?;
        let (mut max, mut max_undisturbed) = (Duration::ZERO, Duration::ZERO);
        for answer in answers {
            let ns = u64::try_from(answer.took.as_nanos()).unwrap_or(u64::MAX);
            took_ns.record(ns.max(1)).context("recording")?;
            max = max.max(answer.took);
            if !answer.is_disturbed {
                max_undisturbed = max_undisturbed.max(answer.took);
            }
        }
        Ok(Self {
            is_building,
            operation,
            answer_count: took_ns.len(),
            latency_ms_p50: took_ns.value_at_quantile(0.5) as f64 / 1e6,
            latency_ms_p999: took_ns.value_at_quantile(0.999) as f64 / 1e6,
            latency_ms_max: max.as_secs_f64() * 1e3,
            latency_ms_max_undisturbed: max_undisturbed.as_secs_f64() * 1e3,
        })
    }
}

/// Writes one item after the other, and again, over one connection.
#[derive(Debug)]
struct Writer<'a> {
    stream: TcpStream,
    items: Items,
    watch: &'a Watch,
    request: Vec<u8>,
    reply: Vec<u8>,
    /// Sets so far.
    sent_count: usize,
    /// Snapshots so far, and sets when the last of them began.
    build_count: usize,
    sent_at_build: usize,
}

impl<'a> Writer<'a> {
    fn connect(node: SocketAddr, items: Items, watch: &'a Watch) -> anyhow::Result<Self> {
        let stream = TcpStream::connect_timeout(&node, STALL).context("connecting")?;
        stream.set_nodelay(true).context("setting TCP_NODELAY")?;
        stream.set_read_timeout(Some(STALL)).context("setting a read timeout")?;
        stream.set_write_timeout(Some(STALL)).context("setting a write timeout")?;
        let (request, reply) = (Vec::new(), Vec::new());
        let (sent_count, build_count, sent_at_build) = (0, 0, 0);
        Ok(Self { stream, items, watch, request, reply, sent_count, build_count, sent_at_build })
    }

    /// Sets about `bytes` of items at once, and waits for the answers.
    fn write(&mut self, bytes: usize) -> anyhow::Result<()> {
        interrupt::check()?;
        self.request.clear();
        let count = bytes.div_ceil(self.items.log_len());
        for number in self.sent_count..self.sent_count + count {
            self.items.append_set(number % self.items.count(), &mut self.request);
        }
        self.stream.write_all(&self.request).context("sending")?;
        self.reply.resize(count * STORED.len(), 0);
        self.stream.read_exact(&mut self.reply).context("no answer to a set")?;
        ensure!(self.reply == STORED.repeat(count), "answered {}", self.reply.escape_ascii());
        self.sent_count += count;
        let build_count = self.watch.seen().builds().len();
        if self.build_count < build_count {
            (self.build_count, self.sent_at_build) = (build_count, self.sent_count);
        }
        Ok(())
    }

    /// Writes until little is missing for the next snapshot, which comes when the log since the
    /// last one is as long as that.
    fn come_close(&mut self, data_dir: &Path) -> anyhow::Result<()> {
        let mut target = None;
        loop {
            let count = self.build_count;
            if self.is_building() {
                target = None;
                interrupt::check()?;
                std::thread::sleep(STEP);
                continue;
            }
            let target = match target {
                Some(target) => target,
                None => {
                    let next = snapshot_bytes(data_dir)?.max(SNAPSHOT_BYTES_MIN) as f64;
                    *target.insert(next * CLOSE)
                }
            };
            let since = (self.sent_count - self.sent_at_build) * self.items.log_len();
            if target <= since as f64 {
                return Ok(());
            }
            self.write(BURST_LEN)?;
            ensure!(self.build_count <= count + BUILDS_MAX, "snapshots without end");
        }
    }

    /// Writes slowly until a snapshot has begun and ended, and a little longer.
    fn write_until_built(&mut self) -> anyhow::Result<Build> {
        let (before, begun) = (self.watch.seen().builds().len(), Instant::now());
        let mut next = begun;
        while begun.elapsed() < BUILT_WITHIN {
            self.write(STEP_LEN)?;
            let build = self.watch.seen().builds().get(before).copied();
            if let Some(build) = build
                && build.ended.is_some_and(|ended| QUIET_AFTER < ended.elapsed())
            {
                return Ok(build);
            }
            next += STEP;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        bail!("no snapshot was written in {BUILT_WITHIN:?}")
    }

    fn is_building(&self) -> bool {
        self.watch.seen().builds().last().is_some_and(|build| build.ended.is_none())
    }
}

impl fmt::Display for PauseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "a snapshot beside clients: one node with --durability fsync, 100 sets/s and")?;
        writeln!(f, "500 gets/s are timed, {WRITE_MIB_PER_S} MiB/s are written beside them")?;
        for run in &self.runs {
            let Run { value_len, item_count, snapshot_mib, build_s, windows } = run;
            writeln!(
                f,
                "\n{item_count} items, {value_len} B values: {snapshot_mib} MiB in {build_s:.1} s\n\
                 {:<9} {:<4} {:>8} {:>8} {:>9} {:>8} {:>22}",
                "snapshot",
                "op",
                "answers",
                "p50 ms",
                "p99.9 ms",
                "max ms",
                "max ms, nothing stolen"
            )?;
            for window in windows {
                writeln!(
                    f,
                    "{:<9} {:<4} {:>8} {:>8.2} {:>9.2} {:>8.2} {:>22.2}",
                    if window.is_building { "written" } else { "none" },
                    window.operation.name(),
                    window.answer_count,
                    window.latency_ms_p50,
                    window.latency_ms_p999,
                    window.latency_ms_max,
                    window.latency_ms_max_undisturbed,
                )?;
            }
        }
        Ok(())
    }
}

const VALUE_LENS: [usize; 2] = [1024, 100];
/// `-m` in multiples of what is stored; short values take three times their length.
const MEMORY_FACTOR: u64 = 4;
/// A node writes no snapshot before its log has grown by this much.
const SNAPSHOT_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// What is left of the log before the next snapshot is written slowly.
const CLOSE: f64 = 0.93;
const BUILDS_MAX: usize = 8;
const BURST_LEN: usize = 256 * 1024;
const STEP: Duration = Duration::from_millis(10);
const STEP_LEN: usize = 4 * 1024 * 1024 / 100;
const WRITE_MIB_PER_S: u32 = 4;
const BUILT_WITHIN: Duration = Duration::from_secs(180);
const QUIET_AFTER: Duration = Duration::from_secs(2);
const AROUND: Duration = Duration::from_millis(100);
const STALL: Duration = Duration::from_secs(10);
