//! A session manager takes a miss for "log the user out": no node may ever say it of an item that
//! is there, least of all a node that has just come back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    Cluster, Gates, Item, Liveness, Rng, Router, TextClient, Violations, count, pause, seed,
    wait_for,
};

/// The versions of the items, as far as somebody knows them. An item's version only grows.
struct Versions {
    /// Sent to a node.
    issued: Vec<AtomicU64>,
    /// Acknowledged by a node, or read from one: no later read may see less.
    known: Vec<AtomicU64>,
}

/// What all threads share.
struct Run {
    versions: Versions,
    liveness: Liveness,
    violations: Violations,
    stop: AtomicBool,
    /// Reads and writes answered, by node; the writer has the last place.
    answered: [AtomicU64; 4],
}

/// Method: one reader for each node, as fast as it answers, connected again the moment the node's
/// port opens; one writer through the nodes that are up. Before each read the reader notes the
/// versions already acknowledged or seen anywhere; an answer below them is stale, no answer a false
/// miss. The nodes are killed in turn; each must have answered before the next one goes.
#[test]
fn no_read_misses_and_none_is_stale() -> Result<()> {
    let rounds = count("ROUNDS", 50, 4);
    let mut rng = Rng::new(seed());
    let cluster = Cluster::start(3)?;
    let numbers = |first| (0..KEYS).map(|_| AtomicU64::new(first)).collect::<Vec<_>>();
    let run = Run {
        versions: Versions { issued: numbers(1), known: numbers(1) },
        liveness: Liveness::new(3),
        violations: Violations::default(),
        stop: AtomicBool::new(false),
        answered: Default::default(),
    };
    let mut client = TextClient::connect(cluster.client_port(0))?;
    for key in 0..KEYS {
        client.set(&name(key), 0, 0, b"1")?;
    }
    let gates = Gates::new(3);
    let ports: Vec<_> = (0..3).map(|node| cluster.client_port(node)).collect();

    let ran = thread::scope(|scope| {
        for (node, port) in ports.iter().enumerate() {
            let (run, mut rng) = (&run, Rng::new(rng.bits()));
            scope.spawn(move || read_until(run, node, *port, &mut rng));
        }
        let router = Router::new(&gates, &run.liveness, &ports);
        let (run, mut rng) = (&run, Rng::new(rng.bits()));
        scope.spawn(move || {
            if let Err(error) = write_until(run, router, &mut rng) {
                run.violations.record(format!("writer: {error:#}"));
            }
        });
        let ran = kill_in_turn(&cluster, rounds, run, &gates);
        run.stop.store(true, Ordering::SeqCst);
        ran
    });
    run.violations.check()?;
    ran?;
    let [n1, n2, n3, writes] = run.answered.map(AtomicU64::into_inner);
    println!("{rounds} kills; reads answered: n1 {n1}, n2 {n2}, n3 {n3}; writes {writes}");
    cluster.finish()
}

fn kill_in_turn(cluster: &Cluster, rounds: u64, run: &Run, gates: &Gates) -> Result<()> {
    for round in 0..rounds {
        let node = usize::try_from(round)? % cluster.nodes();
        // Only the writer is kept off the node; its readers are cut in the middle of a reply.
        let shut = gates.shut(node)?;
        run.liveness.down(node);
        cluster.kill(node)?;
        let survivors = (0..=cluster.nodes()).filter(|other| *other != node);
        run.wait_answers(survivors, 200).with_context(|| format!("round {round}, one down"))?;
        cluster.restart(node)?;
        cluster.wait_ready(node, Duration::from_secs(30))?;
        run.liveness.up(node);
        drop(shut);
        run.wait_answers(0..=cluster.nodes(), 200).with_context(|| format!("round {round}"))?;
        cluster.wait_healthy(Duration::from_secs(30)).with_context(|| format!("round {round}"))?;
    }
    Ok(())
}

impl Run {
    /// Waits until each of `who` has been answered `more` times from now on.
    fn wait_answers(&self, who: impl Iterator<Item = usize>, more: u64) -> Result<()> {
        let count = |who: usize| self.answered.get(who).map_or(0, |n| n.load(Ordering::SeqCst));
        let wanted: Vec<_> = who.map(|who| (who, count(who) + more)).collect();
        wait_for("answers", Duration::from_secs(20), || {
            let missing = wanted.iter().find(|(who, wanted)| count(*who) < *wanted);
            ensure!(missing.is_none() || !self.violations.none(), "too few for {missing:?}");
            Ok(())
        })?;
        self.violations.check()
    }

    fn going_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst) && self.violations.none()
    }

    fn count_answer(&self, who: usize) {
        if let Some(answered) = self.answered.get(who) {
            answered.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn read_until(run: &Run, node: usize, port: u16, rng: &mut Rng) {
    while run.going_on() {
        let mut epoch = run.liveness.epoch(node);
        let ended =
            TextClient::connect(port).map_err(anyhow::Error::from).and_then(|mut client| {
                while run.going_on() {
                    read(run, node, &mut client, rng)?;
                    run.count_answer(node);
                    epoch = run.liveness.settle(node, epoch);
                }
                Ok(())
            });
        match ended {
            Ok(()) => return,
            // A wrong answer is wrong whoever is down; the rest may come from the kill.
            Err(why) if why.is::<WrongAnswer>() || !run.liveness.may_fail(node, epoch) => {
                run.violations.record(format!("node {node}: {why:#}"));
            }
            Err(why) if why.to_string().contains("ERROR") => {
                run.violations.record(format!("node {node}, not yet dead or just back: {why:#}"));
            }
            Err(_) => pause(),
        }
    }
}

/// A false miss or a stale value.
#[derive(Debug)]
struct WrongAnswer(String);

impl std::fmt::Display for WrongAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongAnswer {}

/// Reads one key, or ten at once.
fn read(run: &Run, node: usize, client: &mut TextClient, rng: &mut Rng) -> Result<()> {
    let width = if rng.below(4) == 0 { 10 } else { 1 };
    let keys: Vec<_> = (0..width).map(|_| pick(rng)).collect();
    let floors: Vec<_> = keys.iter().map(|key| load(&run.versions.known, *key)).collect();
    let names: Vec<_> = keys.iter().map(|key| name(*key)).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let found = client.get_many(&names)?;
    for (key, floor) in keys.into_iter().zip(floors) {
        let item = found.get(&name(key));
        check(run, key, floor, item).map_err(|why| WrongAnswer(format!("node {node}: {why:#}")))?;
    }
    Ok(())
}

fn check(run: &Run, key: usize, floor: u64, item: Option<&Item>) -> Result<()> {
    let item = item.with_context(|| format!("a false miss of {}", name(key)))?;
    let version: u64 = String::from_utf8_lossy(&item.value).parse()?;
    ensure!(floor <= version, "{} stale: {version} after {floor}", name(key));
    let issued = load(&run.versions.issued, key);
    ensure!(version <= issued, "{} is {version}, last issued {issued}", name(key));
    raise(&run.versions.known, key, version);
    Ok(())
}

fn write_until(run: &Run, mut router: Router<'_>, rng: &mut Rng) -> Result<()> {
    while run.going_on() {
        let key = pick(rng);
        let version = load(&run.versions.issued, key) + 1;
        raise(&run.versions.issued, key, version);
        let value = version.to_string();
        let set = |client: &mut TextClient| client.set(&name(key), 0, 0, value.as_bytes());
        router.call(rng.index(3), set)?;
        raise(&run.versions.known, key, version);
        run.count_answer(run.answered.len() - 1);
    }
    Ok(())
}

/// Half of all requests meet on ten keys, where staleness shows.
fn pick(rng: &mut Rng) -> usize {
    let among = if rng.below(2) == 0 { 10 } else { KEYS };
    rng.index(among)
}

fn name(key: usize) -> String {
    format!("session-{key}")
}

fn load(versions: &[AtomicU64], key: usize) -> u64 {
    versions.get(key).map_or(0, |version| version.load(Ordering::SeqCst))
}

fn raise(versions: &[AtomicU64], key: usize, version: u64) {
    if let Some(known) = versions.get(key) {
        known.fetch_max(version, Ordering::SeqCst);
    }
}

const KEYS: usize = 1000;
