//! Power goes: what was synced is on the disk, the rest is not. Each node that suffers it has a file
//! system of its own, on an image that is cut off below the file system.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    Cluster, ClusterOptions, Durability, Figures, FileSystem, LoopDisk, Rng, Undisturbed, Writers,
    alone, count, seed,
};
use tempfile::TempDir;

/// Method: all nodes are killed under load and all disks cut at once, again and again.
#[test]
fn all_nodes_lose_power_on_ext4() -> Result<()> {
    all_nodes_lose_power(FileSystem::Ext4)
}

#[test]
fn all_nodes_lose_power_on_xfs() -> Result<()> {
    all_nodes_lose_power(FileSystem::Xfs)
}

fn all_nodes_lose_power(file_system: FileSystem) -> Result<()> {
    let _alone = alone();
    let Some(world) = World::begin()? else { return Ok(()) };
    let rounds = count("ROUNDS", 5, 2);
    let mut rng = Rng::new(seed());
    let disks = world.disks(3, file_system)?;
    let cluster = start(Durability::Fsync, &disks)?;
    let writers = Writers::new(cluster.nodes());
    let (mut serving, mut keys) = (Figures::default(), 0);
    for round in 0..rounds {
        writers.during(&cluster, &format!("r{round}"), || {
            writers.wait_more(300 + rng.below(300), 500.0)?;
            writers.all_down();
            cluster.kill_all()?;
            disks.iter().try_for_each(LoopDisk::cut)
        })?;
        disks.iter().try_for_each(LoopDisk::power_up)?;
        let (restarted_at, steady) = (Instant::now(), Undisturbed::now());
        cluster.restart_all()?;
        (0..3).try_for_each(|node| cluster.wait_ready(node, HEALTHY_WITHIN))?;
        serving.push_undisturbed(restarted_at.elapsed(), steady);
        writers.all_up();
        cluster.wait_healthy(HEALTHY_WITHIN)?;
        keys = writers.verify(&cluster).with_context(|| format!("round {round}"))?;
        cluster.wait_equal(HEALTHY_WITHIN).with_context(|| format!("round {round}"))?;
    }
    println!("{file_system:?}, all nodes, {rounds} rounds, power to serving: {serving}");
    println!("{keys} keys read through every node, none lost");
    cluster.finish()
}

/// Method: one node after the other, the leader as often as chance has it, while writers go on at
/// the others. It comes back as the replica it was.
#[test]
fn one_node_loses_power_and_is_itself_again() -> Result<()> {
    let _alone = alone();
    let Some(world) = World::begin()? else { return Ok(()) };
    let rounds = count("ROUNDS", 6, 3);
    let disks = world.disks(3, FileSystem::Ext4)?;
    let cluster = start(Durability::Fsync, &disks)?;
    let ids = (0..3).map(|node| replicas(&cluster, node)).collect::<Result<Vec<_>>>()?;
    let writers = Writers::new(cluster.nodes());
    writers.during(&cluster, "w", || {
        for round in 0..rounds {
            let node = usize::try_from(round)? % 3;
            writers.wait_more(200, 500.0)?;
            writers.liveness.down(node);
            cluster.kill(node)?;
            disks.get(node).context("no disk")?.lose_power()?;
            writers.wait_more(100, 300.0)?;
            cluster.restart(node)?;
            cluster.wait_ready(node, HEALTHY_WITHIN)?;
            writers.liveness.up(node);
            cluster.wait_healthy(HEALTHY_WITHIN).with_context(|| format!("round {round}"))?;
        }
        Ok(())
    })?;
    let keys = writers.verify(&cluster)?;
    cluster.wait_equal(HEALTHY_WITHIN)?;
    for (node, id) in ids.iter().enumerate() {
        ensure!(replicas(&cluster, node)? == *id, "{} is another replica", cluster.name(node));
    }
    println!("one node at a time, {rounds} rounds: {keys} keys read, none lost");
    cluster.finish()
}

/// Method: with `--durability os` the last second may be gone, and a vote with it. A power loss
/// shows in the machine's boot id, which this node sees changed through a mount over the file in
/// `/proc`; it must come back as a new replica, by itself, and lack nothing.
#[test]
fn one_node_of_an_os_cluster_comes_back_as_a_new_replica() -> Result<()> {
    let _alone = alone();
    let Some(world) = World::begin()? else { return Ok(()) };
    let rounds = count("ROUNDS", 4, 2);
    let disks = world.disks(1, FileSystem::Ext4)?;
    let cluster = start(Durability::Os, &disks)?;
    let [disk] = disks.as_slice() else { anyhow::bail!("one disk") };
    let writers = Writers::new(cluster.nodes());
    let node = 0;
    writers.during(&cluster, "w", || {
        for round in 0..rounds {
            let before = replicas(&cluster, node)?;
            // Half of the rounds strike the leader.
            if round % 2 == 0 && cluster.leader()? != node {
                cluster.move_leader(node)?;
            }
            writers.wait_more(200, 500.0)?;
            writers.liveness.down(node);
            cluster.kill(node)?;
            disk.lose_power()?;
            writers.wait_more(100, 300.0)?;
            let boot_id = cluster.dir().join("boot-id");
            fs::write(&boot_id, format!("00000000-0000-4000-8000-{round:012}\n"))?;
            let boot_id = boot_id.to_str().context("a path in UTF-8")?;
            let script = "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"";
            cluster.restart_under(node, &["unshare", "-m", "sh", "-c", script, boot_id])?;
            cluster.wait_ready(node, HEALTHY_WITHIN)?;
            writers.liveness.up(node);
            cluster.wait_healthy(HEALTHY_WITHIN).with_context(|| format!("round {round}"))?;
            let after = replicas(&cluster, node)?;
            ensure!(before != after, "round {round}: still {before:?}");
            ensure!(after.len() == 1, "files of earlier replicas are left: {after:?}");
        }
        Ok(())
    })?;
    let keys = writers.verify(&cluster)?;
    cluster.wait_equal(HEALTHY_WITHIN)?;
    println!("one node with os, {rounds} rounds: {keys} keys read, none lost");
    cluster.finish()
}

/// The replica directories of a node.
fn replicas(cluster: &Cluster, node: usize) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(cluster.data_dir(node))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(Some(name).filter(|name| name.starts_with("replica-")));
    }
    Ok(names)
}

fn start(durability: Durability, disks: &[LoopDisk]) -> Result<Cluster> {
    let data_dirs = disks.iter().map(|disk| disk.path().join("data")).collect();
    let options = ClusterOptions { data: Some(durability), data_dirs, ..ClusterOptions::default() };
    Cluster::start_with(options)
}

/// Where the images are; goes when the test ends.
struct World(TempDir);

impl World {
    /// None, loudly, where this machine cannot mount an image.
    fn begin() -> Result<Option<Self>> {
        let dir = tempfile::Builder::new().prefix("power-loss-").tempdir()?;
        let tried = LoopDisk::create(dir.path(), "trial", FileSystem::Ext4, IMAGE_LEN)
            .and_then(|disk| disk.lose_power());
        match tried {
            Ok(()) => Ok(Some(Self(dir))),
            Err(why) => {
                println!("\nSKIPPED, NOTHING WAS PROVED: no power can be cut here: {why:#}");
                Ok(None)
            }
        }
    }

    fn disks(&self, count: usize, file_system: FileSystem) -> Result<Vec<LoopDisk>> {
        let create = |number| {
            LoopDisk::create(self.0.path(), &format!("disk{number}"), file_system, IMAGE_LEN)
        };
        (1..=count).map(create).collect()
    }
}

const HEALTHY_WITHIN: Duration = Duration::from_secs(30);
/// Room for a few segments and snapshots.
const IMAGE_LEN: u64 = 1024 * 1024 * 1024;
