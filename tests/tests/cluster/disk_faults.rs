//! Disks that fail, are slow, or are full, under nodes that run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use cluster_tests::{
    ClientError, Cluster, ClusterOptions, Durability, Figures, FileSystem, LoopDisk, Rng, Strace,
    TextClient, Undisturbed, Writers, alone, count, wait_for,
};

/// Method: under load, every later sync of one node fails. The node must end by itself, with
/// status 1 and the file's name, within a second of the first failed call; whatever was
/// acknowledged is there. Restarted on its good disk it is whole again.
#[test]
fn a_node_whose_sync_fails_ends_at_once() -> Result<()> {
    let _alone = alone();
    let cluster = start(Vec::new())?;
    let writers = Writers::new(cluster.nodes());
    let mut ends = Figures::default();
    writers.during(&cluster, "w", || {
        for round in 0..count("ROUNDS", 3, 2) {
            let leader = cluster.leader()?;
            let node = if round % 2 == 0 { leader } else { (leader + 1) % cluster.nodes() };
            writers.wait_more(200, 500.0)?;
            let before = cluster.said(node).len();
            writers.liveness.down(node);
            let strace = Strace::fail_syncs(cluster.pid(node)?, cluster.dir())?;
            let status = cluster.wait_exit(node, Duration::from_secs(10))?;
            let ended_at = SystemTime::now().duration_since(UNIX_EPOCH)?;
            let said = cluster.said(node).get(before..).unwrap_or_default().to_owned();
            ensure!(status.code() == Some(1), "{}: {status}: {said}", cluster.name(node));
            let line = said.lines().find(|line| line.starts_with("raftcached: "));
            let line = line.with_context(|| format!("no last word: {said}"))?;
            println!("{}: {line}", cluster.name(node));
            for want in ["data directory", "cannot sync wal-", "Input/output error"] {
                ensure!(line.contains(want), "no {want:?} in {line}");
            }
            ends.push(ended_at.saturating_sub(strace.first_failure()?));
            writers.wait_more(100, 200.0)?;
            cluster.restart(node)?;
            cluster.wait_ready(node, HEALTHY_WITHIN)?;
            writers.liveness.up(node);
            cluster.wait_healthy(HEALTHY_WITHIN)?;
        }
        Ok(())
    })?;
    println!("failed sync to the end of the node: {ends}");
    let keys = writers.verify(&cluster)?;
    println!("{keys} keys read through every node, none lost");
    cluster.wait_equal(HEALTHY_WITHIN)?;
    ends.judge(100, Duration::from_secs(1))?;
    cluster.finish()
}

/// Method: closed-loop writers at the other two nodes; before and with 200 ms for each sync of the
/// follower.
#[test]
fn a_follower_with_a_slow_disk_is_not_noticed() -> Result<()> {
    let _alone = alone();
    let cluster = start(Vec::new())?;
    let leader = cluster.leader()?;
    let slow = (leader + 1) % cluster.nodes();
    let others: Vec<_> = (0..cluster.nodes()).filter(|node| *node != slow).collect();
    let before = latencies(&cluster, &others)?;
    slow_down(&cluster, slow)?;
    ensure!(cluster.leader()? != slow, "the slow node leads");
    let (beside, through) = thread::scope(|scope| -> Result<_> {
        let through = scope.spawn(|| latencies(&cluster, &[slow]));
        let beside = latencies(&cluster, &others)?;
        Ok((beside, through.join().map_err(|_| anyhow!("a client panicked"))??))
    })?;
    println!("set, all disks fast:               {before}");
    println!("set, a slow disk elsewhere:        {beside}");
    println!("set through the slow follower:     {through}");
    cluster.wait_equal(HEALTHY_WITHIN)?;
    let allowed = before.percentile(99).mul_f64(1.5).max(NOISE);
    beside.judge(99, allowed)?;
    through.judge(99, OPERATION_MAX)?;
    cluster.finish()
}

/// Method: as above, with the leader's disk. Either leadership moves away or the latency stays
/// bounded.
#[test]
fn a_leader_with_a_slow_disk_does_not_hold_everybody_up() -> Result<()> {
    let _alone = alone();
    let cluster = start(Vec::new())?;
    let slow = cluster.leader()?;
    let others: Vec<_> = (0..cluster.nodes()).filter(|node| *node != slow).collect();
    let before = latencies(&cluster, &others)?;
    slow_down(&cluster, slow)?;
    cluster.move_leader(slow)?;
    let with = latencies(&cluster, &others)?;
    let leader = cluster.leader()?;
    println!("set, all disks fast:               {before}");
    println!("set, the leader's disk slow:       {with}");
    println!("it {} afterwards", if leader == slow { "still leads" } else { "does not lead" });
    ensure!(0 < with.attempts(), "not a single set");
    with.judge(99, OPERATION_MAX)?;
    cluster.wait_equal(HEALTHY_WITHIN)?;
    cluster.finish()
}

/// Starts `node` again with a disk that takes `SLOW_SYNC` for a sync.
fn slow_down(cluster: &Cluster, node: usize) -> Result<()> {
    cluster.kill(node)?;
    let words = Strace::slow_syncs(SLOW_SYNC);
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    cluster.restart_under(node, &words)?;
    cluster.wait_ready(node, HEALTHY_WITHIN)?;
    cluster.wait_healthy(HEALTHY_WITHIN).map(drop)
}

/// Of sets through `nodes`, one connection each, one after the other.
fn latencies(cluster: &Cluster, nodes: &[usize]) -> Result<Figures> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = |node: usize| -> Result<Figures> {
            let mut client = TextClient::connect(cluster.client_port(node))?;
            let mut figures = Figures::default();
            while !stop.load(Ordering::SeqCst) {
                let (began, steady) = (Instant::now(), Undisturbed::now());
                let key = format!("slow-{node}-{}", figures.attempts() % 100);
                client.set(&key, 0, 0, &[b'v'; 100])?;
                figures.push_undisturbed(began.elapsed(), steady);
            }
            Ok(figures)
        };
        let clients: Vec<_> = nodes.iter().map(|node| scope.spawn(move || client(*node))).collect();
        // The time of the measurement, not a wait for anything.
        thread::sleep(Duration::from_millis(count("MEASURE_MS", 4000, 1500)));
        stop.store(true, Ordering::SeqCst);
        let mut figures = Figures::default();
        for client in clients {
            figures.absorb(client.join().map_err(|_| anyhow!("a client panicked"))??);
        }
        ensure!(figures.attempts() > 20, "only {} sets", figures.attempts());
        Ok(figures)
    })
}

/// Method: one node's disk has no room for more segments of the log. 200 MB go through the other
/// nodes, which must not notice; when there is space again, the node must catch up by itself.
#[test]
fn one_full_disk_is_not_noticed() -> Result<()> {
    let _alone = alone();
    let world = tempfile::Builder::new().prefix("full-disk-").tempdir()?;
    let Some(disks) = disks(world.path(), 1)? else { return Ok(()) };
    let cluster = start(disks.iter().map(|disk| disk.path().join("data")).collect())?;
    let [disk] = disks.as_slice() else { anyhow::bail!("one disk") };
    println!("disks with space:         {}", flood(&cluster)?);
    for leads in [false, true] {
        cluster.move_leader(usize::from(!leads))?;
        let said = cluster.said(0).len();
        // A log that is cut just now makes room again.
        let figures = wait_for("no space for the log", FULL_WITHIN, || {
            disk.fill(Some(LEFT))?;
            let figures = flood(&cluster)?;
            println!("full disk at the {}: {figures}", if leads { "leader  " } else { "follower" });
            let said = cluster.said(0).split_off(said);
            ensure!(said.contains("no space for the next segment"), "it is not full: {said}");
            Ok(figures)
        })?;
        let status = cluster.status(1)?;
        println!("{}", status.verdict);
        ensure!(status.verdict == "DEGRADED: no space on the disk of n1");
        ensure!(cluster.leader()? != 0, "a node without space leads");
        disk.fill(None)?;
        cluster.wait_healthy(HEALTHY_WITHIN)?;
        cluster.wait_equal(HEALTHY_WITHIN)?;
        figures.judge(100, OPERATION_MAX)?;
    }
    cluster.finish()
}

/// More than a log with a full disk can take, through the second and the third node.
fn flood(cluster: &Cluster) -> Result<Figures> {
    let connect = |node| TextClient::connect(cluster.client_port(node));
    let mut clients = [connect(1)?, connect(2)?];
    let mut figures = Figures::default();
    for write in 0..FLOOD {
        let value = version(write);
        for client in &mut clients {
            let (began, steady) = (Instant::now(), Undisturbed::now());
            client.set(&format!("flood-{}", write % KEYS), 0, 0, &value)?;
            figures.push_undisturbed(began.elapsed(), steady);
        }
    }
    Ok(figures)
}

/// Method: again and again all disks are full. Writes must be refused, with nothing done, while
/// reads through every node go on, of old clients and of new ones; with space everything works
/// again, and everything that was acknowledged is there.
#[test]
fn full_disks_everywhere_lose_nothing() -> Result<()> {
    let _alone = alone();
    let world = tempfile::Builder::new().prefix("full-disk-").tempdir()?;
    let Some(disks) = disks(world.path(), 3)? else { return Ok(()) };
    let cluster = start(disks.iter().map(|disk| disk.path().join("data")).collect())?;
    let mut clients = (0..cluster.nodes())
        .map(|node| TextClient::connect(cluster.client_port(node)))
        .collect::<Result<Vec<_>, _>>()?;
    let mut stored = 0;
    for round in 0..count("ROUNDS", 2, 1) {
        disks.iter().try_for_each(|disk| disk.fill(Some(LEFT)))?;
        let full = fill_the_logs(&mut clients, &mut stored)
            .and_then(|()| check_read_only(&cluster, &mut clients, stored));
        full.with_context(|| format!("round {round}"))?;
        disks.iter().try_for_each(|disk| disk.fill(None))?;
        for client in &mut clients {
            let write = || Ok(client.set("again", 0, 0, b"")?);
            wait_for("writes to work again", HEALTHY_WITHIN, write)?;
            ensure!(client.get("refused")?.is_none(), "what was refused is done");
        }
        cluster.wait_healthy(HEALTHY_WITHIN)?;
        cluster.wait_equal(HEALTHY_WITHIN)?;
        clients.iter_mut().try_for_each(|client| check_all(client, stored))?;
    }
    cluster.finish()
}

/// Writes until a write is refused; `stored` counts those that were acknowledged.
fn fill_the_logs(clients: &mut [TextClient], stored: &mut usize) -> Result<()> {
    let before = *stored;
    let refusal = loop {
        ensure!(*stored < before + 10_000, "a full disk takes everything");
        let node = *stored % clients.len();
        let client = clients.get_mut(node).context("a client for each node")?;
        match client.set(&format!("last-{}", *stored % KEYS), 0, 0, &version(*stored)) {
            Ok(()) => *stored += 1,
            Err(ClientError::Refused(why)) => break why,
            Err(why) => return Err(why).context("instead of an error line"),
        }
    };
    println!("{} sets of {FLOOD_LEN} bytes, then {refusal:?}", *stored - before);
    ensure!(refusal == "SERVER_ERROR no space on the disks of a majority", "{refusal}");
    Ok(())
}

fn check_read_only(cluster: &Cluster, clients: &mut [TextClient], stored: usize) -> Result<()> {
    for (node, client) in clients.iter_mut().enumerate() {
        let verdict = cluster.status(node)?.verdict;
        println!("{}: {verdict}", cluster.name(node));
        ensure!(verdict.starts_with("READ ONLY: no space on the disks of n"), "{verdict}");
        check_all(client, stored)?;
        check_all(&mut TextClient::connect(cluster.client_port(node))?, stored)?;
        let refused = client.set("refused", 0, 0, b"");
        ensure!(matches!(refused, Err(ClientError::Refused(_))), "{refused:?}");
    }
    Ok(())
}

/// Each key has the value that was last acknowledged.
fn check_all(client: &mut TextClient, stored: usize) -> Result<()> {
    for write in stored.saturating_sub(KEYS)..stored {
        let item = client.get(&format!("last-{}", write % KEYS))?.context("a false miss")?;
        ensure!(item.value == version(write), "set {write} is not the last one");
    }
    Ok(())
}

/// A value that says which write it is. It cannot be compressed: a snapshot of a few of them has no
/// place on a full disk.
fn version(write: usize) -> Vec<u8> {
    Rng::new(write as u64).bytes(FLOOD_LEN)
}

/// Disks of a node's own, or none, loudly, where this machine cannot mount any.
fn disks(dir: &std::path::Path, count: usize) -> Result<Option<Vec<LoopDisk>>> {
    let create = |n| LoopDisk::create(dir, &format!("disk{n}"), FileSystem::Ext4, DISK_LEN);
    match (1..=count).map(create).collect() {
        Ok(disks) => Ok(Some(disks)),
        Err(why) => {
            println!("\nSKIPPED, NOTHING WAS PROVED: no disk can be mounted here: {why:#}");
            Ok(None)
        }
    }
}

fn start(data_dirs: Vec<std::path::PathBuf>) -> Result<Cluster> {
    let data = Some(Durability::Fsync);
    Cluster::start_with(ClusterOptions { data, data_dirs, ..ClusterOptions::default() })
}

const HEALTHY_WITHIN: Duration = Duration::from_secs(30);
const FULL_WITHIN: Duration = Duration::from_secs(60);
const SLOW_SYNC: Duration = Duration::from_millis(200);
/// What a busy machine may do to any percentile; far below what waiting for a slow sync does.
const NOISE: Duration = Duration::from_millis(50);
const OPERATION_MAX: Duration = Duration::from_millis(1000);
const DISK_LEN: u64 = 1024 * 1024 * 1024;
/// Some space stays: a file system that has none at all cannot even say where its files are.
const LEFT: u64 = 64 * 1024;
const FLOOD: usize = 1000;
const KEYS: usize = 50;
const FLOOD_LEN: usize = 100_000;
