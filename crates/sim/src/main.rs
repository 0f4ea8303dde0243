//! `cargo run -p sim -- --seed N`: searches for a lost write, a stale read, a doubled `incr` or a
//! resurrected session, and prints the seed that replays what it found.

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use canary::Canary;
use clap::Parser;
use oracle::Operation;
use oracle::porcupine::{Judgement, Porcupine};
use sim::panics;
use sim::run::{CLOCK_SLACK_US, Report, count_answers, run};
use tracing_subscriber::EnvFilter;

/// Runs seeds and says which of them break a promise.
#[derive(Debug, Parser)]
struct Options {
    /// One seed; prints what happened.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Seeds A up to, not including, B.
    #[arg(long, value_name = "A..B", value_parser = parse_range)]
    seeds: Option<Range<u64>>,
    /// These seeds, too, which have found something once.
    #[arg(long, value_name = "SEED,..", value_delimiter = ',', requires = "seeds")]
    also: Vec<u64>,
    /// So many seeds that are drawn at random, and printed.
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["seed", "seeds"])]
    random: Option<u64>,
    /// Runs each seed twice, which must give the same history.
    #[arg(long)]
    twice: bool,
    /// Plants each bug of crate `canary` in turn, which one of the seeds must find; needs a build
    /// with `RAFTCACHED_CANARIES=1` in its environment.
    #[arg(long, requires = "seeds", conflicts_with = "twice")]
    canaries: bool,
    /// Plants the bug of this name; needs such a build, too.
    #[arg(long, requires = "seed")]
    canary: Option<String>,
    /// Has porcupine judge the histories as well; needs Go.
    #[arg(long, conflicts_with_all = ["seed", "canaries"])]
    porcupine: bool,
    /// Threads; one for each processor if not given.
    #[arg(long)]
    jobs: Option<usize>,
    /// Prints what the nodes log; `RUST_LOG` says how much.
    #[arg(long, requires = "seed")]
    verbose: bool,
}

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let parsed = text.split_once("..").and_then(|(from, to)| {
        let (from, to) = (from.parse().ok()?, to.parse().ok()?);
        (from < to).then_some(from..to)
    });
    parsed.ok_or_else(|| format!("`{text}` is not A..B with A less than B"))
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    if options.verbose {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        let output = tracing_subscriber::fmt().with_writer(std::io::stderr).without_time();
        output.with_env_filter(filter).init();
    }
    panics::watch();
    if !canary::POSSIBLE && (options.canaries || options.canary.is_some()) {
        bail!("this build has no canaries: build it with RAFTCACHED_CANARIES=1");
    }
    if let Some(seed) = options.seed {
        return show(seed, &options);
    }
    let seeds: Vec<u64> = match (&options.seeds, options.random) {
        (Some(seeds), _) => seeds.clone().chain(options.also.iter().copied()).collect(),
        (None, Some(count)) => (0..count).map(|_| rand::random::<u32>().into()).collect(),
        (None, None) => bail!("--seed N, --seeds A..B or --random COUNT is needed"),
    };
    if options.canaries {
        return Ok(find_canaries(&seeds, jobs(&options)));
    }
    if options.random.is_some() {
        println!("drawn: {seeds:?}");
    }
    search(&seeds, &options)
}

fn jobs(options: &Options) -> usize {
    let all = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    options.jobs.unwrap_or_else(all)
}

/// One seed, in full.
fn show(seed: u64, options: &Options) -> Result<ExitCode> {
    let named = |name: &String| {
        let found = Canary::ALL.into_iter().find(|canary| format!("{canary:?}") == *name);
        found.with_context(|| format!("there is no canary `{name}`"))
    };
    let canary = options.canary.as_ref().map(named).transpose()?;
    let report = run(seed, canary)?;
    println!("seed {seed}: {}", report.summary);
    for (at, what) in &report.faults {
        println!("  {:>9.3} s  {what}", *at as f64 / 1e6);
    }
    let (operations, answers) = (report.operations, count_answers(&report.history));
    println!("{operations} operations, {answers:?}; digest {:016x}", report.digest);
    if options.twice && run(seed, canary)?.digest != report.digest {
        println!("NOT REPEATABLE: the second run differs");
        return Ok(ExitCode::FAILURE);
    }
    match report.violation {
        None => {
            println!("no violation");
            Ok(ExitCode::SUCCESS)
        }
        Some(violation) => {
            println!("VIOLATION\n{violation}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Many seeds, on all processors.
fn search(seeds: &[u64], options: &Options) -> Result<ExitCode> {
    let begun = Instant::now();
    let histories = Mutex::new(BTreeMap::new());
    let [next, operations, failed] = [const { AtomicUsize::new(0) }; 3];
    std::thread::scope(|scope| {
        for _ in 0..jobs(options) {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::SeqCst)) {
                    match examine(*seed, options.twice) {
                        Ok(report) => {
                            operations.fetch_add(report.operations, Ordering::SeqCst);
                            if options.porcupine
                                && report.is_judged
                                && let Ok(mut histories) = histories.lock()
                            {
                                histories.insert(*seed, report.history);
                            }
                        }
                        Err(violation) => {
                            failed.fetch_add(1, Ordering::SeqCst);
                            println!("{violation}");
                        }
                    }
                }
            });
        }
    });
    let histories = histories.into_inner().unwrap_or_default();
    let failed = failed.into_inner() + if options.porcupine { judge(&histories)? } else { 0 };
    let operations = operations.into_inner();
    let (count, seconds) = (seeds.len(), begun.elapsed().as_secs_f64());
    println!("{count} seeds, {operations} operations, {seconds:.0} s");
    println!("{} passed, {failed} failed", count.saturating_sub(failed));
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The judge of record: how many histories it does not call linearizable.
fn judge(histories: &BTreeMap<u64, Vec<Operation>>) -> Result<usize> {
    let dir = tempfile::tempdir()?;
    let porcupine = Porcupine::build(dir.path())?;
    let all: Vec<_> = histories.values().cloned().collect();
    let judgements = porcupine.judge(&all, dir.path(), CLOCK_SLACK_US, PORCUPINE_MS)?;
    let judged = histories.keys().zip(judgements);
    let bad: Vec<_> = judged.filter(|(_, judgement)| *judgement != Judgement::Ok).collect();
    println!("porcupine: {} histories, not linearizable: {bad:?}", all.len());
    Ok(bad.len())
}

/// What happened, or what is wrong and how to see it again.
fn examine(seed: u64, twice: bool) -> Result<Report, String> {
    let replay = format!("replay: cargo run --release -p sim -- --seed {seed}\n");
    let broken = |what: &str| format!("VIOLATION in seed {seed}: {what}\n{replay}");
    let report = run(seed, None).map_err(|error| broken(&format!("{error:#}")))?;
    if let Some(violation) = &report.violation {
        return Err(broken(&format!("{}\n{violation}", report.summary)));
    }
    if twice {
        let again = run(seed, None).map_err(|error| broken(&format!("{error:#}")))?;
        if again.digest != report.digest {
            let (one, two) = (report.digest, again.digest);
            return Err(broken(&format!("not repeatable: digests {one:016x} and {two:016x}")));
        }
    }
    Ok(report)
}

/// Each bug must be found within the seeds.
fn find_canaries(seeds: &[u64], jobs: usize) -> ExitCode {
    let mut missed = 0;
    for canary in Canary::ALL {
        let begun = Instant::now();
        let (next, found) = (AtomicUsize::new(0), Mutex::new(None));
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| look_for(canary, seeds, &next, &found));
            }
        });
        let (tried, seconds) = (next.into_inner().min(seeds.len()), begun.elapsed().as_secs_f64());
        match found.into_inner() {
            Ok(Some((seed, violation))) => {
                println!("{canary:?}: seed {seed}, {tried} tried, {seconds:.0} s: {violation}");
            }
            Ok(None) | Err(_) => {
                missed += 1;
                println!("{canary:?}: NOT FOUND in {tried} seeds, {seconds:.0} s");
            }
        }
    }
    println!("{} passed, {missed} failed", Canary::ALL.len() - missed);
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn look_for(
    canary: Canary,
    seeds: &[u64],
    next: &AtomicUsize,
    found: &Mutex<Option<(u64, String)>>,
) {
    while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::SeqCst)) {
        if found.lock().is_ok_and(|found| found.is_some()) {
            return;
        }
        // A run that cannot go on has met the bug too.
        let violation = match run(*seed, Some(canary)) {
            Ok(report) => report.violation,
            Err(error) => Some(format!("{error:#}")),
        };
        if let (Some(violation), Ok(mut found)) = (violation, found.lock()) {
            let first = violation.lines().next().unwrap_or_default().to_owned();
            found.get_or_insert((*seed, first));
            return;
        }
    }
}

/// For one history.
const PORCUPINE_MS: u64 = 60_000;
