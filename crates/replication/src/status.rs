//! What a node knows of its cluster, as `/v1/status` and `raftcached status -o json` show it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The cluster as one node sees it, gathered from every member that answered in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// One line for a person: what is wrong, or that nothing is.
    pub verdict: String,
    /// Whether a majority of the voters is reachable and has a leader.
    pub quorum: bool,
    /// How many nodes may die now, one after another, without losing the quorum.
    pub can_lose: usize,
    /// Every member, and nodes that are joining, ordered by name.
    pub nodes: Vec<NodeStatus>,
    /// Every shard, ordered by number.
    pub shards: Vec<ShardStatus>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The name that stays across restarts.
    pub name: String,
    /// The replica id, in decimal; a node without a data directory gets a new one at each start.
    pub id: String,
    /// `leader`, `follower`, `learner`, `candidate`, `joining` or `down`.
    pub state: String,
    /// Whether it votes; a learner does not yet.
    #[serde(default)]
    pub voter: bool,
    /// The version of the program; empty when the node is down.
    pub version: String,
    /// Where clients connect.
    pub client: String,
    /// Where peers connect.
    pub peer: String,
    /// Where the admin HTTP listens.
    pub admin: String,
    /// Items held, expired ones that wait for their reclaim included.
    pub items: u64,
    /// Bytes of item memory, as accounted.
    pub bytes: u64,
    /// Whether the node answers clients.
    pub serving: bool,
    /// Whether its disk has no room for more log than it has begun.
    #[serde(default)]
    pub disk_full: bool,
}

/// One raft group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardStatus {
    /// The shard's number, from 0.
    pub shard: u32,
    /// The current term.
    pub term: u64,
    /// Name of the leader, if there is one.
    pub leader: Option<String>,
    /// Log index up to which entries are committed.
    pub commit: u64,
    /// Every replica that answered, ordered by node name.
    pub replicas: Vec<ReplicaStatus>,
}

impl ShardStatus {
    /// An index at which two replicas have different digests: they do not hold the same items.
    pub fn diverged(&self) -> Option<u64> {
        let mut digests = BTreeMap::new();
        self.replicas.iter().find_map(|replica| {
            let first = digests.entry(replica.digest_at).or_insert(&replica.digest);
            (*first != &replica.digest).then_some(replica.digest_at)
        })
    }
}

/// One node's copy of one shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaStatus {
    /// Name of the node.
    pub node: String,
    /// Log index of the last applied entry.
    pub applied: u64,
    /// The state's digest, 16 hexadecimal digits.
    pub digest: String,
    /// The log index at which `digest` was taken: equal indices must have equal digests.
    pub digest_at: u64,
}
