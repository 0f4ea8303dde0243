//! What a client of a surviving node notices when the leader is killed, or moved.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use cluster_tests::{
    Cluster, Figures, Journal, Liveness, PacedWriter, TextClient, Undisturbed, Violations, alone,
    count, pause, wait_for,
};

/// Method: one open-loop writer at each node, so that the load does not slow down with the cluster.
/// In each round the leader is killed with SIGKILL, and the time is taken from before the kill to
/// the first acknowledgement of a write that was *issued* after the leader was gone, so that no
/// reply already under way counts. At the end every acknowledged write is read through every node.
#[test]
fn a_killed_leader_is_a_short_pause() -> Result<()> {
    let _alone = alone();
    let rounds = count("ROUNDS", 100, 5);
    let cluster = Cluster::start(3)?;
    let (journal, violations) = (Journal::default(), Violations::default());
    let liveness = Liveness::new(3);
    let stop = AtomicBool::new(false);
    let (started, steady) = (Instant::now(), Undisturbed::now());

    let (figures, pauses, returns) = thread::scope(|scope| {
        for node in 0..cluster.nodes() {
            let writer = PacedWriter {
                prefix: "w",
                node,
                port: cluster.client_port(node),
                period: PERIOD,
                journal: &journal,
                liveness: &liveness,
                violations: &violations,
            };
            let stop = &stop;
            scope.spawn(move || writer.run(stop));
        }
        let ran = kill_leaders(&cluster, rounds, &journal, &liveness, &violations);
        stop.store(true, Ordering::SeqCst);
        ran
    })?;

    let rate = journal.acknowledged() as f64 / started.elapsed().as_secs_f64();
    println!("kill to first write:       {figures}");
    println!("longest write per round:   {pauses}");
    println!("restart to healthy:        {returns}");
    println!("acknowledged: {} ({rate:.0}/s)", journal.acknowledged());
    println!("unknown, through the killed nodes: {}", journal.unknown());
    violations.check()?;
    cluster.wait_equal(Duration::from_secs(30))?;
    for node in 0..cluster.nodes() {
        let mut client = TextClient::connect(cluster.client_port(node))?;
        let keys = journal.verify(&mut client).with_context(|| cluster.name(node).to_owned())?;
        println!("{}: {keys} keys read, none lost", cluster.name(node));
    }
    let stolen = steady.stolen().as_secs_f64() / started.elapsed().as_secs_f64();
    println!("stolen from the machine: {:.1} % of one processor", 100.0 * stolen);
    ensure!(180.0 <= rate || 0.05 < stolen, "only {rate:.0} writes/s: the load was not there");
    figures.judge(50, Duration::from_millis(100))?;
    figures.judge(99, Duration::from_millis(250))?;
    cluster.finish()
}

fn kill_leaders(
    cluster: &Cluster,
    rounds: u64,
    journal: &Journal,
    liveness: &Liveness,
    violations: &Violations,
) -> Result<(Figures, Figures, Figures)> {
    let (mut figures, mut pauses, mut returns) = <(Figures, Figures, Figures)>::default();
    for round in 0..rounds {
        let leader = cluster.leader()?;
        journal.take_longest();
        liveness.down(leader);
        let (killed_at, steady) = (Instant::now(), Undisturbed::now());
        cluster.kill(leader)?;
        journal.watch();
        let first = wait_for("the first write after the kill", Duration::from_secs(20), || {
            let first = journal.watched();
            // A broken promise ends the writers: nothing more to wait for.
            ensure!(first.is_some() || !violations.none(), "round {round}: none acknowledged");
            Ok(first)
        })?;
        violations.check()?;
        figures.push_undisturbed(first.context("none acknowledged")? - killed_at, steady);

        let restarted_at = Instant::now();
        cluster.restart(leader)?;
        cluster.wait_ready(leader, HEALTHY_WITHIN)?;
        liveness.up(leader);
        cluster.wait_healthy(HEALTHY_WITHIN).with_context(|| format!("round {round}"))?;
        returns.push(restarted_at.elapsed());
        pauses.push_undisturbed(journal.take_longest(), steady);
        violations.check()?;
    }
    Ok((figures, pauses, returns))
}

/// Method: a writer in a tight loop, each time through the next node; the gap of a round is the
/// longest time between two acknowledgements that touches the move.
#[test]
fn a_planned_move_is_hardly_noticed() -> Result<()> {
    let _alone = alone();
    let rounds = count("MOVES", 20, 5);
    let cluster = Cluster::start(3)?;
    let (mut gaps, mut quiet) = <(Figures, Figures)>::default();
    for round in 0..rounds {
        let steady = Undisturbed::now();
        let leader = cluster.leader()?;
        let target = (leader + 1) % cluster.nodes();
        let via = usize::try_from(round)? % cluster.nodes();
        let acknowledged = AtomicU64::new(0);
        let stop = AtomicBool::new(false);
        let (instants, moved) = thread::scope(|scope| -> Result<_> {
            let port = cluster.client_port(via);
            let (stop, acknowledged) = (&stop, &acknowledged);
            let writer = scope.spawn(move || write_until(stop, port, acknowledged));
            let moved = move_leader(&cluster, target, acknowledged);
            stop.store(true, Ordering::SeqCst);
            let instants = writer.join().map_err(|_| anyhow!("the writer panicked"))?;
            // The writer's failure first: it is why the move seems to have stalled.
            Ok((instants?, moved?))
        })?;
        let leads = cluster.leader()? == target;
        ensure!(leads || !steady.holds(), "round {round}: {target} does not lead");
        let pairs = || instants.iter().zip(instants.iter().skip(1));
        let gap = |(before, after): (&Instant, &Instant)| *after - *before;
        let touching = pairs().filter(|(before, after)| **before <= moved.1 && moved.0 <= **after);
        gaps.push_undisturbed(touching.map(gap).max().context("no write beside the move")?, steady);
        let before = pairs().filter(|(_, after)| **after < moved.0);
        quiet.push(before.map(gap).max().unwrap_or_default());
        cluster.wait_healthy(HEALTHY_WITHIN)?;
    }
    println!("gap at a planned move:     {gaps}");
    println!("longest gap before it:     {quiet}");
    gaps.judge(50, Duration::from_millis(10))?;
    cluster.finish()
}

/// Moves leadership amid acknowledged writes; returns when the move began and ended.
fn move_leader(
    cluster: &Cluster,
    target: usize,
    acknowledged: &AtomicU64,
) -> Result<(Instant, Instant)> {
    wait_count(acknowledged, 200)?;
    let began = Instant::now();
    cluster.move_leader(target)?;
    let ended = Instant::now();
    wait_count(acknowledged, acknowledged.load(Ordering::SeqCst) + 200)?;
    Ok((began, ended))
}

fn write_until(stop: &AtomicBool, port: u16, acknowledged: &AtomicU64) -> Result<Vec<Instant>> {
    let mut client = TextClient::connect(port)?;
    let mut instants = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        client.set(&format!("tight-{}", instants.len() % 100), 0, 0, b"value")?;
        instants.push(Instant::now());
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
    Ok(instants)
}

fn wait_count(acknowledged: &AtomicU64, wanted: u64) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while acknowledged.load(Ordering::SeqCst) < wanted {
        ensure!(Instant::now() < deadline, "the writer stalled");
        pause();
    }
    Ok(())
}

/// Between two writes at one node: with one of three down, the other two still get 200 a second.
const PERIOD: Duration = Duration::from_millis(10);
const HEALTHY_WITHIN: Duration = Duration::from_secs(30);
