//! One client that asks for the same missing session for ever is in nobody's way.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    Cluster, Figures, TextClient, Undisturbed, Violations, alone, count, http, millis, pause,
};

/// Method: at each node in turn a client makes 2,500 misses a second for some seconds. Ten times a
/// second leader and terms are looked at, as all three nodes see them, and the leader's lease, which
/// runs out when heartbeats are late; and a write goes through another node.
#[test]
fn a_stuck_client_moves_no_leadership() -> Result<()> {
    let _alone = alone();
    let cluster = Cluster::start(3)?;
    let seconds = count("SECONDS", 20, 4);
    let leader = cluster.leader()?;
    let terms = cluster.status(leader)?.terms();
    let mut excused = Duration::ZERO;
    for node in 0..cluster.nodes() {
        let (stop, misses, violations) =
            (AtomicBool::new(false), AtomicU64::new(0), Violations::default());
        let undisturbed = Undisturbed::now();
        let writes = thread::scope(|scope| {
            scope.spawn(|| {
                if let Err(error) = ask_for_ever(cluster.client_port(node), &stop, &misses) {
                    violations.record(format!("the stuck client: {error}"));
                }
            });
            let other = (node + 1) % cluster.nodes();
            let watched = watch(&cluster, other, leader, &terms, Duration::from_secs(seconds));
            stop.store(true, Ordering::Relaxed);
            watched
        });
        violations.check()?;
        let rate = misses.load(Ordering::Relaxed) / seconds;
        let role = if node == leader { "leader" } else { "follower" };
        excused += undisturbed.stolen();
        println!("{rate} misses/s at the {role}; writes beside: {}", writes?);
        ensure!(PER_SECOND / 2 < rate, "only {rate} misses/s: this proves nothing");
    }
    println!("terms {terms:?} throughout; {} stolen", millis(excused));
    cluster.wait_equal(Duration::from_secs(30))?;
    cluster.finish()
}

/// Asks for what is not there, on one connection: all that is due at once, then reads the answers.
fn ask_for_ever(port: u16, stop: &AtomicBool, misses: &AtomicU64) -> Result<()> {
    let mut client = TextClient::connect(port)?;
    let (started, mut asked) = (Instant::now(), 0);
    while !stop.load(Ordering::Relaxed) {
        let elapsed_us = u64::try_from(started.elapsed().as_micros())?;
        let due = (elapsed_us * PER_SECOND / 1_000_000).saturating_sub(asked);
        if due == 0 {
            pause();
            continue;
        }
        client.send("get stuck\r\n".repeat(usize::try_from(due)?).as_bytes())?;
        for _ in 0..due {
            let line = client.line()?;
            ensure!(line == "END", "there is no such item: {line:?}");
        }
        asked += due;
        misses.store(asked, Ordering::Relaxed);
    }
    Ok(())
}

/// Fails as soon as leader or terms are others, unless the machine stood still.
fn watch(
    cluster: &Cluster,
    writer: usize,
    leader: usize,
    terms: &[u64],
    length: Duration,
) -> Result<Figures> {
    let mut client = TextClient::connect(cluster.client_port(writer))?;
    let (started, mut writes) = (Instant::now(), Figures::default());
    let (steady, mut due, mut lapses) = (Undisturbed::now(), started, 0);
    while started.elapsed() < length {
        for node in 0..cluster.nodes() {
            let status = cluster.status(node)?;
            let same = status.terms() == terms && status.leader() == Some(cluster.name(leader));
            ensure!(
                same || STANDSTILL <= steady.stolen(),
                "{}: terms {:?}, before {terms:?}; {:?} leads; stolen {:?}",
                cluster.name(node),
                status.terms(),
                status.leader(),
                steady.stolen(),
            );
        }
        // Valid for three fifths of what followers granted when they last heard a heartbeat.
        let metrics = http::get(cluster.admin_port(leader), "/metrics")?.body;
        let lease = metrics.lines().find_map(|line| line.strip_prefix("raftcached_lease_valid "));
        lapses += u32::from(lease.context("no raftcached_lease_valid")? != "1");
        ensure!(lapses == 0 || STANDSTILL <= steady.stolen(), "the leader's lease has run out");
        let asked = (Instant::now(), Undisturbed::now());
        client.set("beside", 0, 0, b"1")?;
        writes.push_undisturbed(asked.0.elapsed(), asked.1);
        due += Duration::from_millis(100);
        while Instant::now() < due {
            pause();
        }
    }
    Ok(writes)
}

/// What memcached-session-manager was seen to do while it waited for a session's lock.
const PER_SECOND: u64 = 2_500;
/// Half of an election timeout, stolen.
const STANDSTILL: Duration = Duration::from_millis(40);
