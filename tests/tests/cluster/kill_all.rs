//! All nodes are killed at the same instant: with a data directory each, nothing acknowledged is
//! lost, and time has gone on meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    Cluster, ClusterOptions, Durability, Figures, Rng, Store, TextClient, Undisturbed, Writers,
    alone, count, millis, seed, wait_for,
};

/// An item with a short life; memcached's seconds are whole, so its end is known to a second.
struct Mortal {
    key: String,
    issued_at: Instant,
    acknowledged_at: Instant,
    seen_dead: bool,
}

#[test]
fn nothing_acknowledged_is_lost_with_fsync() -> Result<()> {
    kill_all_again_and_again(Durability::Fsync)
}

#[test]
fn nothing_acknowledged_is_lost_with_os() -> Result<()> {
    kill_all_again_and_again(Durability::Os)
}

/// Method: in each round writers at all nodes are cut off in the middle by SIGKILL to all nodes at
/// once. After the restart, and before anybody writes again, every acknowledged write of all
/// rounds is read through every node; the digests must agree; versions for `cas` taken before the
/// kill must still be good for exactly one `cas`; short-lived items of all rounds must be as alive
/// or dead as the clock says.
fn kill_all_again_and_again(durability: Durability) -> Result<()> {
    let _alone = alone();
    let rounds = count("ROUNDS", 8, 3);
    let mut rng = Rng::new(seed());
    let cluster = start(durability, &[])?;
    let writers = Writers::new(cluster.nodes());
    let mut mortals = Vec::new();
    let (mut serving, mut keys) = (Figures::default(), 0);
    for round in 0..rounds {
        let via = rng.index(cluster.nodes());
        let mut client = TextClient::connect(cluster.client_port(via))?;
        let versioned = format!("versioned-{round}");
        client.set(&versioned, 0, 0, b"before")?;
        let version = client.gets(&versioned)?.context("just set")?.cas_unique;
        writers.during(&cluster, &format!("r{round}"), || {
            writers.wait_more(400, 500.0)?;
            mortals.push(Mortal::store(&mut client, format!("mortal-{round}"))?);
            writers.wait_more(rng.below(200), 0.0)?;
            writers.all_down();
            cluster.kill_all()
        })?;

        let (restarted_at, steady) = (Instant::now(), Undisturbed::now());
        restart_and_wait(&cluster)?;
        serving.push_undisturbed(restarted_at.elapsed(), steady);
        writers.all_up();
        cluster.wait_healthy(HEALTHY_WITHIN)?;
        keys = writers.verify(&cluster).with_context(|| format!("round {round}"))?;
        cluster.wait_equal(HEALTHY_WITHIN).with_context(|| format!("round {round}"))?;
        for node in 0..cluster.nodes() {
            let mut client = TextClient::connect(cluster.client_port(node))?;
            check_versions(&mut client, &versioned, version, node == 0)?;
            mortals.iter_mut().try_for_each(|mortal| mortal.check(&mut client))?;
        }
    }
    println!("{durability:?}: {rounds} rounds, restart to serving: {serving}");
    println!("{keys} keys read through every node, none lost");
    println!(
        "acknowledged: {}, unknown: {}",
        writers.journal.acknowledged(),
        writers.journal.unknown()
    );
    ensure!(mortals.iter().any(|mortal| mortal.seen_dead), "no item ever died");
    cluster.finish()
}

/// The version from before the kill is the item's until somebody uses it.
fn check_versions(client: &mut TextClient, key: &str, version: u64, first: bool) -> Result<()> {
    if first {
        let have = client.gets(key)?.with_context(|| format!("{key} is gone"))?;
        ensure!(have.cas_unique == version, "{key}: {version} became {}", have.cas_unique);
        let stored = client.cas(key, b"after", version)?;
        ensure!(stored == Store::Stored, "{key}: {stored:?} with its own version");
    }
    let again = client.cas(key, b"again", version)?;
    ensure!(again == Store::Exists, "{key}: {again:?} with a version that was used");
    Ok(())
}

impl Mortal {
    fn store(client: &mut TextClient, key: String) -> Result<Self> {
        let issued_at = Instant::now();
        client.set(&key, 0, MORTAL_S, b"alive")?;
        Ok(Self { key, issued_at, acknowledged_at: Instant::now(), seen_dead: false })
    }

    /// Alive before its time, dead after it, and dead for ever.
    fn check(&mut self, client: &mut TextClient) -> Result<()> {
        let Self { key, seen_dead, .. } = self;
        let life = Duration::from_secs(MORTAL_S.unsigned_abs().into());
        let over = life + TTL_GRAIN < self.acknowledged_at.elapsed();
        let found = client.get(key)?.is_some();
        let running = self.issued_at.elapsed() < life.saturating_sub(TTL_GRAIN);
        ensure!(!found || !over, "{key} outlives its time");
        ensure!(!found || !*seen_dead, "{key} has risen from the dead");
        ensure!(found || !running, "{key} died before its time");
        *seen_dead |= !found;
        Ok(())
    }
}

/// Method: two items, one of which dies while all nodes are down, and one later. The first must be
/// gone when the first node answers again, and the second must die at its time: neither at the
/// restart nor by the length of the outage later.
#[test]
fn a_ttl_goes_on_while_all_are_down() -> Result<()> {
    let _alone = alone();
    for durability in [Durability::Fsync, Durability::Os] {
        let cluster = start(durability, &[])?;
        let mut client = TextClient::connect(cluster.client_port(0))?;
        let issued_at = Instant::now();
        client.set("dies-meanwhile", 0, 2, b"x")?;
        client.set("dies-later", 0, 12, b"x")?;
        client.set("lives", 0, 3600, b"x")?;
        cluster.kill_all()?;
        // The outage itself is what is tested: it must outlast the first item.
        std::thread::sleep(Duration::from_secs(4).saturating_sub(issued_at.elapsed()));
        restart_and_wait(&cluster)?;
        for node in 0..cluster.nodes() {
            let mut client = TextClient::connect(cluster.client_port(node))?;
            ensure!(client.get("dies-meanwhile")?.is_none(), "outlived the outage");
            ensure!(client.get("lives")?.is_some(), "an hour is not over");
        }
        let mut client = TextClient::connect(cluster.client_port(1))?;
        let died_after = wait_for("the later item to die", Duration::from_secs(20), || {
            let asked_after = issued_at.elapsed();
            ensure!(client.get("dies-later")?.is_none(), "still there");
            Ok(asked_after)
        })?;
        println!("{durability:?}: an item of 12 s died after {}", millis(died_after));
        ensure!(Duration::from_secs(11) <= died_after, "died before its time");
        ensure!(died_after <= Duration::from_secs(13), "the outage has made it older");
        cluster.finish()?;
    }
    Ok(())
}

/// Method: 100 MB of items in one go; all nodes killed; the time runs from the first process being
/// started to the last node saying it is ready, and a write and a read of old data through each.
#[test]
fn a_hundred_megabytes_serve_within_five_seconds() -> Result<()> {
    let _alone = alone();
    let mut figures = Figures::default();
    let cluster = start(Durability::Fsync, &["-m", "400"])?;
    fill(cluster.client_port(0))?;
    cluster.wait_equal(HEALTHY_WITHIN)?;
    for round in 0..count("RESTARTS", 3, 1) {
        cluster.kill_all()?;
        let (restarted_at, steady) = (Instant::now(), Undisturbed::now());
        restart_and_wait(&cluster)?;
        for node in 0..cluster.nodes() {
            let mut client = TextClient::connect(cluster.client_port(node))?;
            client.set(&format!("after-{round}"), 0, 0, b"serving")?;
            let old = client.get(&name(usize::try_from(round)?))?.context("an old item is gone")?;
            ensure!(old.value.len() == ITEM_LEN, "an old item has another length");
        }
        figures.push_undisturbed(restarted_at.elapsed(), steady);
        cluster.wait_healthy(HEALTHY_WITHIN)?;
    }
    println!("100 MB, killed, restart to a write through each node: {figures}");
    cluster.wait_equal(HEALTHY_WITHIN)?;
    figures.judge(100, Duration::from_secs(5))?;
    cluster.finish()
}

/// A set whose outcome is unknown is sent again: on a slow disk, filling is not what is measured.
fn fill(port: u16) -> Result<()> {
    let value = vec![b'v'; ITEM_LEN];
    for first in (0..ITEMS).step_by(PIPELINE) {
        let mut request = Vec::new();
        for item in first..first + PIPELINE {
            request.extend(format!("set {} 0 0 {ITEM_LEN}\r\n", name(item)).bytes());
            request.extend_from_slice(&value);
            request.extend(b"\r\n");
        }
        wait_for("items to be stored", HEALTHY_WITHIN, || {
            let mut client = TextClient::connect(port)?;
            client.send(&request)?;
            Ok(client.all_stored(PIPELINE)?)
        })?;
    }
    Ok(())
}

fn name(item: usize) -> String {
    format!("item-{item}")
}

fn start(durability: Durability, args: &[&str]) -> Result<Cluster> {
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    let options = ClusterOptions { data: Some(durability), args, ..ClusterOptions::default() };
    Cluster::start_with(options)
}

fn restart_and_wait(cluster: &Cluster) -> Result<()> {
    cluster.restart_all()?;
    (0..cluster.nodes()).try_for_each(|node| cluster.wait_ready(node, HEALTHY_WITHIN))
}

const HEALTHY_WITHIN: Duration = Duration::from_secs(30);
const MORTAL_S: i32 = 2;
/// memcached counts time in whole seconds.
const TTL_GRAIN: Duration = Duration::from_secs(1);
const ITEMS: usize = 10_000;
const ITEM_LEN: usize = 10_000;
const PIPELINE: usize = 50;
