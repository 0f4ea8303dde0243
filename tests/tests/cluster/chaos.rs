//! Chaos: real processes, faults drawn from a seed, and every reply must be explained by an order
//! of all requests in which each took effect once, while it was under way.

mod ballast;
mod client;
mod faults;
mod ground;
mod judge;
mod requests;
mod round;
mod wire;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use cluster_tests::{Partitions, Rng, StockMemcached, alone, count, seed, wait_for};

use self::client::{Recorder, load};
use self::faults::Fault;
use self::ground::{Ground, Shape, clock_library};
use self::judge::{Finding, Judge};
use self::round::play;
use oracle::Operation;

/// Method: round after round, on clusters of each shape in turn, for `SECONDS`. In a round eight
/// clients ask in text and in binary through all nodes while some faults begin, overlap and end;
/// then the cluster must be whole, every key is read through every node, the digests must be equal,
/// and the history is judged. Of the faults that a shape allows those come first that have come least. A
/// round with fewer than 200 answers a second does not count; half of the rounds must. With `FAULT`
/// only faults with that in their name happen.
#[test]
fn every_history_is_linearizable() -> Result<()> {
    let _alone = alone();
    let Some(partitions) = prepare() else { return Ok(()) };
    let judge = Judge::build()?;
    let seed = seed();
    let mut rng = Rng::new(seed);
    let lasts = Duration::from_secs(count("SECONDS", 90, 30));
    let patient = LONG <= lasts;
    let rounds = if patient { ROUNDS_OF_A_LONG_RUN } else { 1 };
    if clock_library().is_none() {
        println!("no wall clock can be wrong: package libfaketime is missing");
    }
    let mut tally = Tally::default();
    let began = Instant::now();
    for turn in 0.. {
        if lasts <= began.elapsed() {
            break;
        }
        let shape = Shape::ALL.into_iter().cycle().nth(turn % Shape::ALL.len());
        let shape = shape.unwrap_or(Shape::Disks);
        // Half of the clusters run without the library, as they do in production.
        let clocks = clock_library().is_some() && rng.below(2) == 0;
        let ground = Ground::form(shape, clocks, patient, &partitions)?;
        for round in 0..rounds {
            if lasts <= began.elapsed() {
                break;
            }
            let faults = tally.draw(&ground, &mut rng);
            let name = format!("{seed}-{turn}-{round}");
            println!("\n==== {shape:?}, clocks {clocks}");
            let told = play(&name, &ground, &faults, &mut rng, &judge)?;
            tally.add(&faults, told.counts(), told.answered, told.unknown);
        }
        ground.finish()?;
    }
    tally.judge(began.elapsed())
}

/// Method: the same clients and the same judge with three memcacheds that know nothing of each
/// other: they must be found out.
#[test]
fn three_stock_memcacheds_are_found_out() -> Result<()> {
    let _alone = alone();
    let history = of_stock(3, |recorder, _| wait_for_answers(recorder, 1000))?;
    found_out(&history)
}

/// Method: as above with one memcached, which is killed and started again: what it forgot must be
/// found. One that is left alone is linearizable, and must not be called anything else.
#[test]
fn one_stock_memcached_is_found_out_when_it_is_killed() -> Result<()> {
    let _alone = alone();
    let alone = of_stock(1, |recorder, _| wait_for_answers(recorder, 3000))?;
    let finding = Judge::build()?.with_slack(STOCK_SLACK_US).judge(&alone)?;
    ensure!(finding == Finding::Linearizable, "one that is left alone: {finding:?}");
    println!("{} requests of one that is left alone: {finding:?}", alone.len());
    let history = of_stock(1, |recorder, stock| {
        wait_for_answers(recorder, 500)?;
        stock.kill(0)?;
        stock.restart(0)?;
        wait_for_answers(recorder, 500)
    })?;
    found_out(&history)
}

/// What clients were told by memcacheds to which `work` is done.
fn of_stock(
    nodes: usize,
    work: impl FnOnce(&Recorder, &StockMemcached) -> Result<()>,
) -> Result<Vec<Operation>> {
    // The network of the other tests, if there is one: all processes are started from it.
    let _partitions = Partitions::prepare(1);
    let stock = StockMemcached::start(nodes)?;
    let ports: Vec<_> = (0..nodes).map(|node| stock.client_port(node)).collect();
    let (recorder, stop) = (Recorder::new("stock"), AtomicBool::new(false));
    let mut rng = Rng::new(seed());
    thread::scope(|scope| {
        let clients = scope.spawn(|| load(&ports, &mut rng, &recorder, &stop));
        let worked = work(&recorder, &stock);
        stop.store(true, Ordering::SeqCst);
        clients.join().map_err(|_| anyhow!("a client panicked"))?;
        worked
    })?;
    recorder.take()
}

fn found_out(history: &[Operation]) -> Result<()> {
    let count = history.len();
    match Judge::build()?.with_slack(STOCK_SLACK_US).judge(history)? {
        Finding::Violation(violation) => {
            println!("{count} requests: {violation}");
            Ok(())
        }
        other @ (Finding::Linearizable | Finding::Undecided(_)) => {
            Err(anyhow!("{count} requests of stock memcached are {other:?}"))
        }
    }
}

/// What has happened so far.
#[derive(Default)]
struct Tally {
    rounds: usize,
    counted: usize,
    answered: usize,
    unknown: usize,
    faults: BTreeMap<String, usize>,
}

impl Tally {
    /// Some of the faults that can happen to a cluster, those first that have happened least.
    fn draw(&self, ground: &Ground<'_>, rng: &mut Rng) -> Vec<Fault> {
        let times = |fault: &Fault| self.faults.get(&fault.to_string()).copied().unwrap_or(0);
        let mut faults: Vec<_> = Fault::all_of(ground)
            .into_iter()
            .map(|fault| (times(&fault), rng.bits(), fault))
            .collect();
        faults.sort_by_key(|(times, drawn, _)| (*times, *drawn));
        let wanted = 1 + rng.index(FAULTS_MAX);
        faults.into_iter().take(wanted).map(|(_, _, fault)| fault).collect()
    }

    fn add(&mut self, faults: &[Fault], counts: bool, answered: usize, unknown: usize) {
        self.rounds += 1;
        self.counted += usize::from(counts);
        self.answered += answered;
        self.unknown += unknown;
        for fault in faults {
            *self.faults.entry(fault.to_string()).or_default() += 1;
        }
    }

    fn judge(&self, lasted: Duration) -> Result<()> {
        let Self { rounds, counted, answered, unknown, faults } = self;
        println!("\n{rounds} rounds in {lasted:.0?}, {counted} of which count");
        println!("{answered} answered, {unknown} unknown: every history is linearizable");
        faults.iter().for_each(|(name, times)| println!("{times:>5} x {name}"));
        ensure!(0 < *counted && rounds <= &(2 * counted), "{counted} of {rounds} rounds count");
        Ok(())
    }
}

/// None, loudly, where this machine has no networks of one's own.
fn prepare() -> Option<Partitions> {
    match Partitions::prepare(Shape::Five.nodes()) {
        Ok(partitions) => Some(partitions),
        Err(why) => {
            println!("\nSKIPPED, NOTHING WAS PROVED: no partitions here: {why:#}");
            None
        }
    }
}

fn wait_for_answers(recorder: &Recorder, more: usize) -> Result<()> {
    let wanted = recorder.answered() + more;
    wait_for("answers", Duration::from_secs(30), || {
        let have = recorder.answered();
        ensure!(wanted <= have, "{have} of {wanted}");
        Ok(())
    })
}

/// In a round.
const FAULTS_MAX: usize = 4;
/// Its clock goes in whole seconds.
const STOCK_SLACK_US: u64 = 2_000_000;
/// From here on a cluster lives for several rounds, and some faults last longer.
const LONG: Duration = Duration::from_secs(300);
const ROUNDS_OF_A_LONG_RUN: usize = 8;
