//! A follower that was away until the log it needs was gone gets a snapshot, while clients write.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    Cluster, ClusterOptions, Durability, Figures, TextClient, Writers, alone, count, data_files,
    wait_for,
};

#[test]
fn in_memory() -> Result<()> {
    follow_again_and_again(None)
}

#[test]
fn with_a_data_directory() -> Result<()> {
    follow_again_and_again(Some(Durability::Fsync))
}

/// Method: in each round a follower is stopped, by a pause or by SIGKILL in turn, until the others
/// have written more than any log keeps; it comes back under load. It must have got a snapshot,
/// which it says, and in the end have what the others have.
fn follow_again_and_again(data: Option<Durability>) -> Result<()> {
    let _alone = alone();
    let cluster = Cluster::start_with(ClusterOptions { data, ..ClusterOptions::default() })?;
    let writers = Writers::new(cluster.nodes());
    let mut returns = Figures::default();
    for round in 0..count("ROUNDS", 6, 2) {
        let leader = cluster.leader()?;
        let follower = (leader + 1 + usize::try_from(round)? % 2) % cluster.nodes();
        let kill = round % 2 == 1;
        let received = snapshots_received(&cluster, follower);
        writers.during(&cluster, &format!("r{round}"), || {
            writers.wait_more(100, 300.0)?;
            writers.liveness.down(follower);
            if kill {
                cluster.kill(follower)?
            } else {
                cluster.pause(follower)?
            }
            outgrow_the_log(&cluster, leader, follower, data.is_some())?;
            let back_at = Instant::now();
            if kill {
                cluster.restart(follower)?
            } else {
                cluster.resume(follower)?
            }
            wait_for("a snapshot to be received", HEALTHY_WITHIN, || {
                let now = snapshots_received(&cluster, follower);
                ensure!(received < now, "{now} before and after");
                Ok(())
            })?;
            cluster.wait_ready(follower, HEALTHY_WITHIN)?;
            cluster.wait_healthy(HEALTHY_WITHIN)?;
            returns.push(back_at.elapsed());
            // After a long pause a node turns new clients away until it has seen a quorum again.
            wait_for("clients to be taken", HEALTHY_WITHIN, || {
                Ok(TextClient::connect(cluster.client_port(follower)).map(drop)?)
            })?;
            writers.liveness.up(follower);
            writers.wait_more(100, 300.0)
        })?;
        writers.verify(&cluster).with_context(|| format!("round {round}"))?;
        cluster.wait_equal(HEALTHY_WITHIN).with_context(|| format!("round {round}"))?;
    }
    println!("{data:?}: return to healthy, by a snapshot: {returns}");
    cluster.finish()
}

/// Writes until no other node has the entries any more that `follower` lacks: a log in memory is
/// short, and on a disk its old segments can be seen to go.
fn outgrow_the_log(cluster: &Cluster, leader: usize, follower: usize, durable: bool) -> Result<()> {
    let mut client = TextClient::connect(cluster.client_port(leader))?;
    let others: Vec<_> = (0..cluster.nodes()).filter(|node| *node != follower).collect();
    let segments = || -> Result<Vec<Vec<PathBuf>>> {
        others.iter().map(|node| data_files::segments(&cluster.data_dir(*node))).collect()
    };
    let before = if durable { segments()? } else { Vec::new() };
    let give_up = Instant::now() + HEALTHY_WITHIN;
    loop {
        for write in 0..OUTGROWN_LEN / VALUE_LEN {
            client.set(&format!("large-{}", write % 100), 0, 0, &vec![b'l'; VALUE_LEN])?;
        }
        let now = if durable { segments()? } else { Vec::new() };
        if now.iter().zip(&before).all(|(now, before)| before.last() < now.first()) {
            return Ok(());
        }
        ensure!(Instant::now() < give_up, "the logs keep all: {now:?}");
    }
}

fn snapshots_received(cluster: &Cluster, node: usize) -> usize {
    cluster.said(node).matches("snapshot received").count()
}

const HEALTHY_WITHIN: Duration = Duration::from_secs(30);
const VALUE_LEN: usize = 100_000;
/// More than a log in memory keeps (12 MiB), with all that may be on its way to a node that is
/// paused.
const OUTGROWN_LEN: usize = 64 * 1024 * 1024;
