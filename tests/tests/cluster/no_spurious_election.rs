//! Load alone moves nothing: a term that grows without a fault is a pause that nobody ordered.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use cluster_tests::{Cluster, Figures, Mixed, Undisturbed, Violations, count, pause, seed};

/// Method: six pipelined connections, two to each node, as fast as the nodes answer, on cores that
/// load and nodes share. All nodes' terms and leaders are looked at ten times a second.
#[test]
fn full_load_elects_nobody() -> Result<()> {
    let seconds = count("SECONDS", 300, 15);
    let seed = seed();
    let cluster = Cluster::start(3)?;
    let leader = cluster.leader()?;
    let terms = cluster.status(leader)?.terms();
    let (stop, operations) = (AtomicBool::new(false), AtomicU64::new(0));
    let violations = Violations::default();
    let started = Instant::now();

    let looks = thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            let port = cluster.client_port(connection % cluster.nodes());
            let seed = seed.wrapping_add(connection as u64);
            let (stop, operations, violations) = (&stop, &operations, &violations);
            scope.spawn(move || {
                let prefix = format!("c{connection}");
                let load = Mixed::connect(port, prefix, seed);
                let ran = load.and_then(|mut load| {
                    while !stop.load(Ordering::Relaxed) {
                        operations.fetch_add(load.round()?, Ordering::Relaxed);
                    }
                    Ok(())
                });
                if let Err(error) = ran {
                    violations.record(format!("connection {connection}: {error}"));
                }
            });
        }
        let watched = watch(&cluster, &terms, leader, Duration::from_secs(seconds), &violations);
        stop.store(true, Ordering::Relaxed);
        watched
    });

    let rate = operations.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64();
    println!("{rate:.0} operations/s, half of them sets, for {seconds} s; terms {terms:?}");
    println!("a look at one node's status under load: {}", looks?);
    violations.check()?;
    cluster.wait_equal(Duration::from_secs(30))?;
    cluster.finish()
}

fn watch(
    cluster: &Cluster,
    terms: &[u64],
    leader: usize,
    length: Duration,
    violations: &Violations,
) -> Result<Figures> {
    let started = Instant::now();
    let mut looks = Figures::default();
    let mut due = started;
    let (mut terms, mut leader) = (terms.to_vec(), Some(cluster.name(leader).to_owned()));
    let (mut steady, mut steady_since, mut excused) = (Undisturbed::now(), started, 0);
    while started.elapsed() < length && violations.none() {
        for node in 0..cluster.nodes() {
            let asked = Instant::now();
            let status = cluster.status(node)?;
            looks.push(asked.elapsed());
            let led_by = status.leader().map(ToOwned::to_owned);
            if status.terms() == terms && led_by == leader {
                continue;
            }
            // An election is the right answer to a machine that stood still for its timeout.
            let (at, name, stolen) = (started.elapsed(), cluster.name(node), steady.stolen());
            ensure!(
                STANDSTILL <= stolen,
                "{name} after {at:?}: terms {:?}, {led_by:?} leads; stolen {stolen:?}",
                status.terms()
            );
            excused += 1;
            // Once there is a leader again, it has to stay.
            let settled = cluster.wait_healthy(Duration::from_secs(30))?;
            (terms, leader) = (settled.terms(), settled.leader().map(ToOwned::to_owned));
        }
        if WINDOW < steady_since.elapsed() {
            (steady, steady_since) = (Undisturbed::now(), Instant::now());
        }
        due += Duration::from_millis(100);
        while Instant::now() < due {
            pause();
        }
    }
    println!("elections while the machine stood still: {excused}");
    Ok(looks)
}

/// Stolen time is looked at over this long.
const WINDOW: Duration = Duration::from_secs(2);

/// Half of an election timeout, stolen within `WINDOW`.
const STANDSTILL: Duration = Duration::from_millis(40);

const CONNECTIONS: usize = 6;
