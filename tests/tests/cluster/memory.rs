//! `-m` is a promise about the process, not only about a counter.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cluster_tests::{Cluster, ClusterOptions, Rng, TextClient, Violations, count, pause, seed};

/// Ten million sets.
#[test]
fn the_limit_holds_for_items_and_for_the_process() -> Result<()> {
    let cluster = fill(count("SETS", 10_000_000, 300_000), |_, _| Ok(()))?;
    cluster.finish()
}

/// A node whose processor is needed elsewhere for some hundred milliseconds must not lose the log
/// over that: it would need a snapshot, and then it has all items twice for a moment.
#[test]
fn the_limit_holds_while_nodes_stand_still_for_a_moment() -> Result<()> {
    let mut rng = Rng::new(seed());
    let mut pauses = 0;
    let cluster = fill(count("SETS_PAUSED", 1_000_000, 300_000), |cluster, done| {
        while !done.load(Ordering::SeqCst) {
            let node = rng.index(cluster.nodes());
            cluster.pause(node)?;
            thread::sleep(Duration::from_millis(100 + rng.below(200)));
            cluster.resume(node)?;
            pauses += 1;
            rest(done, Duration::from_millis(400));
        }
        Ok(())
    })?;
    println!("{pauses} pauses");
    for node in 0..cluster.nodes() {
        let snapshots = cluster.said(node).matches("snapshot received").count();
        ensure!(snapshots == 0, "{}: {snapshots} snapshots", cluster.name(node));
    }
    cluster.finish()
}

/// Method: sets of new keys with 1 KiB values, pipelined over connections to all nodes, each reply
/// read, while `disturb` does what it wants. Twice a second every node's `stats` and resident size
/// are compared with the limits. At the end the replicas must hold the same items, by digest and by
/// reading.
fn fill(
    sets: u64,
    disturb: impl FnOnce(&Cluster, &AtomicBool) -> Result<()> + Send,
) -> Result<Cluster> {
    let args = vec!["-m".to_owned(), "64".to_owned()];
    let cluster = Cluster::start_with(ClusterOptions { args, ..ClusterOptions::default() })?;
    let (done, next) = (AtomicBool::new(false), AtomicU64::new(0));
    let violations = Violations::default();
    let started = Instant::now();

    thread::scope(|scope| {
        let (cluster, done, violations) = (&cluster, &done, &violations);
        scope.spawn(move || {
            if let Err(error) = sample_until(done, cluster, violations) {
                violations.record(format!("sampling: {error:#}"));
            }
        });
        scope.spawn(move || {
            if let Err(error) = disturb(cluster, done) {
                violations.record(format!("disturbing: {error:#}"));
            }
        });
        let writers: Vec<_> = (0..CONNECTIONS)
            .map(|connection| {
                let port = cluster.client_port(connection % cluster.nodes());
                let next = &next;
                scope.spawn(move || {
                    if let Err(error) = write(port, next, sets, violations) {
                        violations.record(format!("connection {connection}: {error:#}"));
                    }
                })
            })
            .collect();
        for writer in writers {
            // A panic is passed on when the scope ends.
            let _ = writer.join();
        }
        done.store(true, Ordering::SeqCst);
    });

    violations.check()?;
    let seconds = started.elapsed().as_secs_f64();
    println!("{sets} sets of {VALUE_LEN} bytes in {seconds:.1} s: {:.0}/s", sets as f64 / seconds);
    let status = cluster.wait_equal(Duration::from_secs(60))?;
    println!("digests: {:?}", status.shards);
    same_items(&cluster, sets)?;
    Ok(cluster)
}

fn write(port: u16, next: &AtomicU64, sets: u64, violations: &Violations) -> Result<()> {
    let mut client = TextClient::connect(port)?;
    let mut request = Vec::with_capacity(BATCH * (VALUE_LEN + 64));
    while violations.none() {
        let first = next.fetch_add(BATCH as u64, Ordering::SeqCst);
        let last = sets.min(first + BATCH as u64);
        if last <= first {
            return Ok(());
        }
        request.clear();
        for key in first..last {
            request.extend_from_slice(format!("set m-{key} 0 0 {VALUE_LEN}\r\n").as_bytes());
            // Told apart by its number; padding by `format!` would cost more than the cluster.
            request.extend_from_slice(format!("{key:0NUMBER_LEN$}").as_bytes());
            request.extend_from_slice(&[b'-'; VALUE_LEN - NUMBER_LEN]);
            request.extend_from_slice(b"\r\n");
        }
        client.send(&request)?;
        client.all_stored(usize::try_from(last - first)?)?;
    }
    Ok(())
}

fn sample_until(done: &AtomicBool, cluster: &Cluster, violations: &Violations) -> Result<()> {
    let mut clients = (0..cluster.nodes())
        .map(|node| Ok(TextClient::connect(cluster.client_port(node))?))
        .collect::<Result<Vec<_>>>()?;
    let (mut bytes_max, mut resident_max, mut samples) = (0, 0, 0_u64);
    while !done.load(Ordering::SeqCst) && violations.none() {
        for (node, client) in clients.iter_mut().enumerate() {
            let (bytes, limit) = (stat(client, "bytes")?, stat(client, "limit_maxbytes")?);
            ensure!(limit == LIMIT, "limit_maxbytes is {limit}");
            ensure!(bytes <= limit, "{}: {bytes} bytes of items", cluster.name(node));
            // The largest so far, which the kernel remembers, also between two samples.
            let resident = cluster.resources(node)?.resident_max;
            let name = cluster.name(node);
            ensure!(resident <= RESIDENT_MAX, "{name}: resident {}", mebibytes(resident));
            bytes_max = bytes_max.max(bytes);
            resident_max = resident_max.max(resident);
            samples += 1;
        }
        rest(done, Duration::from_millis(500));
    }
    println!("{samples} samples: items at most {}", mebibytes(bytes_max));
    println!("resident at most {} of {}", mebibytes(resident_max), mebibytes(RESIDENT_MAX));
    Ok(())
}

/// Returns earlier when `done`.
fn rest(done: &AtomicBool, time: Duration) {
    let due = Instant::now() + time;
    while Instant::now() < due && !done.load(Ordering::SeqCst) {
        pause();
    }
}

/// Every node must have the same of the newest keys, and of some far older ones none or the same.
fn same_items(cluster: &Cluster, sets: u64) -> Result<()> {
    let newest = sets.saturating_sub(1000)..sets;
    let older = (0..1000).map(|step| step * sets / 1000);
    let keys: Vec<_> = newest.chain(older).map(|key| format!("m-{key}")).collect();
    let mut answers = Vec::new();
    for node in 0..cluster.nodes() {
        let mut client = TextClient::connect(cluster.client_port(node))?;
        let evictions = stat(&mut client, "evictions")?;
        let items = stat(&mut client, "curr_items")?;
        println!("{}: evictions={evictions} curr_items={items}", cluster.name(node));
        ensure!(0 < evictions, "{}: nothing was evicted", cluster.name(node));
        let mut hits = Vec::new();
        for chunk in keys.chunks(100) {
            let names: Vec<_> = chunk.iter().map(String::as_str).collect();
            hits.extend(client.get_many(&names)?.into_iter().map(|(key, item)| (key, item.value)));
        }
        answers.push(hits);
    }
    let [first, others @ ..] = answers.as_slice() else { return Ok(()) };
    println!("{} of {} sampled keys are hits", first.len(), keys.len());
    ensure!(!first.is_empty(), "not one of the newest keys is there");
    ensure!(others.iter().all(|other| other == first), "the nodes hold different items");
    Ok(())
}

fn stat(client: &mut TextClient, name: &str) -> Result<u64> {
    let stats = client.stats()?;
    let value = stats.get(name).with_context(|| format!("no STAT {name}"))?;
    value.parse().with_context(|| format!("STAT {name} {value}"))
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / MIB as f64)
}

const MIB: u64 = 1024 * 1024;
const LIMIT: u64 = 64 * MIB;
/// The limit, thirty per cent for what an allocator wastes, and 40 MiB for everything else.
const RESIDENT_MAX: u64 = LIMIT * 13 / 10 + 40 * MIB;
const VALUE_LEN: usize = 1024;
/// Digits at the beginning of each value.
const NUMBER_LEN: usize = 20;
const CONNECTIONS: usize = 6;
/// Sets in one pipeline.
const BATCH: usize = 64;
