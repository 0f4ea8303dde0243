//! `raftcached_*`: what memcached does not have. Peers are labelled with their names.

use std::collections::BTreeMap;
use std::fmt;

use replication::status::ShardStatus;

use super::Metrics;
use super::families::Families;

/// Writes what this node knows of its cluster and of its own part in it.
pub(super) fn encode(metrics: &Metrics, families: &mut Families<'_>) -> fmt::Result {
    families.gauges(
        "raftcached_build_info",
        "1, with the version of this program.",
        [([("version", env!("CARGO_PKG_VERSION"))], 1)],
    )?;
    node(metrics, families)?;
    members(metrics, families)?;
    shards(metrics, families)
}

fn node(metrics: &Metrics, families: &mut Families<'_>) -> fmt::Result {
    let (clients, engine) = (&metrics.clients, &metrics.engine);
    let own = metrics.cluster.nodes.iter().filter(|node| node.name == metrics.name);
    let (serving, disk_full) = own.fold((false, false), |(serving, full), node| {
        (serving || node.serving, full || node.disk_full)
    });
    families.gauge(
        "raftcached_serving",
        "Whether this node answers clients.",
        u64::from(serving),
    )?;
    families.gauge(
        "raftcached_lease_valid",
        "Whether this node answers reads without asking the leader.",
        u64::from(metrics.lease_valid),
    )?;
    families.gauge(
        "raftcached_disk_full",
        "Whether this node's disk has no room for more log.",
        u64::from(disk_full),
    )?;
    families.gauge("raftcached_threads", "Threads that serve clients.", clients.threads)?;
    families.counter(
        "raftcached_unavailable",
        "Operations that ended without an outcome: no quorum, or not in time.",
        clients.totals.unavailable,
    )?;
    families.counter(
        "raftcached_connections_unaccepted",
        "Connections closed because the node must not take new clients.",
        clients.unaccepting_count,
    )?;
    families.counter(
        "raftcached_evicted_unexpired",
        "Items removed to make room before they had expired.",
        engine.evicted_unexpired,
    )?;
    families.counter(
        "raftcached_items_flushed",
        "Flushed items whose memory was taken back.",
        engine.flushed,
    )
}

fn members(metrics: &Metrics, families: &mut Families<'_>) -> fmt::Result {
    let cluster = &metrics.cluster;
    families.gauge(
        "raftcached_quorum",
        "Whether a majority of the voters can be reached and has a leader.",
        u64::from(cluster.quorum),
    )?;
    families.gauge(
        "raftcached_can_lose",
        "Nodes that may die now without a loss of the quorum.",
        cluster.can_lose,
    )?;
    let voters = cluster.nodes.iter().filter(|node| node.voter).count();
    families.gauge("raftcached_voters", "Nodes that vote.", voters)?;
    // A node that came back is there twice for a moment, as what it was and as what it is.
    let mut peers = BTreeMap::new();
    for node in cluster.nodes.iter().filter(|node| node.name != metrics.name) {
        let up: &mut bool = peers.entry(node.name.as_str()).or_default();
        *up |= node.state != "down";
    }
    families.gauges(
        "raftcached_peer_up",
        "Whether this node can reach that peer.",
        peers.into_iter().map(|(name, up)| ([("peer", name)], u64::from(up))),
    )
}

fn shards(metrics: &Metrics, families: &mut Families<'_>) -> fmt::Result {
    let shards = &metrics.cluster.shards;
    let leads = |shard: &ShardStatus| shard.leader.as_ref() == Some(&metrics.name);
    let applied = |shard: &ShardStatus| {
        let own = shard.replicas.iter().filter(|replica| replica.node == metrics.name);
        own.map(|replica| replica.applied).max().unwrap_or_default()
    };
    let each = |value: &dyn Fn(&ShardStatus) -> u64| {
        let sample = |shard| (shard_label(shard), value(shard));
        shards.iter().map(sample).collect::<Vec<_>>()
    };
    families.gauges(
        "raftcached_is_leader",
        "Whether this node leads, as far as it knows.",
        each(&|shard| u64::from(leads(shard))),
    )?;
    families.gauges("raftcached_term", "Raft's current term.", each(&|shard| shard.term))?;
    families.gauges(
        "raftcached_commit_index",
        "Index of the last log entry that is known to be committed anywhere.",
        each(&|shard| shard.commit),
    )?;
    families.gauges(
        "raftcached_applied_index",
        "Index of the last log entry that this node has applied.",
        each(&applied),
    )?;
    families.gauges(
        "raftcached_diverged",
        "Whether two nodes hold different items after the same log entry.",
        each(&|shard| u64::from(shard.diverged().is_some())),
    )?;
    let behind =
        shards.iter().filter(|shard| leads(shard)).flat_map(|shard| behind(metrics, shard));
    families.gauges(
        "raftcached_peer_lag_entries",
        "Committed log entries that the peer has not applied; on the leader alone.",
        behind,
    )
}

/// By how much the peers that answered are behind.
fn behind<'a>(
    metrics: &Metrics,
    shard: &'a ShardStatus,
) -> impl Iterator<Item = ([(&'static str, String); 2], u64)> + 'a {
    let mut peers = BTreeMap::new();
    for replica in shard.replicas.iter().filter(|replica| replica.node != metrics.name) {
        let applied: &mut u64 = peers.entry(&replica.node).or_default();
        *applied = replica.applied.max(*applied);
    }
    peers.into_iter().map(|(peer, applied)| {
        let [number] = shard_label(shard);
        ([number, ("peer", peer.clone())], shard.commit.saturating_sub(applied))
    })
}

fn shard_label(shard: &ShardStatus) -> [(&'static str, String); 1] {
    [("shard", shard.shard.to_string())]
}
