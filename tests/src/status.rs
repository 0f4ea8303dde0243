//! What `/v1/status` says.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// One node's view of the cluster.
#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    /// One sentence for the operator.
    pub verdict: String,
    /// Whether a majority of the voters can be reached.
    pub quorum: bool,
    /// How many nodes may die now without losing the quorum.
    pub can_lose: usize,
    /// Every member, dead ones included.
    pub nodes: Vec<NodeStatus>,
    /// Every shard of the key space.
    pub shards: Vec<ShardStatus>,
}

/// One member.
#[derive(Debug, Clone, Deserialize)]
pub struct NodeStatus {
    /// Its name, which stays the same across restarts.
    pub name: String,
    /// `leader`, `follower`, `learner` or `down`.
    pub state: String,
}

/// One raft group.
#[derive(Debug, Clone, Deserialize)]
pub struct ShardStatus {
    /// Number of the shard.
    pub shard: u64,
    /// Current term.
    pub term: u64,
    /// Name of the leader, if one is known.
    pub leader: Option<String>,
    /// Log index up to which entries are committed.
    pub commit: Option<u64>,
    /// Every node's copy.
    pub replicas: Vec<ReplicaStatus>,
}

/// One node's copy of one shard.
#[derive(Debug, Clone, Deserialize)]
pub struct ReplicaStatus {
    /// Name of the node.
    pub node: String,
    /// Log index up to which entries are applied.
    pub applied: Option<u64>,
    /// Digest of the state at `digest_at`, in whatever JSON form it is given.
    #[serde(default)]
    pub digest: serde_json::Value,
    /// Log index the digest belongs to.
    #[serde(default)]
    pub digest_at: Option<u64>,
}

impl Status {
    /// Reads the body of `/v1/status`.
    ///
    /// # Errors
    ///
    /// When it is not the documented JSON.
    pub fn parse(body: &str) -> Result<Self> {
        serde_json::from_str(body).with_context(|| format!("status {body:?}"))
    }

    /// Shard 0's leader, whom the tests move and kill.
    pub fn leader(&self) -> Option<&str> {
        self.shards.first().and_then(|shard| shard.leader.as_deref())
    }

    /// The term of every shard, in the order of the shards.
    pub fn terms(&self) -> Vec<u64> {
        self.shards.iter().map(|shard| shard.term).collect()
    }

    /// Checks that all of `names`, and nobody else, are up, vote, and are at most `lag` entries
    /// behind.
    ///
    /// # Errors
    ///
    /// What is not so.
    pub fn check_healthy(&self, names: &BTreeSet<String>, lag: u64) -> Result<()> {
        let can_lose = names.len().saturating_sub(1) / 2;
        let have: Vec<_> = self.nodes.iter().map(|node| node.name.clone()).collect();
        let verdict = &self.verdict;
        ensure!(self.quorum, "no quorum: {verdict}");
        ensure!(self.can_lose == can_lose, "can lose {} nodes: {verdict}", self.can_lose);
        ensure!(have.len() == names.len(), "members {have:?}: {verdict}");
        ensure!(have.into_iter().collect::<BTreeSet<_>>() == *names, "other members: {verdict}");
        for node in &self.nodes {
            let votes = matches!(node.state.as_str(), "leader" | "follower");
            ensure!(votes, "{} is {}: {verdict}", node.name, node.state);
        }
        ensure!(!self.shards.is_empty(), "no shards: {verdict}");
        self.shards.iter().try_for_each(|shard| shard.check_healthy(names, lag))
    }

    /// Checks that every shard's replicas have the same digest at the same index.
    ///
    /// # Errors
    ///
    /// The first shard of which this does not hold.
    pub fn check_digests(&self) -> Result<()> {
        for shard in &self.shards {
            let distinct: BTreeSet<_> = shard
                .replicas
                .iter()
                .map(|replica| (replica.digest_at, replica.digest.to_string()))
                .collect();
            ensure!(distinct.len() == 1, "shard {}: digests {distinct:?}", shard.shard);
            let known = distinct.iter().all(|(at, digest)| at.is_some() && digest != "null");
            ensure!(known, "shard {}: no digest", shard.shard);
        }
        Ok(())
    }
}

impl ShardStatus {
    fn check_healthy(&self, names: &BTreeSet<String>, lag: u64) -> Result<()> {
        let Self { shard, replicas, .. } = self;
        ensure!(self.leader.is_some(), "shard {shard} has no leader");
        let have: BTreeSet<_> = replicas.iter().map(|replica| replica.node.clone()).collect();
        ensure!(
            have == *names && replicas.len() == names.len(),
            "shard {shard}: replicas {have:?}"
        );
        let applied = || replicas.iter().map(|replica| replica.applied.unwrap_or(0));
        let most = applied().max().unwrap_or(0);
        let least = applied().min().unwrap_or(0);
        ensure!(0 < least && most - least <= lag, "shard {shard}: applied {least} to {most}");
        Ok(())
    }
}
