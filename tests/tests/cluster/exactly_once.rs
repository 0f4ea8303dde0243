//! Operations that may not be repeated, while the leaders they depend on are killed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cluster_tests::{
    Cluster, Gates, Liveness, Rng, Router, Store, TextClient, Violations, count, pause, seed,
    wait_for,
};

/// One operation of the plan. The number says which of several keys.
#[derive(Debug, Clone, Copy)]
enum Step {
    Append(usize),
    CasOwn,
    CasShared(usize),
    Incr(usize),
    LockOwn,
    LockShared(usize),
}

/// What all threads share.
struct Run {
    plan: Vec<Step>,
    /// Operations of the plan taken so far, and done so far.
    taken: AtomicU64,
    done: AtomicU64,
    /// How far into the plan the workers may go, so that each kill meets operations in flight.
    allowed: AtomicU64,
    tally: Mutex<Tally>,
    /// Whether somebody is inside each shared lock: what the locks are for.
    inside: [AtomicBool; KEYS],
    violations: Violations,
}

/// What was acknowledged.
#[derive(Default)]
struct Tally {
    /// Replies to `incr`, by key.
    incremented: BTreeMap<usize, Vec<u64>>,
    /// Tokens appended, by key.
    appended: BTreeMap<usize, Vec<String>>,
    /// Successful `cas`, by key.
    swapped: BTreeMap<usize, u64>,
    lock_refused: u64,
    swap_refused: u64,
}

/// One worker: a thread with a connection to each node.
struct Worker<'a> {
    number: usize,
    run: &'a Run,
    router: Router<'a>,
    rng: Rng,
    tokens: u64,
    own_cas: u64,
}

/// Method: workers go through a shuffled plan, each operation through a random node. Before a kill
/// the leader's own clients are held back until nothing is in flight *through* it, so that every
/// operation in flight comes from a follower and no outcome may be unknown: one error fails the
/// test, and the final values must equal the acknowledged operations exactly.
#[test]
fn acknowledged_operations_happen_once() -> Result<()> {
    let kills = count("ROUNDS", 12, 3);
    let mut rng = Rng::new(seed());
    let cluster = Cluster::start(3)?;
    let run = Run {
        plan: plan(&mut rng, if kills < 10 { 10 } else { 1 }),
        taken: AtomicU64::new(0),
        done: AtomicU64::new(0),
        allowed: AtomicU64::new(0),
        tally: Mutex::default(),
        inside: Default::default(),
        violations: Violations::default(),
    };
    prepare(&cluster)?;
    let (gates, liveness) = (Gates::new(3), Liveness::new(3));
    let ports: Vec<_> = (0..3).map(|node| cluster.client_port(node)).collect();

    let in_flight = thread::scope(|scope| {
        for number in 0..WORKERS {
            let (run, router) = (&run, Router::new(&gates, &liveness, &ports));
            let rng = Rng::new(rng.bits());
            scope.spawn(move || {
                let mut worker = Worker { number, run, router, rng, tokens: 0, own_cas: 0 };
                let ended = worker.work();
                // After the first failure the nodes are left as they are: the rest are echoes.
                if let Err(error) = ended
                    && run.violations.none()
                {
                    run.violations.record(format!("worker {number}: {error:#}"));
                }
            });
        }
        let ran = kill_leaders(&cluster, kills, &run, &gates, &liveness);
        // Lets the workers end, also after a failure here.
        run.allowed.store(u64::MAX, Ordering::SeqCst);
        ran
    });
    run.violations.check()?;
    println!("in flight through followers at each kill: {:?}", in_flight?);
    cluster.wait_equal(Duration::from_secs(30))?;
    for node in 0..cluster.nodes() {
        check(&cluster, node, &run).with_context(|| cluster.name(node).to_owned())?;
    }
    cluster.finish()
}

fn plan(rng: &mut Rng, divisor: usize) -> Vec<Step> {
    let mut plan = Vec::new();
    let mut add = |count: usize, step: fn(usize) -> Step| {
        plan.extend((0..count / divisor).map(|number| step(number % KEYS)));
    };
    add(10_000, Step::Incr);
    add(2_000, Step::Append);
    add(1_000, |_| Step::LockOwn);
    add(1_000, Step::LockShared);
    add(1_000, |_| Step::CasOwn);
    add(2_000, Step::CasShared);
    for last in (1..plan.len()).rev() {
        plan.swap(last, rng.index(last + 1));
    }
    plan
}

fn prepare(cluster: &Cluster) -> Result<()> {
    let mut client = TextClient::connect(cluster.client_port(0))?;
    for key in 0..KEYS {
        client.set(&format!("counter-{key}"), 0, 0, b"0")?;
        client.set(&format!("list-{key}"), 0, 0, b"")?;
        client.set(&format!("chain-{key}"), 0, 0, b"0")?;
    }
    for worker in 0..WORKERS {
        client.set(&format!("own-chain-{worker}"), 0, 0, b"0")?;
    }
    Ok(())
}

/// Kills the leader in the middle of each part of the plan; returns the operations in flight then.
fn kill_leaders(
    cluster: &Cluster,
    kills: u64,
    run: &Run,
    gates: &Gates,
    liveness: &Liveness,
) -> Result<Vec<u64>> {
    let total = run.plan.len() as u64;
    let mut in_flight = Vec::new();
    for kill in 0..kills {
        let (from, to) = (total * kill / kills, total * (kill + 1) / kills);
        let leader = cluster.leader()?;
        run.allowed.store(to, Ordering::SeqCst);
        run.wait_done((from + to) / 2)?;
        let shut = gates.shut(leader)?;
        ensure!(cluster.leader()? == leader, "leadership moved without a fault");
        liveness.down(leader);
        let done = run.done.load(Ordering::SeqCst);
        in_flight.push(run.taken.load(Ordering::SeqCst).min(to).saturating_sub(done));
        cluster.kill(leader)?;
        // The survivors must finish the part by themselves.
        run.wait_done(to)?;
        cluster.restart(leader)?;
        cluster.wait_healthy(Duration::from_secs(30))?;
        liveness.up(leader);
        drop(shut);
    }
    Ok(in_flight)
}

impl Run {
    fn wait_done(&self, wanted: u64) -> Result<()> {
        wait_for("operations to be done", Duration::from_secs(60), || {
            let done = self.done.load(Ordering::SeqCst);
            // A failed worker never ends its operation: no need to wait for the deadline.
            ensure!(wanted <= done || !self.violations.none(), "{done} of {wanted}");
            Ok(())
        })?;
        self.violations.check()
    }

    fn note(&self, note: impl FnOnce(&mut Tally)) {
        note(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Worker<'_> {
    fn work(&mut self) -> Result<()> {
        while self.run.violations.none() {
            let taken = self.run.taken.fetch_add(1, Ordering::SeqCst);
            let Some(step) = self.run.plan.get(usize::try_from(taken)?) else { return Ok(()) };
            while self.run.allowed.load(Ordering::SeqCst) <= taken {
                pause();
            }
            self.perform(*step).with_context(|| format!("operation {taken}: {step:?}"))?;
            self.run.done.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }

    fn perform(&mut self, step: Step) -> Result<()> {
        let via = self.rng.index(3);
        match step {
            Step::Append(key) => {
                self.tokens += 1;
                let token = format!("{}:{};", self.number, self.tokens);
                let append = |client: &mut TextClient| {
                    client.append(&format!("list-{key}"), token.as_bytes())
                };
                let reply = self.router.call(via, append)?;
                ensure!(reply == Store::Stored, "answered {reply:?}");
                self.run.note(|tally| tally.appended.entry(key).or_default().push(token));
            }
            Step::CasOwn => {
                let key = format!("own-chain-{}", self.number);
                let (value, reply) = self.swap(via, &key)?;
                ensure!(reply == Store::Stored, "nobody else writes {key}, but {reply:?}");
                self.own_cas += 1;
                ensure!(value == self.own_cas, "{key} is {value}, not {}", self.own_cas);
            }
            Step::CasShared(key) => {
                let (_, reply) = self.swap(via, &format!("chain-{key}"))?;
                self.run.note(|tally| match reply {
                    Store::Stored => *tally.swapped.entry(key).or_default() += 1,
                    Store::Exists | Store::NotFound | Store::NotStored => tally.swap_refused += 1,
                });
                ensure!(matches!(reply, Store::Stored | Store::Exists), "answered {reply:?}");
            }
            Step::Incr(key) => {
                let incr = |client: &mut TextClient| client.incr(&format!("counter-{key}"), 1);
                let value = self.router.call(via, incr)?.context("NOT_FOUND")?;
                self.run.note(|tally| tally.incremented.entry(key).or_default().push(value));
            }
            Step::LockOwn => self.lock_own(via)?,
            Step::LockShared(key) => self.lock_shared(via, key)?,
        }
        Ok(())
    }

    /// `gets`, then `cas` with the value plus one. Returns that value and the answer.
    fn swap(&mut self, via: usize, key: &str) -> Result<(u64, Store)> {
        let item = self.router.call(via, |client| client.gets(key))?.context("a false miss")?;
        let value = String::from_utf8(item.value)?.parse::<u64>()? + 1;
        let text = value.to_string();
        let cas = |client: &mut TextClient| client.cas(key, text.as_bytes(), item.cas_unique);
        // Through another node: the version must be the same everywhere.
        Ok((value, self.router.call(via + 1, cas)?))
    }

    /// A lock nobody else wants: refused, it would be an orphan of the worker itself.
    fn lock_own(&mut self, via: usize) -> Result<()> {
        let key = format!("lock-{}", self.number);
        let reply = self.router.call(via, |client| client.add(&key, 0, 0, b"locked"))?;
        ensure!(reply == Store::Stored, "add refused to its own owner: {reply:?}");
        let deleted = self.router.call(via + 1, |client| client.delete(&key))?;
        ensure!(deleted, "the lock was lost while it was held");
        Ok(())
    }

    fn lock_shared(&mut self, via: usize, key: usize) -> Result<()> {
        let name = format!("shared-lock-{key}");
        let inside = self.run.inside.get(key).context("no such lock")?;
        let owner = self.number.to_string();
        let add = |client: &mut TextClient| client.add(&name, 0, 0, owner.as_bytes());
        match self.router.call(via, add)? {
            Store::Stored => {
                ensure!(!inside.swap(true, Ordering::SeqCst), "two owners of {name}");
                let held = self.router.call(via + 1, |client| client.get(&name))?;
                let held = held.context("the lock was lost while it was held")?.value;
                ensure!(held == owner.as_bytes(), "{name} is owned by {held:?} too");
                inside.store(false, Ordering::SeqCst);
                ensure!(self.router.call(via + 2, |client| client.delete(&name))?, "{name} lost");
            }
            Store::NotStored => {
                let held = self.router.call(via + 1, |client| client.get(&name))?;
                let own = held.is_some_and(|item| item.value == owner.as_bytes());
                ensure!(!own, "add of {name} refused to its own owner");
                self.run.note(|tally| tally.lock_refused += 1);
            }
            other @ (Store::Exists | Store::NotFound) => bail!("add answered {other:?}"),
        }
        Ok(())
    }
}

/// Compares what a node holds with what was acknowledged.
fn check(cluster: &Cluster, node: usize, run: &Run) -> Result<()> {
    let mut client = TextClient::connect(cluster.client_port(node))?;
    let mut value = |key: String| -> Result<String> {
        let item = client.get(&key)?.with_context(|| format!("{key} is missing"))?;
        Ok(String::from_utf8(item.value)?)
    };
    let tally = run.tally.lock().unwrap_or_else(PoisonError::into_inner);
    let mut increments = 0;
    for (key, replies) in &tally.incremented {
        let last: u64 = value(format!("counter-{key}"))?.parse()?;
        ensure!(last == replies.len() as u64, "counter-{key} is {last} of {}", replies.len());
        let mut replies = replies.clone();
        replies.sort_unstable();
        ensure!(replies.into_iter().eq(1..=last), "counter-{key}: a reply given twice");
        increments += last;
    }
    let mut appends = 0;
    for (key, tokens) in &tally.appended {
        let mut have = value(format!("list-{key}"))?;
        ensure!(have.pop() == Some(';'), "list-{key} does not end with a token");
        let have: Vec<_> = have.split(';').collect();
        ordered(&have).with_context(|| format!("list-{key}"))?;
        let mut sorted: Vec<_> = have.iter().map(|token| format!("{token};")).collect();
        sorted.sort_unstable();
        let mut tokens = tokens.clone();
        tokens.sort_unstable();
        ensure!(sorted == tokens, "list-{key}: {} of {} tokens", have.len(), tokens.len());
        appends += tokens.len();
    }
    let mut swaps = 0;
    for (key, count) in &tally.swapped {
        let have: u64 = value(format!("chain-{key}"))?.parse()?;
        ensure!(have == *count, "chain-{key} is {have} after {count} acknowledged cas");
        swaps += count;
    }
    print!("{}: {increments} incr, {appends} append, {swaps} shared cas", cluster.name(node));
    println!(" ({} lost races), {} add refused", tally.swap_refused, tally.lock_refused);
    Ok(())
}

/// Each worker waits for its replies, so its tokens must be in its order.
fn ordered(tokens: &[&str]) -> Result<()> {
    let mut last = BTreeMap::new();
    for token in tokens {
        let (worker, number) = token.split_once(':').context("not a token")?;
        let number: u64 = number.parse()?;
        let before = last.insert(worker, number).unwrap_or(0);
        ensure!(before < number, "{token} after {worker}:{before}");
    }
    Ok(())
}

const WORKERS: usize = 8;
/// Keys of each kind that workers share.
const KEYS: usize = 4;
