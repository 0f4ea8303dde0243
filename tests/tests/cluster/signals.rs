//! SIGTERM is not a failure: leadership moves first, then the node drains and exits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    Cluster, Figures, Journal, Liveness, PacedWriter, TextClient, Undisturbed, Violations, count,
    wait_for,
};
use nix::sys::signal::Signal;

/// Method: open-loop writers at all nodes; the leader gets SIGTERM, ends with status 0, is started
/// again; and so on. The longest write through any node measures the pause: far below an election
/// timeout, it shows that leadership was moved and not missed.
#[test]
fn sigterm_moves_the_leader_first() -> Result<()> {
    let rounds = count("ROUNDS", 10, 3);
    let cluster = Cluster::start(3)?;
    let (journal, violations) = (Journal::default(), Violations::default());
    let liveness = Liveness::new(3);
    let stop = AtomicBool::new(false);
    let (pauses, exits) = thread::scope(|scope| {
        for node in 0..cluster.nodes() {
            let writer = PacedWriter {
                prefix: "w",
                node,
                port: cluster.client_port(node),
                period: Duration::from_millis(10),
                journal: &journal,
                liveness: &liveness,
                violations: &violations,
            };
            let stop = &stop;
            scope.spawn(move || writer.run(stop));
        }
        let ran = terminate_leaders(&cluster, rounds, &journal, &liveness, &violations);
        stop.store(true, Ordering::SeqCst);
        ran
    })?;
    println!("longest write around SIGTERM: {pauses}");
    println!("SIGTERM to exit:              {exits}");
    println!("unknown, through the leaving nodes: {}", journal.unknown());
    violations.check()?;
    for node in 0..cluster.nodes() {
        let mut client = TextClient::connect(cluster.client_port(node))?;
        journal.verify(&mut client).with_context(|| cluster.name(node).to_owned())?;
    }
    pauses.judge(50, PAUSE_P50_MAX)?;
    pauses.judge(100, PAUSE_MAX)?;
    cluster.finish()
}

fn terminate_leaders(
    cluster: &Cluster,
    rounds: u64,
    journal: &Journal,
    liveness: &Liveness,
    violations: &Violations,
) -> Result<(Figures, Figures)> {
    let (mut pauses, mut exits) = <(Figures, Figures)>::default();
    for _ in 0..rounds {
        let leader = cluster.leader()?;
        wait_more(journal, violations, 50)?;
        journal.take_longest();
        liveness.down(leader);
        let (asked_at, steady) = (Instant::now(), Undisturbed::now());
        cluster.signal(leader, Signal::SIGTERM)?;
        let status = cluster.wait_exit(leader, Duration::from_secs(10))?;
        exits.push(asked_at.elapsed());
        ensure!(status.code() == Some(0), "{} ended with {status}", cluster.name(leader));
        wait_more(journal, violations, 50)?;
        pauses.push_undisturbed(journal.take_longest(), steady);
        cluster.restart(leader)?;
        cluster.wait_ready(leader, Duration::from_secs(30))?;
        liveness.up(leader);
        cluster.wait_healthy(Duration::from_secs(30))?;
        violations.check()?;
    }
    Ok((pauses, exits))
}

/// Waits until `more` writes have been acknowledged from now on.
fn wait_more(journal: &Journal, violations: &Violations, more: u64) -> Result<()> {
    let wanted = journal.acknowledged() + more;
    wait_for("acknowledged writes", Duration::from_secs(10), || {
        let have = journal.acknowledged();
        // A broken promise ends the writers: nothing more to wait for.
        ensure!(wanted <= have || !violations.none(), "{have} of {wanted}");
        Ok(())
    })?;
    violations.check()
}

/// The planned move's 10 ms, and the scheduler's share on cores that everything shares.
const PAUSE_P50_MAX: Duration = Duration::from_millis(30);
/// No worse than a crash.
const PAUSE_MAX: Duration = Duration::from_millis(250);
